//! Recovery: what stops it, and what it must not miss.

use super::*;

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
    let path = foreign_segment().path();
    assert_contains(
        &recovery_error(&foreign_segment(), segment_of(4, 1, 4, 33.25)).await,
        &[&path, "class 4", "--classes is 3"],
    );
    assert_contains(
        &recovery_error(&foreign_segment(), segment_of(1, 10, 4, 33.25)).await,
        &[&path, "second 10", "--max-second is 9"],
    );

    let late = |class| Effort {
        second: Second(10),
        ..effort(class, 1, 1.0)
    };
    let stored = |class| history_of(class, &[late(class)], 0);
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
    let folded = history_of(1, &[effort(1, 4, 33.25)], 0);
    let segment = segment_of(1, 1, 4, 33.25);
    let mut recovered_while_folding = 0;
    for moment in (0..3000).step_by(20).map(Duration::from_millis) {
        let bucket = Arc::new(Bucket::default());
        plant(&bucket, &foreign_segment(), segment.clone());
        let other = bucket.clone();
        let folded = folded.clone();
        // Another instance's snapshot and deletion, closer together than they ever are.
        let folding = tokio::spawn(async move {
            sleep(moment).await;
            plant(&other, &history(1), folded);
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
        "only {recovered_while_folding} recoveries saw the folding"
    );
}
