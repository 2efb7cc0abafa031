//! Snapshots, deletion of segments, and ownership of a class.

use super::*;

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
    instance
        .ledger
        .commit(WriteBatch {
            names: vec![hubert()],
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
    time_until(|| instance.store.gets().contains(&history(1))).await;
    time_until(|| bucket.get("class-2.gz").is_some()).await;
    let puts_before = instance.snapshots();
    instance.commit(&[effort(1, 3, 20.0)]).await.unwrap();
    sleep(SNAPSHOT_INTERVAL * 5).await;
    assert_eq!(instance.snapshots(), puts_before);
    assert_eq!(bucket.get("class-1.gz").unwrap().body, "no gzip");

    instance.ledger.ready().unwrap();
    let reads = instance.store.gets().len();
    assert!(reads < 20, "it is read less and less often: {reads} reads");

    bucket.remove(&history(1));
    time_until(|| bucket.get("class-1.gz").is_some()).await;
    let body = stored(&bucket).unwrap();
    assert_eq!(body, r#"{"1":{"1":20,"2":20,"3":20}}"#);
}

#[tokio::test(start_paused = true)]
async fn unreadable_segment_blocks_snapshots() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    plant(&bucket, &foreign_segment(), "no gzip");
    time_until(|| instance.store.gets().contains(&foreign_segment())).await;
    sleep(SYNC_INTERVAL).await;
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    sleep(SNAPSHOT_INTERVAL * 5).await;
    assert_eq!(instance.snapshots(), [], "the segment may hold any class");
    // A newer program could read it, and write a snapshot that covers it.
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
    // Both claim a class that nobody owns. One is first; the other sees that and releases its
    // claim.
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
    let earliest = Duration::from_secs(60) + SNAPSHOT_INTERVAL * 3;
    let latest = earliest + SNAPSHOT_INTERVAL + Duration::from_secs(2);
    assert!(
        (earliest - Duration::from_secs(1)..latest).contains(&waited),
        "{waited:?}"
    );
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
    let holds = || stored(&bucket).as_deref() == Some(r#"{"1":{"1":21}}"#);
    assert!(time_until(holds).await <= SNAPSHOT_INTERVAL + Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn deleted_snapshot_is_rewritten() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance
        .ledger
        .commit(WriteBatch {
            names: vec![hubert()],
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
async fn own_put_without_an_answer_keeps_the_snapshot() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    instance.way.set_faults(Faults {
        lost_response: 1.0,
        ..Faults::default()
    });
    time_until(|| bucket.get("class-1.gz").is_some()).await;
    sleep(Duration::from_millis(500)).await;
    instance.way.set_faults(Faults::default());
    sleep(SYNC_INTERVAL * 2).await;
    instance.commit(&[effort(1, 2, 20.0)]).await.unwrap();
    let holds = || stored(&bucket).as_deref() == Some(r#"{"1":{"1":20,"2":20}}"#);
    let took = time_until(holds).await;
    assert!(
        took <= SNAPSHOT_INTERVAL + Duration::from_secs(3),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn denied_deletions_back_off_and_delay_no_snapshot() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.way.set_defects(Defects {
        denies_deletes: true,
        ..Defects::default()
    });
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| instance.way.deletes() > 0).await;
    sleep(Duration::from_secs(600)).await;
    let tried = instance.way.deletes();
    assert!((3..20).contains(&tried), "{tried} deletions");
    instance.commit(&[effort(1, 1, 21.0)]).await.unwrap();
    let holds = || stored(&bucket).as_deref() == Some(r#"{"1":{"1":21}}"#);
    assert!(time_until(holds).await <= SNAPSHOT_INTERVAL + Duration::from_secs(3));
    instance.way.set_defects(Defects::default());
    time_until(|| segments(&bucket).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn undeletable_segment_keeps_no_other() {
    let bucket = Arc::<Bucket>::default();
    plant(&bucket, &foreign_segment(), segment_of(1, 1, 1, 20.0)); // its key sorts before the others
    let instance = Instance::start(&bucket).await.unwrap();
    instance.way.set_defects(Defects {
        undeletable: Some(foreign_segment()),
        ..Defects::default()
    });
    for counter in 0..100 {
        plant(
            &bucket,
            &segment_key(2, counter),
            segment_of(1, 1, counter, 20.0),
        );
    }
    time_until(|| instance.way.deletes() > 0).await;
    let took = time_until(|| segments(&bucket) == [foreign_segment().path()]).await;
    assert!(took < SNAPSHOT_INTERVAL * 3, "{took:?}");
}
