//! Records of a delivery: merged, empty, or quarantined.

use reqwest::StatusCode;
use serde_json::json;

use super::form::*;
use crate::support::Service;
use crate::support::test_store::{TestStore, on_every_store};

on_every_store![
    one_valid_record_is_merged,
    empty_delivery_is_acknowledged_without_a_commit,
    empty_data_is_not_invalid,
    ten_thousand_records_are_one_commit,
    invalid_records_are_quarantined_and_counted,
    delivery_without_valid_records_waits_for_its_quarantine,
    all_objects_of_a_record_are_applied,
    records_are_never_joined,
    gzipped_record_is_decoded_with_a_limit,
    repeated_permuted_and_split_deliveries_give_the_same_state,
    lower_output_changes_nothing,
    new_racer_of_a_full_class_is_quarantined,
];

// Row 1
async fn one_valid_record_is_merged(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    acknowledged(&service, body_of(&[HUBERT])).await;
    let board = service.json("/classes/1/leaderboard?second=1").await;
    assert_eq!(
        board["standings"],
        json!([{ "rank": 1, "racerId": 1, "name": "Hubert", "output": HUBERT_OUTPUT }]),
        "not visible after its acknowledgement"
    );
    service.stop().await;
}

// Row 2
async fn empty_delivery_is_acknowledged_without_a_commit(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    acknowledged(&service, body_of::<&str>(&[])).await;
    assert_eq!(test_store.segments().await, 0);
    service.stop().await;
}

// Row 3
async fn empty_data_is_not_invalid(test_store: TestStore) {
    let before = counter("alleycat_records_empty_total");
    let service = Service::start_on(&test_store, &[]).await;
    acknowledged(&service, body_of(&["", HUBERT, ""])).await;
    assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    assert!(test_store.quarantine().await.is_empty());
    assert!(counter("alleycat_records_empty_total") >= before + 2);
    service.stop().await;
}

// Row 4
async fn ten_thousand_records_are_one_commit(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let records: Vec<String> = (0..10_000)
        .map(|index| record(index % 600, index, 100.5))
        .collect();
    acknowledged(&service, body_of(&records)).await;
    assert_eq!(efforts(&service).await, 10_000);
    assert_eq!(test_store.segments().await, 1);
    service.stop().await;
}

// Row 23
async fn invalid_records_are_quarantined_and_counted(test_store: TestStore) {
    let raw = r#"{"requestId":"r","records":[{"data":"%%%"},"#;
    let base64_only = body_of(&[&b"\xff\xfe\"\xff\""[..], b"{\"name\":\"\xff\"}", b"no json"]);
    let rest = body_of(&[
        record(1, 1, 10.0),
        r#"{"classId":1,"second":1,"cadence":80,"resistance":78}"#.to_owned(),
        record(601, 1, 10.0),
        record(2, 1, 10.0),
    ]);
    // The records of both bodies, after one with invalid base64.
    let inner = |body: &str| {
        body.split_once("\"records\":[")
            .unwrap()
            .1
            .split_once(']')
            .unwrap()
            .0
            .to_owned()
    };
    let body = format!("{raw}{},{}]}}", inner(&base64_only), inner(&rest))
        .replace("\"r\"", &format!("\"{ID}\""));

    let reasons = ["base64", "utf8", "json", "missing", "out_of_bounds"];
    let rejected = |reason: &str| {
        counter(&format!(
            "alleycat_records_rejected_total{{reason=\"{reason}\"}}"
        ))
    };
    let before = reasons.map(rejected);
    let service = Service::start_on(&test_store, &[]).await;
    acknowledged(&service, body).await;
    assert_eq!(best(&service, 1, 1).await, Some(10.0));
    assert_eq!(best(&service, 2, 1).await, Some(10.0));
    let lines = test_store.quarantine().await;
    assert_eq!(lines.len(), 6, "{lines:?}");
    for (reason, before) in reasons.into_iter().zip(before) {
        let code = format!("Alleycat.{reason}");
        let line = lines
            .iter()
            .find(|line| line["errorCode"] == code)
            .unwrap_or_else(|| panic!("{code}: {lines:?}"));
        assert!(line["rawData"].is_string());
        assert!(line["arrivalTimestamp"].is_u64());
        assert!(line["errorMessage"].is_string());
        assert!(rejected(reason) > before, "{reason}");
    }
    let raw: Vec<&str> = lines
        .iter()
        .map(|line| line["rawData"].as_str().unwrap())
        .collect();
    assert!(raw.contains(&base64("no json").as_str()), "{raw:?}");
    assert!(raw.contains(&base64("%%%").as_str()), "{raw:?}");
    service.stop().await;
}

// Row 24
async fn delivery_without_valid_records_waits_for_its_quarantine(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    acknowledged(&service, body_of(&["a", "b", "c"])).await;
    assert_eq!(
        test_store.quarantine().await.len(),
        3,
        "the quarantine is not durable after the response"
    );
    assert_eq!(efforts(&service).await, 0);
    assert_eq!(test_store.segments().await, 0);
    service.stop().await;
}

// Row 25
async fn all_objects_of_a_record_are_applied(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let [a, b, c] = [record(1, 1, 1.0), record(2, 1, 2.0), record(3, 1, 3.0)];
    acknowledged(
        &service,
        body_of(&[format!("{a}{b}"), format!("{c}\n{}\n", record(4, 1, 4.0))]),
    )
    .await;
    for second in 1..=4 {
        assert_eq!(best(&service, second, 1).await, Some(second as f64));
    }
    service.stop().await;
}

// Row 26
async fn records_are_never_joined(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let (whole, next) = (record(1, 1, 1.0), record(2, 1, 2.0));
    let (start, end) = next.split_at(20);
    acknowledged(
        &service,
        body_of(&[whole.as_str(), start, end, whole.as_str()]),
    )
    .await;
    assert_eq!(efforts(&service).await, 1);
    assert_eq!(best(&service, 2, 1).await, None);
    let mut raw: Vec<_> = test_store
        .quarantine()
        .await
        .into_iter()
        .map(|line| line["rawData"].clone())
        .collect();
    raw.sort_by_key(|data| data.as_str() != Some(&base64(start)));
    assert_eq!(raw, [base64(start), base64(end)]);
    service.stop().await;
}

// Row 27
async fn gzipped_record_is_decoded_with_a_limit(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    let bomb = gzip(vec![b' '; 17 << 20]);
    acknowledged(
        &service,
        body_of(&[gzip(HUBERT), bomb.clone(), gzip(record(2, 1, 3.0))]),
    )
    .await;
    assert_eq!(best(&service, 1, 1).await, Some(HUBERT_OUTPUT));
    assert_eq!(best(&service, 2, 1).await, Some(3.0));
    let lines = test_store.quarantine().await;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["errorCode"], "Alleycat.too_large");
    assert_eq!(lines[0]["rawData"], json!(base64(bomb)));
    service.stop().await;
}

// Row 28
async fn repeated_permuted_and_split_deliveries_give_the_same_state(test_store: TestStore) {
    let records: Vec<String> = (0..200)
        .map(|n| record(n % 7, n % 11, f64::from(n as u32 * 37 % 101) / 3.0))
        .collect();
    let state = async |bodies: &[String]| {
        let test_store = test_store.another().await;
        let service = Service::start_on(&test_store, &["--commit-interval", "0ms"]).await;
        for body in bodies {
            acknowledged(&service, body.clone()).await;
        }
        let classes = service.json("/classes").await;
        service.stop().await;
        (
            classes[0]["stateHash"].clone(),
            classes[0]["efforts"].clone(),
        )
    };
    let once = state(&[body_of(&records)]).await;
    assert_eq!(once, state(&vec![body_of(&records); 10]).await);
    let reversed: Vec<String> = records.iter().rev().cloned().collect();
    assert_eq!(once, state(&[body_of(&reversed)]).await);
    let split: Vec<String> = records.chunks(17).rev().map(body_of).collect();
    assert_eq!(once, state(&split).await);
}

// Row 29
async fn lower_output_changes_nothing(test_store: TestStore) {
    let service = Service::start_on(&test_store, &[]).await;
    acknowledged(&service, body_of(&[record(1, 1, 10.5)])).await;
    acknowledged(&service, body_of(&[record(1, 1, 10.25)])).await;
    assert_eq!(best(&service, 1, 1).await, Some(10.5));
    assert_eq!(test_store.segments().await, 1);
    service.stop().await;
}

/// A full class rejects new racers only. Their records are quarantined like other rejected records.
async fn new_racer_of_a_full_class_is_quarantined(test_store: TestStore) {
    let service = Service::start_on(&test_store, &["--max-racers", "1"]).await;
    acknowledged(
        &service,
        body_of(&[record(1, 1, 1.0), record(1, 2, 2.0), record(2, 1, 3.0)]),
    )
    .await;
    assert_eq!(efforts(&service).await, 2);
    assert_eq!(best(&service, 1, 2).await, None);
    let lines = test_store.quarantine().await;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["errorCode"], "Alleycat.class_full");
    assert_eq!(
        deliver(&service, body_of(&[record(3, 1, 1.0)]))
            .await
            .status,
        StatusCode::OK
    );
    service.stop().await;
}
