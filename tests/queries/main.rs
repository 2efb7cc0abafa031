//! Queries over HTTP, against a service that received its data over HTTP.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

#[path = "../support/mod.rs"]
mod support;

mod caching;
mod classes;
mod history;
mod leaderboard;
mod model;
mod pace;
mod pages;
mod protocol;
mod racers;

use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use support::{Service, record};

fn header_of(response: &Response, name: header::HeaderName) -> &str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().expect("text"))
}

/// Sends a request with these headers.
async fn send(
    service: &Service,
    method: Method,
    path: &str,
    headers: &[(header::HeaderName, &str)],
) -> Response {
    let request = headers
        .iter()
        .fold(service.request(method, path), |request, (name, value)| {
            request.header(name, *value)
        });
    request.send().await.expect("a response")
}

/// Requires a problem with the status and a detail that contains all `words`.
async fn assert_problem(service: &Service, path: &str, status: StatusCode, words: &[&str]) {
    let response = service.get(path).await;
    assert_eq!(response.status(), status, "{path}");
    assert_eq!(
        header_of(&response, header::CONTENT_TYPE),
        "application/problem+json",
        "{path}"
    );
    let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(problem["status"], status.as_u16(), "{path}");
    let detail = problem["detail"].as_str().unwrap();
    for word in words {
        assert!(
            detail.contains(word),
            "{path}: {word:?} is not in {detail:?}"
        );
    }
}

/// Starts a service with tied racers at second 5 of class 1.
async fn service_with_ties() -> Service {
    let service = Service::start(&["--classes", "2"]).await;
    let named = json!({ "classId": 1, "second": 5, "racerId": 1, "output": 30, "name": "Hub, \"the\" Bert" });
    service
        .deliver(&[
            named,
            record(1, 5, 2, 20.0),
            record(1, 5, 3, 20.0),
            record(1, 5, 4, 1e-7),
            record(1, 7, 4, 99.5),
            record(1, 7, 2, 20.0),
        ])
        .await;
    service
}
