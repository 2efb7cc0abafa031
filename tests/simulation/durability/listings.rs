//! How often the bucket is listed, and what rests on each listing.

use super::*;

/// The age of the last listing of the root beyond which an instance accepts no deliveries.
const REFUSED_AFTER: Duration = Duration::from_secs(15);

/// Waits until the instance has just listed the root.
pub(super) async fn root_is_listed(instance: &Instance) {
    let before = instance.way.lists(ListScope::Root);
    while instance.way.lists(ListScope::Root) == before {
        sleep(Duration::from_millis(1)).await;
    }
}

fn root_fails() -> Defects {
    Defects {
        unlistable: Some(ListScope::Root),
        ..Defects::default()
    }
}

#[tokio::test(start_paused = true)]
async fn journal_is_listed_every_interval_and_the_root_every_fifth() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let lists = || [ListScope::Root, ListScope::Journal].map(|it| instance.way.lists(it));
    root_is_listed(&instance).await;
    let before = lists();
    sleep(ROOT_INTERVAL * 60).await;
    let [root, journal] = [0, 1].map(|scope| lists()[scope] - before[scope]);
    assert!((59..=60).contains(&root), "{root}");
    assert!((298..=300).contains(&journal), "{journal}");
}

#[tokio::test(start_paused = true)]
async fn erasure_is_seen_within_two_intervals_at_any_moment() {
    for moment in (0..10_000).step_by(500).map(Duration::from_millis) {
        let bucket = Arc::<Bucket>::default();
        let eraser = Instance::start(&bucket).await.unwrap();
        let other = Instance::start(&bucket).await.unwrap();
        other.commit(&[effort(1, 1, 20.0)]).await.unwrap();
        root_is_listed(&other).await;
        sleep(moment).await;
        erase(&eraser, None).await;
        let seen = time_until(|| other.output(1, 1).is_none()).await;
        assert!(seen < SYNC_INTERVAL * 2, "{seen:?} after {moment:?}");
        time_until(|| segments(&bucket).is_empty()).await; // the announcement as well
        for instance in [eraser, other] {
            instance.ledger.ready().unwrap();
            instance.task.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unannounced_erasure_is_found_by_the_next_listing_of_the_root() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    root_is_listed(&instance).await;
    let erasures = Erasures::default()
        .with(ErasureScope::all(RacerId(1), None), EPOCH_MS, None)
        .unwrap();
    plant(&bucket, &ObjectKey::Erasures, gzip(erasures.to_json()));
    let seen = time_until(|| instance.output(1, 1).is_none()).await;
    assert!(seen <= ROOT_SHOWN, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn erasure_whose_announcement_fails_is_not_confirmed() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.store.set_mode(Mode::WritesThenHangs);
    let ledger = instance.ledger.clone();
    let scope = ErasureScope::all(RacerId(1), None);
    let erasing = tokio::spawn(async move { ledger.erase(scope, None).await });
    time_until(|| bucket.get("erasures.gz").is_some()).await;
    instance.store.set_mode(Mode::Fails); // from the announcement on
    erasing.await.unwrap().unwrap_err();
    assert_eq!(
        instance.ledger.erasures().count(),
        1,
        "it may stand all the same"
    );
}

/// Many erasures of glitches would read each other's announcements again.
#[tokio::test(start_paused = true)]
async fn announcement_is_read_by_others_only_and_once() {
    let bucket = Arc::<Bucket>::default();
    let eraser = Instance::start(&bucket).await.unwrap();
    let other = Instance::start(&bucket).await.unwrap();
    for above in [80.0, 70.0, 60.0] {
        erase(&eraser, Some(above)).await;
        sleep(SYNC_INTERVAL * 2).await;
    }
    let announced = segments(&bucket);
    assert_eq!(announced.len(), 3);
    for (instance, reads) in [(&eraser, 0), (&other, 1)] {
        let gets = instance.store.gets();
        for path in &announced {
            let gets = gets.iter().filter(|key| key.path() == *path);
            assert_eq!(gets.count(), reads);
        }
    }
}

/// The rider's cheat is erased by an instance that dies before it announces that. Another one does not
/// see it: the root cannot be listed. It must not compare a ride of after `until` with the cheat.
#[tokio::test(start_paused = true)]
async fn ride_after_an_erasure_is_not_compared_where_the_root_is_not_listed() {
    for moment in (0..10_000).step_by(500).map(Duration::from_millis) {
        let bucket = Arc::<Bucket>::default();
        let instance = Instance::start(&bucket).await.unwrap();
        instance.commit(&[effort(1, 1, 90.0)]).await.unwrap();
        root_is_listed(&instance).await;
        sleep(moment).await;
        instance.way.set_defects(root_fails());
        // Its put took as long as it may, and the clocks differ as much as they may.
        let until_ms = instance.ledger.now_ms() + REFUSED_AFTER.as_millis() as u64;
        let erasures = Erasures::default()
            .with(ErasureScope::all(RacerId(1), None), until_ms, None)
            .unwrap();
        plant(&bucket, &ObjectKey::Erasures, gzip(erasures.to_json()));
        sleep(REFUSED_AFTER + Duration::from_millis(1)).await;
        let ride = Effort {
            time: instance.ledger.now_ms(),
            ..effort(1, 1, 20.0)
        };
        assert!(ride.time > until_ms);
        let refused = instance.commit(&[ride]).await;
        assert!(
            matches!(refused, Err(CommitError::ReplicationLag)),
            "{refused:?} after {moment:?}"
        );
        instance.way.set_defects(Defects::default());
        time_until(|| instance.ledger.accepts().is_ok()).await;
        instance.commit(&[ride]).await.unwrap();
        assert_eq!(instance.output(1, 1), Some(20.0));
        instance.task.abort();
        let restarted = Instance::start(&bucket).await.unwrap();
        assert_eq!(restarted.output(1, 1), Some(20.0));
    }
}
