//! Access keys, allowed buckets, browsers, and slow bodies.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{DEADLINE, Service, telemetry};
use crate::{EventInstance, KEY, response_to, s3};

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_buckets_are_read() {
    let events = EventInstance::start(&[]).await;
    events.put("other", "k", telemetry(1, 1, 1)).await;
    events.put("deliveries", "k", telemetry(1, 1, 2)).await;
    let (status, body) = events
        .post(&json!({"Records": [s3("other", "k"), s3("deliveries", "k")]}))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        body["detail"]
            .as_str()
            .unwrap()
            .contains("--notification-bucket"),
        "{body}"
    );
    assert_eq!(events.efforts(1).await, 1);
    let (status, _) = events
        .post(&json!({"Records": [s3("other", "k"), s3("deliveries", "missing")]}))
        .await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(events.efforts(1).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_key_is_required_in_either_header() {
    let events = EventInstance::start(&["--access-key", KEY]).await;
    let event = json!({"Event": "s3:TestEvent"}).to_string();
    assert_eq!(
        response_to(events.request(event.clone())).await.0,
        StatusCode::UNAUTHORIZED
    );
    for (name, value, status) in [
        ("X-Amz-Firehose-Access-Key", KEY.to_owned(), StatusCode::OK),
        ("Authorization", format!("Bearer {KEY}"), StatusCode::OK),
        (
            "Authorization",
            "Bearer other".to_owned(),
            StatusCode::UNAUTHORIZED,
        ),
        (
            "X-Amz-Firehose-Access-Key",
            "other".to_owned(),
            StatusCode::UNAUTHORIZED,
        ),
    ] {
        assert_eq!(
            response_to(events.request(event.clone()).header(name, value))
                .await
                .0,
            status,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_events_need_a_key() {
    let event = json!({"Event": "s3:TestEvent"}).to_string();
    for (options, status) in [
        (&[][..], StatusCode::FORBIDDEN),
        (&["--access-key", KEY], StatusCode::OK),
    ] {
        let service = Service::start(options).await;
        let request = service
            .request(Method::POST, "/events")
            .header("Origin", "http://127.0.0.1:1");
        assert_eq!(
            response_to(request.bearer_auth(KEY).body(event.clone()))
                .await
                .0,
            status,
            "{options:?}"
        );
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_event_bodies_time_out_and_block_nobody() {
    let service = Service::start_changed(&[], |limits| {
        limits.delivery_deadline = Duration::from_secs(2);
    })
    .await;
    let address = service.address();
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut connection = TcpStream::connect(&address).await.unwrap();
        let head =
            format!("POST /events HTTP/1.1\r\nhost: {address}\r\ncontent-length: 100\r\n\r\n{{");
        connection.write_all(head.as_bytes()).await.unwrap();
        slow.push(connection);
    }
    let event = json!({"Event": "s3:TestEvent"}).to_string();
    assert_eq!(
        response_to(service.request(Method::POST, "/events").body(event))
            .await
            .0,
        StatusCode::OK
    );
    for mut connection in slow {
        let mut head = [0; 12];
        tokio::time::timeout(DEADLINE, connection.read_exact(&mut head))
            .await
            .expect("a response")
            .unwrap();
        assert_eq!(head, *b"HTTP/1.1 400");
    }
    service.stop().await;
}
