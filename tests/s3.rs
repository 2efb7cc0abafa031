//! The service as processes on a bucket of a real S3 server: one instance, and several that share the bucket.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alleycat::domain::effort::ClassId;
use alleycat::firehose_client::{self, Backoff, Sender};
use alleycat::state::table::Table;
use alleycat::storage::history_file::History;
use axum::Router;
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use support::instance::{Instance, startup_error};
use support::s3_server::{BUCKET, S3Server, ServerKind};
use support::test_store::TestStore;
use support::{DEADLINE, effort, gunzip, until};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Classes with rides, out of six.
const CLASSES: u16 = 2;

/// The shortest intervals that the options allow: tests see many commits, listings and snapshots.
const QUICK: [&str; 6] = [
    "--commit-interval",
    "10ms",
    "--sync-interval",
    "200ms",
    "--snapshot-interval",
    "1s",
];

/// Class, second, racer.
type Key = (u16, u32, u64);
type State = BTreeMap<Key, f64>;

/// Sent and acknowledged efforts. Any state lies between the two.
#[derive(Default)]
struct Model {
    sent: BTreeMap<Key, Vec<f64>>,
    acknowledged: State,
}

impl Model {
    fn send(&mut self, efforts: &[(Key, f64)]) {
        for &(key, output) in efforts {
            self.sent.entry(key).or_default().push(output);
        }
    }

    fn acknowledge(&mut self, efforts: &[(Key, f64)]) {
        for &(key, output) in efforts {
            let best = self.acknowledged.entry(key).or_insert(output);
            *best = best.max(output);
        }
    }

    /// Checks that the state holds every acknowledged effort, and only efforts that were sent.
    fn check(&self, state: &State) {
        for (key, best) in &self.acknowledged {
            let found = state.get(key);
            assert!(
                found >= Some(best),
                "{key:?}: {best} was acknowledged, but {found:?} is stored"
            );
        }
        for (key, output) in state {
            let sent = self.sent.get(key).is_some_and(|sent| sent.contains(output));
            assert!(sent, "{key:?}: {output} was never sent");
        }
    }
}

/// Returns `class-N.gz`, if it exists.
async fn stored(test_store: &TestStore, class: u16) -> Option<Bytes> {
    test_store.get(&format!("class-{class}.gz")).await
}

/// Reads the state from the stored histories.
async fn state_of(test_store: &TestStore) -> State {
    let mut state = State::new();
    for class in 1..=CLASSES {
        state.extend(
            stored(test_store, class)
                .await
                .map(|stored| read(class, &stored))
                .unwrap_or_default(),
        );
    }
    state
}

/// Reads a history, and checks its form: seconds, then racers, in numeric order.
fn read(class: u16, gzip: &[u8]) -> State {
    let text = gunzip(gzip);
    let seconds: BTreeMap<u32, BTreeMap<u64, f64>> = serde_json::from_str(&text).unwrap();
    let racer = |(racer, output): (&u64, &f64)| format!("\"{racer}\":{output}");
    let second = |(second, racers): (&u32, &BTreeMap<u64, f64>)| {
        format!(
            "\"{second}\":{{{}}}",
            racers.iter().map(racer).collect::<Vec<_>>().join(",")
        )
    };
    assert_eq!(
        text,
        format!(
            "{{{}}}",
            seconds.iter().map(second).collect::<Vec<_>>().join(",")
        )
    );
    let efforts = seconds.iter().flat_map(|(second, racers)| {
        racers
            .iter()
            .map(move |(racer, output)| ((class, *second, *racer), *output))
    });
    efforts.collect()
}

/// Builds a table of the state.
fn table(state: &State) -> Table {
    let effort =
        |(&(class, second, racer), &output): (&Key, &f64)| effort(class, second, racer, output);
    let table = Table::new(6);
    table.merge(&state.iter().map(effort).collect::<Vec<_>>(), 0);
    table
}

/// Returns the `stateHash` of every class, from `/classes`.
async fn hashes(instance: &Instance) -> Vec<String> {
    let classes = instance.json("/classes").await;
    classes
        .as_array()
        .unwrap()
        .iter()
        .map(|class| class["stateHash"].as_str().unwrap().to_owned())
        .collect()
}

/// Returns the expected `stateHash` of every class.
fn hashes_of(state: &State) -> Vec<String> {
    let table = table(state);
    table
        .classes()
        .map(|class| format!("{:016x}", table.summary(class).state_hash))
        .collect()
}

fn records(efforts: &[(Key, f64)]) -> Vec<Value> {
    let mut records = Vec::new();
    for &((class, second, racer), output) in efforts {
        records.push(
            json!({ "classId": class, "second": second, "racerId": racer, "output": output }),
        );
    }
    records
}

/// Returns random efforts over few keys, so that many efforts compete for each.
fn some_efforts(chance: &mut StdRng) -> Vec<(Key, f64)> {
    let count = chance.random_range(1..40);
    let effort = |_| {
        let key = (
            chance.random_range(1..=CLASSES),
            chance.random_range(0..12),
            chance.random_range(1..20),
        );
        (key, f64::from(chance.random_range(0..2_000)) / 4.0)
    };
    (0..count).map(effort).collect()
}

fn sender(instance: &Instance, limits: Duration) -> Sender {
    let backoff = Backoff {
        first: Duration::from_millis(5),
        max: Duration::from_millis(50),
        total: limits,
    };
    let to = instance.url("/firehose").parse().unwrap();
    Sender::new(firehose_client::Options {
        backoff,
        ..firehose_client::Options::new(to)
    })
    .unwrap()
}

/// Concurrent deliveries until stopped.
struct Load {
    model: Arc<Mutex<Model>>,
    /// Number of acknowledged deliveries.
    acknowledged: watch::Sender<usize>,
    stop: watch::Sender<bool>,
    drivers: JoinSet<()>,
}

impl Load {
    fn new() -> Self {
        let (acknowledged, stop) = (watch::Sender::new(0), watch::Sender::new(false));
        Self {
            model: Arc::default(),
            acknowledged,
            stop,
            drivers: JoinSet::new(),
        }
    }

    /// Adds a driver that sends one delivery after another.
    fn drive(&mut self, sender: Sender, seed: u64) {
        let (model, count) = (self.model.clone(), self.acknowledged.clone());
        let (mut others, mut stop) = (self.acknowledged.subscribe(), self.stop.subscribe());
        let mut chance = StdRng::seed_from_u64(seed);
        self.drivers.spawn(async move {
            while !*stop.borrow() {
                let efforts = some_efforts(&mut chance);
                model.lock().unwrap().send(&efforts);
                let records: Vec<_> = records(&efforts).iter().map(ToString::to_string).collect();
                if sender.deliver(records).await.is_ok() {
                    model.lock().unwrap().acknowledge(&efforts);
                    count.send_modify(|count| *count += 1);
                    continue;
                }
                // Given up: its outcome stays unknown. Waits for another driver's success.
                others.mark_unchanged();
                tokio::select! {
                    _ = others.changed() => {}
                    _ = stop.changed() => {}
                }
            }
        });
    }

    /// Waits until `more` further deliveries are acknowledged.
    async fn wait_for_acknowledged(&self, more: usize) {
        let mut count = self.acknowledged.subscribe();
        let goal = *count.borrow() + more;
        let reached = tokio::time::timeout(DEADLINE, count.wait_for(|&count| count >= goal));
        reached
            .await
            .unwrap_or_else(|_| panic!("{more} more deliveries are not acknowledged"))
            .unwrap();
    }

    /// Stops the drivers and waits for their last deliveries.
    async fn end(self) -> Model {
        self.stop.send_replace(true);
        let ending = self.drivers.join_all();
        tokio::time::timeout(DEADLINE, ending)
            .await
            .expect("the deliveries are settled");
        Arc::into_inner(self.model).unwrap().into_inner().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_keeps_delivered_records() {
    let test_store = TestStore::bucket().await;
    let mut instance = Instance::start(&test_store, &QUICK).await;
    let ridden = json!({ "uuid": "b340d30f", "event": "update", "deviceTimestamp": 1_619_185_789_755_u64, "second": 1,
        "raceId": 1_619_185_620_265_u64, "name": "Hubert", "racerId": 1, "classId": 1, "cadence": 80,
        "resistance": 78 });
    assert_eq!(instance.deliver(&[ridden]).await, StatusCode::OK);
    let board = instance.json("/classes/1/leaderboard?second=1").await;
    assert_eq!(
        board["standings"],
        json!([{ "rank": 1, "racerId": 1, "name": "Hubert", "output": 164.45 }])
    );

    let (mut chance, mut model) = (StdRng::seed_from_u64(1), Model::default());
    model.acknowledge(&[((1, 1, 1), 164.45)]);
    for _ in 0..20 {
        let efforts = some_efforts(&mut chance);
        assert_eq!(instance.deliver(&records(&efforts)).await, StatusCode::OK);
        model.acknowledge(&efforts);
    }
    until("the bucket has all of it", async || {
        state_of(&test_store).await == model.acknowledged
    })
    .await;
    let name = test_store.url();
    let key = name
        .strip_prefix(&format!("s3://{BUCKET}/"))
        .unwrap()
        .to_owned()
        + "class-1.gz";
    let head = test_store
        .server()
        .client()
        .await
        .head_object()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_type.as_deref(), Some("application/gzip"));
    let expected = hashes_of(&model.acknowledged);
    assert_eq!(hashes(&instance).await, expected);

    let cold = Instance::start(&test_store, &QUICK).await;
    assert_eq!(hashes(&cold).await, expected);
    assert_eq!(
        cold.json("/classes/1/leaderboard?racers=1").await["standings"][0]["name"],
        "Hubert"
    );
    drop(cold);

    for round in 0..3 {
        let best = [
            ((2, 5, 100 + round), 400.25),
            ((1, 5, 100), 400.0 + round as f64),
        ];
        assert_eq!(instance.deliver(&records(&best)).await, StatusCode::OK);
        instance.kill();
        model.acknowledge(&best);
        instance.restart().await;
        assert_eq!(
            hashes(&instance).await,
            hashes_of(&model.acknowledged),
            "{round}"
        );
    }
    let last = [((2, 6, 1), 1.5)];
    assert_eq!(instance.deliver(&records(&last)).await, StatusCode::OK);
    model.acknowledge(&last);
    instance.terminate();
    instance.wait_for_exit().await;
    assert_eq!(
        state_of(&test_store).await,
        model.acknowledged,
        "the last snapshot is incomplete"
    );
}

/// Returns the one-line error of a process that cannot use the bucket. It must fail before it listens.
async fn store_error(environment: &[(&'static str, String)], bucket: &str) -> String {
    let log = startup_error(environment, &format!("s3://{bucket}/all/time")).await;
    assert!(!log.contains("listening"), "{log}");
    let error = log
        .strip_prefix("Error: ")
        .unwrap_or_else(|| panic!("{log}"))
        .trim_end();
    assert!(!error.contains('\n'), "{error}");
    error.to_owned()
}

/// Starts an S3 server that answers every request with 403 and the code.
async fn denying_server(code: &'static str) -> String {
    let answer = move || async move {
        (
            StatusCode::FORBIDDEN,
            format!("<Error><Code>{code}</Code></Error>"),
        )
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    endpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_store_fails_before_listening() {
    let server = S3Server::start().await;
    let environment = server.environment();
    let at = |endpoint: String| {
        environment.clone().map(|(name, value)| {
            (
                name,
                if name == "AWS_ENDPOINT_URL" {
                    endpoint.clone()
                } else {
                    value
                },
            )
        })
    };
    let missing = store_error(&environment, "elsewhere").await;
    assert!(
        missing.contains("no bucket `elsewhere`; create it, or correct its name"),
        "{missing}"
    );
    let anonymous = store_error(&environment[..2], BUCKET).await;
    assert!(
        anonymous.contains("no AWS credentials") && anonymous.contains("set AWS_PROFILE"),
        "{anonymous}"
    );
    let denied = store_error(&at(denying_server("AccessDenied").await), BUCKET).await;
    assert!(
        denied.contains("access is denied; allow s3:ListBucket"),
        "{denied}"
    );
    let endpoint = server.endpoint();
    drop(server);
    let dead = store_error(&at(endpoint.clone()), BUCKET).await;
    assert!(
        dead.contains(&format!("{endpoint} does not answer; correct the endpoint")),
        "{dead}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_fail_before_listening() {
    let server = S3Server::start_kind(ServerKind::SeaweedFs).await;
    for wrong in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        let with_wrong = server
            .environment()
            .map(|(name, value)| (name, value + if name == wrong { "x" } else { "" }));
        let error = store_error(&with_wrong, BUCKET).await;
        assert!(error.contains(&server.endpoint()), "{error}");
        assert!(
            error.contains("rejects the credentials; correct or renew them"),
            "{error}"
        );
    }
    let missing = store_error(&server.environment(), "elsewhere").await;
    assert!(
        missing.contains("no bucket `elsewhere`; create it, or correct its name"),
        "{missing}"
    );
    let test_store = TestStore::on(Arc::new(server)).await;
    let instance = Instance::start(&test_store, &QUICK).await;
    assert_eq!(
        instance.deliver(&records(&[((1, 1, 1), 1.5)])).await,
        StatusCode::OK
    );
    until("the effort is stored", async || {
        state_of(&test_store).await.len() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_s3_server_acknowledges_and_loses_nothing() {
    let test_store = TestStore::on(Arc::new(S3Server::start().await)).await;
    let mut instance = Instance::start(&test_store, &QUICK).await;
    let mut load = Load::new();
    for seed in 0..4 {
        load.drive(sender(&instance, DEADLINE), seed);
    }
    for round in 0..2 {
        load.wait_for_acknowledged(20).await;
        test_store.server().kill();
        let best = [((1, 20, 1), 300.0 + f64::from(round))];
        load.model.lock().unwrap().send(&best);
        let before = *load.acknowledged.borrow();
        assert_eq!(
            instance.deliver(&records(&best)).await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(
            *load.acknowledged.borrow() <= before + 4,
            "more deliveries acknowledged than the server wrote"
        );
        test_store.server().restart().await;
        load.wait_for_acknowledged(20).await;
        until("the delivery is taken", async || {
            instance.deliver(&records(&best)).await == StatusCode::OK
        })
        .await;
        load.model.lock().unwrap().acknowledge(&best);
    }
    acknowledged_state_survives(&mut instance, &test_store, &load.end().await).await;
}

/// Checks that the instance has every acknowledged effort, before and after a kill, and that the bucket comes to hold them.
async fn acknowledged_state_survives(
    instance: &mut Instance,
    test_store: &TestStore,
    model: &Model,
) {
    assert_eq!(hashes(instance).await, hashes_of(&model.acknowledged));
    instance.kill();
    instance.restart().await;
    assert_eq!(hashes(instance).await, hashes_of(&model.acknowledged));
    until("the bucket has all of it", async || {
        state_of(test_store).await == model.acknowledged
    })
    .await;
}

/// A put gives up after at most 30 s, and commits queued behind it after twice that. Once the server has not
/// responded for 15 s, new deliveries are refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_s3_server_refuses_deliveries_and_serves_readers() {
    let test_store = TestStore::on(Arc::new(S3Server::start().await)).await;
    let mut instance = Instance::start(&test_store, &QUICK).await;
    let mut load = Load::new();
    for seed in 0..4 {
        load.drive(sender(&instance, DEADLINE), seed);
    }
    load.wait_for_acknowledged(20).await;
    let mut model = load.end().await;

    test_store.server().freeze();
    let began = Instant::now();
    let meanwhile = [((1, 20, 1), 300.0)];
    let delivery = async {
        assert_eq!(
            instance.deliver(&records(&meanwhile)).await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(
            began.elapsed() < Duration::from_secs(35),
            "{:?}",
            began.elapsed()
        );
    };
    let readers = async {
        until("the instance is not ready", async || {
            let board = instance.json("/classes/1/leaderboard?second=20").await;
            assert_eq!(board["total"], 0, "visible before durable");
            instance.bytes("/class-1.gz").await;
            !instance.is_ready().await
        })
        .await;
        let sent_at = Instant::now();
        assert_eq!(
            instance.deliver(&records(&meanwhile)).await,
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(
            sent_at.elapsed() < Duration::from_secs(5),
            "not refused at once: {:?}",
            sent_at.elapsed()
        );
    };
    let environment = test_store.environment();
    let ((), (), error) = tokio::join!(delivery, readers, store_error(&environment, BUCKET));
    assert!(
        error.contains("does not answer; correct the endpoint and the network's path to it"),
        "{error}"
    );

    test_store.server().thaw();
    until("the delivery is taken", async || {
        instance.deliver(&records(&meanwhile)).await == StatusCode::OK
    })
    .await;
    model.acknowledge(&meanwhile);
    until("the instance is ready again", async || {
        instance.is_ready().await
    })
    .await;
    acknowledged_state_survives(&mut instance, &test_store, &model).await;
}

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
            let published = format!("/class-{class}.gz");
            until("the instance serves those bytes", async || {
                instance.bytes(&published).await == built
            })
            .await;
        }
    }
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

    /// Stops watcher. Returns the number of snapshots seen.
    async fn end(self) -> usize {
        self.stop.send_replace(true);
        self.watchers.join_all().await.into_iter().sum()
    }
}
