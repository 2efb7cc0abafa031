//! Readiness after a long recovery, suspension or outage: what was missed is tried once.

use super::*;

/// Defects that make a start, or a catch-up, take this long.
fn slow_snapshots(slow_snapshots: Duration) -> Defects {
    Defects {
        slow_snapshots,
        ..Defects::default()
    }
}

/// Begins a start that takes 100 s, and plants a segment that its recovery does not list.
async fn begin_slowly(bucket: &Arc<Bucket>) -> Instance {
    plant(bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
    let defects = slow_snapshots(Duration::from_secs(100));
    let instance = Instance::begin(bucket, Faults::default(), defects);
    sleep(Duration::from_secs(50)).await;
    plant(bucket, &foreign_segment(), segment_of(3, 1, 4, 33.25));
    instance
}

#[tokio::test(start_paused = true)]
async fn first_ready_shows_what_was_written_during_the_start() {
    let bucket = Arc::<Bucket>::default();
    let instance = begin_slowly(&bucket).await;
    while instance.ledger.ready().is_err() {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(instance.output(3, 4), Some(33.25));
}

#[tokio::test(start_paused = true)]
async fn segment_that_cannot_be_read_is_waited_for_once() {
    let bucket = Arc::<Bucket>::default();
    let instance = begin_slowly(&bucket).await;
    instance.way.set_defects(Defects {
        stalled: vec![foreign_segment()],
        ..Defects::default()
    });
    time_until(|| instance.ledger.accepts().is_ok()).await;
    instance.ledger.ready().unwrap_err();
    let took = time_until(|| instance.ledger.ready().is_ok()).await;
    assert!(
        (STALL..STALL + SYNC_INTERVAL * 2).contains(&took),
        "{took:?}"
    );
    assert_eq!(instance.output(3, 4), None);
}

#[tokio::test(start_paused = true)]
async fn ready_after_an_outage_shows_deleted_segments() {
    let bucket = Arc::<Bucket>::default();
    let instance = Instance::start(&bucket).await.unwrap();
    instance.way.set_faults(Faults {
        failed: 1.0,
        ..Faults::default()
    });
    // A segment was written, covered by a snapshot and deleted.
    plant(&bucket, &history(1), history_of(&[effort(1, 4, 33.25)], 0));
    sleep(Duration::from_secs(60)).await;
    instance
        .way
        .set_defects(slow_snapshots(Duration::from_secs(20)));
    instance.way.set_faults(Faults::default());
    time_until(|| instance.ledger.accepts().is_ok()).await;
    assert_eq!(instance.output(1, 4), None, "it is being read");
    while instance.ledger.ready().is_err() {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(instance.output(1, 4), Some(33.25));
}
