//! S3 notifications, direct and in the envelopes of SNS, SQS and EventBridge.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::s3_server::BUCKET;
use crate::support::{gzip, telemetry, until};
use crate::{EventInstance, notification, s3, sqs};

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
async fn gzip_records_within_objects_are_read() {
    let events = EventInstance::start(&[]).await;
    let records: Vec<_> = (1..=60)
        .map(|second| gzip(telemetry(1, second, 1)))
        .collect();
    let mixed = [telemetry(2, 1, 1).into_bytes(), gzip(telemetry(2, 2, 1))].concat();
    let mut damaged = records[0].clone();
    damaged[12] ^= 0xff;
    damaged.push(b'\n');
    let beside = [
        &*damaged,
        telemetry(3, 1, 1).as_bytes(),
        &gzip(telemetry(3, 2, 1)),
    ]
    .concat();
    for (key, object, expected) in [
        ("gzip", gzip(records.concat()), [60, 60, 0]),
        ("plain", records.concat(), [60, 0, 0]),
        ("lines", records.join(&b'\n'), [60, 0, 0]),
        ("mixed", mixed, [2, 2, 0]),
        ("damaged", gzip(beside), [3, 2, 1]),
    ] {
        events.put("deliveries", key, object).await;
        let (status, body) = events.post(&notification(&[key])).await;
        assert_eq!(status, StatusCode::OK, "{key}: {body}");
        let found = ["records", "improvements", "quarantined"].map(|field| body[field].clone());
        assert_eq!(found, expected.map(Value::from), "{key}");
    }
    let quarantine = events.quarantine_data().await;
    assert_eq!(quarantine, [damaged]);
    // An object in no known form is not quarantined in pieces: it fails.
    events
        .put("deliveries", "zip", *b"PK\x03\x04\x14\0\n\x08\0\nabc\n")
        .await;
    let (status, body) = events.post(&notification(&["zip"])).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.contains("s3://deliveries/zip: it holds no records"),
        "{detail}"
    );
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
    assert!(detail.contains("record 1: "), "{detail}");
    assert!(detail.contains("record 2: "), "{detail}");
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
        "(message m2: not a JSON object; s3://deliveries/missing: ",
        "2 records, 1 improvements",
    ] {
        assert!(detail.contains(part), "{detail}");
    }
    assert_eq!(events.efforts(1).await, efforts + 1);
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
    until("a part is applied", async || events.efforts(1).await > 0).await;
    sending.abort();
    until("all records are applied", async || {
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
    // The metric filter of deploy/cloudformation.yaml counts this field: `$.fields.rejected > 0`.
    let rejected = || -> u64 {
        let log = events.instance.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter_map(|line| line["fields"]["rejected"].as_u64())
            .sum()
    };
    until("both are in the log", async || rejected() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_is_passed_over_without_a_count() {
    let events = EventInstance::start(&[]).await;
    let ridden = |racer: u64| telemetry(1, 1, racer);
    let line = |raw: Vec<u8>| {
        let raw = base64_simd::STANDARD.encode_to_string(raw);
        json!({"attemptsMade": 1, "rawData": raw}).to_string()
    };
    let marked = format!("\u{feff}{}\n\u{feff}{}", ridden(1), ridden(2));
    // Objects, records, improvements, quarantined records, ignored.
    for (key, object, expected) in [
        (
            "snapshot",
            "{\"1\":{\"5\":150}}".to_owned(),
            [0, 0, 0, 0, 1],
        ),
        (
            "beside",
            format!("{{\"1\":{{\"5\":150}}}}\n{}", ridden(3)),
            [1, 1, 1, 0, 1],
        ),
        ("marked", marked, [1, 2, 2, 0, 0]),
        (
            "faulty",
            "{\"classId\":1,\"name\":\"\0\"}".to_owned(),
            [1, 1, 0, 1, 0],
        ),
        ("nested", line(gzip(gzip(ridden(4)))), [1, 1, 0, 1, 0]),
        (
            "text",
            "x\n".repeat(5000) + &ridden(5),
            [1, 5001, 1, 5000, 0],
        ),
    ] {
        events.put("deliveries", key, object).await;
        let (status, body) = events.post(&notification(&[key])).await;
        assert_eq!(status, StatusCode::OK, "{key}: {body}");
        let fields = [
            "objects",
            "records",
            "improvements",
            "quarantined",
            "ignored",
        ];
        let found = fields.map(|field| body[field].clone());
        assert_eq!(found, expected.map(Value::from), "{key}");
    }
    let journal = "{\"alleycat\":\"journal\",\"version\":1,\"lines\":5}\n";
    events
        .put("deliveries", "cut", format!("{journal}{}", ridden(6)))
        .await;
    let (status, body) = events.post(&notification(&["cut"])).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("it is incomplete: 4 lines"), "{detail}");
    assert!(detail.contains("1 improvements"), "{detail}");
}
