//! Firehose data transformations.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{gzip, telemetry};
use crate::{EventInstance, response_to};

#[tokio::test(flavor = "multi_thread")]
async fn transformation_returns_every_record_and_merges_nothing() {
    let events = EventInstance::start(&[]).await;
    let (status, body) =
        response_to(events.request(include_str!("../data/transformation-event.json"))).await;
    assert_eq!(status, StatusCode::OK);
    let event: Value =
        serde_json::from_str(include_str!("../data/transformation-event.json")).unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn event_may_be_gzip() {
    let events = EventInstance::start(&[]).await;
    let event = include_bytes!("../data/transformation-event.json");
    let send = |body: Vec<u8>, encoding: &str| {
        response_to(events.request(body).header("Content-Encoding", encoding))
    };
    let (status, body) = send(gzip(event), "gzip").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["records"][0]["result"], "Ok");
    for (body, encoding, expected) in [
        (event.to_vec(), "gzip", StatusCode::BAD_REQUEST),
        (gzip(vec![b' '; 7 << 20]), "gzip", StatusCode::BAD_REQUEST),
        (event.to_vec(), "br", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let (status, body) = send(body, encoding).await;
        assert_eq!(status, expected, "{body}");
        assert!(body["detail"].is_string(), "{body}");
    }
}
