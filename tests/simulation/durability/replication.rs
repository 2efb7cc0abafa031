//! Replication: what an instance applies of the others' writes.

use super::*;

#[tokio::test(start_paused = true)]
async fn segment_with_any_key_is_found() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    // Its key sorts before any other: 1970, and a low process id.
    plant(&bucket, &foreign_segment(), segment_of(3, 1, 4, 33.25));
    let seen = time_until(|| instance.output(3, 4) == Some(33.25)).await;
    assert!(seen < SYNC_INTERVAL * 2, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn replication_lag_of_15_seconds_refuses_deliveries() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.connection.set_faults(Faults {
        failed: 1.0,
        ..Faults::default()
    });
    let lag = time_until(|| instance.ledger.accepts().is_err()).await;
    assert!((12..=16).contains(&lag.as_secs()), "{lag:?}");
    assert!(matches!(
        instance.commit(&[effort(1, 1, 20.0)]).await,
        Err(CommitError::ReplicationLag)
    ));
    instance.connection.set_faults(Faults::default());
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

#[tokio::test(start_paused = true)]
async fn suspension_of_30_seconds_rereads_snapshots() {
    for (away, reads) in [
        (Duration::from_secs(26), false),
        (Duration::from_secs(33), true),
    ] {
        let bucket = Arc::default();
        let instance = Instance::start(&bucket).await.unwrap();
        sleep(SYNC_INTERVAL * 2).await;
        instance.connection.set_faults(Faults {
            failed: 1.0,
            ..Faults::default()
        });
        // A segment was written, folded and deleted. After 26 s that cannot be: segments stay for
        // 60 s.
        plant(
            &bucket,
            &history(1),
            history_of(1, &[effort(1, 4, 33.25)], 0),
        );
        sleep(away).await;
        let read_before = instance.store.gets().len();
        instance.connection.set_faults(Faults::default());
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
        plant(&bucket, &foreign_segment(), segment_of(1, 1, 4, 33.25));
        sleep(moment).await;
        plant(
            &bucket,
            &history(1),
            history_of(1, &[effort(1, 4, 33.25)], 0),
        );
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
