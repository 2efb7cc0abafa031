//! Recovery: what stops a start, and races with another instance.

use super::*;

#[tokio::test(start_paused = true)]
async fn unreadable_object_stops_recovery_with_advice() {
    let whole = Bytes::from(gzip("{\"alleycat\":\"journal\",\"version\":1}\n"));
    let cut_short = whole.slice(..whole.len() - 5);
    for key in [history(1), ObjectKey::Racers] {
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
    let newer = gzip("{\"alleycat\":\"journal\",\"version\":3}\n");
    assert_contains(
        &recovery_error(&foreign_segment(), newer).await,
        &[
            &foreign_segment().path(),
            "version 3",
            "up to 2",
            "newer program",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn data_beyond_the_options_stops_recovery() {
    const CLASS_ADVICE: &str = "class 4, but --classes is 3: start with --classes 4 or more";
    const SECOND_ADVICE: &str =
        "second 10 of class 1, but --max-second is 9: start with --max-second 10 or more";
    async fn assert_advice(key: &ObjectKey, body: impl Into<Bytes>, advice: &str) {
        let error = recovery_error(key, body).await;
        assert_contains(&error, &[&key.path(), advice]);
        assert!(!error.contains("quarantine"), "it is not damaged: {error}");
    }
    let segment = foreign_segment();
    assert_advice(&segment, segment_of(4, 1, 4, 33.25), CLASS_ADVICE).await;
    assert_advice(&segment, segment_of(1, 10, 4, 33.25), SECOND_ADVICE).await;

    let stored = |class: u16| {
        let at_second_10 = Effort {
            second: Second(10),
            ..effort(class, 1, 1.0)
        };
        history_of(&[at_second_10], 0)
    };
    assert_advice(&history(4), stored(4), CLASS_ADVICE).await;
    assert_advice(&history(1), stored(1), SECOND_ADVICE).await;
}

#[tokio::test(start_paused = true)]
async fn segment_deleted_during_recovery_is_not_missed() {
    let class = ClassId::new(1).unwrap();
    let snapshot = [Bytes::from(history_of(&[effort(1, 4, 33.25)], 0))];
    let segment = segment_of(1, 1, 4, 33.25);
    let mut recovered_while_deleting = 0;
    for moment in (0..3000).step_by(20).map(Duration::from_millis) {
        let bucket = Arc::new(Bucket::default());
        bucket.put(
            &foreign_segment(),
            std::slice::from_ref(&segment),
            &Precondition::IfNoneMatch,
        );
        let other = bucket.clone();
        let snapshot = snapshot.clone();
        // Another instance's snapshot and deletion, closer together than they ever are.
        let deleting = tokio::spawn(async move {
            sleep(moment).await;
            other.put(&history(1), &snapshot, &Precondition::IfNoneMatch);
            other.remove(&foreign_segment());
        });
        let instance = Instance::start(&bucket).await.unwrap();
        recovered_while_deleting += usize::from(deleting.is_finished());
        assert_eq!(
            instance.output(1, 4),
            Some(33.25),
            "deleted after {moment:?}"
        );
        assert_eq!(
            instance.ledger.table().summary(class).updated_at_ms,
            None,
            "recovery is not an update"
        );
        instance.task.abort();
        deleting.abort();
    }
    assert!(
        recovered_while_deleting > 10,
        "only {recovered_while_deleting} recoveries met a deleted segment"
    );
}

#[tokio::test(start_paused = true)]
async fn damaged_segment_does_not_stop_a_start() {
    let bucket = Arc::<Bucket>::default();
    plant(&bucket, &foreign_segment(), "no gzip");
    plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
    let instance = Instance::start(&bucket).await.unwrap();
    assert_eq!(instance.output(1, 4), Some(33.25));
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    sleep(SNAPSHOT_INTERVAL * 5).await;
    assert_eq!(instance.snapshots(), [], "the segment may hold any class");
    bucket.remove(&foreign_segment());
    time_until(|| !instance.snapshots().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn damaged_segment_that_goes_before_the_first_poll_blocks_nothing() {
    let bucket = Arc::<Bucket>::default();
    plant(&bucket, &foreign_segment(), "no gzip");
    let instance = Instance::recover(&bucket).await;
    bucket.remove(&foreign_segment());
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| !instance.snapshots().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn start_makes_progress_beside_ingest_on_slow_snapshots() {
    let bucket = Arc::<Bucket>::default();
    let first = Instance::start(&bucket).await.unwrap();
    let ledger = first.ledger.clone();
    tokio::spawn(async move {
        for racer in 1.. {
            for class in 1..=3 {
                let batch = WriteBatch {
                    efforts: vec![effort(class, racer % 100, racer as f64)],
                    ..WriteBatch::default()
                };
                ledger.commit(batch).await.unwrap();
            }
        }
    });
    sleep(Duration::from_secs(150)).await; // segments are deleted all the time
    let began = Instant::now();
    let slow_snapshots = Duration::from_secs(40);
    let defects = Defects {
        slow_snapshots,
        ..Defects::default()
    };
    let second = Instance::start_with(&bucket, Faults::default(), defects);
    let second = second.await.unwrap();
    // Three snapshots, on one or more workers; then those that changed meanwhile; and after the first poll
    // again those that changed, one by one. How many change depends on when the other instance writes.
    let took = began.elapsed();
    assert!(took < slow_snapshots * 3 * 10, "{took:?}");
    for class in 1..=3 {
        let racer = (1..100).find(|&racer| first.output(class, racer).is_some());
        let racer = racer.expect("a racer");
        time_until(|| second.output(class, racer) == first.output(class, racer)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn listed_segment_that_does_not_exist_is_passed_over() {
    let bucket = Arc::<Bucket>::default();
    plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
    let defects = Defects {
        ghost: Some(foreign_segment()),
        ..Defects::default()
    };
    let began = Instant::now();
    let instance = Instance::start_with(&bucket, Faults::default(), defects);
    let instance = instance.await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(instance.output(1, 4), Some(33.25));
    sleep(Duration::from_secs(300)).await;
    instance.ledger.ready().unwrap();
    let gets = instance.store.gets().into_iter();
    let looked_for = gets.filter(|key| *key == foreign_segment()).count();
    assert!((2..20).contains(&looked_for), "{looked_for} reads");
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    let holds = || stored(&bucket).as_deref() == Some(r#"{"1":{"1":20,"4":33.25}}"#);
    time_until(holds).await;
}

#[tokio::test(start_paused = true)]
async fn failing_and_cut_reads_are_retried_one_by_one() {
    let bucket = Arc::<Bucket>::default();
    for racer in 1..=300 {
        plant(
            &bucket,
            &segment_key(racer, 3),
            segment_of(1, 1, racer, 20.0),
        );
    }
    let faults = Faults {
        failed: 0.1,
        cut: 0.1,
        ..Faults::default()
    };
    let instance = Instance::start_with(&bucket, faults, Defects::default());
    let instance = instance.await.unwrap();
    instance.way.set_faults(Faults::default());
    time_until(|| (1..=300).all(|racer| instance.output(1, racer) == Some(20.0))).await;
}

#[tokio::test(start_paused = true)]
async fn outage_at_the_start_is_waited_out() {
    let bucket = Arc::<Bucket>::default();
    let faults = Faults {
        failed: 1.0,
        ..Faults::default()
    };
    for (outage, is_over) in [(300, true), (1000, false)] {
        let instance = Instance::begin(&bucket, faults, Defects::default());
        sleep(Duration::from_secs(outage)).await;
        instance.way.set_faults(Faults::default());
        if is_over {
            time_until(|| instance.ledger.ready().is_ok()).await;
        } else {
            instance.error().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn damaged_read_after_an_outage_is_repeated() {
    let bucket = Arc::<Bucket>::default();
    plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
    let defects = Defects {
        slow_snapshots: Duration::from_secs(5),
        ..Defects::default()
    };
    let instance = Instance::begin(&bucket, Faults::default(), defects);
    let reads = || {
        instance
            .store
            .gets()
            .iter()
            .filter(|&key| *key == history(1))
            .count()
    };
    for (read, failed, cut) in [(1, 1.0, 0.0), (4, 0.0, 1.0), (5, 0.0, 0.0)] {
        time_until(|| reads() == read).await;
        instance.way.set_faults(Faults {
            failed,
            cut,
            ..Faults::default()
        });
    }
    time_until(|| instance.ledger.ready().is_ok()).await;
    assert_eq!(instance.output(1, 4), Some(33.25));
}

#[tokio::test(start_paused = true)]
async fn start_waits_for_a_listed_snapshot_that_is_not_found() {
    let bucket = Arc::<Bucket>::default();
    plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
    let defects = Defects {
        ghost: Some(history(1)),
        ..Defects::default()
    };
    let instance = Instance::begin(&bucket, Faults::default(), defects);
    sleep(Duration::from_secs(60)).await;
    instance.ledger.ready().unwrap_err();
    instance.way.set_defects(Defects::default());
    time_until(|| instance.ledger.ready().is_ok()).await;
    assert_eq!(instance.output(1, 4), Some(33.25));
}

#[tokio::test(start_paused = true)]
async fn broken_store_ends_the_ledger() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    instance.way.break_down();
    let error = instance.error().await;
    assert_contains(
        &error.to_string(),
        &["not trusted", "a restart recovers everything"],
    );
    let again = Instance::start(&bucket).await.unwrap();
    assert_eq!(again.output(1, 1), Some(20.0));
}
