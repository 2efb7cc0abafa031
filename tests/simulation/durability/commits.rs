//! Commits: segments, puts, the commit interval.

use super::*;

#[tokio::test(start_paused = true)]
async fn segment_holds_version_and_improvements() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let efforts = vec![effort(1, 1, 20.5), effort(1, 1, 20.25), effort(2, 1, 0.1)];
    let batch = WriteBatch {
        efforts,
        names: vec![name()],
        ..WriteBatch::default()
    };
    instance.ledger.commit(batch).await.unwrap();
    let expected = [
        serde_json::json!({ "alleycat": "journal", "version": 1, "lines": 3 }),
        serde_json::json!(
            { "classId": 1, "second": 1, "racerId": 1, "output": 20.5, "raceId": 77, "deviceTimestamp": 5 }
        ),
        serde_json::json!(
            { "classId": 2, "second": 1, "racerId": 1, "output": 0.1, "raceId": 77, "deviceTimestamp": 5 }
        ),
        serde_json::json!({ "racerId": 1, "name": "Hubert", "at": 7 }),
    ];
    assert_eq!(only_segment(&bucket), expected);
}

#[tokio::test(start_paused = true)]
async fn unknown_put_outcome_retries_under_a_new_key() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::WritesThenFails);
    let committing = instance.committing(effort(1, 1, 20.0));
    instance.store.wait_for_puts(1).await;
    instance.store.set_mode(Mode::Healthy);
    committing.await.unwrap().unwrap();
    let puts = instance.store.puts();
    assert_eq!(puts.len(), 2);
    assert_ne!(puts[0], puts[1]);
    assert_eq!(segments(&bucket).len(), 2, "the first put was written, too");
    assert_eq!(instance.output(1, 1), Some(20.0));
}

#[tokio::test(start_paused = true)]
async fn slow_put_is_hedged_and_first_success_wins() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::Hangs);
    let committing = instance.committing(effort(1, 1, 20.0));
    instance.store.wait_for_puts(1).await;
    let began = Instant::now();
    instance.store.wait_for_puts(2).await;
    let hedged = began.elapsed().as_millis();
    assert!((1000..1100).contains(&hedged), "{hedged} ms");
    assert!(!committing.is_finished());
    instance.store.set_mode(Mode::Healthy);
    committing.await.unwrap().unwrap();
    let puts = instance.store.puts();
    assert!(puts.len() == 2 && puts[0] != puts[1], "{puts:?}");
}

#[tokio::test(start_paused = true)]
async fn hanging_put_gives_up_within_bounds() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::Hangs);
    let began = Instant::now();
    let error = instance.commit(&[effort(1, 1, 20.0)]).await.unwrap_err();
    assert!(matches!(error, CommitError::Store(_)), "{error}");
    assert_eq!(began.elapsed().as_secs(), 30);
    assert_eq!(instance.store.segments(), 3);
    assert_eq!(instance.output(1, 1), None);
    instance.store.set_mode(Mode::Healthy);
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_deliveries_share_the_next_segment() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let began = Instant::now();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    for outcome in join_all((2..=50).map(|racer| instance.committing(effort(1, racer, 20.0)))).await
    {
        assert_eq!(outcome.unwrap().unwrap().improvements, 1);
    }
    let waited = began.elapsed();
    assert!(
        (COMMIT_INTERVAL..COMMIT_INTERVAL + Duration::from_secs(1)).contains(&waited),
        "{waited:?}"
    );
    assert_eq!(instance.store.segments(), 2);
    sleep(COMMIT_INTERVAL).await;
    let began = Instant::now();
    instance.commit(&[effort(1, 1, 21.0)]).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn racing_retry_is_not_acknowledged_early() {
    let bucket = Arc::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::WritesThenHangs);
    let first = instance.committing(effort(1, 1, 20.0));
    instance.store.wait_for_puts(1).await;
    let second = instance.committing(effort(1, 1, 20.0));
    instance.store.wait_for_puts(3).await; // the first put and its hedges
    sleep(Duration::from_secs(10)).await;
    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!(instance.output(1, 1), None, "its put has not succeeded yet");
    instance.store.set_mode(Mode::Healthy);
    assert_eq!(first.await.unwrap().unwrap().improvements, 1);
    assert_eq!(
        second.await.unwrap().unwrap().improvements,
        0,
        "compared after the first was merged"
    );
}
