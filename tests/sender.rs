//! The sender and the simulation against a receiver with scripted replies.

#[allow(dead_code, reason = "other suites use the rest")]
#[path = "support/builders.rs"]
mod builders;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alleycat::cli::simulate::{self, SimulateOptions};
use alleycat::firehose_client::{Backoff, ClientOptions, FirehoseClient, TryError};
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use builders::gunzip;
use clap::Parser;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

/// The reply to one try. Without a scripted reply, the receiver acknowledges.
enum Reply {
    Status(u16, &'static str),
    Body(String),
    Redirect,
    Silence,
}

#[derive(Clone)]
struct Try {
    headers: HeaderMap,
    envelope: Value,
}

impl Try {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("ASCII"))
    }

    fn records(&self) -> Vec<Vec<u8>> {
        let records = self.envelope["records"].as_array().expect("records");
        let data = records
            .iter()
            .map(|record| record["data"].as_str().expect("base64"));
        data.map(|data| base64_simd::STANDARD.decode_to_vec(data).expect("base64"))
            .collect()
    }
}

/// An endpoint on its own port that records the requests.
#[derive(Clone, Default)]
struct Receiver {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    tries: Arc<Mutex<Vec<Try>>>,
    /// Notified of every request.
    arrived_request: Arc<Notify>,
    /// If set, every request waits for a permit.
    gate: Option<Arc<Semaphore>>,
    waiting: Arc<AtomicUsize>,
}

impl Receiver {
    fn with_replies(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self {
            replies: Arc::new(Mutex::new(replies.into_iter().collect())),
            ..Self::default()
        }
    }

    /// Starts to listen and returns the URL.
    async fn listen(&self) -> reqwest::Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!(
            "http://{}/firehose?a=b",
            listener.local_addr().expect("an address")
        );
        let receiver = self.clone();
        let router = axum::Router::new().fallback(move |request| {
            let receiver = receiver.clone();
            async move { receiver.receive(request).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        url.parse().expect("a URL")
    }

    async fn receive(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let mut body = axum::body::to_bytes(body, usize::MAX)
            .await
            .expect("a whole body")
            .to_vec();
        if head
            .headers
            .get("content-encoding")
            .is_some_and(|coding| coding == "gzip")
        {
            body = gunzip(&body).into_bytes();
        }
        let envelope: Value = serde_json::from_slice(&body).expect("JSON");
        let id = envelope["requestId"].clone();
        self.tries.lock().expect("no panic").push(Try {
            headers: head.headers,
            envelope,
        });
        self.arrived_request.notify_one();
        if let Some(gate) = &self.gate {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.expect("open").forget();
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        let reply = self.replies.lock().expect("no panic").pop_front();
        let answer = |status: u16, body: String| {
            let builder =
                Response::builder().status(StatusCode::from_u16(status).expect("a status"));
            builder
                .header("content-type", "application/json")
                .body(Body::from(body))
                .expect("a response")
        };
        match reply {
            None => answer(
                200,
                json!({"requestId": id, "timestamp": 1_578_090_903_599_u64}).to_string(),
            ),
            Some(Reply::Status(status, words)) => answer(
                status,
                json!({"requestId": id, "timestamp": 1, "errorMessage": words}).to_string(),
            ),
            Some(Reply::Body(body)) => answer(200, body),
            Some(Reply::Redirect) => Response::builder()
                .status(307)
                .header("location", "/elsewhere")
                .body(Body::empty())
                .expect("a response"),
            Some(Reply::Silence) => std::future::pending().await,
        }
    }

    fn tries(&self) -> Vec<Try> {
        self.tries.lock().expect("no panic").clone()
    }
}

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
    assert!(
        given_up.contains("refused") && !given_up.contains("secret"),
        "{given_up}"
    );
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
    let receiver = Receiver {
        gate: Some(gate.clone()),
        ..Receiver::default()
    };
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
    assert!(
        "a\nb"
            .parse::<alleycat::firehose_client::AccessKey>()
            .is_err()
    );
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: SimulateOptions,
}

fn simulate_options(to: &reqwest::Url, words: &str) -> SimulateOptions {
    let words = words.split_whitespace();
    Cli::parse_from(["simulate", "--to", to.as_str()].into_iter().chain(words)).options
}

fn objects(tries: &[Try]) -> Vec<Value> {
    tries
        .iter()
        .flat_map(Try::records)
        .filter_map(|data| serde_json::from_slice(&data).ok())
        .collect()
}

#[tokio::test]
async fn simulation_delivers_every_record_once() {
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let words = "--speed max --racers 20 --classes 2,1,2 --seconds 30 --races 2 --seed 1 --buffer-size 32KiB --gzip";
    let report = simulate::run(&simulate_options(&url, words), std::future::pending())
        .await
        .expect("a run");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.races, 2);
    assert_eq!(report.records, 2400);
    assert_eq!(report.acknowledged_records, 2400);
    let tries = receiver.tries();
    assert_eq!(tries.len() as u64, report.acknowledged);
    assert!(tries.len() > 10);
    for delivery in &tries {
        assert!(delivery.records().iter().map(Vec::len).sum::<usize>() <= 32 << 10);
        let attributes = delivery.header("x-amz-firehose-common-attributes");
        assert_eq!(
            attributes,
            Some(r#"{"commonAttributes":{"source":"alleycat simulate"}}"#)
        );
    }
    let mut efforts: Vec<_> = objects(&tries)
        .iter()
        .map(|record| {
            ["raceId", "classId", "racerId", "second"]
                .map(|key| record[key].as_u64().expect("an integer"))
        })
        .collect();
    efforts.sort_unstable();
    efforts.dedup();
    assert_eq!(efforts.len(), 2400);
    assert_eq!(
        efforts[2399][0] - efforts[0][0],
        30_000,
        "a race begins before the last one ends"
    );
}

#[tokio::test]
async fn simulated_faults_lose_nothing() {
    let receiver = Receiver::with_replies((0..5).map(|_| Reply::Status(503, "later")));
    let url = receiver.listen().await;
    let words = "--speed max --racers 20 --classes 1 --seconds 60 --seed 2 --buffer-size 4KiB --faults 0.2 --report";
    let mut options = simulate_options(&url, words);
    options.concurrency = 1;
    options.retry_duration = Duration::ZERO; // a refused delivery is given up at once
    let report = simulate::run(&options, std::future::pending())
        .await
        .expect("a run");
    assert_eq!(report.given_up, 5);
    assert!(!report.is_clean());
    assert!(
        report.duplicates > 0 && report.late > 0 && report.faults.len() == 6,
        "{report}"
    );
    let sent: Vec<_> = receiver.tries().iter().flat_map(Try::records).collect();
    let distinct: std::collections::BTreeSet<_> = sent.iter().collect();
    assert_eq!(distinct.len(), 1200);
    assert!(sent.len() > 1200);
    let seconds: Vec<_> = objects(&receiver.tries())
        .iter()
        .filter_map(|record| record["second"].as_u64())
        .collect();
    assert!(!seconds.is_sorted());
}

#[tokio::test]
async fn paced_simulation_delivers_at_the_buffer_interval() {
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let words = "--speed 100 --racers 1 --classes 1 --seconds 60 --buffer-interval 50ms";
    let report = simulate::run(&simulate_options(&url, words), std::future::pending())
        .await
        .expect("a run");
    assert!(report.took >= Duration::from_millis(590), "{report}");
    assert!((2..=20).contains(&report.acknowledged), "{report}");
    assert_eq!(report.acknowledged_records, 60);
}

#[tokio::test]
async fn interrupted_simulation_flushes_and_ends() {
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let arrived_request = receiver.arrived_request.clone();
    let options = simulate_options(
        &url,
        "--racers 10 --classes 1 --seconds 300 --buffer-interval 1ms",
    );
    let report = simulate::run(&options, async move { arrived_request.notified().await })
        .await
        .expect("a run");
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.races, 0);
    assert!(
        report.records > 0 && report.records == report.acknowledged_records,
        "{report}"
    );
}

#[tokio::test]
async fn demo_rides_until_stopped() {
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let arrived_request = receiver.arrived_request.clone();
    let key = Some("k".parse().expect("a key"));
    simulate::demo(
        url,
        key,
        5,
        2,
        async move { arrived_request.notified().await },
    )
    .await
    .expect("a demo");
    let first = &receiver.tries()[0];
    assert_eq!(first.header("x-amz-firehose-access-key"), Some("k"));
    let objects = objects(&receiver.tries());
    // The first records are of a finished race: all of it, if the machine accepts the first delivery slowly.
    assert!(
        objects
            .iter()
            .all(|record| (record["event"] == "final") == (record["second"] == 300)),
        "{objects:?}"
    );
}
