//! Access keys, query keys and admin keys: what each allows, and that no key is logged.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use alleycat::firehose_client::http_client_builder;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::instance::Instance;
use support::test_store::TestStore;
use support::{Service, alleycat, until};

const ARN: &str = "arn:aws:firehose:us-east-1:123456789012:deliverystream/rides";

/// Delivers no records with these headers. Returns the status, and requires Firehose's form.
async fn deliver(service: &Service, headers: &[(&str, &str)]) -> StatusCode {
    let mut request = service.request(Method::POST, "/firehose");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = json!({ "requestId": "a", "timestamp": 0, "records": [] }).to_string();
    let response = request.body(body).send().await.unwrap();
    let status = response.status();
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert!(body["timestamp"].is_number(), "{body}");
    assert_eq!(body["errorMessage"].is_null(), status == 200, "{body}");
    status
}

#[tokio::test]
async fn changed_key_file_replaces_the_access_keys() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "the-old-one\n").unwrap();
    let service = Service::start(&["--access-key-file", file.path().to_str().unwrap()]).await;
    let with = async |key: &str| deliver(&service, &[("x-amz-firehose-access-key", key)]).await;
    assert_eq!(with("the-old-one").await, 200);
    assert_eq!(with("a-newer-one").await, 401);
    std::fs::write(file.path(), "the-old-one\na-newer-one\n").unwrap();
    until("the added key is accepted", async || {
        with("a-newer-one").await == 200
    })
    .await;
    assert_eq!(with("the-old-one").await, 200);
    std::fs::write(file.path(), "{\"api_key\":\"a-newer-one\"}").unwrap();
    until("the removed key is refused", async || {
        with("the-old-one").await == 401
    })
    .await;
    assert_eq!(with("a-newer-one").await, 200);
}

#[tokio::test]
async fn only_listed_streams_may_deliver() {
    let other = "arn:aws:firehose:us-east-1:123456789012:deliverystream/other";
    let service = Service::start(&["--source-arn", ARN, "--source-arn", other]).await;
    for (arn, status) in [
        (ARN, 200),
        (other, 200),
        ("arn:aws:firehose", 403),
        ("", 403),
    ] {
        assert_eq!(
            deliver(&service, &[("x-amz-firehose-source-arn", arn)]).await,
            status,
            "{arn}"
        );
    }
    assert_eq!(deliver(&service, &[]).await, 403);
}

#[tokio::test]
async fn query_paths_require_a_query_or_admin_key() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "of-a-file\n").unwrap();
    let path = file.path().to_str().unwrap();
    let options = [
        "--query-key",
        "reads",
        "--query-key-file",
        path,
        "--admin-key",
        "erases",
        "--access-key",
        "rides",
    ];
    let service = Service::start(&options).await;
    let get = async |path: &str, key: &str| {
        let request = service
            .request(Method::GET, path)
            .header("authorization", format!("Bearer {key}"));
        request.send().await.unwrap()
    };
    let closed = [
        "/classes",
        "/classes/1/history",
        "/class-1.gz",
        "/classes/1/leaderboard",
        "/racers?name=h",
    ];
    for path in closed {
        let response = service.get(path).await;
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        for wrong in ["rides", "read", ""] {
            assert_eq!(get(path, wrong).await.status(), 401, "{path} {wrong}");
        }
        for right in ["reads", "of-a-file", "erases"] {
            let response = get(path, right).await;
            assert_eq!(response.status(), 200, "{path} {right}");
            let cache_control = response
                .headers()
                .get("cache-control")
                .map_or("", |value| value.to_str().unwrap());
            assert!(!cache_control.contains("public"), "{path}: {cache_control}");
        }
    }
    for path in ["/", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(service.get(path).await.status(), 200, "{path}");
    }
    let erase = async |key: &str| {
        let request = service
            .request(Method::DELETE, "/racers/1")
            .header("authorization", format!("Bearer {key}"));
        request.send().await.unwrap().status()
    };
    assert_eq!(erase("reads").await, 401);
    assert_eq!(erase("erases").await, 200);
}

#[tokio::test]
async fn keys_appear_in_no_log_response_or_metric() {
    let test_store = TestStore::folder();
    let keys = [
        "--access-key",
        "hush-access",
        "--admin-key",
        "hush-admin",
        "--query-key",
        "hush-query",
    ];
    let instance = Instance::start(&test_store, &keys).await;
    let client = http_client_builder().no_proxy().build().unwrap();
    let post = client.post(instance.url("/firehose"));
    post.header("x-amz-firehose-access-key", "hush-wrong")
        .body("{}")
        .send()
        .await
        .unwrap();
    let get = client.get(instance.url("/classes"));
    let response = get
        .header("authorization", "Bearer hush-wrong")
        .send()
        .await
        .unwrap();
    assert!(!response.text().await.unwrap().contains("hush"));
    let metrics = client
        .get(instance.metrics_url())
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("access_key"), "{metrics}");
    assert!(!metrics.contains("hush"), "{metrics}");
    instance.terminate();
    instance.wait_for_exit().await;
    let log = instance.log();
    assert!(log.contains("delivery error"), "{log}");
    assert!(!log.contains("hush"), "{log}");
}

#[test]
fn invalid_key_is_not_repeated_in_the_error() {
    for option in ["--access-key", "--admin-key", "--query-key"] {
        let output = alleycat(&["serve", option, "hush-hüsh"]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{error}");
        assert!(error.contains(option), "{error}");
        assert!(error.contains("printable"), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}
