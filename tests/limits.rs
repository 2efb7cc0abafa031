//! Limits of connections, subscribers and slow clients.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::time::Duration;

use alleycat::config::ServiceLimits;
use reqwest::Method;
use serde_json::json;
use support::instance::Instance;
use support::test_store::TestStore;
use support::{DEADLINE, Service, connection_served, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A timeout in place of the default one, so that tests end soon.
const SHORT: Duration = Duration::from_millis(300);

async fn service_with(change: impl FnOnce(&mut ServiceLimits)) -> Service {
    Service::start_changed(&[], change).await
}

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.address()).await.unwrap()
}

/// Reads until the service closes the connection. A reset ends it as well.
async fn read_to_close(mut connection: TcpStream) -> String {
    let mut rest = Vec::new();
    let reading = tokio::time::timeout(DEADLINE, connection.read_to_end(&mut rest));
    let _ = reading.await.expect("the service closes the connection");
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn incomplete_headers_time_out() {
    let service = service_with(|limits| {
        limits.first_header_timeout = SHORT;
        limits.keep_alive_timeout = SHORT;
    })
    .await;
    let mut first = connect(&service).await;
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a")
        .await
        .unwrap();
    assert!(!read_to_close(first).await.contains("200"));
    let mut second = connect(&service).await;
    second
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHos")
        .await
        .unwrap();
    assert_eq!(read_to_close(second).await.matches("200 OK").count(), 1);
}

#[tokio::test]
async fn stalled_delivery_times_out_in_firehose_form() {
    let service = service_with(|limits| limits.body_pause_timeout = SHORT).await;
    let mut stalled = connect(&service).await;
    let head = "POST /firehose HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nX-Amz-Firehose-Request-Id: slow\r\n\r\n{";
    stalled.write_all(head.as_bytes()).await.unwrap();
    let response = read_to_close(stalled).await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(response.contains("\"requestId\":\"slow\""), "{response}");
}

#[tokio::test]
async fn body_that_is_incomplete_at_the_deadline_times_out() {
    let service = service_with(|limits| limits.delivery_deadline = SHORT).await;
    let mut stalled = connect(&service).await;
    let head = "POST /firehose HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{";
    stalled.write_all(head.as_bytes()).await.unwrap();
    let response = read_to_close(stalled).await;
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(response.contains("timed out after 0.3 s"), "{response}");
}

#[tokio::test]
async fn slow_delivery_without_long_pauses_is_accepted() {
    let service = service_with(|limits| limits.body_pause_timeout = SHORT).await;
    let body = json!({ "requestId": "slow", "records": [] }).to_string();
    let head = format!(
        "POST /firehose HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut slow = connect(&service).await;
    slow.write_all(head.as_bytes()).await.unwrap();
    for piece in body.as_bytes().chunks(20) {
        tokio::time::sleep(SHORT / 3).await; // the pause is what is tested
        slow.write_all(piece).await.unwrap();
    }
    assert!(read_to_close(slow).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn only_accepted_body_gets_100_continue() {
    let service = Service::start_changed(&["--max-body-size", "1MiB"], |_| {}).await;
    let send = async |length: usize, body: &str| {
        let mut connection = connect(&service).await;
        let head = format!(
            "POST /firehose HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(body.as_bytes()).await.unwrap();
        read_to_close(connection).await
    };
    let body = json!({ "requestId": "a", "records": [] }).to_string();
    let accepted = send(body.len(), &body).await;
    assert!(accepted.starts_with("HTTP/1.1 100 "), "{accepted}");
    assert!(accepted.contains("HTTP/1.1 200 "), "{accepted}");
    let refused = send((1 << 20) + 1, "").await;
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

#[tokio::test]
async fn response_before_the_body_closes_the_connection_and_says_so() {
    let service = Service::start(&["--access-key", "k3y"]).await;
    for path in ["/firehose", "/events"] {
        let mut refused = connect(&service).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        );
        refused.write_all(head.as_bytes()).await.unwrap();
        let response = read_to_close(refused).await;
        assert!(response.starts_with("HTTP/1.1 401 "), "{path}: {response}");
        assert!(response.contains("connection: close\r\n"), "{response}");
        let mut drained = connect(&service).await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789");
        drained.write_all(head.as_bytes()).await.unwrap();
        let next = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        drained.write_all(next).await.unwrap();
        let responses = read_to_close(drained).await;
        assert!(responses.contains("HTTP/1.1 200 "), "{path}: {responses}");
    }
}

#[tokio::test]
async fn refused_key_is_told_at_once_or_after_a_slow_body() {
    let options = ["--access-key", "k3y"];
    let service = Service::start_changed(&options, |it| it.delivery_deadline = SHORT).await;
    for path in ["/firehose", "/events"] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let mut slow = connect(&service).await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 100000\r\n\r\n"
            );
            slow.write_all(head.as_bytes()).await.unwrap();
            if expect.is_empty() {
                slow.write_all(b"{").await.unwrap(); // and no more: the body is not drained in time
            }
            let response = read_to_close(slow).await;
            assert!(response.starts_with("HTTP/1.1 401 "), "{path}: {response}");
        }
    }
}

#[tokio::test]
async fn stalled_rides_leave_the_memory_of_deliveries() {
    let service = Service::start_changed(&["--demo", "1"], |_| {}).await;
    let post = |path: &str, body: &str| {
        let request = service.request(Method::POST, path);
        let request = request.header("content-type", "application/json");
        request.body(body.to_owned()).send()
    };
    assert_eq!(post("/rides", "[]").await.unwrap().status(), 200);
    // More than the rides' budget: each holds its whole length from its headers on.
    let mut stalled = Vec::new();
    for _ in 0..600 {
        let mut ride = connect(&service).await;
        let head = "POST /rides HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 262144\r\n\r\n[";
        ride.write_all(head.as_bytes()).await.unwrap();
        stalled.push(ride);
    }
    until("rides are refused", async || {
        post("/rides", "[]").await.unwrap().status() == 503
    })
    .await;
    let delivery = json!({ "requestId": "a", "records": [] }).to_string();
    assert_eq!(post("/firehose", &delivery).await.unwrap().status(), 200);
}

#[tokio::test]
async fn stalled_event_or_ride_times_out() {
    let service = Service::start_changed(&["--demo", "1"], |limits| {
        limits.body_pause_timeout = SHORT;
        limits.ride_body_timeout = SHORT;
    })
    .await;
    for path in ["/events", "/rides"] {
        let mut stalled = connect(&service).await;
        let head =
            "HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[";
        stalled
            .write_all(format!("POST {path} {head}").as_bytes())
            .await
            .unwrap();
        let response = read_to_close(stalled).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{path}: {response}");
        assert!(
            response.contains("timed out after 0.3 s"),
            "{path}: {response}"
        );
    }
}

#[tokio::test]
async fn unread_responses_time_out() {
    let service = service_with(|limits| limits.write_timeout = SHORT).await;
    let mut client = connect(&service).await;
    // Far more than the system's buffers hold.
    let requests = "GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    let sending = async {
        while client.write_all(requests.as_bytes()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, sending)
        .await
        .expect("the service closes the connection");
    assert_eq!(service.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn http_2_preface_is_rejected() {
    let service = service_with(|_| {}).await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let mut client = connect(&service).await;
    client
        .write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..]].concat())
        .await
        .unwrap();
    assert!(!read_to_close(client).await.contains("200"));
    assert_eq!(service.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_until_one_ends() {
    let service = service_with(|limits| limits.connections_max = 3).await;
    let address = service.address();
    let connect = || connection_served(&address, "GET /healthz");
    let mut open = Vec::new();
    while let Some(connection) = connect().await {
        open.push(connection);
        assert!(open.len() <= 3);
    }
    assert!(!open.is_empty());
    open.pop();
    until("a connection is accepted again", async || {
        connect().await.is_some()
    })
    .await;
}

#[tokio::test]
async fn suspended_service_accepts_500_connections_without_retries() {
    let test_store = TestStore::folder();
    let instance = Instance::start(&test_store, &[]).await;
    instance.freeze();
    let mut waiting = Vec::new();
    for _ in 0..500 {
        // Needs `net.core.somaxconn` of 500 or more; its default is 4,096. With less, this waits
        // until its deadline.
        let connecting = TcpStream::connect(instance.address());
        let connected = tokio::time::timeout(DEADLINE, connecting).await;
        waiting.push(connected.expect("the backlog is full").unwrap());
    }
    instance.thaw();
    for mut connection in waiting {
        connection
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let response = read_to_close(connection).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    }
}

#[tokio::test]
async fn subscribers_beyond_the_limit_get_503_until_one_leaves() {
    let service = service_with(|limits| limits.subscribers_max = 2).await;
    let subscribe = async |class: u16| service.get(&format!("/classes/{class}/live")).await;
    let (first, second) = (subscribe(1).await, subscribe(2).await);
    assert_eq!(first.status(), 200);
    assert_eq!(second.status(), 200);
    let third = subscribe(1).await;
    assert_eq!(third.status(), 503);
    assert!(third.text().await.unwrap().contains("2 subscribers"));
    drop(first);
    until("a subscriber is accepted again", async || {
        subscribe(3).await.status() == 200
    })
    .await;
}
