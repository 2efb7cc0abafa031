//! Progress once the store is well: every instance is ready again, and sees the others' rides and
//! erasures in time.

use std::time::Duration;

use alleycat::domain::effort::{ClassId, Effort, Output, RacerId, Second};
use alleycat::domain::erasure::ErasureScope;
use alleycat::ledger::{Erased, Ledger, WriteBatch};
use tokio::time::{Instant, sleep};

use super::truth::{key, output};
use super::{Plan, SNAPSHOT_INTERVAL, SYNC_INTERVAL, World};
use crate::bucket::HANG_MAX;

/// Maximum time until an instance is ready, from a start or from the end of the faults.
const READY_MAX: Duration = Duration::from_secs(30);

/// Maximum time until all instances show what one has acknowledged, as in the contract.
const SEEN_MAX: Duration = Duration::from_secs(2 * SYNC_INTERVAL.as_secs());

/// Maximum time until a snapshot holds a ride: its owner has seen it, and its next one was due.
pub(super) const OWNER_WRITES_MAX: Duration = Duration::from_secs(15);

/// Maximum time until a snapshot of the bests that nobody owns holds a ride: 60 s, three intervals,
/// and a random delay of up to one more.
const TAKEN_OVER_MAX: Duration =
    Duration::from_secs(60 + 4 * SNAPSHOT_INTERVAL.as_secs() + OWNER_WRITES_MAX.as_secs());

/// Maximum pause after a build that a suspension made look slow.
const SUSPENDED_BUILD_PAUSE: Duration = Duration::from_secs(300);

/// Time after which no earlier erasure covers a new ride: `until` is 30 s after the begin of its put,
/// which takes up to 10 s, by a clock that is up to 5 s ahead.
const ERASURES_PASSED: Duration = Duration::from_secs(45);

/// Maximum time until a ride or an erasure is acknowledged.
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

impl World {
    /// Waits until the last hanging call has ended, then expects progress.
    pub(super) async fn expect_progress(&mut self) {
        sleep(HANG_MAX).await;
        self.restart_ended();
        within(READY_MAX, "every instance is ready", || {
            let mut ledgers = self.ledgers().into_iter();
            ledgers.all(|ledger| ledger.ready().is_ok())
        })
        .await;
        sleep(ERASURES_PASSED).await;
        for number in 0..self.instances.len() {
            self.expect_ride_is_seen(number, 100.0 + number as f64)
                .await;
        }
        if self.plan.fallbacks == 0 {
            self.expect_races_agree().await;
        }
        let limit = match self.owns_all_snapshots() {
            true => OWNER_WRITES_MAX,
            false if self.plan.events == 0 => TAKEN_OVER_MAX,
            false => TAKEN_OVER_MAX + SUSPENDED_BUILD_PAUSE,
        };
        self.expect_snapshot_holds(100.0, limit).await;
        self.expect_ride_is_seen(0, 200.0).await;
        self.expect_snapshot_holds(200.0, OWNER_WRITES_MAX).await;
        self.expect_erasure_is_seen().await;
    }

    /// Expects that all instances have the same races and finishes. Called before an erasure, which
    /// would make them read the snapshots: the journal alone must suffice.
    async fn expect_races_agree(&self) {
        within(READY_MAX, "the instances have the same races", || {
            self.race_states().windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
    }

    /// Returns whether the only instance must own every snapshot. It never saw another's, and faults
    /// made none of its own look like one.
    fn owns_all_snapshots(&self) -> bool {
        let Plan {
            instances,
            events,
            fallbacks,
            faults,
            ..
        } = self.plan;
        // A stale listing may show a put without a response after a later one was confirmed.
        let looks_foreign = faults.stale > 0.0 && faults.lost_response + faults.late > 0.0;
        instances == 1
            && events + fallbacks == 0
            && faults.conflict + faults.doubled == 0.0
            && !looks_foreign
    }

    async fn expect_snapshot_holds(&self, output: f64, limit: Duration) {
        within(limit, "the snapshot holds the ride", || {
            let stored = self.bucket.stored_output(1, RacerId(0), Second(0));
            stored.is_some_and(|stored| stored.get() >= output)
        })
        .await;
    }

    fn ledgers(&self) -> Vec<Ledger> {
        let running = self.instances.iter().map(|it| it.running.as_ref().unwrap());
        running.map(|running| running.ledger.clone()).collect()
    }

    async fn expect_ride_is_seen(&mut self, number: usize, output_over_others: f64) {
        let ledgers = self.ledgers();
        let ride = Effort {
            class: ClassId::new(1).unwrap(),
            second: Second(0),
            racer: RacerId(0),
            output: Output::new(output_over_others).unwrap(),
            race: None,
            time: ledgers[number].now_ms(),
        };
        let outcome = (ride.output, ride.time);
        {
            let mut truth = self.truth.lock().unwrap();
            truth.sent.entry(key(&ride)).or_default().insert(outcome);
        }
        let batch = WriteBatch {
            efforts: vec![ride],
            ..WriteBatch::default()
        };
        let committing = tokio::time::timeout(ACKNOWLEDGED_MAX, ledgers[number].commit(batch));
        committing.await.expect("in time").expect("acknowledged");
        {
            let mut truth = self.truth.lock().unwrap();
            truth.acknowledged.insert((key(&ride), outcome));
        }
        within(SEEN_MAX, "every instance shows the ride", || {
            let mut ledgers = ledgers.iter();
            ledgers.all(|ledger| output(ledger, key(&ride)) >= Some(ride.output))
        })
        .await;
    }

    async fn expect_erasure_is_seen(&mut self) {
        let ledgers = self.ledgers();
        let scope = ErasureScope {
            from: Second(1),
            to: Second(1),
            ..ErasureScope::all(RacerId(1), ClassId::new(1))
        };
        let erasing = tokio::time::timeout(ACKNOWLEDGED_MAX, ledgers[0].erase(scope.clone(), None));
        let Erased { erasure, .. } = erasing.await.expect("in time").expect("erased");
        self.truth.lock().unwrap().erased.push(erasure.clone());
        within(SEEN_MAX, "every instance knows the erasure", || {
            let mut ledgers = ledgers.iter();
            ledgers.all(|ledger| {
                let erasures = ledger.erasures();
                let known = erasures.find(&scope);
                known.is_some_and(|known| known.until_ms >= erasure.until_ms)
            })
        })
        .await;
    }
}

/// Waits until the condition holds, at most `limit` of virtual time.
async fn within(limit: Duration, what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() <= limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
