//! `POST /events` against the real binary and a real S3 server: transformations, notifications in every
//! envelope, and access to buckets.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use support::instance::Instance;
use support::s3_server::{BUCKET, S3Server};
use support::test_store::TestStore;
use support::{Service, gzip, telemetry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
        Client::builder()
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
    async fn quarantine(&self) -> Vec<String> {
        let raw = |line: &Value| {
            base64_simd::STANDARD
                .decode_to_vec(line["rawData"].as_str().unwrap())
                .unwrap()
        };
        let lines = self.test_store.quarantine().await;
        let mut quarantined: Vec<String> = lines
            .iter()
            .map(|line| String::from_utf8(raw(line)).unwrap())
            .collect();
        quarantined.sort();
        quarantined
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

#[tokio::test(flavor = "multi_thread")]
async fn all_objects_of_a_notification_become_durable() {
    let mut events = EventInstance::start(&[]).await;
    // With and without newlines, gzip and plain, and with a URL-encoded key.
    events
        .put(
            "deliveries",
            "2026/a b+é.gz",
            gzip([telemetry(1, 1, 1), telemetry(1, 2, 1)].join("\n")),
        )
        .await;
    events
        .put(
            "deliveries",
            "plain",
            [telemetry(1, 1, 2), telemetry(2, 1, 2)].concat(),
        )
        .await;
    let broken = format!(
        "{}\nnonsense\n{}{}\n",
        telemetry(1, 1, 3),
        &telemetry(1, 1, 4)[..20],
        telemetry(1, 1, 5)
    );
    events.put("deliveries", "broken", broken).await;
    let (status, body) = events
        .post(&notification(&["2026/a+b%2B%C3%A9.gz", "plain", "broken"]))
        .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let expected =
        json!({"objects": 3, "records": 8, "improvements": 6, "quarantined": 2, "ignored": 0});
    assert_eq!(body, expected);
    assert_eq!(events.efforts(1).await, 5);
    assert_eq!(events.efforts(2).await, 1);
    let mut expected = ["nonsense".to_owned(), telemetry(1, 1, 4)[..20].to_owned()];
    expected.sort();
    assert_eq!(events.quarantine().await, expected);
    events.instance.kill();
    events.instance.restart().await;
    assert_eq!(events.efforts(1).await, 5);
    assert_eq!(events.efforts(2).await, 1);
    // A repeated notification improves nothing.
    let (_, body) = events.post(&notification(&["plain", "plain"])).await;
    assert_eq!(body["objects"], 1);
    assert_eq!(body["records"], 2);
    assert_eq!(body["improvements"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sns_sqs_and_eventbridge_envelopes_are_read() {
    let events = EventInstance::start(&[]).await;
    for (racer, key) in ["sns", "posted", "sqs", "both", "bridge", "a+b"]
        .into_iter()
        .enumerate()
    {
        events
            .put("deliveries", key, telemetry(1, 1, racer as u64))
            .await;
    }
    let text = |key| notification(&[key]).to_string();
    let bridge = |key: &str| {
        json!({"detail-type": "Object Created", "source": "aws.s3",
               "detail": {"bucket": {"name": "deliveries"}, "object": {"key": key}}})
    };
    let sns = json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": text("sns")}}]});
    let posted = json!({"Type": "Notification", "Message": text("posted")});
    let both = json!({"Type": "Notification", "Message": text("both")});
    let batch = sqs(&[&notification(&["sqs"]), &both]);
    for (index, event) in [sns, posted, batch, bridge("bridge"), bridge("a+b")]
        .iter()
        .enumerate()
    {
        let (status, body) = events.post(event).await;
        assert_eq!(status, StatusCode::OK, "{event}: {body}");
        assert_eq!(body["quarantined"], 0, "{index}");
    }
    assert_eq!(events.efforts(1).await, 6);
    let (status, body) = events
        .post(&json!({"Service": "Amazon S3", "Event": "s3:TestEvent"}))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["ignored"], 1);
    assert_eq!(body["objects"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_object_is_reported_after_the_rest_is_durable() {
    let events = EventInstance::start(&[]).await;
    events.put("deliveries", "good", telemetry(1, 1, 1)).await;
    let cut = gzip(
        (0..500)
            .map(|second| telemetry(1, second, 2 + second * 7919 % 97))
            .collect::<String>(),
    );
    events
        .put("deliveries", "cut.gz", &cut[..cut.len() - 9])
        .await;
    let (status, body) = events
        .post(&notification(&["missing", "cut.gz", "good"]))
        .await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body["status"], 500);
    let detail = body["detail"].as_str().unwrap();
    let begins = "2 of 3 objects could not be read to their end (s3://deliveries/missing: object not found; ";
    assert!(detail.starts_with(begins), "{detail}");
    let efforts = events.efforts(1).await;
    assert!(efforts > 1);
    assert!(
        detail.ends_with(&format!(
            "{efforts} records, {efforts} improvements, 0 quarantined"
        )),
        "{detail}"
    );
    // A record without an object does not block the others.
    events.put("deliveries", "beside", telemetry(1, 3, 1)).await;
    let odd = json!({"Records": [{}, {"s3": {"bucket": {"name": "deliveries"}, "object": {"key": "%ff"}}}]});
    assert_eq!(events.post(&odd).await.0, StatusCode::BAD_REQUEST);
    let odd =
        json!({"Records": [odd["Records"][0], odd["Records"][1], s3("deliveries", "beside")]});
    let (status, body) = events.post(&odd).await;
    let detail = body["detail"].as_str().unwrap();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        detail.contains("record 1: ") && detail.contains("record 2: "),
        "{detail}"
    );
    let efforts = efforts + 1;
    assert_eq!(events.efforts(1).await, efforts);
    // A batch of messages fails as one. A retry repeats what was read, which then improves nothing.
    events.put("deliveries", "late", telemetry(1, 2, 1)).await;
    let batch = sqs(&[
        &notification(&["good"]),
        &notification(&["missing", "late"]),
        &json!("no event"),
    ]);
    let (status, body) = events.post(&batch).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let detail = body["detail"].as_str().unwrap();
    for part in [
        "(message m2: it is not a JSON object; s3://deliveries/missing: ",
        "2 records, 1 improvements",
    ] {
        assert!(detail.contains(part), "{detail}");
    }
    assert_eq!(events.efforts(1).await, efforts + 1);
}

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
async fn own_quarantine_is_not_quarantined_again() {
    let events = EventInstance::start(&["--notification-bucket", BUCKET]).await;
    events
        .put("deliveries", "k", format!("{}nonsense", telemetry(1, 1, 1)))
        .await;
    assert_eq!(events.post(&notification(&["k"])).await.0, StatusCode::OK);
    let list = events
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let keys: Vec<String> = list
        .contents
        .unwrap()
        .into_iter()
        .map(|object| object.key.unwrap())
        .collect();
    assert!(
        keys.iter().any(|key| key.contains("processing-failed")),
        "{keys:?}"
    );
    let event = json!({"Records": keys.iter().map(|key| s3(BUCKET, key)).collect::<Vec<_>>()});
    let (status, body) = events.post(&event).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["quarantined"], 0, "{body}");
    assert_eq!(body["improvements"], 0, "{body}");
    assert_eq!(events.quarantine().await, ["nonsense"]);
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
    let service = Service::start_changed(&[], |config| {
        config.delivery_deadline = Duration::from_secs(2);
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
        tokio::time::timeout(support::DEADLINE, connection.read_exact(&mut head))
            .await
            .expect("a response")
            .unwrap();
        assert_eq!(head, *b"HTTP/1.1 400");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_completes_after_the_sender_disconnects() {
    const RACERS: u64 = 500;
    let events = EventInstance::start(&[]).await;
    let records =
        (0..RACERS).flat_map(|racer| (0..600).map(move |second| telemetry(1, second, racer)));
    events
        .put("deliveries", "long.gz", gzip(records.collect::<String>()))
        .await;
    let sending = tokio::spawn(
        events
            .request(notification(&["long.gz"]).to_string())
            .send(),
    );
    support::until("a part is applied", async || events.efforts(1).await > 0).await;
    sending.abort();
    support::until("all records are applied", async || {
        events.efforts(1).await == RACERS * 600
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_counts_rejected_records() {
    let events = EventInstance::start(&["--log-format", "json"]).await;
    events
        .put("deliveries", "k", format!("{}nonsense", telemetry(1, 1, 1)))
        .await;
    assert_eq!(events.post(&notification(&["k"])).await.0, StatusCode::OK);
    assert_eq!(
        events.instance.deliver(&[json!({"classId": 1})]).await,
        StatusCode::OK
    );
    // The field that the metric filter of deploy/cloudformation.yaml counts: { $.fields.rejected > 0 }.
    let rejected = || -> u64 {
        let log = events.instance.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter_map(|line| line["fields"]["rejected"].as_u64())
            .sum()
    };
    support::until("both are in the log", async || rejected() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transformation_returns_every_record_and_merges_nothing() {
    let events = EventInstance::start(&[]).await;
    let (status, body) =
        response_to(events.request(include_str!("data/transformation-event.json"))).await;
    assert_eq!(status, StatusCode::OK);
    let event: Value =
        serde_json::from_str(include_str!("data/transformation-event.json")).unwrap();
    let ids = |records: &Value| -> Vec<Value> {
        records["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["recordId"].clone())
            .collect()
    };
    assert_eq!(ids(&body), ids(&event));
    assert!(
        body["records"]
            .as_array()
            .unwrap()
            .iter()
            .all(|record| record["result"] == "Ok")
    );
    assert!(
        events
            .instance
            .json("/classes")
            .await
            .as_array()
            .unwrap()
            .iter()
            .all(|class| class["efforts"] == 0)
    );
    for body in [
        "",
        "[]",
        "{}",
        "nonsense",
        "{\"invocationId\":\"i\",\"records\":[{\"recordId\":1}]}",
    ] {
        assert_eq!(
            response_to(events.request(body)).await.0,
            StatusCode::BAD_REQUEST,
            "{body}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn largest_transformation_event_is_accepted() {
    const BYTES_MAX: usize = 6_291_556;
    let events = EventInstance::start(&[]).await;
    let data = base64_simd::STANDARD.encode_to_string(telemetry(1, 1, 1));
    let mut records = Vec::new();
    let mut bytes = 100;
    while bytes < BYTES_MAX - 300 {
        let id = format!("{:056}", records.len());
        records.push(json!({"recordId": id, "approximateArrivalTimestamp": 1_619_185_789_847_u64, "data": data}));
        bytes += records.last().unwrap().to_string().len() + 1;
    }
    let mut event = json!({"invocationId": "i", "records": records}).to_string();
    event.push_str(&" ".repeat(BYTES_MAX - event.len()));
    let response = events.request(event.clone()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = response.bytes().await.unwrap();
    assert!(bytes.len() <= BYTES_MAX, "{}", bytes.len());
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    let results: Vec<_> = body["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| &record["result"])
        .collect();
    assert_eq!(results.len(), records.len());
    assert!(results.contains(&&json!("Ok")));
    event.push(' ');
    let (status, body) = response_to(events.request(event)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        body["detail"].as_str().unwrap().contains("6291556"),
        "{body}"
    );
}
