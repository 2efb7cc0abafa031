//! The ledger's durability promises, one per test, in virtual time.

mod commit;
mod erasure;
mod fallback;
mod false_alarms;
mod listings;
mod lost_erasures;
mod ownership;
mod races;
mod readiness;
mod recovery;
mod replication;
mod snapshot;
mod unknown_snapshots;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alleycat::domain::effort::{Bounds, ClassId, Effort, Output, RaceId, RacerId, Second};
use alleycat::domain::erasure::{ErasureScope, Erasures};
use alleycat::domain::racer_names::RacerName;
use alleycat::domain::rejection::RejectionReason;
use alleycat::ledger::{
    CommitError, CommitResult, Erased, Ledger, LedgerOptions, RecoveryError, WriteBatch,
};
use alleycat::state::table::Table;
use alleycat::storage::history_file::{History, StoredHistory};
use alleycat::storage::{ListScope, ObjectKey, Precondition, SegmentId};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::broken_store::{BrokenStore, Mode};
use crate::bucket::{Bucket, Defects, EPOCH_MS, Faults, FaultyStore, STALL, SimulatedClock};
use crate::builders::{self, gunzip, gzip};

const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(20);
const SYNC_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two listings of the root.
const ROOT_INTERVAL: Duration = Duration::from_secs(5 * SYNC_INTERVAL.as_secs());
/// Time after which a listing of the root has shown what was written.
const ROOT_SHOWN: Duration = Duration::from_secs(ROOT_INTERVAL.as_secs() + SYNC_INTERVAL.as_secs());
const RACES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum time that a test waits for a condition.
const NEVER: Duration = Duration::from_secs(1000);

struct Instance {
    ledger: Ledger,
    /// Healthy, until a test sets another mode.
    store: Arc<BrokenStore>,
    way: Arc<FaultyStore>,
    task: JoinHandle<Result<(), RecoveryError>>,
    _stop: oneshot::Sender<()>,
}

impl Instance {
    /// Starts an instance on the bucket, and waits until it is ready or its recovery fails.
    async fn start(bucket: &Arc<Bucket>) -> Result<Self, RecoveryError> {
        Self::start_with(bucket, Faults::default(), Defects::default()).await
    }

    /// Starts an instance on a store with faults and defects.
    async fn start_with(
        bucket: &Arc<Bucket>,
        faults: Faults,
        defects: Defects,
    ) -> Result<Self, RecoveryError> {
        let instance = Self::begin(bucket, faults, defects);
        let began = Instant::now();
        while let Err(problem) = instance.ledger.ready() {
            assert!(began.elapsed() < NEVER, "it is never ready: {problem}");
            if instance.task.is_finished() {
                return Err(instance.task.await.unwrap().expect_err("it is not ready"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(instance)
    }

    /// Starts an instance, and waits until its recovery has ended. Its first poll has not.
    async fn recover(bucket: &Arc<Bucket>) -> Self {
        let instance = Self::begin(bucket, Faults::default(), Defects::default());
        while instance.ledger.accepts().is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        instance
    }

    /// Begins to start an instance.
    fn begin(bucket: &Arc<Bucket>, faults: Faults, defects: Defects) -> Self {
        Self::begin_as(bucket, faults, defects, false)
    }

    /// Begins to start an instance, which only reads if `read_only`.
    fn begin_as(bucket: &Arc<Bucket>, faults: Faults, defects: Defects, read_only: bool) -> Self {
        let clock = Arc::new(SimulatedClock::new(Instant::now(), 0));
        let way = Arc::new(FaultyStore::new(bucket.clone(), clock.clone(), faults, 1));
        way.set_defects(defects);
        let store = BrokenStore::new(way.clone());
        let options = LedgerOptions {
            bounds: Bounds {
                classes: 3,
                second_max: 9,
            },
            racers_max: 100,
            commit_interval: COMMIT_INTERVAL,
            snapshot_interval: SNAPSHOT_INTERVAL,
            sync_interval: SYNC_INTERVAL,
            races_kept: RACES_KEPT,
            read_only,
        };
        let (ledger, worker) = Ledger::new(options, store.clone(), clock, rand::random());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(worker.run(async {
            let _ = stopped.await;
        }));
        Self {
            ledger,
            store,
            way,
            task,
            _stop: stop,
        }
    }

    async fn commit(&self, efforts: &[Effort]) -> Result<CommitResult, CommitError> {
        self.ledger
            .commit(WriteBatch {
                efforts: efforts.to_vec(),
                ..WriteBatch::default()
            })
            .await
    }

    /// Starts a commit.
    fn committing(&self, effort: Effort) -> JoinHandle<Result<CommitResult, CommitError>> {
        let ledger = self.ledger.clone();
        tokio::spawn(async move {
            ledger
                .commit(WriteBatch {
                    efforts: vec![effort],
                    ..WriteBatch::default()
                })
                .await
        })
    }

    fn output(&self, class: u16, racer: u64) -> Option<f64> {
        let curve = self
            .ledger
            .table()
            .racer_bests(ClassId::new(class).unwrap(), RacerId(racer));
        curve.first().map(|(_, output)| output.get())
    }

    /// Waits until the ledger ends with an error.
    async fn error(self) -> RecoveryError {
        let ended = tokio::time::timeout(NEVER, self.task).await;
        ended.expect("it ends").unwrap().expect_err("an error")
    }

    /// Returns the keys of its puts other than segments.
    fn snapshots(&self) -> Vec<ObjectKey> {
        self.store
            .puts()
            .into_iter()
            .filter(|key| !matches!(key, ObjectKey::Segment(_)))
            .collect()
    }
}

/// An effort of race 77 at second 1.
fn effort(class: u16, racer: u64, output: f64) -> Effort {
    Effort {
        race: Some(RaceId(77)),
        time: 5,
        ..builders::effort(class, 1, racer, output)
    }
}

/// The name of racer 1.
fn hubert() -> (RacerId, RacerName) {
    let name = RacerName {
        at_ms: 7,
        text: "Hubert".into(),
    };
    (RacerId(1), name)
}

fn history(class: u16) -> ObjectKey {
    ObjectKey::History(ClassId::new(class).unwrap())
}

/// Returns the text of the stored history of class 1.
fn stored(bucket: &Bucket) -> Option<String> {
    let object = bucket.get("class-1.gz")?;
    Some(gunzip(&object.body))
}

fn segments(bucket: &Bucket) -> Vec<String> {
    bucket
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("journal/"))
        .collect()
}

/// Returns the lines of the only segment.
fn only_segment(bucket: &Bucket) -> Vec<serde_json::Value> {
    let paths = segments(bucket);
    assert_eq!(paths.len(), 1, "{paths:?}");
    gunzip(&bucket.get(&paths[0]).unwrap().body)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Waits until the condition holds, polling every 100 ms, and returns the elapsed time.
async fn time_until(condition: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < NEVER, "the condition never holds");
        sleep(Duration::from_millis(100)).await;
    }
    began.elapsed()
}

/// Puts an object into the bucket, as another program would.
fn plant(bucket: &Bucket, key: &ObjectKey, body: impl Into<Bytes>) {
    bucket
        .put(key, &[body.into()], &Precondition::IfNoneMatch)
        .expect("a new object");
}

fn foreign_segment() -> ObjectKey {
    segment_key(1, 3)
}

/// Returns the key of a segment of another instance.
fn segment_key(time_ms: u64, counter: u64) -> ObjectKey {
    ObjectKey::Segment(SegmentId {
        time_ms,
        process: 2,
        counter,
    })
}

/// Returns a segment with one effort, as another instance writes it.
fn segment_of(class: u16, second: u32, racer: u64, output: f64) -> Bytes {
    gzip(format!(
        "{{\"alleycat\":\"journal\",\"version\":1}}\n\
         {{\"classId\":{class},\"second\":{second},\"racerId\":{racer},\"output\":{output}}}\n"
    ))
    .into()
}

async fn erase(instance: &Instance, above: Option<f64>) -> Erased {
    let above = above.and_then(Output::new);
    let scope = ErasureScope {
        above,
        ..ErasureScope::all(RacerId(1), ClassId::new(1))
    };
    instance.ledger.erase(scope, None).await.unwrap()
}

/// Builds the stored history of the efforts' class, with all erasures applied up to
/// `erasure_version`.
fn history_of(efforts: &[Effort], erasure_version: u64) -> Vec<u8> {
    let class = efforts[0].class;
    let table = Table::new(class.get());
    table.merge(efforts, 0);
    History::build(&table, class, &History::empty(0), erasure_version)
        .chunks()
        .collect::<Vec<_>>()
        .concat()
}

/// Returns the error of a start on a bucket with this object.
async fn recovery_error(key: &ObjectKey, body: impl Into<Bytes>) -> String {
    let bucket = Arc::<Bucket>::default();
    plant(&bucket, key, body);
    let error = Instance::start(&bucket)
        .await
        .err()
        .unwrap_or_else(|| panic!("{key} is ignored"));
    error.to_string()
}

fn assert_contains(recovery_error: &str, words: &[&str]) {
    for word in words {
        assert!(
            recovery_error.contains(word),
            "{word:?} is not in {recovery_error:?}"
        );
    }
}
