//! The Firehose client: its requests, retries and limits.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alleycat::firehose_client::{AccessKey, Backoff, ClientOptions, FirehoseClient, TryError};
use tokio::sync::Semaphore;

use crate::receiver::{Receiver, Reply};

const QUICK: Backoff = Backoff {
    first: Duration::from_millis(1),
    max: Duration::from_millis(4),
    total: Duration::from_secs(60),
};

async fn sender_to(receiver: &Receiver) -> FirehoseClient {
    FirehoseClient::new(ClientOptions {
        backoff: QUICK,
        ..ClientOptions::new(receiver.listen().await)
    })
    .expect("a sender")
}

#[tokio::test]
async fn delivery_matches_firehose() {
    let receiver = Receiver::default();
    let key = "k".repeat(4096);
    let options = ClientOptions {
        access_key: Some(key.parse().expect("a key")),
        source_arn: "arn:aws:firehose:us-east-2:012345678912:deliverystream/alleycat-firehose"
            .to_owned(),
        common_attributes: BTreeMap::from([("source".to_owned(), "test".to_owned())]),
        ..ClientOptions::new(receiver.listen().await)
    };
    let sender = FirehoseClient::new(options).expect("a sender");
    let outcome = sender
        .deliver(vec![&b"{\"a\":1}"[..], b"", b"\xff\x00"])
        .await
        .expect("acknowledged");
    assert_eq!(outcome.tries, 1);
    let [delivery] = &receiver.tries()[..] else {
        panic!("one try")
    };
    let id = delivery.header("x-amz-firehose-request-id").expect("an id");
    assert_eq!(id.len(), 36);
    assert_eq!(
        delivery.header("x-amz-firehose-protocol-version"),
        Some("1.0")
    );
    assert_eq!(
        delivery.header("x-amz-firehose-source-arn"),
        Some("arn:aws:firehose:us-east-2:012345678912:deliverystream/alleycat-firehose")
    );
    assert_eq!(delivery.header("x-amz-firehose-access-key"), Some(&*key));
    assert_eq!(
        delivery.header("x-amz-firehose-common-attributes"),
        Some(r#"{"commonAttributes":{"source":"test"}}"#)
    );
    assert_eq!(delivery.header("content-type"), Some("application/json"));
    assert_eq!(delivery.header("content-encoding"), None);
    assert_eq!(delivery.header("accept-encoding"), None);
    assert_eq!(
        delivery.header("user-agent"),
        Some("Amazon Kinesis Data Firehose Agent/1.0")
    );
    assert_eq!(
        delivery
            .header("content-length")
            .map(|length| length.parse::<u64>().is_ok()),
        Some(true)
    );
    let keys: Vec<_> = delivery
        .envelope
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(keys, ["records", "requestId", "timestamp"]);
    assert_eq!(delivery.envelope["requestId"], id);
    assert!(delivery.envelope["timestamp"].as_u64() > Some(1_700_000_000_000));
    assert_eq!(delivery.records(), [&b"{\"a\":1}"[..], b"", b"\xff\x00"]);
}

#[tokio::test]
async fn key_and_attribute_headers_are_optional() {
    let receiver = Receiver::default();
    sender_to(&receiver)
        .await
        .deliver(vec!["x"])
        .await
        .expect("acknowledged");
    assert_eq!(
        receiver.tries()[0].header("x-amz-firehose-access-key"),
        None
    );
    assert_eq!(
        receiver.tries()[0].header("x-amz-firehose-common-attributes"),
        None
    );
}

#[tokio::test]
async fn failed_delivery_is_retried_with_same_id_and_body() {
    let receiver = Receiver::with_replies([
        Reply::Status(503, "the queue is full"),
        Reply::Status(401, "no such key"),
        Reply::Status(404, "nothing here"),
        Reply::Status(201, "made"),
        Reply::Redirect,
        Reply::Body("ok".to_owned()),
        Reply::Body(r#"{"requestId":"another","timestamp":1}"#.to_owned()),
        Reply::Body(" ".repeat(3 << 20)),
    ]);
    let outcome = sender_to(&receiver)
        .await
        .deliver(vec!["x"])
        .await
        .expect("acknowledged");
    let tries = receiver.tries();
    assert_eq!(outcome.tries, 9);
    assert_eq!(tries.len(), 9);
    for again in &tries {
        assert_eq!(again.envelope, tries[0].envelope);
        assert_eq!(
            again.header("x-amz-firehose-request-id"),
            tries[0].envelope["requestId"].as_str()
        );
    }
}

#[tokio::test]
async fn deliveries_have_distinct_ids() {
    let receiver = Receiver::default();
    let sender = sender_to(&receiver).await;
    sender.deliver(vec!["x"]).await.expect("acknowledged");
    sender.deliver(vec!["x"]).await.expect("acknowledged");
    assert_ne!(
        receiver.tries()[0].envelope["requestId"],
        receiver.tries()[1].envelope["requestId"]
    );
}

#[tokio::test]
async fn status_413_drops_the_delivery() {
    let receiver = Receiver::with_replies([Reply::Status(413, "too large")]);
    let given_up = sender_to(&receiver)
        .await
        .deliver(vec!["x"])
        .await
        .expect_err("dropped");
    assert_eq!(given_up.tries, 1);
    assert_eq!(
        given_up.last,
        TryError::Refused {
            status: 413,
            message: "too large".to_owned()
        }
    );
    assert_eq!(receiver.tries().len(), 1);
}

#[tokio::test]
async fn delivery_gives_up_after_the_retry_duration() {
    let receiver = Receiver::with_replies((0..1000).map(|_| Reply::Status(500, "down")));
    let url = receiver.listen().await;
    for (total_ms, tries_min, tries_max) in [(0, 1, 1), (30, 2, 30)] {
        let backoff = Backoff {
            total: Duration::from_millis(total_ms),
            ..QUICK
        };
        let sender = FirehoseClient::new(ClientOptions {
            backoff,
            ..ClientOptions::new(url.clone())
        })
        .expect("a sender");
        let given_up = sender.deliver(vec!["x"]).await.expect_err("given up");
        assert!(
            (tries_min..=tries_max).contains(&given_up.tries),
            "{given_up}"
        );
        assert_eq!(
            given_up.last,
            TryError::Refused {
                status: 500,
                message: "down".to_owned()
            }
        );
    }
}

#[tokio::test]
async fn response_timeout_is_retried() {
    let receiver = Receiver::with_replies([Reply::Silence]);
    let response_timeout = Duration::from_millis(300);
    let options = ClientOptions {
        backoff: QUICK,
        response_timeout,
        ..ClientOptions::new(receiver.listen().await)
    };
    let outcome = FirehoseClient::new(options)
        .expect("a sender")
        .deliver(vec!["x"])
        .await
        .expect("acknowledged");
    assert!(outcome.tries >= 2);
    assert!(outcome.took >= response_timeout);
}

#[tokio::test]
async fn unreachable_endpoint_error_hides_the_url() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://127.0.0.1:{}/?secret",
        listener.local_addr().expect("an address").port()
    );
    drop(listener);
    let backoff = Backoff {
        total: Duration::ZERO,
        ..QUICK
    };
    let sender = FirehoseClient::new(ClientOptions {
        backoff,
        ..ClientOptions::new(url.parse().expect("a URL"))
    })
    .expect("a sender");
    let given_up = sender
        .deliver(vec!["x"])
        .await
        .expect_err("given up")
        .to_string();
    assert!(given_up.contains("refused"), "{given_up}");
    assert!(!given_up.contains("secret"), "{given_up}");
}

#[tokio::test]
async fn gzipped_delivery_reads_back() {
    let receiver = Receiver::default();
    let sender = FirehoseClient::new(ClientOptions {
        gzip: true,
        ..ClientOptions::new(receiver.listen().await)
    })
    .expect("a sender");
    let records: Vec<_> = (0..10_000)
        .map(|number| format!(r#"{{"second":{number}}}"#))
        .collect();
    sender.deliver(records.clone()).await.expect("acknowledged");
    let delivery = &receiver.tries()[0];
    assert_eq!(delivery.header("content-encoding"), Some("gzip"));
    assert_eq!(
        delivery.records(),
        records
            .iter()
            .map(|record| record.as_bytes().to_vec())
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn concurrency_limit_holds() {
    let gate = Arc::new(Semaphore::new(0));
    let receiver = Receiver::with_gate(gate.clone());
    let concurrency = NonZeroUsize::new(3).expect("not 0");
    let sender = FirehoseClient::new(ClientOptions {
        concurrency,
        ..ClientOptions::new(receiver.listen().await)
    })
    .expect("a sender");
    let deliveries: Vec<_> = (0..10)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.deliver(vec!["x"]).await })
        })
        .collect();
    for arrived in 3..=10 {
        while receiver.tries().len() < arrived {
            receiver.arrived_request.notified().await;
        }
        assert!(receiver.waiting.load(Ordering::SeqCst) <= 3);
        assert_eq!(
            receiver.tries().len(),
            arrived,
            "more deliveries than permits"
        );
        gate.add_permits(1);
    }
    gate.add_permits(10);
    for delivery in deliveries {
        delivery.await.expect("no panic").expect("acknowledged");
    }
}

#[tokio::test]
async fn debug_output_hides_the_access_key() {
    let options = ClientOptions {
        access_key: Some("s3cret".parse().expect("a key")),
        ..ClientOptions::new("http://127.0.0.1:1/".parse().expect("a URL"))
    };
    assert!(!format!("{options:?}").contains("s3cret"));
    assert!(!format!("{:?}", FirehoseClient::new(options)).contains("s3cret"));
}

#[test]
fn invalid_url_and_header_values_are_refused() {
    let to = |url: &str| ClientOptions::new(url.parse().expect("a URL"));
    assert!(FirehoseClient::new(to("ftp://127.0.0.1/")).is_err());
    assert!(
        FirehoseClient::new(ClientOptions {
            source_arn: "a\nb".to_owned(),
            ..to("http://127.0.0.1/")
        })
        .is_err()
    );
    assert!("a\nb".parse::<AccessKey>().is_err());
}
