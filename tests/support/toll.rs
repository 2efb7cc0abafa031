//! A proxy before an S3 server that holds up one writing request, so that a test can kill the sender there.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use reqwest::Client;
use tokio::sync::watch;

/// The largest body that passes, in bytes.
const BODY_MAX: usize = 64 << 20;

/// Every writing request passes it twice: on its way there, and on its way back.
pub struct PausingProxy {
    endpoint: String,
    state: Arc<Passing>,
}

struct Passing {
    server: String,
    client: Client,
    /// How many more may pass; `None` while all may.
    left: watch::Sender<Option<usize>>,
    /// What was held up, when it was.
    held: watch::Sender<Option<String>>,
}

impl PausingProxy {
    /// Before the server at that endpoint.
    pub async fn before(server: String) -> Self {
        let client = Client::builder().no_proxy().no_gzip().build().unwrap();
        let (left, held) = (watch::Sender::new(None), watch::Sender::new(None));
        let state = Arc::new(Passing {
            server,
            client,
            left,
            held,
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

    /// Holds up what comes after so many passings.
    pub fn hold_after(&self, passings: usize) {
        self.state.held.send_replace(None);
        self.state.left.send_replace(Some(passings));
    }

    /// Lets pass whatever comes from now on; what is held up stays so.
    pub fn open(&self) {
        self.state.left.send_replace(None);
    }

    /// Waits until something is held up, and says what.
    pub async fn holds(&self) -> String {
        let mut held = self.state.held.subscribe();
        held.wait_for(Option::is_some)
            .await
            .unwrap()
            .clone()
            .unwrap()
    }
}

impl Passing {
    async fn pay(&self, what: impl FnOnce() -> String) {
        let mut stops = false;
        self.left.send_modify(|left| match left {
            Some(0) => stops = true,
            Some(left) => *left -= 1,
            None => {}
        });
        if stops {
            self.held
                .send_if_modified(|held| held.is_none().then(|| *held = Some(what())).is_some());
            std::future::pending::<()>().await; // its sender dies
        }
    }
}

async fn pass(State(passing): State<Arc<Passing>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX).await.unwrap();
    let writes = parts.method == Method::PUT || parts.method == Method::DELETE;
    if writes {
        passing
            .pay(|| format!("{} {}, not yet there", parts.method, parts.uri))
            .await;
    }
    let url = format!("{}{}", passing.server, parts.uri);
    let request = passing
        .client
        .request(parts.method.clone(), url)
        .headers(parts.headers)
        .body(body);
    let answer = request.send().await.unwrap();
    if writes {
        passing
            .pay(|| format!("{} {}, not yet answered", parts.method, parts.uri))
            .await;
    }
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    response
        .body(Body::from(answer.bytes().await.unwrap()))
        .unwrap()
}
