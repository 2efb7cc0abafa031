//! Tests of the router and of the state that handlers share.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::routing::get;
use bytes::Bytes;
use clap::Parser;
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt;

use crate::config::Config;
use crate::http::auth::RequestKeys;
use crate::http::router::{Endpoint, catch_panics, endpoints, router};
use crate::http::state::{AppState, IN_PLACE_OUTPUTS_MAX, SharedState, Stopping};
use crate::ledger::Ledger;
use crate::ledger::clock::SystemClock;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    config: Config,
}

/// Returns a state before recovery.
async fn app() -> AppState {
    app_with(&[]).await
}

async fn app_with(options: &[&str]) -> AppState {
    app_until(watch::channel(None).1, options).await
}

async fn app_until(stopping: Stopping, options: &[&str]) -> AppState {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::storage::open(&format!("file:{}", folder.path().display()))
        .await
        .unwrap();
    let config = Arc::new(Options::parse_from(["alleycat"].iter().chain(options)).config);
    let (ledger, _worker) = Ledger::new((&*config).into(), store, Arc::new(SystemClock), [0; 32]);
    let keys = RequestKeys::new(&config).unwrap();
    SharedState::new(ledger, config, keys, stopping)
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_a_disconnected_client_keeps_its_permit() {
    let app = app().await;
    let workers = app.workers.0.available_permits();
    let mut ends = Vec::new();
    for _ in 0..workers {
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let client = tokio::spawn({
            let app = app.clone();
            async move {
                let work = move || _ = (begun.send(()), ended.recv());
                app.workers.work(IN_PLACE_OUTPUTS_MAX, work).await.unwrap();
            }
        });
        begins.await.unwrap();
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        ends.push(end);
    }
    assert_eq!(app.workers.0.available_permits(), 0);
    drop(ends);
    assert_eq!(
        app.workers.work(IN_PLACE_OUTPUTS_MAX, || 7).await.unwrap(),
        7
    );
}

#[tokio::test]
async fn queries_before_recovery_get_503() {
    let router = router(app().await);
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    };
    for path in [
        "/classes",
        "/classes/1/leaderboard",
        "/classes/1/history",
        "/class-1.gz",
        "/racers/1",
        "/readyz",
    ] {
        assert_eq!(
            get(path).await.status(),
            StatusCode::SERVICE_UNAVAILABLE,
            "{path}"
        );
    }
    assert_eq!(get("/classes").await.headers()[header::RETRY_AFTER], "1");
    for path in ["/", "/healthz", "/openapi.json", "/docs/"] {
        assert_eq!(get(path).await.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn writes_allow_only_post() {
    let router = router(app().await);
    for path in ["/firehose", "/events", "/rides"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()[header::ALLOW], "POST", "{path}");
    }
}

#[tokio::test]
async fn bodies_of_refused_requests_are_drained() {
    let router = router(app().await);
    for (method, path, status) in [("POST", "/nowhere", 404), ("PUT", "/classes", 405)] {
        let (begun, read) = tokio::sync::oneshot::channel();
        let frame = async move { begun.send(()).map(|()| Bytes::from("a body")) };
        let body = Body::from_stream(futures_util::stream::once(async {
            frame.await.map_err(|()| std::io::Error::other("not read"))
        }));
        let request = Request::builder().method(method).uri(path);
        let request = request.body(body).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        read.await.expect("the body is read");
    }
}

#[tokio::test]
async fn errors_cut_long_paths() {
    let router = router(app().await);
    let long = "x".repeat(60_000);
    for (method, path) in [
        ("GET", format!("/{long}")),
        ("GET", format!("/assets/{long}")),
        ("GET", format!("/docs/{long}")),
        ("DELETE", format!("/racers/{long}")),
        (&*long, "/classes".to_owned()),
    ] {
        let request = Request::builder().method(method).uri(&path);
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert!(response.status().is_client_error(), "{path:.20}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.len() < 1000, "{path:.20}: {} bytes", body.len());
    }
}

#[tokio::test]
async fn transformation_response_holds_its_memory_until_sent() {
    let app = app().await;
    let record = json!({ "recordId": "1", "data": "x".repeat(1 << 20) });
    let event = json!({ "invocationId": "i", "records": [record] }).to_string();
    let request = Request::post("/events").body(Body::from(event)).unwrap();
    let response = router(app.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(app.admission.deliveries.acquired_bytes() >= 1 << 20);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.len() >= 1 << 20);
    drop(body);
    assert_eq!(app.admission.deliveries.acquired_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_time_counts_from_the_stop() {
    let (stop, stopping) = watch::channel(None);
    let app = app_until(stopping, &[]).await;
    stop.send_replace(Some(Instant::now()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let began = Instant::now();
    app.has_been_stopping(Duration::from_secs(5)).await;
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn panics_get_500() {
    async fn fails() {
        panic!("on purpose");
    }
    let panics: Router = Router::new().route("/", get(fails));
    let panics = panics.layer(from_fn(catch_panics));
    let response = panics
        .oneshot(Request::get("/").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/problem+json"
    );
}

#[tokio::test]
async fn several_cors_origins_vary_by_origin() {
    let options = ["--cors-origin", "https://a.example,http://localhost:5173"];
    let router = router(app_with(&options).await);
    for (origin, allowed) in [
        ("http://localhost:5173", Some("http://localhost:5173")),
        ("https://b.example", None),
    ] {
        let request = Request::get("/classes").header(header::ORIGIN, origin);
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let headers = response.headers();
        let header = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(header.map(|it| it.to_str().unwrap()), allowed, "{origin}");
        let vary = headers.get_all(header::VARY).iter();
        assert!(vary.into_iter().any(|it| it == "origin"), "{origin}");
    }
}

#[tokio::test]
async fn single_cors_origin_does_not_vary() {
    let router = router(app_with(&["--cors-origin", "https://a.example"]).await);
    let request = Request::get("/classes").header(header::ORIGIN, "https://b.example");
    let request = request.body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(
        response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN],
        "https://a.example"
    );
    let mut vary = response.headers().get_all(header::VARY).iter();
    assert!(!vary.any(|it| it == "origin"));
}

#[test]
fn the_table_names_the_paths_of_its_handlers() {
    for Endpoint { path, handler, .. } in endpoints() {
        let (_, paths, _) = handler;
        assert!(paths.paths.keys().all(|documented| documented == path));
    }
}
