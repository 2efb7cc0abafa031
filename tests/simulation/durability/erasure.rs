//! Erasures.

use super::*;

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
    for above in [Some(10.0), None] {
        let version = erase(&instance, above).await.erasure.version;
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
async fn best_beneath_a_glitch_is_journaled_again() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    instance.commit(&[effort(1, 1, 90.0)]).await.unwrap();
    erase(&instance, Some(50.0)).await;
    assert_eq!(instance.output(1, 1), None);
    time_until(|| instance.output(1, 1) == Some(20.0)).await;
    time_until(|| instance.store.segments() == 4).await; // with the erasure's announcement
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
        "it would restore erased efforts: {damaged}"
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

#[tokio::test(start_paused = true)]
async fn doubled_put_of_an_erasure_is_accepted() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.way.set_faults(Faults {
        doubled: 1.0,
        ..Faults::default()
    });
    let ledger = instance.ledger.clone();
    let scope = ErasureScope::all(RacerId(1), None);
    let erasing = tokio::spawn(async move { ledger.erase(scope, None).await });
    time_until(|| instance.ledger.erasures().count() == 1).await;
    instance.way.set_faults(Faults::default());
    let erased = erasing.await.unwrap().unwrap().erasure;
    assert_eq!(bucket.erasures().find(&erased.scope), Some(&erased));
    let puts = instance.store.puts().into_iter();
    assert_eq!(puts.filter(|key| *key == ObjectKey::Erasures).count(), 1);
}
