//! Compatibility with the original code, run in Node: its page reads our histories, and its
//! pipeline yields the same history from the same records.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Service, gunzip_single_member};
use tempfile::TempDir;
use tokio::process::Command;

const CLASSES: u64 = 6;

/// A class's history: second, racer, output.
type History = BTreeMap<u64, BTreeMap<u64, f64>>;

async fn node(script: &str, arguments: &[&Path]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/compat")
        .join(script);
    let output = Command::new("node")
        .arg(script)
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(support::DEADLINE, output)
        .await
        .expect("it ends")
        .expect("Node is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn stored(folder: &Path, class: u64) -> History {
    let body = std::fs::read(folder.join(format!("class-{class}.gz"))).unwrap();
    serde_json::from_str(&gunzip_single_member(body)).unwrap()
}

/// Returns deliveries of telemetry in which seconds repeat with higher and lower outputs.
fn deliveries(seed: u64) -> Vec<Vec<Value>> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut record = || {
        json!({
            "uuid": format!("{:032x}", chance.random::<u128>()), "event": "update",
            "deviceTimestamp": 1_619_185_789_755_u64,
            "second": chance.random_range(0..40), "raceId": 1_619_185_620_265_u64,
            "name": "Zoë", "racerId": chance.random_range(0..30_u64), "classId": chance.random_range(1..=CLASSES),
            "cadence": chance.random_range(0.0..=300.0_f64), "resistance": chance.random_range(0..=100),
        })
    };
    (0..4)
        .map(|_| (0..2000).map(|_| record()).collect())
        .collect()
}

/// Returns each racer's best output at each second of the class.
fn bests(deliveries: &[Vec<Value>], class: u64) -> History {
    let mut history = History::new();
    for record in deliveries
        .iter()
        .flatten()
        .filter(|record| record["classId"] == class)
    {
        let [second, racer] = ["second", "racerId"].map(|key| record[key].as_u64().unwrap());
        let [cadence, resistance] =
            ["cadence", "resistance"].map(|key| record[key].as_f64().unwrap());
        let best = history
            .entry(second)
            .or_default()
            .entry(racer)
            .or_insert(0.0);
        *best = best.max((cadence + 35.0) * (resistance + 65.0) / 100.0);
    }
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn original_pipeline_yields_the_same_history() {
    let (folder, service) = (
        TempDir::new().unwrap(),
        Service::start(&["--commit-interval", "0ms"]).await,
    );
    let mut events: Vec<PathBuf> = Vec::new();
    for (number, records) in deliveries(1).iter().enumerate() {
        service.deliver(records).await;
        let records: Vec<Value> = records
            .iter()
            .enumerate()
            .map(|(id, record)| {
                json!({"recordId": id.to_string(), "data": base64_simd::STANDARD.encode_to_string(record.to_string())})
            })
            .collect();
        let event = json!({"invocationId": "i", "records": records}).to_string();
        events.push(folder.path().join(format!("delivery-{number}.json")));
        std::fs::write(&events[number], event).unwrap();
    }
    let arguments: Vec<&Path> = std::iter::once(folder.path())
        .chain(events.iter().map(PathBuf::as_path))
        .collect();
    node("original.mjs", &arguments).await;
    for class in 1..=CLASSES {
        let ours: History =
            serde_json::from_value(service.json(&format!("/classes/{class}/history")).await)
                .unwrap();
        assert!(ours.len() == 40, "{}", ours.len());
        // Equal bit for bit: neither contains NaN or -0.
        assert_eq!(ours, stored(folder.path(), class), "class {class}");
    }
    // Our transformation also computes the original's outputs, and its result can be delivered.
    let event = std::fs::read_to_string(&events[0]).unwrap();
    let response = service
        .request(Method::POST, "/events")
        .body(event.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let transformed: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let (event, second) = (
        serde_json::from_str::<Value>(&event).unwrap(),
        Service::start(&[]).await,
    );
    let telemetry = |record: &Value| -> Value {
        let data = base64_simd::STANDARD
            .decode_to_vec(record["data"].as_str().unwrap())
            .unwrap();
        serde_json::from_slice(&data).unwrap()
    };
    let mut outputs = Vec::new();
    for (record, result) in event["records"]
        .as_array()
        .unwrap()
        .iter()
        .zip(transformed["records"].as_array().unwrap())
    {
        let (record, mut result) = (telemetry(record), telemetry(result));
        let numbers = ["cadence", "resistance"].map(|key| record[key].as_f64().unwrap());
        assert_eq!(
            result["output"].as_f64(),
            Some((numbers[0] + 35.0) * (numbers[1] + 65.0) / 100.0)
        );
        result
            .as_object_mut()
            .unwrap()
            .retain(|key, _| key != "cadence" && key != "resistance");
        outputs.push(result);
    }
    second.deliver(&outputs).await;
    assert!(
        second.json("/classes").await[0]["efforts"]
            .as_u64()
            .unwrap()
            > 0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn original_page_reads_served_and_stored_histories() {
    let service =
        Service::start(&["--commit-interval", "0ms", "--snapshot-interval", "10ms"]).await;
    let deliveries = deliveries(2);
    for records in &deliveries {
        service.deliver(records).await;
    }
    let mut served = Vec::new();
    for class in 1..=CLASSES {
        // A history lags by up to one second, also when a snapshot built it.
        support::until("the history holds all that was delivered", async || {
            let history = service.json(&format!("/classes/{class}/history")).await;
            serde_json::from_value::<History>(history).unwrap() == bests(&deliveries, class)
        })
        .await;
        let url = service.url(&format!("/class-{class}.gz"));
        let boards = node("front-end.mjs", &[Path::new(&url)]).await.stdout;
        let boards: Vec<(u64, u64, f64)> = serde_json::from_slice(&boards).unwrap();
        let top = service
            .json(&format!("/classes/{class}/leaderboard?second=7&limit=5"))
            .await;
        let ours: Vec<_> = top["standings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                (
                    7,
                    row["racerId"].as_u64().unwrap(),
                    row["output"].as_f64().unwrap(),
                )
            })
            .collect();
        let theirs: Vec<_> = boards
            .iter()
            .copied()
            .filter(|&(second, ..)| second == 7)
            .take(5)
            .collect();
        assert_eq!(ours, theirs, "class {class}");
        served.push(boards);
    }
    let folder = service.folder();
    support::until("every class is stored", async || {
        (1..=CLASSES).zip(&served).all(|(class, boards)| {
            let is_there = folder.join(format!("class-{class}.gz")).exists();
            let mut history = History::new();
            for &(second, racer, output) in boards {
                history.entry(second).or_default().insert(racer, output);
            }
            is_there && stored(folder, class) == history
        })
    })
    .await;
    for (class, boards) in (1..=CLASSES).zip(served) {
        let file = folder.join(format!("class-{class}.gz"));
        let stored: Vec<(u64, u64, f64)> =
            serde_json::from_slice(&node("front-end.mjs", &[&file]).await.stdout).unwrap();
        assert_eq!(stored, boards, "class {class}");
    }
}
