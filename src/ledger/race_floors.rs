//! The floors of classes: race rows with an earlier time have expired.

use crate::domain::effort::ClassId;
use crate::domain::race_row::{EXPIRY_STEP_MS, RaceRow};
use crate::ledger::Inner;
use crate::ledger::erasure::CLOCK_SKEW_MAX;
use crate::ledger::snapshot::SnapshotTarget;

/// Maximum step between two floors, in ms. Each rise scans the rows, so this is once a minute at
/// the default retention time.
const RISE_MS_MAX: u64 = 60_000;

/// Minimum number of steps per retention time, so that rows expire at most 1/60 of it late.
const RISES_MIN: u64 = 60;

impl Inner {
    /// Raises the floor of every class with the time. Each instance goes by its own clock and does not
    /// share this floor: otherwise one wrong clock would expire the races of all.
    pub(super) fn raise_race_floors(&self) {
        let floor_ms = self.race_floor_ms(self.clock.wall_ms());
        for class in self.table.classes() {
            self.races.raise_floor(class, floor_ms);
        }
    }

    /// Returns the floor of an instance whose clock is ahead of this one's as far as it may be.
    pub(super) fn race_floor_ms_with_skew(&self) -> u64 {
        self.race_floor_ms(self.clock.wall_ms() + CLOCK_SKEW_MAX.as_millis() as u64)
    }

    /// Returns whether the target is races, and all of up to this time have expired. Another instance
    /// may then delete their segment without a snapshot.
    pub(super) fn have_races_expired(&self, target: SnapshotTarget, until_ms: u64) -> bool {
        let SnapshotTarget::Races(class) = target else {
            return false;
        };
        let shared_ms = self.races.shared_floor_ms(class);
        until_ms < self.race_floor_ms_with_skew().max(shared_ms)
    }

    fn race_floor_ms(&self, now_ms: u64) -> u64 {
        let kept_ms = u64::try_from(self.options.races_kept.as_millis()).unwrap_or(u64::MAX);
        let oldest_ms = now_ms.saturating_sub(kept_ms);
        // Whole steps, since rows of one step replace each other.
        let rise_ms = (kept_ms / RISES_MIN).clamp(EXPIRY_STEP_MS, RISE_MS_MAX);
        let rise_ms = rise_ms / EXPIRY_STEP_MS * EXPIRY_STEP_MS;
        oldest_ms / rise_ms * rise_ms
    }

    /// Returns whether this instance must write positions or floors that are not durable yet. An
    /// instance that only reads leaves them to the others.
    pub(super) fn has_unwritten_races(&self) -> bool {
        !self.options.read_only && self.races.has_pending()
    }

    /// Merges a stored floor. Ignores one in the future: no row is later than its receipt, so it comes
    /// from a wrong clock.
    pub(super) fn merge_race_floor(&self, class: ClassId, floor_ms: u64) {
        if floor_ms <= self.clock.wall_ms() + CLOCK_SKEW_MAX.as_millis() as u64 {
            self.races.merge_shared_floor(class, floor_ms);
        }
    }

    /// Returns the floors that a segment with these rows carries: those that the maximum number of
    /// rows has raised. So what expires here for that expires everywhere. `rows` are sorted by class.
    pub(super) fn shared_race_floors(&self, rows: &[RaceRow]) -> Vec<(ClassId, u64)> {
        let of_rows = rows.chunk_by(|a, b| a.class == b.class);
        let mut classes: Vec<ClassId> = of_rows.map(|rows| rows[0].class).collect();
        classes.extend(self.races.pending_floors());
        classes.sort_unstable();
        classes.dedup();
        let floors = classes.into_iter();
        let floors = floors.map(|class| (class, self.races.shared_floor_ms(class)));
        floors.filter(|&(_, floor_ms)| floor_ms > 0).collect()
    }
}
