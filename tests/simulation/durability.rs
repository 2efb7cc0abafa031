//! The ledger's durability promises, one per test, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use alleycat::domain::effort::{Bounds, ClassId, Effort, Output, RaceId, RacerId, Second};
use alleycat::domain::erasure::{ErasureScope, Erasures};
use alleycat::domain::racer_names::RacerName;
use alleycat::domain::rejection::RejectionReason;
use alleycat::ledger::{
    CommitError, CommitResult, Erased, Ledger, LedgerOptions, RecoveryError, WriteBatch,
};
use alleycat::storage::history_file::StoredHistory;
use alleycat::storage::{ObjectKey, Precondition, SegmentId};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::broken_store::{BrokenStore, Mode};
use crate::bucket::{Bucket, Faults, FaultyStore, SimulatedClock};
use crate::builders::{self, gunzip, gzip};

const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(20);
const SYNC_INTERVAL: Duration = Duration::from_secs(2);

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
        let clock = Arc::new(SimulatedClock::new(Instant::now(), 0));
        let way = Arc::new(FaultyStore::new(
            bucket.clone(),
            clock.clone(),
            Faults::default(),
            1,
        ));
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
        };
        let (ledger, worker) = Ledger::new(options, store.clone(), clock, rand::random());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(worker.run(async {
            let _ = stopped.await;
        }));
        while ledger.ready().is_err() {
            if task.is_finished() {
                return Err(task.await.unwrap().expect_err("it is not ready"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Self {
            ledger,
            store,
            way,
            task,
            _stop: stop,
        })
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

fn history(class: u16) -> ObjectKey {
    ObjectKey::History(ClassId::new(class).unwrap())
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
        assert!(
            began.elapsed() < Duration::from_secs(1000),
            "the condition never holds"
        );
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
    ObjectKey::Segment(SegmentId {
        time_ms: 1,
        process: 2,
        counter: 3,
    })
}

#[tokio::test(start_paused = true)]
async fn segment_holds_version_and_improvements() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let name = (
        RacerId(1),
        RacerName {
            at_ms: 7,
            text: "Hubert".into(),
        },
    );
    let efforts = vec![effort(1, 1, 20.5), effort(1, 1, 20.25), effort(2, 1, 0.1)];
    let submission = WriteBatch {
        efforts,
        names: vec![name],
        ..WriteBatch::default()
    };
    instance.ledger.commit(submission).await.unwrap();
    let expected = [
        serde_json::json!({ "alleycat": "journal", "version": 1, "lines": 3 }),
        serde_json::json!(
            { "classId": 1, "second": 1, "racerId": 1, "output": 20.5, "raceId": 77, "deviceTimestamp": 5 }
        ),
        serde_json::json!(
            { "classId": 2, "second": 1, "racerId": 1, "output": 0.1, "raceId": 77, "deviceTimestamp": 5 }
        ),
        serde_json::json!({ "racerId": 1, "name": "Hubert", "at": 7 }),
    ];
    assert_eq!(only_segment(&bucket), expected);
}

#[tokio::test(start_paused = true)]
async fn unknown_put_outcome_retries_under_a_new_key() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::WritesThenFails);
    let committing = instance.committing(effort(1, 1, 20.0));
    instance.store.wait_for_puts(1).await;
    instance.store.set_mode(Mode::Healthy);
    committing.await.unwrap().unwrap();
    let puts = instance.store.puts();
    assert_eq!(puts.len(), 2);
    assert_ne!(puts[0], puts[1]);
    assert_eq!(
        segments(&bucket).len(),
        2,
        "the first is there all the same"
    );
    assert_eq!(instance.output(1, 1), Some(20.0));
}

#[tokio::test(start_paused = true)]
async fn slow_put_is_hedged_and_first_success_wins() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::Hangs);
    let committing = instance.committing(effort(1, 1, 20.0));
    instance.store.wait_for_puts(1).await;
    let began = Instant::now();
    instance.store.wait_for_puts(2).await;
    let hedged = began.elapsed().as_millis();
    assert!((1000..1100).contains(&hedged), "{hedged} ms");
    assert!(!committing.is_finished());
    instance.store.set_mode(Mode::Healthy);
    committing.await.unwrap().unwrap();
    let puts = instance.store.puts();
    assert!(puts.len() == 2 && puts[0] != puts[1], "{puts:?}");
}

#[tokio::test(start_paused = true)]
async fn hanging_put_gives_up_within_bounds() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::Hangs);
    let began = Instant::now();
    let refused = instance.commit(&[effort(1, 1, 20.0)]).await.unwrap_err();
    assert!(matches!(refused, CommitError::Store(_)), "{refused}");
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(instance.store.segments(), 3);
    assert_eq!(instance.output(1, 1), None);
    instance.store.set_mode(Mode::Healthy);
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_deliveries_share_the_next_segment() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let began = Instant::now();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    for outcome in join_all((2..=50).map(|racer| instance.committing(effort(1, racer, 20.0)))).await
    {
        assert_eq!(outcome.unwrap().unwrap().improvements, 1);
    }
    let waited = began.elapsed();
    assert!(
        (COMMIT_INTERVAL..COMMIT_INTERVAL + Duration::from_secs(1)).contains(&waited),
        "{waited:?}"
    );
    assert_eq!(instance.store.segments(), 2);
    sleep(COMMIT_INTERVAL).await;
    let began = Instant::now();
    instance.commit(&[effort(1, 1, 21.0)]).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn racing_retry_is_journaled_again() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::WritesThenHangs);
    let first = instance.committing(effort(1, 1, 20.0));
    instance.store.wait_for_puts(1).await;
    let second = instance.committing(effort(1, 1, 20.0));
    instance.store.wait_for_puts(3).await; // the first put and its hedges
    sleep(Duration::from_secs(10)).await;
    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!(instance.output(1, 1), None, "written, but not known to be");
    instance.store.set_mode(Mode::Healthy);
    assert_eq!(first.await.unwrap().unwrap().improvements, 1);
    assert_eq!(
        second.await.unwrap().unwrap().improvements,
        0,
        "compared after the first was merged"
    );
}

#[tokio::test(start_paused = true)]
async fn only_dirty_classes_are_snapshot_once_per_interval() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| bucket.get("class-1.gz").is_some()).await;
    sleep(SNAPSHOT_INTERVAL * 3).await;
    assert_eq!(instance.snapshots(), [history(1)]);
    instance.commit(&[effort(2, 1, 20.0)]).await.unwrap();
    time_until(|| bucket.get("class-2.gz").is_some()).await;
    instance.commit(&[effort(2, 1, 21.0)]).await.unwrap();
    let again = time_until(|| instance.snapshots().len() == 3).await;
    assert!(again > SNAPSHOT_INTERVAL - COMMIT_INTERVAL * 2, "{again:?}");
    assert_eq!(instance.snapshots(), [history(1), history(2), history(2)]);
    let names = vec![(
        RacerId(1),
        RacerName {
            at_ms: 7,
            text: "Hubert".into(),
        },
    )];
    instance
        .ledger
        .commit(WriteBatch {
            names,
            ..WriteBatch::default()
        })
        .await
        .unwrap();
    time_until(|| bucket.get("racers.gz").is_some()).await;
    assert_eq!(instance.snapshots()[3..], [ObjectKey::Racers]);
}

#[tokio::test(start_paused = true)]
async fn covered_segment_stays_for_sixty_seconds() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance
        .commit(&[effort(1, 1, 20.0), effort(2, 1, 20.0)])
        .await
        .unwrap();
    time_until(|| bucket.get("class-1.gz").is_some() && bucket.get("class-2.gz").is_some()).await;
    let stayed = time_until(|| segments(&bucket).is_empty()).await;
    assert!((60..65).contains(&stayed.as_secs()), "{stayed:?}");
}

#[tokio::test(start_paused = true)]
async fn unchanged_snapshot_covers_without_a_put() {
    let bucket = Arc::default();
    let first = Instance::start(&bucket).await.unwrap();
    first.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| bucket.get("class-1.gz").is_some()).await;
    first.task.abort();
    let second = Instance::start(&bucket).await.unwrap();
    assert_eq!(segments(&bucket).len(), 1);
    time_until(|| segments(&bucket).is_empty()).await;
    assert_eq!(second.store.puts(), []);
    assert_eq!(second.output(1, 1), Some(20.0));
}

#[tokio::test(start_paused = true)]
async fn segment_with_any_key_is_found() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    let line = r#"{"classId":3,"second":1,"racerId":4,"output":33.25}"#;
    let body = gzip(format!(
        "{{\"alleycat\":\"journal\",\"version\":1}}\n{line}\n"
    ));
    plant(&bucket, &foreign_segment(), body); // its key sorts before any other: 1970, and a low process id
    let seen = time_until(|| instance.output(3, 4) == Some(33.25)).await;
    assert!(seen < SYNC_INTERVAL * 2, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn replication_lag_of_15_seconds_refuses_deliveries() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.way.set_faults(Faults {
        refused: 1.0,
        ..Faults::default()
    });
    let patient = time_until(|| instance.ledger.accepts().is_err()).await;
    assert!((12..=16).contains(&patient.as_secs()), "{patient:?}");
    assert!(matches!(
        instance.commit(&[effort(1, 1, 20.0)]).await,
        Err(CommitError::ReplicationLag)
    ));
    instance.way.set_faults(Faults::default());
    assert!(time_until(|| instance.ledger.accepts().is_ok()).await < SYNC_INTERVAL * 2);
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unreadable_segment_makes_the_instance_unready() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    plant(&bucket, &foreign_segment(), "no gzip");
    time_until(|| instance.ledger.ready().is_err()).await;
    let problem = instance.ledger.ready().unwrap_err();
    assert!(problem.contains(&foreign_segment().path()), "{problem}");
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    bucket.remove(&foreign_segment());
    time_until(|| instance.ledger.ready().is_ok()).await;
}

/// Returns a segment with one effort of class 1, as another instance writes it.
fn segment_of(racer: u64, output: f64) -> Bytes {
    let line = format!("{{\"classId\":1,\"second\":1,\"racerId\":{racer},\"output\":{output}}}");
    gzip(format!(
        "{{\"alleycat\":\"journal\",\"version\":1}}\n{line}\n"
    ))
    .into()
}

#[tokio::test(start_paused = true)]
async fn suspension_of_30_seconds_rereads_snapshots() {
    for (away, reads) in [
        (Duration::from_secs(26), false),
        (Duration::from_secs(33), true),
    ] {
        let bucket = Arc::default();
        let instance = Instance::start(&bucket).await.unwrap();
        sleep(SYNC_INTERVAL * 2).await;
        instance.way.set_faults(Faults {
            refused: 1.0,
            ..Faults::default()
        });
        // A segment was written, folded and deleted. After 26 s that cannot be: segments stay for 60 s.
        plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
        sleep(away).await;
        let read_before = instance.store.gets().len();
        instance.way.set_faults(Faults::default());
        time_until(|| instance.ledger.accepts().is_ok()).await;
        assert_eq!(
            instance.output(1, 4),
            reads.then_some(33.25),
            "away for {away:?}"
        );
        sleep(SYNC_INTERVAL * 5).await;
        let read = instance.store.gets()[read_before..]
            .iter()
            .filter(|&key| *key == history(1))
            .count();
        assert_eq!(
            read,
            usize::from(reads),
            "a changed snapshot alone is no reason to read it"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn deleted_segment_is_read_from_the_snapshots() {
    let mut was_gone = 0;
    for moment in (2000..3000).step_by(20).map(Duration::from_millis) {
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        plant(&bucket, &foreign_segment(), segment_of(4, 33.25));
        sleep(moment).await;
        plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
        bucket.remove(&foreign_segment());
        if instance.store.gets().contains(&foreign_segment()) {
            time_until(|| instance.output(1, 4) == Some(33.25)).await;
            was_gone += usize::from(instance.store.gets().contains(&history(1)));
        }
        instance.task.abort();
    }
    assert!(
        was_gone > 0,
        "at no moment was it gone between its listing and its reading"
    );
}

#[tokio::test(start_paused = true)]
async fn unreadable_snapshot_blocks_its_class() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| bucket.get("class-1.gz").is_some()).await;
    time_until(|| segments(&bucket).is_empty()).await;
    bucket.remove(&history(1));
    plant(&bucket, &history(1), "no gzip");
    instance
        .commit(&[effort(1, 2, 20.0), effort(2, 1, 20.0)])
        .await
        .unwrap();
    time_until(|| instance.ledger.ready().is_err()).await;
    assert_contains(
        &instance.ledger.ready().unwrap_err(),
        &["class-1.gz cannot be read"],
    );
    time_until(|| bucket.get("class-2.gz").is_some()).await;
    let tried = instance.snapshots();
    instance.commit(&[effort(1, 3, 20.0)]).await.unwrap();
    sleep(SNAPSHOT_INTERVAL * 5).await;
    assert_eq!(instance.snapshots(), tried);
    assert_eq!(bucket.get("class-1.gz").unwrap().body, "no gzip");

    bucket.remove(&history(1));
    assert!(time_until(|| instance.ledger.ready().is_ok()).await < SYNC_INTERVAL * 2);
    time_until(|| bucket.get("class-1.gz").is_some()).await;
    let stored = gunzip(&bucket.get("class-1.gz").unwrap().body);
    assert_eq!(stored, r#"{"1":{"1":20,"2":20,"3":20}}"#);
}

#[tokio::test(start_paused = true)]
async fn unreadable_segment_blocks_snapshots() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    plant(&bucket, &foreign_segment(), "no gzip");
    time_until(|| instance.ledger.ready().is_err()).await;
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    sleep(SNAPSHOT_INTERVAL * 5).await;
    assert_eq!(instance.snapshots(), [], "it may be of any class");
    // A newer program could read and fold it.
    plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
    bucket.remove(&foreign_segment());
    assert!(time_until(|| instance.output(1, 4) == Some(33.25)).await < SYNC_INTERVAL * 2);
    time_until(|| gunzip(&bucket.get("class-1.gz").unwrap().body) == r#"{"1":{"1":20,"4":33.25}}"#)
        .await;
}

#[tokio::test(start_paused = true)]
async fn class_is_taken_over_after_three_intervals() {
    let bucket = Arc::default();
    let first = Instance::start(&bucket).await.unwrap();
    let second = Instance::start(&bucket).await.unwrap();
    first.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    // Both claim a class that nobody owns. One is first; the other sees that and releases its claim.
    time_until(|| bucket.get("class-1.gz").is_some()).await;
    time_until(|| segments(&bucket).is_empty()).await;
    let (writer, other) = if first.snapshots().is_empty() {
        (second, first)
    } else {
        (first, second)
    };
    let puts_before = other.snapshots();
    writer.commit(&[effort(1, 2, 20.0)]).await.unwrap();
    writer.task.abort();
    time_until(|| other.output(1, 2) == Some(20.0)).await;
    let waited = time_until(|| other.snapshots() != puts_before).await;
    let others_turn = Duration::from_secs(60) + SNAPSHOT_INTERVAL * 3;
    let latest = others_turn + SNAPSHOT_INTERVAL + Duration::from_secs(2);
    assert!(
        (others_turn - Duration::from_secs(1)..latest).contains(&waited),
        "{waited:?}"
    );
}

async fn erase(instance: &Instance, above: Option<f64>) -> Erased {
    let above = above.and_then(Output::new);
    let scope = ErasureScope {
        above,
        ..ErasureScope::all(RacerId(1), ClassId::new(1))
    };
    instance.ledger.erase(scope, None).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn erasure_is_durable_and_covers_the_next_30_seconds() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance
        .commit(&[effort(1, 1, 20.0), effort(1, 2, 20.0), effort(2, 1, 20.0)])
        .await
        .unwrap();
    let now_ms = instance.ledger.now_ms();
    let Erased { erasure, efforts } = erase(&instance, None).await;
    assert_eq!(efforts, 1);
    assert_eq!(erasure.version, 1);
    assert!(
        (30_000..31_000).contains(&(erasure.until_ms - now_ms)),
        "{} ms",
        erasure.until_ms - now_ms
    );
    assert_eq!(bucket.erasures().find(&erasure.scope), Some(&erasure));
    let outputs = [
        instance.output(1, 1),
        instance.output(1, 2),
        instance.output(2, 1),
    ];
    assert_eq!(outputs, [None, Some(20.0), Some(20.0)]);
    // A retry of earlier rides is acknowledged and changes nothing.
    assert_eq!(
        instance.commit(&[effort(1, 1, 30.0)]).await.unwrap(),
        CommitResult::default()
    );
    assert_eq!(instance.output(1, 1), None);
}

#[tokio::test(start_paused = true)]
async fn slow_erasure_is_rewritten_with_a_later_time() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::Hangs);
    let (ledger, began_ms) = (instance.ledger.clone(), instance.ledger.now_ms());
    let scope = ErasureScope::all(RacerId(1), None);
    let erasing = tokio::spawn(async move { ledger.erase(scope, None).await });
    sleep(Duration::from_secs(12)).await;
    instance.store.set_mode(Mode::Healthy);
    let erased = erasing.await.unwrap().unwrap();
    assert!(
        erased.erasure.until_ms >= began_ms + 40_000,
        "{} ms",
        erased.erasure.until_ms - began_ms
    );
}

#[tokio::test(start_paused = true)]
async fn failing_erasure_blocks_nothing_else() {
    for mode in [Mode::Fails, Mode::Hangs] {
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        instance.store.set_mode(mode);
        let ledger = instance.ledger.clone();
        let erasing = tokio::spawn(async move {
            ledger
                .erase(ErasureScope::all(RacerId(1), None), None)
                .await
        });
        for second in 0..40 {
            sleep(Duration::from_secs(1)).await;
            assert!(
                instance.ledger.accepts().is_ok(),
                "{mode:?}: after {second} s"
            );
        }
        assert!(erasing.await.unwrap().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn erasure_alone_rewrites_the_snapshot_and_clears_the_journal() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| bucket.get("class-1.gz").is_some()).await;
    for (version, above) in [(1, Some(10.0)), (2, None)] {
        erase(&instance, above).await;
        let snapshot_is_rewritten = || {
            let stored = bucket.get("class-1.gz").unwrap().body;
            (
                StoredHistory::open(&stored).unwrap().erasure_version(),
                gunzip(&stored),
            ) == (version, "{}".to_owned())
        };
        assert!(
            time_until(snapshot_is_rewritten).await <= SNAPSHOT_INTERVAL + Duration::from_secs(3)
        );
    }
    assert!(time_until(|| segments(&bucket).is_empty()).await < Duration::from_secs(65));
}

#[tokio::test(start_paused = true)]
async fn past_slow_puts_delay_no_snapshot() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let improve = async |output| instance.commit(&[effort(1, 1, output)]).await.unwrap();
    improve(20.0).await;
    instance.store.set_mode(Mode::Hangs);
    time_until(|| instance.snapshots().len() == 1).await;
    sleep(Duration::from_secs(9)).await;
    instance.store.set_mode(Mode::Healthy);
    time_until(|| bucket.get("class-1.gz").is_some()).await;
    improve(21.0).await;
    let holds = || gunzip(&bucket.get("class-1.gz").unwrap().body) == r#"{"1":{"1":21}}"#;
    assert!(time_until(holds).await <= SNAPSHOT_INTERVAL + Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn best_beneath_a_glitch_is_journaled_again() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    instance.commit(&[effort(1, 1, 90.0)]).await.unwrap();
    erase(&instance, Some(50.0)).await;
    assert_eq!(instance.output(1, 1), None);
    time_until(|| instance.output(1, 1) == Some(20.0)).await;
    time_until(|| instance.store.segments() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn objects_requiring_unknown_erasures_wait() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let line = r#"{"classId":3,"second":1,"racerId":4,"output":33.25}"#;
    let body = gzip(format!(
        "{{\"alleycat\":\"journal\",\"version\":1,\"erasures\":1}}\n{line}\n"
    ));
    plant(&bucket, &foreign_segment(), body.clone());
    time_until(|| instance.ledger.ready().is_err()).await;
    assert_contains(
        &instance.ledger.ready().unwrap_err(),
        &[
            &foreign_segment().path(),
            "erasure version 1",
            "erasures.gz is at version 0",
        ],
    );
    assert_eq!(instance.output(3, 4), None);
    let erasures = Erasures::default()
        .with(ErasureScope::all(RacerId(5), None), 1, None)
        .unwrap();
    plant(&bucket, &ObjectKey::Erasures, gzip(erasures.to_json()));
    time_until(|| instance.ledger.ready().is_ok()).await;
    assert_eq!(instance.output(3, 4), Some(33.25));

    assert_contains(
        &recovery_error(&foreign_segment(), body).await,
        &[
            &foreign_segment().path(),
            "erasure version 1",
            "erasures.gz is at version 0",
        ],
    );
    let history = history_of(&[effort(1, 1, 1.0)], 7);
    assert_contains(
        &recovery_error(&self::history(1), history).await,
        &[
            "class-1.gz",
            "erasure version 7",
            "erasures.gz is at version 0",
        ],
    );
    let damaged = recovery_error(&ObjectKey::Erasures, gzip("{}")).await;
    assert_contains(
        &damaged,
        &[
            "erasures.gz",
            "missing field",
            "Restore the newest version of erasures.gz",
        ],
    );
    assert!(
        !damaged.contains("quarantine"),
        "that would bring back what was erased: {damaged}"
    );
}

#[tokio::test(start_paused = true)]
async fn deleted_erasures_object_is_rewritten() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let erased = erase(&instance, None).await.erasure;
    for mode in [Mode::Fails, Mode::Hangs] {
        instance.store.set_mode(mode);
        bucket.remove(&ObjectKey::Erasures);
        for second in 0..40 {
            sleep(Duration::from_secs(1)).await;
            assert!(
                instance.ledger.accepts().is_ok(),
                "{mode:?}: after {second} s"
            );
        }
        instance.store.set_mode(Mode::Healthy);
        time_until(|| bucket.erasures().find(&erased.scope) == Some(&erased)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn deleted_unreadable_erasures_object_is_ignored() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    plant(&bucket, &ObjectKey::Erasures, "garbage");
    time_until(|| instance.ledger.ready().is_err()).await;
    bucket.remove(&ObjectKey::Erasures);
    time_until(|| instance.ledger.ready().is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn restored_erasures_object_is_readable_again() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    erase(&instance, None).await;
    let replace = |body: Bytes| {
        let replaced = bucket.get("erasures.gz").unwrap();
        bucket
            .put(
                &ObjectKey::Erasures,
                &[body],
                &Precondition::IfMatch(replaced.etag),
            )
            .unwrap();
        replaced.body
    };
    let stored = replace("garbage".into());
    time_until(|| instance.ledger.ready().is_err()).await;
    replace(stored);
    assert!(time_until(|| instance.ledger.ready().is_ok()).await < SYNC_INTERVAL * 2);
}

#[tokio::test(start_paused = true)]
async fn deleted_snapshot_is_rewritten() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let names = vec![(
        RacerId(1),
        RacerName {
            at_ms: 7,
            text: "Hubert".into(),
        },
    )];
    instance
        .ledger
        .commit(WriteBatch {
            names,
            ..WriteBatch::default()
        })
        .await
        .unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| bucket.get("class-1.gz").is_some() && bucket.get("racers.gz").is_some()).await;
    time_until(|| segments(&bucket).is_empty()).await;
    for key in [history(1), ObjectKey::Racers] {
        bucket.remove(&key);
        let again = time_until(|| bucket.get(&key.path()).is_some()).await;
        assert!(
            again <= SYNC_INTERVAL * 2 + SNAPSHOT_INTERVAL + Duration::from_secs(3),
            "{key}: {again:?}"
        );
    }
    assert_eq!(
        gunzip(&bucket.get("class-1.gz").unwrap().body),
        r#"{"1":{"1":20}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn continuous_erasures_pin_no_segment() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance
        .commit(&[effort(1, 1, 20.0), effort(1, 2, 20.0)])
        .await
        .unwrap();
    for above in [None, Some(50.0)] {
        instance
            .commit(&[effort(1, 3, 20.0 + above.unwrap_or(0.0))])
            .await
            .unwrap();
        let written = segments(&bucket);
        for _ in 0..20 {
            erase(&instance, above).await;
            sleep(Duration::from_secs(13)).await; // not a multiple of the snapshot interval
        }
        let left = segments(&bucket);
        assert!(
            written.iter().all(|old| !left.contains(old)),
            "{above:?}: {left:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn erased_racer_frees_a_slot() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance
        .commit(
            &(1..=100)
                .map(|racer| effort(1, racer, 20.0))
                .collect::<Vec<_>>(),
        )
        .await
        .unwrap();
    assert_eq!(
        instance
            .commit(&[effort(1, 101, 20.0)])
            .await
            .unwrap()
            .rejected,
        [(0, RejectionReason::ClassFull)]
    );
    erase(&instance, None).await;
    let gone_and_new = [
        effort(1, 1, 20.0),
        Effort {
            time: 0,
            ..effort(1, 1, 20.0)
        },
        effort(1, 101, 20.0),
    ];
    let committed = instance.commit(&gone_and_new).await.unwrap();
    assert_eq!(
        committed,
        CommitResult {
            improvements: 1,
            rejected: vec![(1, RejectionReason::Erased)]
        }
    );
    assert_eq!(instance.output(1, 101), Some(20.0));
}

/// Builds a stored history with all erasures applied up to `erasure_version`.
fn history_of(efforts: &[Effort], erasure_version: u64) -> Vec<u8> {
    let table = alleycat::state::table::Table::new(3);
    table.merge(efforts, 0);
    let empty = alleycat::storage::history_file::History::empty(0);
    alleycat::storage::history_file::History::build(
        &table,
        ClassId::new(1).unwrap(),
        &empty,
        erasure_version,
    )
    .chunks()
    .collect::<Vec<_>>()
    .concat()
}

/// Returns the error of a start on a bucket with this object.
async fn recovery_error(key: &ObjectKey, body: impl Into<Bytes>) -> String {
    let bucket = Arc::<Bucket>::default();
    plant(&bucket, key, body);
    let refused = Instance::start(&bucket)
        .await
        .err()
        .unwrap_or_else(|| panic!("{key} is passed over"));
    refused.to_string()
}

fn assert_contains(recovery_error: &str, words: &[&str]) {
    for word in words {
        assert!(
            recovery_error.contains(word),
            "{word:?} is not in {recovery_error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn unreadable_object_stops_recovery_with_advice() {
    let whole = Bytes::from(gzip("{\"alleycat\":\"journal\",\"version\":1}\n"));
    let cut_short = whole.slice(..whole.len() - 5);
    for key in [foreign_segment(), history(1), ObjectKey::Racers] {
        let way_out = format!("move it to quarantine/{key}");
        for body in [
            Bytes::from_static(b"no gzip"),
            Bytes::new(),
            cut_short.clone(),
            gzip("no json").into(),
        ] {
            let words = [
                &*key.path(),
                &*way_out,
                "until the deliveries of that time are replayed",
            ];
            assert_contains(&recovery_error(&key, body).await, &words);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn newer_format_stops_recovery() {
    let newer = gzip("{\"alleycat\":\"journal\",\"version\":2}\n");
    assert_contains(
        &recovery_error(&foreign_segment(), newer).await,
        &[
            &foreign_segment().path(),
            "version 2",
            "up to 1",
            "newer program",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn data_beyond_the_options_stops_recovery() {
    let line = |class: u16, second: u32| {
        let line =
            format!("{{\"classId\":{class},\"second\":{second},\"racerId\":4,\"output\":33.25}}");
        gzip(format!(
            "{{\"alleycat\":\"journal\",\"version\":1}}\n{line}\n"
        ))
    };
    let path = foreign_segment().path();
    assert_contains(
        &recovery_error(&foreign_segment(), line(4, 1)).await,
        &[&path, "class 4", "--classes is 3"],
    );
    assert_contains(
        &recovery_error(&foreign_segment(), line(1, 10)).await,
        &[&path, "second 10", "--max-second is 9"],
    );

    let table = alleycat::state::table::Table::new(4);
    table.merge(
        &[
            Effort {
                second: Second(10),
                ..effort(4, 1, 1.0)
            },
            Effort {
                second: Second(10),
                ..effort(1, 1, 1.0)
            },
        ],
        0,
    );
    let stored = |class: u16| {
        let class = ClassId::new(class).unwrap();
        let empty = alleycat::storage::history_file::History::empty(0);
        alleycat::storage::history_file::History::build(&table, class, &empty, 0)
            .chunks()
            .collect::<Vec<_>>()
            .concat()
    };
    assert_contains(
        &recovery_error(&history(4), stored(4)).await,
        &["class-4.gz", "--classes is 3", "--classes 4"],
    );
    assert_contains(
        &recovery_error(&history(1), stored(1)).await,
        &["class-1.gz", "second 10", "--max-second is 9"],
    );
}

#[tokio::test(start_paused = true)]
async fn segment_folded_during_recovery_is_not_missed() {
    let class = ClassId::new(1).unwrap();
    let table = alleycat::state::table::Table::new(1);
    table.merge(&[effort(1, 4, 33.25)], 0);
    let folded = alleycat::storage::history_file::History::build(
        &table,
        class,
        &alleycat::storage::history_file::History::empty(0),
        0,
    );
    let folded: Vec<_> = folded.chunks().collect();
    let line = "{\"classId\":1,\"second\":1,\"racerId\":4,\"output\":33.25}";
    let segment = Bytes::from(gzip(format!(
        "{{\"alleycat\":\"journal\",\"version\":1}}\n{line}\n"
    )));
    let mut recovered_while_folding = 0;
    for moment in (0..3000).step_by(20).map(Duration::from_millis) {
        let bucket = Arc::new(Bucket::default());
        bucket.put(
            &foreign_segment(),
            std::slice::from_ref(&segment),
            &Precondition::IfNoneMatch,
        );
        let other = bucket.clone();
        let folded = folded.clone();
        // Another instance's snapshot and deletion, closer together than they ever are.
        let folding = tokio::spawn(async move {
            sleep(moment).await;
            other.put(&history(1), &folded, &Precondition::IfNoneMatch);
            other.remove(&foreign_segment());
        });
        let instance = Instance::start(&bucket).await.unwrap();
        recovered_while_folding += usize::from(folding.is_finished());
        assert_eq!(
            instance.output(1, 4),
            Some(33.25),
            "folded after {moment:?}"
        );
        assert_eq!(
            instance.ledger.table().summary(class).updated_at_ms,
            None,
            "a recovery is no change"
        );
        instance.task.abort();
        folding.abort();
    }
    assert!(
        recovered_while_folding > 10,
        "{recovered_while_folding} recoveries were met by it"
    );
}
