//! Snapshots that an instance has never seen: another instance's, or a version from before its
//! start that the store fell back to.

use alleycat::domain::race_row::RaceRow;
use alleycat::ledger::BatchRow;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::fallback::restore;
use super::*;
use crate::lapses::fallbacks;

/// Commits a racer's effort, name and final: a change of every snapshot of class 1.
async fn ride(instance: &Instance, racer: u64) {
    let effort = Effort {
        time: EPOCH_MS, // its row has not expired
        ..effort(1, racer, 20.0)
    };
    let row = RaceRow::new(&effort, true, EPOCH_MS).unwrap();
    let (_, name) = hubert();
    let batch = WriteBatch {
        efforts: vec![effort],
        race_finals: vec![BatchRow { row, index: 0 }],
        names: vec![(RacerId(racer), name)],
        ..WriteBatch::default()
    };
    instance.ledger.commit(batch).await.unwrap();
}

/// Returns the snapshots of class 1 and the names, with the number of their racers.
fn snapshots(bucket: &Bucket, racers: u64) -> Option<Vec<(ObjectKey, Bytes)>> {
    let class = ClassId::new(1).unwrap();
    let keys = [
        ObjectKey::History(class),
        ObjectKey::Races(class),
        ObjectKey::Finishes(class),
        ObjectKey::Racers,
    ];
    let held = keys.into_iter().filter_map(|key| {
        let body = bucket.get(&key.path())?.body;
        let text = gunzip(&body);
        let mut racers = 1..=racers;
        let ids = |it| [format!("\"{it}\":"), format!("\"racerId\":{it},")];
        let holds_all = racers.all(|it| ids(it).iter().any(|id| text.contains(id)));
        holds_all.then_some((key, body))
    });
    let held: Vec<_> = held.collect();
    (held.len() == 4).then_some(held)
}

/// Waits until the snapshots hold this many racers, and their segments are deleted. Returns them.
async fn folded(bucket: &Bucket, racers: u64) -> Vec<(ObjectKey, Bytes)> {
    time_until(|| snapshots(bucket, racers).is_some() && segments(bucket).is_empty()).await;
    snapshots(bucket, racers).unwrap()
}

#[tokio::test(start_paused = true)]
async fn snapshots_that_fell_back_to_before_the_start_are_written_again() {
    for rides_since in [0, 1] {
        let recorder = PrometheusBuilder::new().build_recorder();
        let recorded = recorder.handle();
        let _recording = metrics::set_default_local_recorder(&recorder);
        let bucket = Arc::<Bucket>::default();
        let before = Instance::start(&bucket).await.unwrap();
        ride(&before, 1).await;
        let earlier = folded(&bucket, 1).await;
        ride(&before, 2).await;
        folded(&bucket, 2).await;
        before.task.abort();
        let instance = Instance::start(&bucket).await.unwrap();
        for racer in 3..3 + rides_since {
            ride(&instance, racer).await;
        }
        let newest = folded(&bucket, 2 + rides_since).await;
        sleep(ROOT_SHOWN).await;
        for (key, body) in earlier {
            restore(&bucket, &key, body);
        }
        let is_restored = || snapshots(&bucket, 2 + rides_since).as_ref() == Some(&newest);
        assert!(!is_restored());
        let took = time_until(is_restored).await;
        assert!(
            took <= ROOT_SHOWN + SNAPSHOT_INTERVAL + Duration::from_secs(3),
            "{took:?}"
        );
        assert_eq!(fallbacks(&recorded), 3, "races are none");
    }
}

/// Another instance holds what it replaces, so its snapshots stay. The former owner reads the first
/// one, and leaves the later ones to the new owner.
#[tokio::test(start_paused = true)]
async fn snapshot_of_another_instance_is_read_once_and_not_replaced() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let recorded = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.commit(&[effort(1, 1, 20.0)]).await.unwrap();
    time_until(|| stored(&bucket).is_some() && segments(&bucket).is_empty()).await;
    let reads = || {
        let gets = instance.store.gets().into_iter();
        gets.filter(|key| *key == history(1)).count()
    };
    let (reads_before, puts_before) = (reads(), instance.snapshots().len());
    for racer in 2..5 {
        let efforts = [effort(1, 1, 20.0), effort(1, racer, 20.0)];
        restore(&bucket, &history(1), history_of(&efforts, 0).into());
        sleep(SNAPSHOT_INTERVAL * 3).await;
    }
    assert_eq!(reads() - reads_before, 1);
    assert_eq!(instance.snapshots().len(), puts_before);
    assert_eq!(fallbacks(&recorded), 0);
    assert_eq!(instance.output(1, 2), Some(20.0), "what was read is merged");
}
