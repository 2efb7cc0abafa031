//! Stores that did not fall back, although it looks so: nothing may be counted.

use alleycat::domain::race_row::RaceRow;
use alleycat::ledger::BatchRow;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::fallback::restore;
use super::*;
use crate::lapses::fallbacks;

/// Records metrics on this thread until the guard is dropped.
macro_rules! record {
    ($recorded:ident) => {
        let recorder = PrometheusBuilder::new().build_recorder();
        let $recorded = recorder.handle();
        let _recording = metrics::set_default_local_recorder(&recorder);
    };
}

/// A final of race 77 that expires this long after the start of the simulation.
fn final_of(racer: u64, expires_in: Duration) -> RaceRow {
    let at_ms = EPOCH_MS + (expires_in.as_millis() as u64) - RACES_KEPT.as_millis() as u64;
    let effort = Effort {
        time: at_ms,
        ..effort(1, racer, 20.0)
    };
    RaceRow::new(&effort, true, at_ms).unwrap()
}

async fn finish(instance: &Instance, row: RaceRow) {
    let batch = WriteBatch {
        race_finals: vec![BatchRow { row, index: 0 }],
        ..WriteBatch::default()
    };
    instance.ledger.commit(batch).await.unwrap();
}

fn races() -> ObjectKey {
    ObjectKey::Races(ClassId::new(1).unwrap())
}

fn reads(instance: &Instance, key: &ObjectKey) -> usize {
    instance.store.gets().iter().filter(|it| *it == key).count()
}

/// Starts an instance. Another one owns the snapshot, which holds this body.
async fn beside_an_owner(
    bucket: &Arc<Bucket>,
    key: &ObjectKey,
    body: impl Into<Bytes>,
) -> Instance {
    let instance = Instance::start(bucket).await.unwrap();
    plant(bucket, key, body);
    sleep(ROOT_SHOWN).await;
    instance
}

/// Starts an instance beside the owner of the history of class 1.
async fn beside_an_owner_of_class_1(bucket: &Arc<Bucket>) -> Instance {
    beside_an_owner(bucket, &history(1), history_of(&[effort(1, 1, 20.0)], 0)).await
}

/// Puts the history of class 1 with two racers, as its owner does.
fn owner_covers(bucket: &Bucket) {
    let efforts = [effort(1, 1, 20.0), effort(1, 2, 20.0)];
    restore(bucket, &history(1), history_of(&efforts, 0).into());
}

/// Expects that nothing is taken for a loss, and that nothing is put.
async fn expect_silence(instance: &Instance, recorded: &PrometheusHandle) {
    let puts = instance.snapshots();
    sleep(ROOT_SHOWN + SNAPSHOT_INTERVAL).await;
    assert_eq!(fallbacks(recorded), 0);
    assert_eq!(instance.snapshots(), puts);
}

/// The response to a put comes after a listing has shown what replaced it.
#[tokio::test(start_paused = true)]
async fn late_response_is_no_fallback_of_what_has_replaced_the_body() {
    for lacks_some in [false, true] {
        record!(recorded);
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
        instance.way.set_defects(Defects {
            late_responses: ROOT_SHOWN * 2,
            ..Defects::default()
        });
        time_until(|| stored(&bucket).is_some()).await;
        instance.way.set_defects(Defects::default());
        let mut efforts = vec![effort(1, 1, 20.0), effort(1, 2, 20.0)];
        efforts.drain(..usize::from(lacks_some));
        restore(&bucket, &history(1), history_of(&efforts, 0).into());
        sleep(ROOT_SHOWN * 4).await;
        assert_eq!(fallbacks(&recorded), u32::from(lacks_some));
        assert_eq!(instance.snapshots().len(), 1 + usize::from(lacks_some));
        assert_eq!(stored(&bucket).as_deref(), Some(r#"{"1":{"1":20,"2":20}}"#));
        assert_eq!(instance.output(1, 2), Some(20.0));
    }
}

/// Once a row has expired, races may be equal to those of before it. If it has not, they fell back.
#[tokio::test(start_paused = true)]
async fn races_that_expire_may_be_as_they_were() {
    for expires in [true, false] {
        record!(recorded);
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        finish(&instance, final_of(1, RACES_KEPT)).await;
        time_until(|| bucket.get("races-1.gz").is_some()).await;
        let earlier = bucket.get("races-1.gz").unwrap().body;
        let expires_in = if expires { 600 } else { 6_000 };
        finish(&instance, final_of(2, Duration::from_secs(expires_in))).await;
        time_until(|| segments(&bucket).is_empty()).await;
        let newest = bucket.get("races-1.gz").unwrap().body;
        sleep(Duration::from_secs(700)).await;
        let reads_before = reads(&instance, &races());
        restore(&bucket, &races(), earlier);
        if expires {
            expect_silence(&instance, &recorded).await;
            assert_eq!(reads(&instance, &races()) - reads_before, 1);
        } else {
            time_until(|| bucket.get("races-1.gz").unwrap().body == newest).await;
        }
    }
}

/// A poll that does not list the root hangs. Meanwhile the owner covers a segment, and deletes it.
#[tokio::test(start_paused = true)]
async fn segment_that_goes_during_a_slow_poll_is_no_loss() {
    record!(recorded);
    let bucket = Arc::<Bucket>::default();
    let instance = beside_an_owner_of_class_1(&bucket).await;
    plant(&bucket, &foreign_segment(), segment_of(1, 1, 2, 20.0));
    time_until(|| instance.output(1, 2) == Some(20.0)).await;
    listings::root_is_listed(&instance).await;
    sleep(SYNC_INTERVAL / 2).await;
    instance.way.set_defects(Defects {
        slow_journal: Duration::from_secs(70),
        ..Defects::default()
    });
    sleep(SYNC_INTERVAL).await; // the poll waits
    instance.way.set_defects(Defects::default());
    owner_covers(&bucket);
    sleep(Duration::from_secs(65)).await;
    bucket.remove(&foreign_segment());
    expect_silence(&instance, &recorded).await;
}

/// The owner covers a segment, and the listing shows that, before its put has a response.
#[tokio::test(start_paused = true)]
async fn segment_that_was_covered_before_its_put_ended_is_no_loss() {
    record!(recorded);
    let bucket = Arc::<Bucket>::default();
    let instance = beside_an_owner_of_class_1(&bucket).await;
    instance.way.set_defects(Defects {
        late_responses: Duration::from_secs(25),
        ..Defects::default()
    });
    let committing = instance.committing(effort(1, 2, 20.0));
    time_until(|| segments(&bucket).len() == 3).await; // with two hedges
    owner_covers(&bucket);
    sleep(ROOT_SHOWN).await;
    assert_eq!(instance.output(1, 2), None);
    committing.await.unwrap().unwrap();
    sleep(Duration::from_secs(60)).await;
    for path in segments(&bucket) {
        bucket.remove(&ObjectKey::parse(&path).unwrap());
    }
    expect_silence(&instance, &recorded).await;
}

/// An instance that starts after a row has expired merges nothing. So no snapshot has to change before
/// it deletes the segment.
#[tokio::test(start_paused = true)]
async fn segment_whose_rows_have_expired_goes_without_a_snapshot() {
    record!(recorded);
    let other = Arc::<Bucket>::default();
    let owner = Instance::start(&other).await.unwrap();
    finish(&owner, final_of(1, RACES_KEPT)).await;
    time_until(|| other.get("races-1.gz").is_some()).await;
    let body = other.get("races-1.gz").unwrap().body;
    owner.task.abort();
    let bucket = Arc::<Bucket>::default();
    let instance = beside_an_owner(&bucket, &races(), body).await;
    let at_ms = instance.ledger.now_ms() + 100_000 - RACES_KEPT.as_millis() as u64;
    let segment = format!(
        "{{\"alleycat\":\"journal\",\"version\":2}}\n\
         {{\"classId\":1,\"second\":1,\"racerId\":2,\"output\":1,\"raceId\":77,\"at\":{at_ms}}}\n"
    );
    plant(&bucket, &foreign_segment(), gzip(segment));
    let rows = || instance.ledger.races().rows(ClassId::new(1).unwrap());
    time_until(|| rows() == 1).await;
    time_until(|| rows() == 0).await;
    bucket.remove(&foreign_segment());
    expect_silence(&instance, &recorded).await;
}

/// An instance that knows an erasure of all that a segment holds deletes it. No snapshot has to change.
#[tokio::test(start_paused = true)]
async fn segment_that_is_erased_goes_without_a_snapshot() {
    for is_read_again in [true, false] {
        record!(recorded);
        let bucket = Arc::<Bucket>::default();
        let instance = beside_an_owner_of_class_1(&bucket).await;
        plant(&bucket, &foreign_segment(), segment_of(1, 1, 2, 20.0));
        time_until(|| instance.output(1, 2) == Some(20.0)).await;
        let stalled = (!is_read_again).then(foreign_segment);
        instance.way.set_defects(Defects {
            stalled: stalled.into_iter().collect(),
            ..Defects::default()
        });
        let scope = ErasureScope::all(RacerId(2), None);
        let erasures = Erasures::default().with(scope, EPOCH_MS, None).unwrap();
        plant(&bucket, &ObjectKey::Erasures, gzip(erasures.to_json()));
        time_until(|| instance.output(1, 2).is_none()).await;
        sleep(SYNC_INTERVAL * 2).await;
        bucket.remove(&foreign_segment());
        sleep(ROOT_SHOWN).await;
        assert_eq!(fallbacks(&recorded), 0);
    }
}
