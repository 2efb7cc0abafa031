//! Recovery: what stops a start, and races with another instance.

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
async fn segment_folded_during_recovery_is_not_missed() {
    let class = ClassId::new(1).unwrap();
    let folded = [Bytes::from(history_of(&[effort(1, 4, 33.25)], 0))];
    let segment = segment_of(1, 1, 4, 33.25);
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
        // Another instance's snapshot and deletion, closer together than they ever are.
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
            "recovery is not an update"
        );
        instance.task.abort();
        folding.abort();
    }
    assert!(
        recovered_while_folding > 10,
        "only {recovered_while_folding} recoveries met a folded segment"
    );
}
