//! Several instances that share a bucket.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alleycat::domain::effort::ClassId;
use alleycat::storage::history_file::History;
use axum::http::StatusCode;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::load::{Load, sender};
use crate::model::{Model, State, hashes, hashes_of, read, records, state_of, stored, table};
use crate::support::instance::Instance;
use crate::support::test_store::TestStore;
use crate::support::{DEADLINE, until};
use crate::{CLASSES, QUICK};

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_agree_after_kills() {
    instances_agree_after_kills(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_instances_agree_after_kills() {
    instances_agree_after_kills(3).await;
}

async fn instances_agree_after_kills(count: usize) {
    const KILLS: usize = 4;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let test_store = TestStore::bucket().await;
    let mut instances = Vec::new();
    for _ in 0..count {
        instances.push(Instance::start(&test_store, &QUICK).await);
    }
    let test_store = Arc::new(test_store);
    let watcher = HistoryWatcher::begin(&test_store);
    let mut load = Load::new();
    for instance in &instances {
        for limits in [DEADLINE, DEADLINE, Duration::ZERO] {
            load.drive(sender(instance, limits), chance.random());
        }
    }
    for _ in 0..KILLS {
        load.wait_for_acknowledged(chance.random_range(5..60)).await;
        let victims: HashSet<usize> = (0..chance.random_range(1..=count))
            .map(|_| chance.random_range(0..count))
            .collect();
        victims.iter().for_each(|&victim| instances[victim].kill());
        if victims.len() < count {
            load.wait_for_acknowledged(chance.random_range(0..20)).await;
        }
        for victim in victims {
            instances[victim].restart().await;
        }
    }
    load.wait_for_acknowledged(20).await;
    improvement_reaches_every_instance(&instances, 30, &load.model).await;
    let acknowledged = *load.acknowledged.borrow();
    let model = Mutex::new(load.end().await);
    improvement_reaches_every_instance(&instances, 31, &model).await;
    let model = model.into_inner().unwrap();

    until("the instances and the bucket agree", async || {
        let expected = hashes_of(&state_of(&test_store).await);
        for instance in &instances {
            if hashes(instance).await != expected {
                return false;
            }
        }
        true
    })
    .await;
    let versions = watcher.end().await;
    assert!(versions > 2, "only {versions} snapshots were seen");
    println!(
        "{count} instances: {acknowledged} deliveries acknowledged, {versions} snapshots seen"
    );

    let state = state_of(&test_store).await;
    model.check(&state);
    let table = table(&state);
    for class in 1..=CLASSES {
        // Every instance builds the same bytes of the state.
        let built = History::build(&table, ClassId::new(class).unwrap(), &History::empty(0), 0)
            .chunks()
            .collect::<Vec<_>>()
            .concat();
        assert!(
            stored(&test_store, class).await.unwrap() == built,
            "class {class}"
        );
        for instance in &instances {
            let path = format!("/class-{class}.gz");
            until("the instance serves those bytes", async || {
                instance.bytes(&path).await == built
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_instance_agrees_with_two_writers() {
    let test_store = TestStore::bucket().await;
    let writers = [
        Instance::start(&test_store, &QUICK).await,
        Instance::start(&test_store, &QUICK).await,
    ];
    let options = [&QUICK[..], &["--read-only"]].concat();
    let mut reader = Instance::start(&test_store, &options).await;
    let mut load = Load::new();
    for (seed, writer) in writers.iter().enumerate() {
        load.drive(sender(writer, DEADLINE), seed as u64);
    }
    load.wait_for_acknowledged(30).await;
    reader.kill();
    load.wait_for_acknowledged(30).await;
    reader.restart().await;
    load.wait_for_acknowledged(30).await;
    let model = load.end().await;
    until("all agree", async || {
        let expected = hashes_of(&state_of(&test_store).await);
        hashes(&reader).await == expected
            && hashes(&writers[0]).await == expected
            && hashes(&writers[1]).await == expected
    })
    .await;
    model.check(&state_of(&test_store).await);
    let refused = reader.deliver(&records(&[((1, 1, 1), 1.0)])).await;
    assert_eq!(refused, StatusCode::NOT_FOUND);
    reader.terminate();
    reader.wait_for_exit().await;
    let probes = test_store.list("probe/").await;
    assert_eq!(probes, Vec::<String>::new());
}

/// Delivers to each instance in turn, at an unused second, and waits until the others show it.
async fn improvement_reaches_every_instance(
    instances: &[Instance],
    second: u32,
    model: &Mutex<Model>,
) {
    for (index, to) in instances.iter().enumerate() {
        let output = 100.0 + index as f64;
        let best = [((1, second, 1), output)];
        model.lock().unwrap().send(&best);
        assert_eq!(to.deliver(&records(&best)).await, StatusCode::OK);
        let acknowledged = Instant::now();
        model.lock().unwrap().acknowledge(&best);
        let shows = async |instance: &Instance| {
            let board = instance
                .json(&format!("/classes/1/leaderboard?second={second}"))
                .await;
            board["standings"][0]["output"].as_f64() == Some(output)
        };
        assert!(shows(to).await, "acknowledged but not visible");
        let others = instances
            .iter()
            .enumerate()
            .filter(|&(other, _)| other != index);
        let shown = others.map(|(_, other)| async {
            until("the other instances show it", async || shows(other).await).await;
            acknowledged.elapsed()
        });
        let took = join_all(shown).await;
        println!("second {second}: accepted by {index}, shown by the others after {took:?}");
    }
}

/// Reads the stored histories repeatedly, and checks that no output ever falls or disappears.
struct HistoryWatcher {
    stop: watch::Sender<bool>,
    watchers: JoinSet<usize>,
}

impl HistoryWatcher {
    fn begin(test_store: &Arc<TestStore>) -> Self {
        let stop = watch::Sender::new(false);
        let mut watchers = JoinSet::new();
        for class in 1..=CLASSES {
            let (test_store, mut stop) = (test_store.clone(), stop.subscribe());
            watchers.spawn(async move {
                let (mut before, mut last, mut versions) = (State::new(), None, 0);
                while !*stop.borrow_and_update() {
                    let stored = stored(&test_store, class).await;
                    if let Some(body) = &stored
                        && stored != last
                    {
                        let now = read(class, body);
                        for (key, output) in &before {
                            let found = now.get(key);
                            assert!(found >= Some(output), "{key:?}: {output} became {found:?}");
                        }
                        (before, last, versions) = (now, stored, versions + 1);
                    }
                    let _ = tokio::time::timeout(Duration::from_millis(20), stop.changed()).await;
                }
                versions
            });
        }
        Self { stop, watchers }
    }

    /// Stops the watchers. Returns the number of snapshots seen.
    async fn end(self) -> usize {
        self.stop.send_replace(true);
        self.watchers.join_all().await.into_iter().sum()
    }
}
