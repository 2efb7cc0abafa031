//! A store that falls back: what memory holds is written again.

use alleycat::domain::erasure::Erasure;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;
use crate::lapses::fallbacks;

/// Puts an earlier body in place of an object, as a restore by hand does.
pub(super) fn restore(bucket: &Bucket, key: &ObjectKey, body: Bytes) {
    let etag = bucket.get(&key.path()).unwrap().etag;
    bucket.remove(key);
    let restored = bucket.put(key, &[body], &Precondition::IfNoneMatch);
    assert_ne!(restored.unwrap(), etag, "it is another body");
}

/// Commits two rides, each with a snapshot of its own. Returns the first snapshot.
async fn two_snapshots(instance: &Instance, bucket: &Bucket) -> Bytes {
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| stored(bucket).is_some()).await;
    let first = bucket.get("class-1.gz").unwrap().body;
    sleep(ROOT_SHOWN).await; // a listing shows it
    instance.commit(&[effort(1, 2, 20.0)]).await.unwrap();
    time_until(|| stored(bucket).as_deref() == Some(BOTH)).await;
    sleep(ROOT_SHOWN).await;
    first
}

const BOTH: &str = r#"{"1":{"1":20,"2":20}}"#;

#[tokio::test(start_paused = true)]
async fn snapshot_that_fell_back_is_written_again() {
    for waits_for_deletion in [false, true] {
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        let first = two_snapshots(&instance, &bucket).await;
        if waits_for_deletion {
            time_until(|| segments(&bucket).is_empty()).await;
        }
        restore(&bucket, &history(1), first);
        let took = time_until(|| stored(&bucket).as_deref() == Some(BOTH)).await;
        assert!(
            took <= ROOT_SHOWN + SNAPSHOT_INTERVAL + Duration::from_secs(3),
            "{took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn segment_stays_while_another_snapshot_than_the_covering_is_listed() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| stored(&bucket).is_some()).await;
    sleep(ROOT_SHOWN).await;
    // A body that this instance has never seen: an older backup, or another instance's.
    restore(
        &bucket,
        &history(1),
        history_of(&[effort(1, 9, 1.0)], 0).into(),
    );
    let began = Instant::now();
    while !segments(&bucket).is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(1000),
            "it is never deleted"
        );
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stored(&bucket).as_deref(), Some(r#"{"1":{"1":20,"9":1}}"#));
}

#[tokio::test(start_paused = true)]
async fn segment_that_vanished_uncovered_is_written_again() {
    for is_own in [true, false] {
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
        time_until(|| stored(&bucket).is_some()).await;
        // The next snapshot is not due yet.
        if is_own {
            instance.commit(&[effort(1, 2, 20.0)]).await.unwrap();
        } else {
            plant(&bucket, &foreign_segment(), segment_of(1, 1, 2, 20.0));
        }
        time_until(|| instance.output(1, 2) == Some(20.0)).await;
        assert_ne!(stored(&bucket).as_deref(), Some(BOTH));
        for path in segments(&bucket) {
            bucket.remove(&ObjectKey::parse(&path).unwrap());
        }
        let took = time_until(|| stored(&bucket).as_deref() == Some(BOTH)).await;
        assert!(
            took <= ROOT_SHOWN + SNAPSHOT_INTERVAL + Duration::from_secs(3),
            "{took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn segment_that_vanished_after_a_start_is_written_again() {
    let bucket = Arc::<Bucket>::default();
    plant(&bucket, &history(1), history_of(&[effort(1, 1, 20.0)], 0));
    plant(&bucket, &foreign_segment(), segment_of(1, 1, 2, 20.0));
    let instance = Instance::recover(&bucket).await;
    assert_eq!(instance.output(1, 2), Some(20.0));
    bucket.remove(&foreign_segment());
    time_until(|| stored(&bucket).as_deref() == Some(BOTH)).await;
}

#[tokio::test(start_paused = true)]
async fn ordinary_deletions_make_no_other_instance_write() {
    let bucket = Arc::<Bucket>::default();
    let writer = Instance::start(&bucket).await.unwrap();
    let other = Instance::start(&bucket).await.unwrap();
    for output in 21..60 {
        let ride = effort(1, 1, f64::from(output));
        writer.commit(&[ride]).await.unwrap();
        sleep(Duration::from_secs(17)).await;
    }
    time_until(|| segments(&bucket).is_empty()).await;
    sleep(SNAPSHOT_INTERVAL * 3).await;
    let puts = [writer.snapshots().len(), other.snapshots().len()];
    // The first writer goes on writing it. The other one writes at most its claim at the start.
    assert!(puts[0].min(puts[1]) <= 1, "{puts:?}");
}

#[tokio::test(start_paused = true)]
async fn instances_that_both_write_have_no_war_of_snapshots() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let recorded = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let bucket = Arc::<Bucket>::default();
    let instances = [
        Instance::start(&bucket).await.unwrap(),
        Instance::start(&bucket).await.unwrap(),
    ];
    let began = Instant::now();
    for step in 0..60u32 {
        for (number, instance) in instances.iter().enumerate() {
            let output = f64::from(2 * step) + number as f64;
            let efforts = [effort(1, 1, output), effort(2, 1, output)];
            instance.commit(&efforts).await.unwrap();
        }
        sleep(Duration::from_secs(7)).await;
    }
    let intervals = began.elapsed().as_secs() / SNAPSHOT_INTERVAL.as_secs();
    time_until(|| segments(&bucket).is_empty()).await;
    let puts: usize = instances.iter().map(|it| it.snapshots().len()).sum();
    // Two classes, once an interval by one owner; half as many again for changes of the owner.
    let puts_max = (intervals as usize + 3) * 2 * 3 / 2;
    assert!(puts <= puts_max, "{puts} puts in {intervals} intervals");
    assert_eq!(fallbacks(&recorded), 0);
}

#[tokio::test(start_paused = true)]
async fn erasures_that_fell_back_are_written_again_with_new_versions() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    let first = erase(&instance, Some(50.0)).await.erasure;
    let earlier = bucket.get("erasures.gz").unwrap().body;
    sleep(ROOT_SHOWN).await;
    let second = erase(&instance, None).await.erasure;
    sleep(ROOT_SHOWN).await;
    restore(&bucket, &ObjectKey::Erasures, earlier);
    let again = || {
        let erasures = bucket.erasures();
        let found = erasures.find(&second.scope).cloned();
        found.filter(|_| erasures.find(&first.scope) == Some(&first))
    };
    let took = time_until(|| again().is_some()).await;
    assert!(took < ROOT_SHOWN, "{took:?}");
    let again = again().unwrap();
    assert_eq!(again.until_ms, second.until_ms);
    assert!(again.version > second.version, "{again:?}");
    assert_eq!(instance.output(1, 1), None);
    time_until(|| {
        let snapshot = bucket.get("class-1.gz");
        snapshot.is_some_and(|it| {
            StoredHistory::open(&it.body).unwrap().erasure_version() == again.version
        })
    })
    .await;
}

/// Starts an instance that erases twice, and then commits a later ride. Returns it with the
/// `erasures.gz` of before the second erasure, and with that erasure.
async fn erased_then_ridden(bucket: &Arc<Bucket>) -> (Instance, Bytes, Erasure) {
    let instance = Instance::start(bucket).await.unwrap();
    erase(&instance, Some(50.0)).await;
    let earlier = bucket.get("erasures.gz").unwrap().body;
    let erased = erase(&instance, None).await.erasure;
    sleep(Duration::from_secs(60)).await;
    let ride = Effort {
        time: instance.ledger.now_ms(),
        ..effort(1, 1, 20.0)
    };
    assert!(ride.time > erased.until_ms);
    instance.commit(&[ride]).await.unwrap();
    (instance, earlier, erased)
}

#[tokio::test(start_paused = true)]
async fn lost_erasure_that_comes_again_erases_no_later_ride() {
    let bucket = Arc::<Bucket>::default();
    let (instance, earlier, erased) = erased_then_ridden(&bucket).await;
    sleep(Duration::from_secs(60)).await;
    restore(&bucket, &ObjectKey::Erasures, earlier);
    let again = || bucket.erasures().find(&erased.scope).cloned();
    time_until(|| again().is_some_and(|it| it.version > erased.version)).await;
    sleep(SNAPSHOT_INTERVAL * 3).await;
    assert_eq!(again().unwrap().until_ms, erased.until_ms);
    assert_eq!(instance.output(1, 1), Some(20.0));
}

/// A snapshot that has not applied an erasure's new version keeps nothing in scope at a start. Here
/// another instance wrote it last, and is gone. So the one that writes the erasure again writes it.
#[tokio::test(start_paused = true)]
async fn lost_erasure_that_comes_again_leaves_later_rides_to_the_next_start() {
    let bucket = Arc::<Bucket>::default();
    let (instance, earlier, erased) = erased_then_ridden(&bucket).await;
    time_until(|| stored(&bucket).is_some_and(|it| it.contains("20"))).await;
    time_until(|| segments(&bucket).is_empty()).await;
    let foreign = history_of(&[effort(1, 1, 20.0), effort(1, 9, 1.0)], erased.version);
    restore(&bucket, &history(1), foreign.into());
    sleep(ROOT_SHOWN).await;
    // In another class, and just now: else an erasure that waited for long would be due for a take-over.
    let of_class_2 = ErasureScope::all(RacerId(1), ClassId::new(2));
    instance.ledger.erase(of_class_2, None).await.unwrap();
    restore(&bucket, &ObjectKey::Erasures, earlier);
    let again = || bucket.erasures().find(&erased.scope).cloned();
    time_until(|| again().is_some_and(|it| it.version > erased.version)).await;
    sleep(SNAPSHOT_INTERVAL + Duration::from_secs(3)).await;
    instance.task.abort();
    let restarted = Instance::start(&bucket).await.unwrap();
    assert_eq!(restarted.output(1, 1), Some(20.0));
    assert_eq!(restarted.output(1, 9), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn erasures_that_cannot_be_written_again_are_reported_less_and_less_often() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let recorded = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    erase(&instance, None).await;
    let earlier = bucket.get("erasures.gz").unwrap().body;
    erase(&instance, Some(50.0)).await;
    sleep(ROOT_SHOWN).await;
    for is_missing in [true, false] {
        instance.store.set_mode(Mode::Fails);
        match is_missing {
            true => bucket.remove(&ObjectKey::Erasures),
            false => restore(&bucket, &ObjectKey::Erasures, earlier.clone()),
        }
        let before = fallbacks(&recorded);
        sleep(Duration::from_secs(300)).await;
        let reports = fallbacks(&recorded) - before;
        assert!((5..15).contains(&reports), "{reports} reports");
        instance.store.set_mode(Mode::Healthy);
        sleep(ROOT_SHOWN).await;
        assert_eq!(bucket.erasures().count(), 2);
    }
}
