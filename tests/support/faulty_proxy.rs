//! A proxy in front of an S3 server that delays, cuts and lies, as its rules say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alleycat::firehose_client::http_client_builder;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use reqwest::Client;

use super::s3_server::S3Server;

/// Maximum size of a request or a response, in bytes.
const BODY_MAX: usize = 64 << 20;

/// How the proxy misbehaves for a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It reaches the server after this time.
    Delay(Duration),
    /// It reaches the server, and is never answered.
    LoseAnswer,
    /// It is answered with this status and an empty body, and never reaches the server.
    Lie(StatusCode),
    /// Half of its response's body comes, then the connection is closed.
    CutBody,
    /// Half of its response's body comes, then nothing.
    StallBody,
}

/// Which requests have a fault.
struct Rule {
    method: Method,
    /// A part of the request's path.
    path: String,
    fault: Fault,
    /// Requests that it still applies to.
    remaining: usize,
}

pub struct FaultyProxy {
    endpoint: String,
    state: Arc<ProxyState>,
}

struct ProxyState {
    server: String,
    client: Client,
    rules: Mutex<Vec<Rule>>,
    /// Method and path of every request so far.
    requests: Mutex<Vec<(Method, String)>>,
}

impl FaultyProxy {
    /// Starts a proxy in front of `server`, without faults.
    pub async fn start(server: &S3Server) -> Self {
        let state = Arc::new(ProxyState {
            server: server.endpoint(),
            client: http_client_builder().no_proxy().no_gzip().build().unwrap(),
            rules: Mutex::default(),
            requests: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, state }
    }

    /// Returns the environment of a process that reaches the server through this proxy.
    pub fn environment(&self, server: &S3Server) -> Vec<(&'static str, String)> {
        let mut environment = server.environment().to_vec();
        for (name, value) in &mut environment {
            if *name == "AWS_ENDPOINT_URL" {
                value.clone_from(&self.endpoint);
            }
        }
        environment
    }

    /// Gives the next `times` requests with this method and part of a path a fault. The latest rule
    /// that matches a request decides.
    pub fn add_fault(&self, method: Method, path: &str, fault: Fault, times: usize) {
        self.state.rules.lock().unwrap().push(Rule {
            method,
            path: path.to_owned(),
            fault,
            remaining: times,
        });
    }

    /// Counts the requests so far with this method and part of a path.
    pub fn count(&self, method: &Method, path: &str) -> usize {
        let requests = self.state.requests.lock().unwrap();
        let matching = requests
            .iter()
            .filter(|(its_method, its_path)| its_method == method && its_path.contains(path));
        matching.count()
    }
}

impl ProxyState {
    fn fault_of(&self, method: &Method, path: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().rev().find(|rule| {
            rule.remaining > 0 && rule.method == *method && path.contains(&rule.path)
        })?;
        rule.remaining -= 1;
        Some(rule.fault.clone())
    }

    async fn send(&self, parts: &Parts, body: Bytes) -> (StatusCode, HeaderMap, Bytes) {
        let url = format!("{}{}", self.server, parts.uri);
        let request = self
            .client
            .request(parts.method.clone(), url)
            .headers(parts.headers.clone())
            .body(body);
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, response.bytes().await.unwrap())
    }
}

async fn pass(State(state): State<Arc<ProxyState>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX).await.unwrap();
    let path = parts.uri.to_string();
    let request = (parts.method.clone(), path.clone());
    state.requests.lock().unwrap().push(request);
    let fault = state.fault_of(&parts.method, &path);
    match &fault {
        Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
        Some(Fault::Lie(status)) => {
            let lie = Response::builder().status(*status).header("etag", "\"0\"");
            return lie.body(Body::empty()).unwrap();
        }
        _ => {}
    }
    let (status, headers, body) = state.send(&parts, body).await;
    let half = body.slice(..body.len() / 2);
    let body = match fault {
        Some(Fault::LoseAnswer) => std::future::pending().await,
        Some(Fault::CutBody) => {
            let cut = Err(std::io::Error::other("cut"));
            Body::from_stream(stream::iter([Ok(half), cut]))
        }
        Some(Fault::StallBody) => Body::from_stream(
            stream::iter([Ok::<_, std::io::Error>(half)]).chain(stream::pending()),
        ),
        _ => Body::from(body),
    };
    let mut response = Response::builder().status(status);
    *response.headers_mut().unwrap() = headers;
    response.body(body).unwrap()
}
