//! The owner of a class's snapshot after puts with unknown outcomes, and reads beside writes.

use super::*;

/// An owner writes within one interval. Another instance waits for more than three.
const OWNER_WRITES_WITHIN: Duration =
    Duration::from_secs(SNAPSHOT_INTERVAL.as_secs() + COMMIT_INTERVAL.as_secs());

#[tokio::test(start_paused = true)]
async fn doubled_put_keeps_the_snapshot() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| stored(&bucket).is_some()).await;
    instance.commit(&[effort(1, 1, 21.0)]).await.unwrap();
    instance.way.set_faults(Faults {
        doubled: 1.0,
        ..Faults::default()
    });
    time_until(|| stored(&bucket).as_deref() == Some(r#"{"1":{"1":21}}"#)).await;
    instance.way.set_faults(Faults::default());
    sleep(ROOT_SHOWN).await;
    instance.commit(&[effort(1, 2, 20.0)]).await.unwrap();
    let took = time_until(|| stored(&bucket).as_deref() == Some(r#"{"1":{"1":21,"2":20}}"#)).await;
    assert!(took <= OWNER_WRITES_WITHIN, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn failed_put_and_the_same_body_again_keep_the_snapshot() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| stored(&bucket).is_some()).await;
    sleep(ROOT_SHOWN).await; // a listing shows it
    instance.commit(&[effort(1, 2, 20.0)]).await.unwrap();
    let puts = instance.snapshots().len();
    instance.way.set_faults(Faults {
        failed: 1.0,
        ..Faults::default()
    });
    time_until(|| instance.snapshots().len() > puts).await;
    sleep(Duration::from_millis(500)).await;
    instance.way.set_faults(Faults::default());
    time_until(|| instance.ledger.accepts().is_ok()).await;
    // The stored body is read again, unchanged.
    erase(&instance, Some(10.0)).await;
    let reads = instance.store.gets().len();
    time_until(|| instance.store.gets()[reads..].contains(&history(1))).await;
    let took = time_until(|| stored(&bucket).as_deref() == Some(r#"{"1":{"2":20}}"#)).await;
    assert!(took <= OWNER_WRITES_WITHIN, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn snapshot_is_not_read_twice_at_once() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| stored(&bucket).is_some()).await;
    sleep(SNAPSHOT_INTERVAL).await;
    instance.way.set_defects(Defects {
        slow_snapshots: Duration::from_secs(60),
        ..Defects::default()
    });
    // It makes the catch-up loop read the snapshot, and the next snapshot due.
    erase(&instance, Some(10.0)).await;
    time_until(|| stored(&bucket).as_deref() == Some("{}")).await;
    let reads = instance.store.gets().into_iter();
    assert_eq!(reads.filter(|key| *key == history(1)).count(), 1);
}
