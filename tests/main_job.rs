//! The main job over HTTP: deliveries in; personal bests, histories and leaderboards out.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use alleycat::cli::simulate::{RaceSetup, Racer, SimulatedRace};
use alleycat::domain::effort::ClassId;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use support::broken_store::Mode;
use support::test_store::{TestStore, on_every_store};
use support::{Service, gunzip, gzip, record, until};

on_every_store![
    random_race_matches_naive_model,
    delivery_order_does_not_change_stored_bytes,
    racing_retry_is_not_acknowledged_early,
    acknowledged_record_is_on_the_leaderboard,
    delivery_without_improvement_writes_nothing,
];

const CLASSES: u16 = 2;

/// Returns the records of two races of the same riders, in order of arrival.
fn races(seed: u64) -> Vec<Bytes> {
    let mut chance = StdRng::seed_from_u64(seed);
    let riders = Racer::draw(60, &mut chance);
    let setup = RaceSetup {
        classes: ClassId::all(CLASSES).collect(),
        racers: 40,
        seconds: 40,
        faults: 0.0,
        whole_numbers: false,
    };
    let race = |start_ms| {
        SimulatedRace::new(
            &setup,
            &riders,
            start_ms,
            StdRng::seed_from_u64(seed ^ start_ms),
        )
    };
    race(1_619_185_620_265)
        .chain(race(1_619_186_620_265))
        .map(|arrival| arrival.data)
        .collect()
}

/// A naive dataset: class, second, racer, output.
#[derive(Default)]
struct Model(BTreeMap<u64, BTreeMap<u64, BTreeMap<u64, f64>>>);

impl Model {
    fn of(records: &[Bytes]) -> Self {
        let mut model = Self::default();
        for data in records {
            let record: Value = serde_json::from_slice(data).unwrap();
            let number = |key: &str| record[key].as_u64().unwrap();
            let double = |key: &str| record[key].as_f64().unwrap();
            let output = ((double("cadence") + 35.0) * (double("resistance") + 65.0)) / 100.0;
            let second = model
                .0
                .entry(number("classId"))
                .or_default()
                .entry(number("second"))
                .or_default();
            let best = second.entry(number("racerId")).or_insert(output);
            *best = best.max(output);
        }
        model
    }

    /// Returns (rank, racer, output bits) at a second, by rank, then racer.
    fn standings(&self, class: u64, second: u64) -> Vec<(u64, u64, u64)> {
        let racers = &self.0[&class][&second];
        let rank =
            |output: f64| 1 + racers.values().filter(|&&other| other > output).count() as u64;
        let mut rows: Vec<_> = racers
            .iter()
            .map(|(&racer, &best)| (rank(best), racer, best.to_bits()))
            .collect();
        rows.sort_unstable();
        rows
    }

    /// Returns the class's dataset with outputs as bits.
    fn bits(&self, class: u64) -> BTreeMap<u64, BTreeMap<u64, u64>> {
        bits(&self.0[&class])
    }
}

fn bits(dataset: &BTreeMap<u64, BTreeMap<u64, f64>>) -> BTreeMap<u64, BTreeMap<u64, u64>> {
    let seconds = dataset.iter().map(|(&second, racers)| {
        (
            second,
            racers
                .iter()
                .map(|(&racer, output)| (racer, output.to_bits()))
                .collect(),
        )
    });
    seconds.collect()
}

fn bits_of(text: &str) -> BTreeMap<u64, BTreeMap<u64, u64>> {
    bits(&serde_json::from_str(text).unwrap())
}

/// Delivers the records unchanged, optionally gzipped.
async fn deliver(service: &Service, records: &[Bytes], gzipped: bool) -> StatusCode {
    let data = |record: &Bytes| json!({ "data": base64_simd::STANDARD.encode_to_string(record) });
    let records: Vec<Value> = records.iter().map(data).collect();
    let body = json!({ "requestId": "r", "timestamp": 0, "records": records }).to_string();
    let request = service
        .request(Method::POST, "/firehose")
        .header("X-Amz-Firehose-Request-Id", "r");
    let request = match gzipped {
        true => request
            .header(header::CONTENT_ENCODING, "gzip")
            .body(gzip(body.as_bytes())),
        false => request.body(body),
    };
    request.send().await.unwrap().status()
}

/// Delivers the records in batches of random size, one after another.
async fn deliver_in_batches(service: &Service, mut records: &[Bytes], seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    while !records.is_empty() {
        let (batch, rest) = records.split_at(chance.random_range(1..=600.min(records.len())));
        assert_eq!(deliver(service, batch, false).await, StatusCode::OK);
        records = rest;
    }
}

const QUICK: [&str; 6] = [
    "--classes",
    "2",
    "--commit-interval",
    "0ms",
    "--snapshot-interval",
    "10ms",
];

async fn random_race_matches_naive_model(test_store: TestStore) {
    let records = races(1);
    let model = Model::of(&records);
    let service = Service::start_on(&test_store, &QUICK).await;
    deliver_in_batches(&service, &records, 2).await;
    for class in 1..=u64::from(CLASSES) {
        for &second in model.0[&class].keys() {
            let board = service
                .json(&format!(
                    "/classes/{class}/leaderboard?second={second}&limit=1000"
                ))
                .await;
            let rows = board["standings"].as_array().unwrap().iter().map(|row| {
                let output = row["output"].as_f64().unwrap();
                (
                    row["rank"].as_u64().unwrap(),
                    row["racerId"].as_u64().unwrap(),
                    output.to_bits(),
                )
            });
            assert_eq!(
                rows.collect::<Vec<_>>(),
                model.standings(class, second),
                "class {class}, second {second}"
            );
        }
    }
    for class in 1..=u64::from(CLASSES) {
        // A history lags by up to one second.
        let history = async || {
            service
                .get(&format!("/classes/{class}/history"))
                .await
                .text()
                .await
                .unwrap()
        };
        until("the history equals the model", async || {
            bits_of(&history().await) == model.bits(class)
        })
        .await;
        let file = service
            .get(&format!("/class-{class}.gz"))
            .await
            .bytes()
            .await
            .unwrap();
        assert_eq!(bits_of(&gunzip(&file)), model.bits(class), "class {class}");
    }
    service.stop().await;
    for (class, file) in stored(&test_store).await {
        assert_eq!(bits_of(&gunzip(&file)), model.bits(class), "class {class}");
    }
}

/// Reads the stored histories.
async fn stored(test_store: &TestStore) -> Vec<(u64, Vec<u8>)> {
    let mut files = Vec::new();
    for class in 1..=u64::from(CLASSES) {
        files.push((
            class,
            test_store
                .get(&format!("class-{class}.gz"))
                .await
                .unwrap()
                .to_vec(),
        ));
    }
    files
}

/// Downloads the histories from a service newly started on the store.
async fn downloads(test_store: &TestStore) -> Vec<(u64, Vec<u8>)> {
    let service = Service::start_on(test_store, &QUICK).await;
    let mut files = Vec::new();
    for class in 1..=u64::from(CLASSES) {
        let file = service.get(&format!("/class-{class}.gz")).await;
        assert_eq!(file.status(), StatusCode::OK);
        files.push((class, file.bytes().await.unwrap().to_vec()));
    }
    service.stop().await;
    files
}

/// Returns the stored names without times. A repeated name is no change and keeps its first time.
async fn stored_names(test_store: &TestStore) -> BTreeMap<u64, String> {
    let text = gunzip(test_store.get("racers.gz").await.unwrap());
    let names: BTreeMap<u64, Value> = serde_json::from_str(&text).unwrap();
    names
        .into_iter()
        .map(|(racer, name)| (racer, name["name"].as_str().unwrap().to_owned()))
        .collect()
}

async fn delivery_order_does_not_change_stored_bytes(test_store: TestStore) {
    let records = races(3);
    let mut permuted = records.clone();
    permuted.shuffle(&mut StdRng::seed_from_u64(4));
    let joined: Vec<Bytes> = records
        .chunks(7)
        .map(|objects| objects.concat().into())
        .collect();
    let gzipped: Vec<Bytes> = joined.iter().map(|record| gzip(record).into()).collect();

    let mut outcomes = Vec::new();
    for way in [
        "in order",
        "permuted",
        "split and repeated",
        "gzipped",
        "at once and restarted",
    ] {
        let test_store = test_store.another().await;
        let service = Service::start_on(&test_store, &QUICK).await;
        match way {
            "in order" => deliver_in_batches(&service, &records, 5).await,
            "permuted" => deliver_in_batches(&service, &permuted, 6).await,
            "split and repeated" => {
                deliver_in_batches(&service, &permuted[..3000], 7).await;
                deliver_in_batches(&service, &records, 8).await;
                deliver_in_batches(&service, &records, 9).await;
            }
            "gzipped" => assert_eq!(deliver(&service, &gzipped, true).await, StatusCode::OK),
            _ => assert_eq!(deliver(&service, &joined, false).await, StatusCode::OK),
        }
        service.stop().await;
        if way == "at once and restarted" {
            let service = Service::start_on(&test_store, &QUICK).await;
            deliver_in_batches(&service, &records[..100], 10).await;
            service.stop().await;
        }
        assert!(
            downloads(&test_store).await == stored(&test_store).await,
            "{way}: stored and served bytes differ"
        );
        outcomes.push((
            way,
            stored(&test_store).await,
            stored_names(&test_store).await,
        ));
    }
    let (_, files, names) = &outcomes[0];
    for (way, other_files, other_names) in &outcomes[1..] {
        assert!(files == other_files, "{way}: other bytes");
        assert_eq!(names, other_names, "{way}");
    }
}

/// A naive ledger fails here. The first try is slow to commit, Firehose times out and retries, and
/// the retry improves nothing over what the first try is about to write.
async fn racing_retry_is_not_acknowledged_early(test_store: TestStore) {
    let (service, store) =
        Service::start_broken(&test_store, &["--commit-interval", "0ms"], |_| {}).await;
    let service = Arc::new(service);
    let records: Vec<Bytes> = vec![record(1, 1, 1, 50.5).to_string().into()];
    let send = || {
        let (service, records) = (service.clone(), records.clone());
        tokio::spawn(async move { deliver(&service, &records, false).await })
    };
    store.set_mode(Mode::Hangs);
    let first = send();
    store.wait_for_puts(1).await;
    let second = send();
    store.wait_for_puts(2).await; // the hedge starts after 1 s: time enough for an early response
    assert!(!first.is_finished());
    assert!(!second.is_finished());
    let board = service.json("/classes/1/leaderboard?second=1").await;
    assert_eq!(board["total"], 0, "visible before durable");
    store.set_mode(Mode::Fails);
    assert_eq!(first.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        second.await.unwrap(),
        StatusCode::SERVICE_UNAVAILABLE,
        "acknowledged although the first try failed"
    );
    store.set_mode(Mode::Healthy);
    assert_eq!(send().await.unwrap(), StatusCode::OK);
    Arc::into_inner(service).unwrap().stop().await;
}

async fn acknowledged_record_is_on_the_leaderboard(test_store: TestStore) {
    let service = Arc::new(Service::start_on(&test_store, &["--commit-interval", "1ms"]).await);
    let riders = (1..=8_u64).map(|racer| {
        let service = service.clone();
        tokio::spawn(async move {
            for round in 1..=25_u32 {
                let output = f64::from(round) + 1.0 / 3.0;
                service.deliver(&[record(1, 9, racer, output)]).await;
                let board = service
                    .json(&format!("/classes/1/leaderboard?second=9&racers={racer}"))
                    .await;
                assert_eq!(board["standings"][0]["output"], output);
            }
        })
    });
    for rider in riders.collect::<Vec<_>>() {
        rider.await.unwrap();
    }
    Arc::into_inner(service).unwrap().stop().await;
}

async fn delivery_without_improvement_writes_nothing(test_store: TestStore) {
    let (service, store) =
        Service::start_broken(&test_store, &["--commit-interval", "0ms"], |_| {}).await;
    let named = |output: f64| {
        let mut named = record(1, 1, 1, output);
        named["name"] = json!("Hubert");
        named["deviceTimestamp"] = json!(5);
        named
    };
    service.deliver(&[named(20.0), record(1, 2, 2, 20.0)]).await;
    let puts = store.puts();
    assert_eq!(store.segments(), 1);
    for output in [20.0, 19.9, 0.0] {
        service
            .deliver(&[named(output), record(1, 2, 2, output)])
            .await;
    }
    service.deliver(&[]).await;
    assert_eq!(store.puts(), puts);
    // It is acknowledged even while the store hangs.
    store.set_mode(Mode::Hangs);
    service.deliver(&[named(20.0)]).await;
    store.set_mode(Mode::Healthy);
    service.stop().await;
}
