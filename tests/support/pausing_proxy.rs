//! A proxy in front of an S3 server that pauses one write, so that a test can kill the sender at
//! that point.

use std::sync::Arc;

use alleycat::firehose_client::http_client_builder;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use reqwest::Client;
use tokio::sync::watch;

/// Maximum body size, in bytes.
const BODY_MAX: usize = 64 << 20;

/// Every write passes two pause points: before it reaches the server, and before its response
/// returns.
pub struct PausingProxy {
    endpoint: String,
    state: Arc<ProxyState>,
}

struct ProxyState {
    server: String,
    client: Client,
    /// Remaining pause points that writes may pass; `None` for no limit.
    remaining: watch::Sender<Option<usize>>,
    /// The paused write, once there is one.
    paused: watch::Sender<Option<String>>,
}

impl PausingProxy {
    /// Starts a proxy in front of `server`.
    pub async fn start(server: String) -> Self {
        let client = http_client_builder().no_proxy().no_gzip().build().unwrap();
        let (remaining, paused) = (watch::Sender::new(None), watch::Sender::new(None));
        let state = Arc::new(ProxyState {
            server,
            client,
            remaining,
            paused,
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, state }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Pauses every write after writes have passed `points` more pause points.
    pub fn pause_after(&self, points: usize) {
        self.state.paused.send_replace(None);
        self.state.remaining.send_replace(Some(points));
    }

    /// Stops pausing. Writes that are paused already stay paused.
    pub fn stop_pausing(&self) {
        self.state.remaining.send_replace(None);
    }

    /// Waits until a write is paused and describes it.
    pub async fn paused_write(&self) -> String {
        let mut paused = self.state.paused.subscribe();
        paused
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .clone()
            .unwrap()
    }
}

impl ProxyState {
    async fn pass_pause_point(&self, describe: impl FnOnce() -> String) {
        let mut pauses = false;
        self.remaining.send_modify(|remaining| match remaining {
            Some(0) => pauses = true,
            Some(remaining) => *remaining -= 1,
            None => {}
        });
        if pauses {
            self.paused.send_if_modified(|paused| {
                paused
                    .is_none()
                    .then(|| *paused = Some(describe()))
                    .is_some()
            });
            std::future::pending::<()>().await; // until the test kills the sender
        }
    }
}

async fn pass(State(state): State<Arc<ProxyState>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX).await.unwrap();
    let writes = parts.method == Method::PUT || parts.method == Method::DELETE;
    if writes {
        state
            .pass_pause_point(|| format!("{} {}, not yet at the server", parts.method, parts.uri))
            .await;
    }
    let url = format!("{}{}", state.server, parts.uri);
    let request = state
        .client
        .request(parts.method.clone(), url)
        .headers(parts.headers)
        .body(body);
    let upstream = request.send().await.unwrap();
    if writes {
        state
            .pass_pause_point(|| format!("{} {}, response pending", parts.method, parts.uri))
            .await;
    }
    let mut response = Response::builder().status(upstream.status());
    *response.headers_mut().unwrap() = upstream.headers().clone();
    response
        .body(Body::from(upstream.bytes().await.unwrap()))
        .unwrap()
}
