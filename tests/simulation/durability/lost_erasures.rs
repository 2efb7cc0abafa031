//! Erasures that the store lost while instances remember them. Another instance may never have known
//! them, and writes objects that hold what they cover.

use super::fallback::restore;
use super::*;

/// Erases all of a racer in class 1.
async fn erase_racer(instance: &Instance, racer: u64) {
    let scope = ErasureScope::all(RacerId(racer), ClassId::new(1));
    instance.ledger.erase(scope, None).await.unwrap();
}

/// Erases racer 1, and then racer 3, so that a version is free between the two. Returns it.
async fn erase_two_racers(instance: &Instance) -> u64 {
    erase_racer(instance, 1).await;
    let between = instance.ledger.erasures().version() + 1;
    while instance.ledger.erasures().version() <= between {
        erase_racer(instance, 3).await;
    }
    between
}

/// Puts an `erasures.gz` without the known erasures, and a snapshot of racers 1 and 4, both with this
/// version, as an instance does that never knew them.
fn write_as_other(bucket: &Bucket, version: u64) {
    let erasures = format!(
        r#"{{"format":1,"version":{version},"erasures":[{{"racerId":9,"until":1,"version":{version}}}]}}"#
    );
    restore(bucket, &ObjectKey::Erasures, gzip(erasures).into());
    let efforts = [effort(1, 1, 20.0), effort(1, 4, 20.0)];
    restore(bucket, &history(1), history_of(&efforts, version).into());
}

/// Makes the instance see no loss by itself.
fn fail_root_listings(instance: &Instance) {
    instance.way.set_defects(Defects {
        unlistable: Some(ListScope::Root),
        ..Defects::default()
    });
}

/// Waits until the condition holds. Meanwhile no instance may show the racer beside it.
async fn hidden_until(hidden: &[(&Instance, u64)], condition: impl Fn() -> bool) {
    time_until(|| {
        for (instance, racer) in hidden {
            assert_eq!(instance.output(1, *racer), None, "{racer} is erased");
        }
        condition()
    })
    .await;
}

/// Two instances erase, each on the same `erasures.gz`: the store loses the first erasure. Each
/// writes a snapshot that holds what the other one has erased.
#[tokio::test(start_paused = true)]
async fn erasure_beside_a_lost_one_undoes_neither() {
    let bucket = Arc::<Bucket>::default();
    let one = Instance::start(&bucket).await.unwrap();
    let other = Instance::start(&bucket).await.unwrap();
    let both = [effort(1, 1, 20.0), effort(1, 2, 20.0)];
    one.commit(&both).await.unwrap();
    erase_racer(&one, 9).await;
    let is_known = || other.ledger.erasures().count() == 1;
    time_until(|| is_known() && segments(&bucket).is_empty()).await;
    let earlier = bucket.get("erasures.gz").unwrap().body;
    other.way.set_faults(Faults {
        failed: 1.0,
        ..Faults::default()
    });
    erase_racer(&one, 1).await;
    fail_root_listings(&one);
    restore(&bucket, &ObjectKey::Erasures, earlier);
    other.way.set_faults(Faults::default());
    erase_racer(&other, 2).await;
    let hidden = [(&one, 1), (&other, 2)];
    let began = Instant::now();
    hidden_until(&hidden, || began.elapsed() > SNAPSHOT_INTERVAL * 2).await;
    one.way.set_defects(Defects::default());
    let is_agreed = || {
        let mut instances = [&one, &other].into_iter();
        let stored = bucket.erasures();
        stored.count() == 3
            && instances.all(|it| it.ledger.erasures().to_json() == stored.to_json())
    };
    hidden_until(&hidden, is_agreed).await;
    hidden_until(&hidden, || stored(&bucket).as_deref() == Some("{}")).await;
    for instance in [&one, &other] {
        assert_eq!([1, 2].map(|racer| instance.output(1, racer)), [None; 2]);
    }
}

/// The instance remembers the lost erasure and a later one. Another instance knew neither, and its
/// version is between the two.
#[tokio::test(start_paused = true)]
async fn snapshot_of_an_instance_that_never_knew_an_erasure_does_not_undo_it() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| stored(&bucket).is_some()).await;
    fail_root_listings(&instance);
    let version = erase_two_racers(&instance).await;
    write_as_other(&bucket, version);
    let hidden = [(&instance, 1)];
    hidden_until(&hidden, || instance.output(1, 4) == Some(20.0)).await;
    instance.way.set_defects(Defects::default());
    let is_clean = || stored(&bucket).as_deref() == Some(r#"{"1":{"4":20}}"#);
    hidden_until(&hidden, is_clean).await;
    assert_eq!(bucket.erasures().count(), 3);
}

/// The same during a start, after it has read the erasures. It waits until an instance that remembers
/// them has written them again.
#[tokio::test(start_paused = true)]
async fn start_during_a_loss_waits_for_the_lost_erasure() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    let version = erase_two_racers(&instance).await;
    time_until(|| stored(&bucket).is_some() && segments(&bucket).is_empty()).await;
    instance.way.set_faults(Faults {
        failed: 1.0,
        ..Faults::default()
    });
    let slow = Defects {
        slow_snapshots: Duration::from_secs(10),
        ..Defects::default()
    };
    let starting = Instance::begin(&bucket, Faults::default(), slow);
    sleep(Duration::from_secs(5)).await;
    write_as_other(&bucket, version);
    sleep(Duration::from_secs(30)).await;
    assert!(starting.ledger.accepts().is_err());
    instance.way.set_faults(Faults::default());
    let hidden = [(&instance, 1), (&starting, 1)];
    hidden_until(&hidden, || starting.ledger.ready().is_ok()).await;
    assert_eq!(starting.output(1, 4), Some(20.0));
}

/// The same of a segment, whose writer knew other erasures, and the store has lost those.
#[tokio::test(start_paused = true)]
async fn segment_of_an_instance_that_never_knew_an_erasure_does_not_undo_it() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    let version = erase_two_racers(&instance).await;
    let segment = gzip(format!(
        "{{\"alleycat\":\"journal\",\"version\":1,\"erasures\":{version}}}\n\
         {{\"classId\":1,\"second\":1,\"racerId\":1,\"output\":20}}\n\
         {{\"classId\":1,\"second\":1,\"racerId\":4,\"output\":20}}\n"
    ));
    plant(&bucket, &foreign_segment(), segment);
    let hidden = [(&instance, 1)];
    hidden_until(&hidden, || instance.output(1, 4) == Some(20.0)).await;
    hidden_until(&hidden, || segments(&bucket).is_empty()).await;
    assert_eq!(stored(&bucket).as_deref(), Some(r#"{"1":{"4":20}}"#));
}
