//! `POST /events` against the real binary and a real S3 server: transformations, notifications in every
//! envelope, and access to buckets.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod notifications;
mod transformation;

use std::sync::Arc;

use alleycat::firehose_client::http_client_builder;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use support::instance::Instance;
use support::s3_server::S3Server;
use support::test_store::TestStore;

const KEY: &str = "s3cret";

/// An instance on one bucket that may read the bucket `deliveries`.
struct EventInstance {
    test_store: TestStore,
    client: aws_sdk_s3::Client,
    instance: Instance,
}

impl EventInstance {
    async fn start(options: &[&str]) -> Self {
        let server = Arc::new(S3Server::start().await);
        let client = server.client().await;
        for bucket in ["deliveries", "other"] {
            client.create_bucket().bucket(bucket).send().await.unwrap();
        }
        let test_store = TestStore::on(server).await;
        let options = [
            options,
            &[
                "--notification-bucket",
                "deliveries",
                "--commit-interval",
                "0ms",
            ],
        ]
        .concat();
        let instance = Instance::start(&test_store, &options).await;
        Self {
            client,
            test_store,
            instance,
        }
    }

    async fn put(&self, bucket: &str, key: &str, body: impl Into<Vec<u8>>) {
        self.client
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(body.into().into())
            .send()
            .await
            .unwrap();
    }

    fn request(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        http_client_builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(self.instance.url("/events"))
            .body(body)
    }

    async fn post(&self, event: &Value) -> (StatusCode, Value) {
        response_to(self.request(event.to_string())).await
    }

    /// Returns the number of efforts in the class.
    async fn efforts(&self, class: usize) -> u64 {
        self.instance.json("/classes").await[class - 1]["efforts"]
            .as_u64()
            .unwrap()
    }

    /// Returns the raw data of all quarantined records, sorted.
    async fn quarantine_data(&self) -> Vec<Vec<u8>> {
        let raw = |line: &Value| {
            base64_simd::STANDARD
                .decode_to_vec(line["rawData"].as_str().unwrap())
                .unwrap()
        };
        let lines = self.test_store.quarantine().await;
        let mut quarantined: Vec<_> = lines.iter().map(raw).collect();
        quarantined.sort();
        quarantined
    }

    /// Returns the text of all quarantined records, sorted.
    async fn quarantine(&self) -> Vec<String> {
        let data = self.quarantine_data().await.into_iter();
        data.map(|data| String::from_utf8(data).unwrap()).collect()
    }
}

/// Sends the request, checks the content type, and parses the JSON.
async fn response_to(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let (status, kind) = (
        response.status(),
        response.headers()["content-type"].clone(),
    );
    assert_eq!(
        kind,
        if status == StatusCode::OK {
            "application/json"
        } else {
            "application/problem+json"
        }
    );
    (
        status,
        serde_json::from_str(&response.text().await.unwrap()).unwrap(),
    )
}

fn s3(bucket: &str, key: &str) -> Value {
    json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
           "s3": {"bucket": {"name": bucket}, "object": {"key": key}}})
}

fn notification(keys: &[&str]) -> Value {
    json!({"Records": keys.iter().map(|key| s3("deliveries", key)).collect::<Vec<_>>()})
}

fn sqs(bodies: &[&Value]) -> Value {
    let message = |(index, body): (usize, &&Value)| {
        let id = format!("m{index}");
        json!({"messageId": id, "eventSource": "aws:sqs", "body": body.to_string()})
    };
    json!({"Records": bodies.iter().enumerate().map(message).collect::<Vec<_>>()})
}
