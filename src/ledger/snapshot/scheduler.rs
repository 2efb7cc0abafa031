//! The snapshot scheduler: when a snapshot is due, and which instance owns it.

use std::time::Duration;

use crate::domain::erasure::ErasureVersion;
use crate::ledger::Inner;
use crate::ledger::journal_index::DELETION_GRACE;
use crate::ledger::snapshot::state::{SnapshotState, SnapshotTarget};
use crate::ledger::writer_message::WriterSender;
use crate::storage::ObjectKey;

/// The next snapshot begins at least this many build times after the last one began. So builds take
/// at most a twentieth of the time, unless that pause would be above [`PAUSE_MAX`]. A slow store
/// must not delay snapshots, so only the build counts. A snapshot that must apply an erasure, or
/// restore what the store lost, does not wait for this.
const BUILD_TIME_FACTOR: u32 = 20;

/// Maximum interval between snapshots that a slow build causes. A suspended process can make a build
/// look arbitrarily slow.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Races are written once in this many snapshot intervals. They change with every second that anyone
/// rides, so a PUT for each class and interval would be a third of the cost of races. In return, the
/// journal keeps segments with races for as much longer.
const RACES_INTERVALS: u32 = 5;

/// An instance takes over another's snapshot once it has been dirty for [`DELETION_GRACE`], this many
/// usual pauses, and a random delay of up to one snapshot interval.
const TAKEOVER_PAUSES: u32 = 3;

impl Inner {
    pub(in crate::ledger) fn snapshot_targets(&self) -> Vec<SnapshotTarget> {
        SnapshotTarget::all(self.options.bounds.classes)
    }

    /// Returns the pause between two checks of what is due. A check is cheap compared with a
    /// snapshot. Frequent checks keep the stored snapshots near one interval behind.
    pub(super) fn check_interval(&self) -> Duration {
        (self.options.snapshot_interval / 4)
            .clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Writes snapshots when they are due. Never returns.
    pub(in crate::ledger) async fn run_snapshots(&self, writer: &WriterSender) {
        loop {
            self.clock.sleep(self.check_interval()).await;
            for target in self.snapshot_targets() {
                if self.is_due(target) {
                    self.write_snapshot(target, Some(writer)).await;
                }
            }
        }
    }

    /// Writes the dirty snapshots that this instance owns, after the commit loop has ended.
    pub(in crate::ledger) async fn write_final_snapshots(&self) {
        for target in self.snapshot_targets() {
            let is_owner = self.snapshots.lock().get(target).is_owner;
            if is_owner && !self.is_blocked(target) && self.dirty_since(target).is_some() {
                self.write_snapshot(target, None).await;
            }
        }
    }

    /// Returns the uptime since which the target is dirty: a segment is not covered by the snapshot
    /// that is listed, an erasure is not applied, or the store has lost what it had. It is dirty also
    /// while its snapshots are withheld.
    pub(in crate::ledger) fn dirty_since(&self, target: SnapshotTarget) -> Option<Duration> {
        let (covered, snapshot_dirty_since) = {
            let snapshots = self.snapshots.lock();
            let state = snapshots.get(target);
            let lacks_erasures = self.lacks_erasures(target, state);
            let since = lacks_erasures.then_some(snapshots.last_erasure);
            (
                if state.is_cover_listed() {
                    state.covered
                } else {
                    0
                },
                since.into_iter().chain(state.write_again_since).min(),
            )
        };
        let uncovered_since = self.journal.lock().dirty_since(target, covered);
        uncovered_since
            .into_iter()
            .chain(snapshot_dirty_since)
            .min()
    }

    /// Returns whether the stored body may hold erased data.
    fn lacks_erasures(&self, target: SnapshotTarget, state: &SnapshotState) -> bool {
        let applied = state.body.as_ref().map_or(0, |body| body.erasure_version);
        applied < self.concerning_erasure_version(target)
    }

    /// Returns whether snapshots are withheld: unreadable data could belong to this target. An
    /// unreadable segment could belong to any.
    fn is_blocked(&self, target: SnapshotTarget) -> bool {
        let key = target.key();
        self.unreadable
            .lock()
            .keys()
            .any(|unreadable| *unreadable == key || matches!(unreadable, ObjectKey::Segment(_)))
    }

    /// Returns the highest version of the known erasures that concern the target.
    pub(in crate::ledger) fn concerning_erasure_version(
        &self,
        target: SnapshotTarget,
    ) -> ErasureVersion {
        match target.class() {
            Some(class) => self.erasures().version_concerning(class),
            None => self.erasures().version_concerning_names(),
        }
    }

    fn is_due(&self, target: SnapshotTarget) -> bool {
        if self.is_blocked(target) {
            return false;
        }
        let Some(dirty_since) = self.dirty_since(target) else {
            return false;
        };
        let state = self.snapshots.lock().get(target).clone();
        let now = self.clock.uptime();
        let interval = self.options.snapshot_interval;
        let usual_pause = interval * target.intervals();
        let pause = state.pause(interval, usual_pause, self.lacks_erasures(target, &state));
        let has_paused = state
            .write_began
            .is_none_or(|began| now.saturating_sub(began) >= pause);
        // The snapshot of another owner is seen only when it deletes the segment, DELETION_GRACE
        // later. So that time is added.
        let takeover_after = DELETION_GRACE + usual_pause * TAKEOVER_PAUSES + state.takeover_delay;
        let may_write = state.is_owner || now.saturating_sub(dirty_since) >= takeover_after;
        has_paused && may_write
    }
}

impl SnapshotTarget {
    /// Returns the number of snapshot intervals between two ordinary writes.
    fn intervals(self) -> u32 {
        match self {
            Self::Races(_) => RACES_INTERVALS,
            Self::Class(_) | Self::Finishes(_) | Self::RacerNames => 1,
        }
    }
}

impl SnapshotState {
    /// Returns the minimum time between the starts of two writes.
    fn pause(&self, interval: Duration, usual_pause: Duration, lacks_erasures: bool) -> Duration {
        if lacks_erasures || self.write_again_since.is_some() {
            return interval;
        }
        let pause = if self.has_failed {
            interval
        } else {
            usual_pause
        };
        pause.max((self.build_took * BUILD_TIME_FACTOR).min(PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::snapshot::SnapshotStates;

    #[test]
    fn slow_builds_pause_snapshots_that_nobody_waits_for() {
        let (target, interval) = (SnapshotTarget::RacerNames, Duration::from_secs(10));
        let mut states = SnapshotStates::new(1);
        let pause = |states: &SnapshotStates, lacks_erasures| {
            states.get(target).pause(interval, interval, lacks_erasures)
        };
        assert_eq!(pause(&states, false), interval);
        states.get_mut(target).build_took = Duration::from_secs(1);
        assert_eq!(pause(&states, false), Duration::from_secs(20));
        assert_eq!(pause(&states, true), interval);
        states.write_again(target, Duration::ZERO);
        assert_eq!(pause(&states, false), interval, "only memory has it");
    }

    #[test]
    fn failed_write_is_retried_after_one_interval() {
        let (target, interval) = (SnapshotTarget::RacerNames, Duration::from_secs(10));
        let mut states = SnapshotStates::new(1);
        let pause =
            |states: &SnapshotStates| states.get(target).pause(interval, interval * 5, false);
        assert_eq!(pause(&states), interval * 5);
        states.get_mut(target).has_failed = true;
        assert_eq!(pause(&states), interval);
    }
}
