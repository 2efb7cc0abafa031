//! `kill -9` under load: the real binary is killed repeatedly while senders deliver as Firehose does.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alleycat::firehose_client::{Backoff, ClientOptions, FirehoseClient};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::instance::{Instance, startup_error};
use support::test_store::{TestStore, on_every_store};
use support::{DEADLINE, gunzip, record};
use tokio::sync::watch;

on_every_store![
    repeated_kills_lose_and_invent_nothing,
    unreadable_object_stops_start_with_advice,
];

const KILLS: u32 = 5;
const SENDERS: u64 = 4;
const SECONDS: u64 = 5;
const RACERS: u64 = 12;

/// Best output by second and racer.
type Bests = BTreeMap<(u64, u64), f64>;

fn record_best(bests: &mut Bests, (key, output): ((u64, u64), f64)) {
    let best = bests.entry(key).or_insert(output);
    *best = best.max(output);
}

/// Delivers until `stop`. Retries each delivery until it is acknowledged, then records its efforts.
async fn send(
    sender: FirehoseClient,
    seed: u64,
    acknowledged: Arc<Mutex<Bests>>,
    count: watch::Sender<u32>,
    stop: watch::Receiver<bool>,
) {
    let mut chance = StdRng::seed_from_u64(seed);
    while !*stop.borrow() {
        let mut effort = || {
            let key = (
                chance.random_range(0..SECONDS),
                chance.random_range(0..RACERS),
            );
            (
                key,
                f64::from(chance.random_range(0..5_000_000_u32)) / 9973.0,
            )
        };
        let efforts: Vec<_> = (0..20).map(|_| effort()).collect();
        let records: Vec<String> = efforts
            .iter()
            .map(|&((second, racer), output)| record(1, second, racer, output).to_string())
            .collect();
        sender
            .deliver(records)
            .await
            .expect("it is retried until it is acknowledged");
        let mut acknowledged = acknowledged.lock().unwrap();
        efforts
            .into_iter()
            .for_each(|effort| record_best(&mut acknowledged, effort));
        count.send_modify(|count| *count += 1);
    }
}

async fn repeated_kills_lose_and_invent_nothing(test_store: TestStore) {
    let options = ["--commit-interval", "5ms", "--snapshot-interval", "50ms"];
    let mut instance = Instance::start(&test_store, &options).await;

    let mut to = ClientOptions::new(instance.url("/firehose").parse().unwrap());
    let pause = Duration::from_millis(20);
    to.backoff = Backoff {
        first: pause,
        max: pause * 4,
        total: DEADLINE,
    };
    let sender = FirehoseClient::new(to).unwrap();
    let acknowledged = Arc::new(Mutex::new(Bests::new()));
    let (count, mut counted) = watch::channel(0);
    let (stop, stopping) = watch::channel(false);
    let senders: Vec<_> = (0..SENDERS)
        .map(|seed| {
            tokio::spawn(send(
                sender.clone(),
                seed,
                acknowledged.clone(),
                count.clone(),
                stopping.clone(),
            ))
        })
        .collect();

    let mut chance = StdRng::seed_from_u64(17);
    for kill in 0..KILLS {
        let target = *counted.borrow() + chance.random_range(1..60);
        let waited =
            tokio::time::timeout(DEADLINE, counted.wait_for(|&count| count >= target)).await;
        waited
            .unwrap_or_else(|_| panic!("no delivery is acknowledged after {kill} kills"))
            .unwrap();
        instance.kill();
        instance.restart().await;
    }
    stop.send_replace(true);
    for sender in senders {
        tokio::time::timeout(DEADLINE, sender)
            .await
            .expect("in time")
            .unwrap();
    }
    instance.kill();

    // Every delivery was acknowledged, so the state must equal exactly those.
    instance.restart().await;
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > 50);
    let mut served = Bests::new();
    for second in 0..=SECONDS {
        let board = instance
            .json(&format!(
                "/classes/1/leaderboard?second={second}&limit=1000"
            ))
            .await;
        for row in board["standings"].as_array().unwrap() {
            served.insert(
                (second, row["racerId"].as_u64().unwrap()),
                row["output"].as_f64().unwrap(),
            );
        }
    }
    assert_eq!(served, acknowledged);

    instance.terminate();
    instance.wait_for_exit().await;
    let text = gunzip(test_store.get("class-1.gz").await.unwrap());
    let dataset: BTreeMap<u64, BTreeMap<u64, f64>> = serde_json::from_str(&text).unwrap();
    let stored: Bests = dataset
        .into_iter()
        .flat_map(|(second, racers)| {
            racers
                .into_iter()
                .map(move |(racer, output)| ((second, racer), output))
        })
        .collect();
    assert_eq!(stored, acknowledged);
}

#[tokio::test]
async fn second_process_on_a_folder_is_refused() {
    let test_store = TestStore::folder();
    let instance = Instance::start(&test_store, &[]).await;
    let error = startup_error(&[], &test_store.url()).await;
    for words in [
        test_store.url().trim_start_matches("file:"),
        "another process uses it",
        "stop that process",
    ] {
        assert!(error.contains(words), "{words:?} is not in {error}");
    }
    instance.kill();
    Instance::start(&test_store, &[]).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn folder_whose_sync_failed_once_ends_the_process() {
    let scratch = tempfile::tempdir().unwrap();
    let (library, trigger) = (scratch.path().join("sync.so"), scratch.path().join("fail"));
    let compiled = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg("tests/support/failing_sync.c")
        .status();
    assert!(compiled.unwrap().success());
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let environment = [
        ("LD_PRELOAD", path(&library)),
        ("ALLEYCAT_TEST_FAIL_SYNC", path(&trigger)),
    ];
    let test_store = TestStore::folder();
    let mut instance = Instance::start_with_environment(&environment, &test_store, &[]).await;
    assert_eq!(instance.deliver(&[record(1, 1, 1, 150.0)]).await, 200);
    std::fs::write(&trigger, "").unwrap();
    let _ = instance.try_deliver(&[record(1, 1, 2, 150.0)]).await; // no promise is kept
    let log = instance.wait_for_error().await;
    assert!(log.contains("a restart recovers everything"), "{log}");
    instance.restart().await;
    let board = instance
        .json("/classes/1/leaderboard?second=1&racers=1")
        .await;
    assert_eq!(board["standings"][0]["racerId"], 1, "{board}");
    assert_eq!(instance.deliver(&[record(1, 1, 2, 150.0)]).await, 200);
}

async fn unreadable_object_stops_start_with_advice(test_store: TestStore) {
    Instance::start(&test_store, &[]).await.kill();
    test_store.put("class-2.gz", b"no gzip").await;
    let error = startup_error(&test_store.environment(), &test_store.url()).await;
    for words in [
        "class-2.gz cannot be used",
        "move it to quarantine/class-2.gz",
        "is then missing until",
    ] {
        assert!(error.contains(words), "{words:?} is not in {error}");
    }
    test_store.put("quarantine/class-2.gz", b"no gzip").await;
    test_store.remove("class-2.gz").await;
    let instance = Instance::start(&test_store, &[]).await;
    instance.terminate();
    instance.wait_for_exit().await;
}
