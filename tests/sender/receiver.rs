//! A receiver of deliveries with scripted replies.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use crate::builders::gunzip;

/// The reply to one try. Without a scripted reply, the receiver acknowledges.
pub enum Reply {
    Status(u16, &'static str),
    Body(String),
    Redirect,
    Silence,
}

#[derive(Clone)]
pub struct Try {
    headers: HeaderMap,
    pub envelope: Value,
}

impl Try {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("ASCII"))
    }

    pub fn records(&self) -> Vec<Vec<u8>> {
        let records = self.envelope["records"].as_array().expect("records");
        let data = records
            .iter()
            .map(|record| record["data"].as_str().expect("base64"));
        data.map(|data| base64_simd::STANDARD.decode_to_vec(data).expect("base64"))
            .collect()
    }
}

/// An endpoint on its own port that records the requests.
#[derive(Clone, Default)]
pub struct Receiver {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    tries: Arc<Mutex<Vec<Try>>>,
    /// Notified of every request.
    pub arrived_request: Arc<Notify>,
    /// If set, every request waits for a permit.
    gate: Option<Arc<Semaphore>>,
    pub waiting: Arc<AtomicUsize>,
}

impl Receiver {
    /// Creates a receiver whose every request waits for a permit.
    pub fn with_gate(gate: Arc<Semaphore>) -> Self {
        Self {
            gate: Some(gate),
            ..Self::default()
        }
    }

    pub fn with_replies(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self {
            replies: Arc::new(Mutex::new(replies.into_iter().collect())),
            ..Self::default()
        }
    }

    /// Starts to listen and returns the URL.
    pub async fn listen(&self) -> reqwest::Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!(
            "http://{}/firehose?a=b",
            listener.local_addr().expect("an address")
        );
        let receiver = self.clone();
        let router = axum::Router::new().fallback(move |request| {
            let receiver = receiver.clone();
            async move { receiver.receive(request).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        url.parse().expect("a URL")
    }

    async fn receive(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let mut body = axum::body::to_bytes(body, usize::MAX)
            .await
            .expect("a whole body")
            .to_vec();
        if head
            .headers
            .get("content-encoding")
            .is_some_and(|coding| coding == "gzip")
        {
            body = gunzip(&body).into_bytes();
        }
        let envelope: Value = serde_json::from_slice(&body).expect("JSON");
        let id = envelope["requestId"].clone();
        self.tries.lock().expect("no panic").push(Try {
            headers: head.headers,
            envelope,
        });
        self.arrived_request.notify_one();
        if let Some(gate) = &self.gate {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.expect("open").forget();
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        let reply = self.replies.lock().expect("no panic").pop_front();
        let respond = |status: u16, body: String| {
            let builder =
                Response::builder().status(StatusCode::from_u16(status).expect("a status"));
            builder
                .header("content-type", "application/json")
                .body(Body::from(body))
                .expect("a response")
        };
        match reply {
            None => respond(
                200,
                json!({"requestId": id, "timestamp": 1_578_090_903_599_u64}).to_string(),
            ),
            Some(Reply::Status(status, words)) => respond(
                status,
                json!({"requestId": id, "timestamp": 1, "errorMessage": words}).to_string(),
            ),
            Some(Reply::Body(body)) => respond(200, body),
            Some(Reply::Redirect) => Response::builder()
                .status(307)
                .header("location", "/elsewhere")
                .body(Body::empty())
                .expect("a response"),
            Some(Reply::Silence) => std::future::pending().await,
        }
    }

    pub fn tries(&self) -> Vec<Try> {
        self.tries.lock().expect("no panic").clone()
    }
}
