//! Replication from other writers of the bucket.

use super::*;

#[tokio::test(start_paused = true)]
async fn segment_with_any_key_is_found() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    let body = segment_of(3, 1, 4, 33.25);
    plant(&bucket, &foreign_segment(), body); // its key sorts before any other: 1970, and a low process id
    let seen = time_until(|| instance.output(3, 4) == Some(33.25)).await;
    assert!(seen < SYNC_INTERVAL * 2, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn replication_lag_of_15_seconds_refuses_deliveries() {
    let bucket = Arc::default();
    // Its first poll lists the root.
    let instance = Instance::start(&bucket).await.unwrap();
    instance.way.set_faults(Faults {
        failed: 1.0,
        ..Faults::default()
    });
    let lag = time_until(|| instance.ledger.accepts().is_err()).await;
    assert!((12..=16).contains(&lag.as_secs()), "{lag:?}");
    assert!(matches!(
        instance.commit(&[effort(1, 1, 20.0)]).await,
        Err(CommitError::ReplicationLag)
    ));
    instance.way.set_faults(Faults::default());
    assert!(time_until(|| instance.ledger.accepts().is_ok()).await < SYNC_INTERVAL * 2);
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn damaged_segment_leaves_the_instance_ready_and_is_read_less_and_less_often() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    plant(&bucket, &foreign_segment(), "no gzip");
    let reads = || {
        let gets = instance.store.gets().into_iter();
        gets.filter(|key| *key == foreign_segment()).count()
    };
    sleep(Duration::from_secs(300)).await;
    instance.ledger.ready().unwrap();
    assert!((3..20).contains(&reads()), "{} reads", reads());
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    bucket.remove(&foreign_segment());
    time_until(|| bucket.get("class-1.gz").is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn replication_waits_for_no_commit() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::Hangs);
    let committing = instance.committing(effort(1, 1, 20.0));
    instance.store.wait_for_puts(1).await;
    plant(&bucket, &foreign_segment(), segment_of(3, 1, 4, 33.25));
    let seen = time_until(|| instance.output(3, 4) == Some(33.25)).await;
    assert!(seen < SYNC_INTERVAL * 2, "{seen:?}");
    assert!(!committing.is_finished());
    assert_eq!(instance.output(1, 1), None, "visible before durable");
    instance.store.set_mode(Mode::Healthy);
    committing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn erasure_waits_for_no_commit() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let other = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    instance.store.set_mode(Mode::Hangs);
    let committing = instance.committing(effort(1, 1, 30.0));
    instance.store.wait_for_puts(2).await;
    erase(&other, None).await;
    let erased = time_until(|| instance.output(1, 1).is_none()).await;
    assert!(erased < SYNC_INTERVAL * 2, "{erased:?}");
    instance.store.set_mode(Mode::Healthy);
    committing.await.unwrap().unwrap();
    assert_eq!(
        instance.output(1, 1),
        None,
        "it was ridden before the erasure"
    );
}

#[tokio::test(start_paused = true)]
async fn slow_commits_do_not_starve_replication() {
    let bucket = Arc::<Bucket>::default();
    let first = Instance::start(&bucket).await.unwrap();
    let second = Instance::start(&bucket).await.unwrap();
    for (instance, class) in [(&first, 1), (&second, 2)] {
        instance.way.set_defects(Defects {
            slow_segments: COMMIT_INTERVAL, // a commit is always due
            ..Defects::default()
        });
        for client in 0..4 {
            let ledger = instance.ledger.clone();
            tokio::spawn(async move {
                for output in 1.. {
                    let batch = WriteBatch {
                        efforts: vec![effort(class, client, f64::from(output))],
                        ..WriteBatch::default()
                    };
                    ledger.commit(batch).await.unwrap();
                }
            });
        }
    }
    for racer in 10..20 {
        first.commit(&[effort(1, racer, 20.0)]).await.unwrap();
        let seen = time_until(|| second.output(1, racer) == Some(20.0)).await;
        assert!(seen < SYNC_INTERVAL * 2, "{seen:?}");
    }
    erase(&first, None).await;
    let seen = time_until(|| second.ledger.erasures().count() == 1).await;
    assert!(seen < SYNC_INTERVAL * 2, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn erasure_waits_for_no_queue_of_deliveries() {
    const CLIENTS: usize = 8;
    const DELIVERIES: usize = 20;
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let known = effort(1, 2, 20.0);
    instance.commit(&[known]).await.unwrap();
    // Stored, and not yet applied.
    instance.store.set_mode(Mode::WritesThenHangs);
    let ledger = instance.ledger.clone();
    let scope = ErasureScope::all(RacerId(1), None);
    let erasing = tokio::spawn(async move { ledger.erase(scope, None).await });
    sleep(COMMIT_INTERVAL).await;
    // The first begins a commit. The others improve nothing, and the queue is never empty: each
    // client has its response, and sends again, while another's delivery is compared.
    let first = instance.committing(effort(1, 3, 20.0));
    let done = Arc::new(AtomicUsize::new(0));
    let clients = (0..CLIENTS).map(|_| {
        let (ledger, done) = (instance.ledger.clone(), done.clone());
        tokio::spawn(async move {
            for _ in 0..DELIVERIES {
                let batch = WriteBatch {
                    efforts: vec![known; 5000],
                    ..WriteBatch::default()
                };
                ledger.commit(batch).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    while done.load(Ordering::Relaxed) < CLIENTS {
        tokio::task::yield_now().await;
    }
    instance.store.set_mode(Mode::Healthy);
    let is_applied = || instance.ledger.erasures().count() == 1;
    while !is_applied() && done.load(Ordering::Relaxed) < CLIENTS * DELIVERIES {
        tokio::task::yield_now().await;
    }
    let done = done.load(Ordering::Relaxed);
    assert!(done < CLIENTS * DELIVERIES / 2, "it waited for {done}");
    join_all(clients).await;
    erasing.await.unwrap().unwrap();
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn stalled_segments_delay_no_other_and_no_poll() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let segment = |counter| segment_key(1, counter);
    let stalled: Vec<ObjectKey> = (0..20).map(segment).collect();
    for key in &stalled {
        plant(&bucket, key, segment_of(3, 1, 4, 33.25));
    }
    instance.way.set_defects(Defects {
        stalled: stalled.clone(),
        ..Defects::default()
    });
    // All of them were tried once.
    time_until(|| {
        let gets = instance.store.gets();
        stalled.iter().all(|key| gets.contains(key))
    })
    .await;
    sleep(STALL).await;
    for racer in 5..15 {
        plant(
            &bucket,
            &segment(100 + racer),
            segment_of(3, 1, racer, 44.5),
        );
        let seen = time_until(|| instance.output(3, racer) == Some(44.5)).await;
        assert!(seen < SYNC_INTERVAL * 2, "{seen:?}");
        sleep(Duration::from_secs(7)).await;
    }
    instance.ledger.accepts().unwrap();
    instance.way.set_defects(Defects::default());
    let seen = time_until(|| instance.output(3, 4) == Some(33.25)).await;
    assert!(seen < STALL + SYNC_INTERVAL * 2, "{seen:?}");
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
            failed: 1.0,
            ..Faults::default()
        });
        // A segment was written, covered by a snapshot and deleted. After 26 s that cannot be:
        // segments stay for 60 s.
        plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
        sleep(away).await;
        let read_before = instance.store.gets().len();
        instance.way.set_faults(Faults::default());
        time_until(|| instance.ledger.accepts().is_ok()).await;
        sleep(SYNC_INTERVAL * 5).await;
        assert_eq!(
            instance.output(1, 4),
            reads.then_some(33.25),
            "away for {away:?}"
        );
        let read = instance.store.gets()[read_before..]
            .iter()
            .filter(|&key| *key == history(1))
            .count();
        assert_eq!(
            read,
            usize::from(reads),
            "a changed snapshot alone must not be read"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn deleted_segment_is_read_from_the_snapshots() {
    let mut was_gone = 0;
    for moment in (0..2000).step_by(20).map(Duration::from_millis) {
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        sleep(SYNC_INTERVAL / 2).await; // between the first poll and the second
        plant(&bucket, &foreign_segment(), segment_of(1, 1, 4, 33.25));
        sleep(moment).await;
        // It may have a snapshot of this instance by now.
        let snapshot = Bytes::from(history_of(&[effort(1, 4, 33.25)], 0));
        bucket.put(&history(1), &[snapshot], &Precondition::IfNoneMatch);
        bucket.remove(&foreign_segment());
        if instance.store.gets().contains(&foreign_segment()) {
            time_until(|| instance.output(1, 4) == Some(33.25)).await;
            was_gone += usize::from(instance.store.gets().contains(&history(1)));
        }
        instance.task.abort();
    }
    assert!(
        was_gone > 0,
        "no segment was deleted between its listing and its reading"
    );
}

/// The bound on rows raises the floor of an instance that merges them. One that writes journals it.
#[tokio::test(start_paused = true)]
async fn reader_whose_races_exceed_the_bound_writes_nothing() {
    const RACES: u64 = 112_000; // more than a class keeps, with one row each
    let row = |race| {
        format!(
            "{{\"classId\":1,\"second\":1,\"racerId\":1,\"output\":1,\"raceId\":{race},\"at\":{EPOCH_MS}}}\n"
        )
    };
    let header = "{\"alleycat\":\"journal\",\"version\":2}\n".to_owned();
    let segment: String = std::iter::once(header).chain((0..RACES).map(row)).collect();
    let bucket = Arc::default();
    plant(&bucket, &foreign_segment(), gzip(segment));
    let reader = Instance::begin_as(&bucket, Faults::default(), Defects::default(), true);
    let has_risen = || !reader.ledger.races().pending_floors().is_empty();
    time_until(has_risen).await;
    time_until(|| reader.ledger.ready().is_ok()).await;
    sleep(SYNC_INTERVAL * 3).await;
    assert!(has_risen());
    assert_eq!(reader.store.puts(), []);
}
