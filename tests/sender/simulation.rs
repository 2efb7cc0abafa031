//! `alleycat simulate` and the demo.

use std::time::Duration;

use alleycat::cli::simulate::{self, SimulateOptions};
use clap::Parser;
use serde_json::Value;

use crate::receiver::{Receiver, Reply, Try};

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
    options.retry_duration = Duration::ZERO; // gives up a refused delivery at once
    let report = simulate::run(&options, std::future::pending())
        .await
        .expect("a run");
    assert_eq!(report.given_up, 5);
    assert!(!report.is_clean());
    assert!(report.duplicates > 0, "{report}");
    assert!(report.late > 0, "{report}");
    assert!(report.faults.len() == 6, "{report}");
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
    assert!(report.records > 0, "{report}");
    assert!(report.records == report.acknowledged_records, "{report}");
}

#[tokio::test]
async fn demo_rides_until_stopped() {
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let arrived_request = receiver.arrived_request.clone();
    let key = Some("k".parse().expect("a key"));
    tokio::select! {
        ended = simulate::demo(url, key, 5, 2, 40) => ended.expect("a demo"),
        () = arrived_request.notified() => {}
    }
    let first = &receiver.tries()[0];
    assert_eq!(first.header("x-amz-firehose-access-key"), Some("k"));
    let objects = objects(&receiver.tries());
    let is_accepted = |record: &Value| record["second"].as_u64().unwrap_or_default() <= 40;
    assert!(objects.iter().all(is_accepted), "{objects:?}");
    // The first records are of a finished race: all of it, if the machine accepts the first
    // delivery slowly.
    assert!(
        objects
            .iter()
            .all(|record| (record["event"] == "final") == (record["second"] == 40)),
        "{objects:?}"
    );
}
