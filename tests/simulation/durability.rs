//! What the ledger promises about durability, one promise a test, in virtual time.

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
use crate::bucket::{Bucket, Faults, FaultyStore, SimulatedClock, gunzip};

const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(20);
const SYNC_INTERVAL: Duration = Duration::from_secs(2);

struct Instance {
    ledger: Ledger,
    /// Sound, until a test breaks it.
    store: Arc<BrokenStore>,
    way: Arc<FaultyStore>,
    task: JoinHandle<Result<(), RecoveryError>>,
    _stop: oneshot::Sender<()>,
}

impl Instance {
    /// Starts an instance over that bucket, and waits until it is ready or gives up.
    async fn start(bucket: &Arc<Bucket>) -> Result<Self, RecoveryError> {
        let clock = Arc::new(SimulatedClock::new(Instant::now(), 0));
        let way = Arc::new(FaultyStore::new(
            bucket.clone(),
            clock.clone(),
            Faults::default(),
            1,
        ));
        let store = BrokenStore::over(way.clone());
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

    /// A commit under way.
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

    /// What it put, but for segments.
    fn snapshots(&self) -> Vec<ObjectKey> {
        self.store
            .puts()
            .into_iter()
            .filter(|key| !matches!(key, ObjectKey::Segment(_)))
            .collect()
    }
}

fn effort(class: u16, racer: u64, output: f64) -> Effort {
    Effort {
        class: ClassId::new(class).unwrap(),
        second: Second(1),
        racer: RacerId(racer),
        output: Output::new(output).unwrap(),
        race: Some(RaceId(77)),
        time: 5,
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

/// The lines of the only segment.
fn only_segment(bucket: &Bucket) -> Vec<serde_json::Value> {
    let paths = segments(bucket);
    assert_eq!(paths.len(), 1, "{paths:?}");
    gunzip(&bucket.get(&paths[0]).unwrap().body)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Waits until it is so, looking every 100 ms, and says how long it took.
async fn took(is_so: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < Duration::from_secs(1000),
            "it does not come to be"
        );
        sleep(Duration::from_millis(100)).await;
    }
    began.elapsed()
}

fn gzip(text: &str) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap().into()
}

/// Puts an object into the bucket as another program would.
fn plant(bucket: &Bucket, key: &ObjectKey, body: impl Into<Bytes>) {
    bucket
        .put(key, &[body.into()], &Precondition::IfNoneMatch)
        .expect("it is not there yet");
}

fn foreign_segment() -> ObjectKey {
    ObjectKey::Segment(SegmentId {
        time_ms: 1,
        process: 2,
        counter: 3,
    })
}

#[tokio::test(start_paused = true)]
async fn a_segment_tells_its_format_version_and_then_only_improvements_each_with_its_race_and_time()
{
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
async fn a_put_whose_outcome_is_unknown_is_done_again_under_a_new_key() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.turn(Mode::Lies);
    let committing = instance.committing(effort(1, 1, 20.0));
    instance.store.has_begun(1).await;
    instance.store.turn(Mode::Sound);
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
async fn a_put_of_over_a_second_is_hedged_under_a_new_key_and_the_first_success_wins() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.turn(Mode::Hangs);
    let committing = instance.committing(effort(1, 1, 20.0));
    instance.store.has_begun(1).await;
    let began = Instant::now();
    instance.store.has_begun(2).await;
    let hedged = began.elapsed().as_millis();
    assert!((1000..1100).contains(&hedged), "{hedged} ms");
    assert!(!committing.is_finished());
    instance.store.turn(Mode::Sound);
    committing.await.unwrap().unwrap();
    let puts = instance.store.puts();
    assert!(puts.len() == 2 && puts[0] != puts[1], "{puts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_given_up_after_a_bounded_number_of_tries_and_of_seconds() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.turn(Mode::Hangs);
    let began = Instant::now();
    let refused = instance.commit(&[effort(1, 1, 20.0)]).await.unwrap_err();
    assert!(matches!(refused, CommitError::Store(_)), "{refused}");
    assert_eq!(
        (began.elapsed().as_secs(), instance.store.segments()),
        (30, 3)
    );
    assert_eq!(instance.output(1, 1), None);
    instance.store.turn(Mode::Sound);
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lone_delivery_commits_at_once_and_all_that_waits_goes_into_the_next_segment() {
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
async fn a_retry_that_races_its_first_try_is_journaled_again_rather_than_acknowledged_early() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.turn(Mode::FallsSilent);
    let first = instance.committing(effort(1, 1, 20.0));
    instance.store.has_begun(1).await;
    let second = instance.committing(effort(1, 1, 20.0));
    instance.store.has_begun(3).await; // hedges of the first
    sleep(Duration::from_secs(10)).await;
    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!(instance.output(1, 1), None, "written, but not known to be");
    instance.store.turn(Mode::Sound);
    assert_eq!(first.await.unwrap().unwrap().improvements, 1);
    assert_eq!(
        second.await.unwrap().unwrap().improvements,
        0,
        "compared after the first was merged"
    );
}

#[tokio::test(start_paused = true)]
async fn only_what_is_dirty_is_snapshot_and_no_sooner_than_the_interval_allows() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    took(|| bucket.get("class-1.gz").is_some()).await;
    sleep(SNAPSHOT_INTERVAL * 3).await;
    assert_eq!(instance.snapshots(), [history(1)]);
    instance.commit(&[effort(2, 1, 20.0)]).await.unwrap();
    took(|| bucket.get("class-2.gz").is_some()).await;
    instance.commit(&[effort(2, 1, 21.0)]).await.unwrap();
    let again = took(|| instance.snapshots().len() == 3).await;
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
    took(|| bucket.get("racers.gz").is_some()).await;
    assert_eq!(instance.snapshots()[3..], [ObjectKey::Racers]);
}

#[tokio::test(start_paused = true)]
async fn a_covered_segment_stays_for_sixty_seconds() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance
        .commit(&[effort(1, 1, 20.0), effort(2, 1, 20.0)])
        .await
        .unwrap();
    took(|| bucket.get("class-1.gz").is_some() && bucket.get("class-2.gz").is_some()).await;
    let stayed = took(|| segments(&bucket).is_empty()).await;
    assert!((60..65).contains(&stayed.as_secs()), "{stayed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_build_that_equals_what_was_read_is_not_put_and_covers_all_the_same() {
    let bucket = Arc::default();
    let first = Instance::start(&bucket).await.unwrap();
    first.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    took(|| bucket.get("class-1.gz").is_some()).await;
    first.task.abort();
    let second = Instance::start(&bucket).await.unwrap();
    assert_eq!(segments(&bucket).len(), 1);
    took(|| segments(&bucket).is_empty()).await;
    assert_eq!(second.store.puts(), []);
    assert_eq!(second.output(1, 1), Some(20.0));
}

#[tokio::test(start_paused = true)]
async fn a_segment_is_found_whatever_its_key_since_every_look_lists_the_whole_journal() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    let line = r#"{"classId":3,"second":1,"racerId":4,"output":33.25}"#;
    let body = gzip(&format!(
        "{{\"alleycat\":\"journal\",\"version\":1}}\n{line}\n"
    ));
    plant(&bucket, &foreign_segment(), body); // of 1970, and of a process that sorts before any other
    let seen = took(|| instance.output(3, 4) == Some(33.25)).await;
    assert!(seen < SYNC_INTERVAL * 2, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_has_not_listed_for_fifteen_seconds_refuses_deliveries_until_it_has() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.way.set_faults(Faults {
        refused: 1.0,
        ..Faults::default()
    });
    let patient = took(|| instance.ledger.accepts().is_err()).await;
    assert!((12..=16).contains(&patient.as_secs()), "{patient:?}");
    assert!(matches!(
        instance.commit(&[effort(1, 1, 20.0)]).await,
        Err(CommitError::ReplicationLag)
    ));
    instance.way.set_faults(Faults::default());
    assert!(took(|| instance.ledger.accepts().is_ok()).await < SYNC_INTERVAL * 2);
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_read_while_following_makes_the_instance_unready_until_it_is_gone()
{
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    plant(&bucket, &foreign_segment(), "no gzip");
    took(|| instance.ledger.ready().is_err()).await;
    let problem = instance.ledger.ready().unwrap_err();
    assert!(problem.contains(&foreign_segment().path()), "{problem}");
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    bucket.remove(&foreign_segment());
    took(|| instance.ledger.ready().is_ok()).await;
}

/// A segment of one effort of class 1, as another instance would have written it.
fn segment_of(racer: u64, output: f64) -> Bytes {
    let line = format!("{{\"classId\":1,\"second\":1,\"racerId\":{racer},\"output\":{output}}}");
    gzip(&format!(
        "{{\"alleycat\":\"journal\",\"version\":1}}\n{line}\n"
    ))
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_while_away_for_thirty_seconds_is_read_from_the_snapshots() {
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
        // A segment that came, was folded and went: of 26 s nobody can tell, since a segment stays for 60.
        plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
        sleep(away).await;
        let read_before = instance.store.gets().len();
        instance.way.set_faults(Faults::default());
        took(|| instance.ledger.accepts().is_ok()).await;
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
async fn a_segment_that_is_gone_when_it_is_to_be_read_is_read_from_the_snapshots() {
    let mut was_gone = 0;
    for moment in (2000..3000).step_by(20).map(Duration::from_millis) {
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        plant(&bucket, &foreign_segment(), segment_of(4, 33.25));
        sleep(moment).await;
        plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
        bucket.remove(&foreign_segment());
        if instance.store.gets().contains(&foreign_segment()) {
            took(|| instance.output(1, 4) == Some(33.25)).await;
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
async fn no_snapshot_is_taken_of_a_class_whose_object_does_not_read_until_it_is_gone() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    took(|| bucket.get("class-1.gz").is_some()).await;
    took(|| segments(&bucket).is_empty()).await;
    bucket.remove(&history(1));
    plant(&bucket, &history(1), "no gzip");
    instance
        .commit(&[effort(1, 2, 20.0), effort(2, 1, 20.0)])
        .await
        .unwrap();
    took(|| instance.ledger.ready().is_err()).await;
    says(
        &instance.ledger.ready().unwrap_err(),
        &["class-1.gz cannot be read"],
    );
    took(|| bucket.get("class-2.gz").is_some()).await;
    let tried = instance.snapshots();
    instance.commit(&[effort(1, 3, 20.0)]).await.unwrap();
    sleep(SNAPSHOT_INTERVAL * 5).await;
    assert_eq!(instance.snapshots(), tried);
    assert_eq!(bucket.get("class-1.gz").unwrap().body, "no gzip");

    bucket.remove(&history(1));
    assert!(took(|| instance.ledger.ready().is_ok()).await < SYNC_INTERVAL * 2);
    took(|| bucket.get("class-1.gz").is_some()).await;
    let stored = gunzip(&bucket.get("class-1.gz").unwrap().body);
    assert_eq!(stored, r#"{"1":{"1":20,"2":20,"3":20}}"#);
}

#[tokio::test(start_paused = true)]
async fn no_snapshot_is_taken_while_a_segment_does_not_read() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    plant(&bucket, &foreign_segment(), "no gzip");
    took(|| instance.ledger.ready().is_err()).await;
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    sleep(SNAPSHOT_INTERVAL * 5).await;
    assert_eq!(instance.snapshots(), [], "it may be of any class");
    // A newer program could read it, and folded it.
    plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
    bucket.remove(&foreign_segment());
    assert!(took(|| instance.output(1, 4) == Some(33.25)).await < SYNC_INTERVAL * 2);
    took(|| gunzip(&bucket.get("class-1.gz").unwrap().body) == r#"{"1":{"1":20,"4":33.25}}"#).await;
}

#[tokio::test(start_paused = true)]
async fn another_takes_a_class_over_once_its_segments_have_waited_for_three_intervals_beyond_their_grace()
 {
    let bucket = Arc::default();
    let first = Instance::start(&bucket).await.unwrap();
    let second = Instance::start(&bucket).await.unwrap();
    first.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    // Both claim what nobody wrote before; one is first, and the other sees it and stands back.
    took(|| bucket.get("class-1.gz").is_some()).await;
    took(|| segments(&bucket).is_empty()).await;
    let (writer, other) = if first.snapshots().is_empty() {
        (second, first)
    } else {
        (first, second)
    };
    let puts_before = other.snapshots();
    writer.commit(&[effort(1, 2, 20.0)]).await.unwrap();
    writer.task.abort();
    took(|| other.output(1, 2) == Some(20.0)).await;
    let waited = took(|| other.snapshots() != puts_before).await;
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
async fn an_erasure_is_durable_before_it_is_answered_and_lies_half_a_minute_ahead() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance
        .commit(&[effort(1, 1, 20.0), effort(1, 2, 20.0), effort(2, 1, 20.0)])
        .await
        .unwrap();
    let now_ms = instance.ledger.now_ms();
    let Erased { erasure, efforts } = erase(&instance, None).await;
    assert_eq!((efforts, erasure.version), (1, 1));
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
    // A retry of what was ridden before is acknowledged, and changes nothing.
    assert_eq!(
        instance.commit(&[effort(1, 1, 30.0)]).await.unwrap(),
        CommitResult::default()
    );
    assert_eq!(instance.output(1, 1), None);
}

#[tokio::test(start_paused = true)]
async fn an_erasure_that_is_slow_to_write_is_written_again_with_a_later_time() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.turn(Mode::Hangs);
    let (ledger, began_ms) = (instance.ledger.clone(), instance.ledger.now_ms());
    let scope = ErasureScope::all(RacerId(1), None);
    let erasing = tokio::spawn(async move { ledger.erase(scope, None).await });
    sleep(Duration::from_secs(12)).await;
    instance.store.turn(Mode::Sound);
    let erased = erasing.await.unwrap().unwrap();
    assert!(
        erased.erasure.until_ms >= began_ms + 40_000,
        "{} ms",
        erased.erasure.until_ms - began_ms
    );
}

#[tokio::test(start_paused = true)]
async fn an_erasure_that_cannot_be_written_is_in_the_way_of_nothing_else() {
    for mode in [Mode::Fails, Mode::Hangs] {
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        instance.store.turn(mode);
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
async fn an_erasure_is_written_into_the_snapshot_though_nothing_else_changes_and_leaves_the_journal()
 {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    took(|| bucket.get("class-1.gz").is_some()).await;
    for (version, above) in [(1, Some(10.0)), (2, None)] {
        erase(&instance, above).await;
        let heeds = || {
            let stored = bucket.get("class-1.gz").unwrap().body;
            (
                StoredHistory::open(&stored).unwrap().erasure_version(),
                gunzip(&stored),
            ) == (version, "{}".to_owned())
        };
        assert!(took(heeds).await <= SNAPSHOT_INTERVAL + Duration::from_secs(3));
    }
    assert!(took(|| segments(&bucket).is_empty()).await < Duration::from_secs(65));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_slow_puts_no_snapshot_off() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let improve = async |output| instance.commit(&[effort(1, 1, output)]).await.unwrap();
    improve(20.0).await;
    instance.store.turn(Mode::Hangs);
    took(|| instance.snapshots().len() == 1).await;
    sleep(Duration::from_secs(9)).await;
    instance.store.turn(Mode::Sound);
    took(|| bucket.get("class-1.gz").is_some()).await;
    improve(21.0).await;
    let holds = || gunzip(&bucket.get("class-1.gz").unwrap().body) == r#"{"1":{"1":21}}"#;
    assert!(took(holds).await <= SNAPSHOT_INTERVAL + Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_best_beneath_a_glitch_comes_back_from_the_journal_and_is_journaled_anew() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    instance.commit(&[effort(1, 1, 90.0)]).await.unwrap();
    erase(&instance, Some(50.0)).await;
    assert_eq!(instance.output(1, 1), None);
    took(|| instance.output(1, 1) == Some(20.0)).await;
    took(|| instance.store.segments() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn what_heeds_an_erasure_that_is_not_known_is_not_taken_in_before_it_is() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let line = r#"{"classId":3,"second":1,"racerId":4,"output":33.25}"#;
    let body = gzip(&format!(
        "{{\"alleycat\":\"journal\",\"version\":1,\"erasures\":1}}\n{line}\n"
    ));
    plant(&bucket, &foreign_segment(), body.clone());
    took(|| instance.ledger.ready().is_err()).await;
    says(
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
    plant(
        &bucket,
        &ObjectKey::Erasures,
        gzip(&String::from_utf8(erasures.to_json()).unwrap()),
    );
    took(|| instance.ledger.ready().is_ok()).await;
    assert_eq!(instance.output(3, 4), Some(33.25));

    says(
        &refusal(&foreign_segment(), body).await,
        &[
            &foreign_segment().path(),
            "erasure version 1",
            "erasures.gz is at version 0",
        ],
    );
    let history = history_of(&[effort(1, 1, 1.0)], 7);
    says(
        &refusal(&self::history(1), history).await,
        &[
            "class-1.gz",
            "erasure version 7",
            "erasures.gz is at version 0",
        ],
    );
    let damaged = refusal(&ObjectKey::Erasures, gzip("{}")).await;
    says(
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
async fn what_was_erased_is_written_again_where_its_object_has_gone() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let erased = erase(&instance, None).await.erasure;
    for mode in [Mode::Fails, Mode::Hangs] {
        instance.store.turn(mode);
        bucket.remove(&ObjectKey::Erasures);
        for second in 0..40 {
            sleep(Duration::from_secs(1)).await;
            assert!(
                instance.ledger.accepts().is_ok(),
                "{mode:?}: after {second} s"
            );
        }
        instance.store.turn(Mode::Sound);
        took(|| bucket.erasures().find(&erased.scope) == Some(&erased)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_erasures_that_never_read_is_forgotten_when_it_has_gone() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    plant(&bucket, &ObjectKey::Erasures, "garbage");
    took(|| instance.ledger.ready().is_err()).await;
    bucket.remove(&ObjectKey::Erasures);
    took(|| instance.ledger.ready().is_ok()).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_erased_reads_again_where_its_object_is_put_back_as_it_was() {
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
    took(|| instance.ledger.ready().is_err()).await;
    replace(stored);
    assert!(took(|| instance.ledger.ready().is_ok()).await < SYNC_INTERVAL * 2);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_has_gone_is_written_again_though_nothing_else_changes() {
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
    took(|| bucket.get("class-1.gz").is_some() && bucket.get("racers.gz").is_some()).await;
    took(|| segments(&bucket).is_empty()).await;
    for key in [history(1), ObjectKey::Racers] {
        bucket.remove(&key);
        let again = took(|| bucket.get(&key.path()).is_some()).await;
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
async fn erasures_without_end_keep_no_segment_in_the_journal() {
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
            sleep(Duration::from_secs(13)).await; // out of step with the snapshots
        }
        let left = segments(&bucket);
        assert!(
            written.iter().all(|old| !left.contains(old)),
            "{above:?}: {left:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_erased_racer_leaves_room_and_what_is_gone_takes_none() {
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

/// A stored history that has heeded the erasures up to that version.
fn history_of(efforts: &[Effort], heeded: u64) -> Vec<u8> {
    let table = alleycat::state::table::Table::new(3);
    table.merge(efforts, 0);
    let empty = alleycat::storage::history_file::History::empty(0);
    alleycat::storage::history_file::History::build(
        &table,
        ClassId::new(1).unwrap(),
        &empty,
        heeded,
    )
    .chunks()
    .collect::<Vec<_>>()
    .concat()
}

/// What a start over a bucket with that object says.
async fn refusal(key: &ObjectKey, body: impl Into<Bytes>) -> String {
    let bucket = Arc::<Bucket>::default();
    plant(&bucket, key, body);
    let refused = Instance::start(&bucket)
        .await
        .err()
        .unwrap_or_else(|| panic!("{key} is passed over"));
    refused.to_string()
}

fn says(refusal: &str, words: &[&str]) {
    for word in words {
        assert!(refusal.contains(word), "{word:?} is not in {refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_read_stops_the_start_by_name_with_the_way_out_and_what_it_costs() {
    let whole = gzip("{\"alleycat\":\"journal\",\"version\":1}\n");
    let cut_short = whole.slice(..whole.len() - 5);
    for key in [foreign_segment(), history(1), ObjectKey::Racers] {
        let way_out = format!("move it to quarantine/{key}");
        for body in [
            Bytes::from_static(b"no gzip"),
            Bytes::new(),
            cut_short.clone(),
            gzip("no json"),
        ] {
            let words = [
                &*key.path(),
                &*way_out,
                "until the deliveries of that time are replayed",
            ];
            says(&refusal(&key, body).await, &words);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_of_a_newer_format_stops_the_start() {
    let newer = gzip("{\"alleycat\":\"journal\",\"version\":2}\n");
    says(
        &refusal(&foreign_segment(), newer).await,
        &[
            &foreign_segment().path(),
            "version 2",
            "up to 1",
            "newer program",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_beyond_the_options_stops_the_start_and_both_are_named() {
    let line = |class: u16, second: u32| {
        let line =
            format!("{{\"classId\":{class},\"second\":{second},\"racerId\":4,\"output\":33.25}}");
        gzip(&format!(
            "{{\"alleycat\":\"journal\",\"version\":1}}\n{line}\n"
        ))
    };
    let path = foreign_segment().path();
    says(
        &refusal(&foreign_segment(), line(4, 1)).await,
        &[&path, "class 4", "--classes is 3"],
    );
    says(
        &refusal(&foreign_segment(), line(1, 10)).await,
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
    says(
        &refusal(&history(4), stored(4)).await,
        &["class-4.gz", "--classes is 3", "--classes 4"],
    );
    says(
        &refusal(&history(1), stored(1)).await,
        &["class-1.gz", "second 10", "--max-second is 9"],
    );
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_is_folded_at_any_moment_of_a_recovery_is_not_missed() {
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
    let segment = gzip(&format!(
        "{{\"alleycat\":\"journal\",\"version\":1}}\n{line}\n"
    ));
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
        // Another instance's snapshot and its deletion, as close to one another as they never are.
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
