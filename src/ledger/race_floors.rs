//! The floors of races by time. The floor of a class is a time: race rows before it have expired.

use crate::domain::effort::ClassId;
use crate::domain::race_row::RaceRow;
use crate::ledger::Inner;

/// Maximum step by which floors rise, in ms. Rows are scanned once a step, so once a minute.
const STEP_MS_MAX: u64 = 60_000;

/// Minimum number of steps in the time for which rows are kept. So they expire late by at most a
/// 60th of that time.
const STEPS_MIN: u64 = 60;

impl Inner {
    /// Raises the floor of every class to the time before which rows expire now.
    pub(super) fn raise_race_floors(&self) {
        let kept_ms = u64::try_from(self.options.races_kept.as_millis()).unwrap_or(u64::MAX);
        let oldest_ms = self.clock.wall_ms().saturating_sub(kept_ms);
        let step_ms = (kept_ms / STEPS_MIN).clamp(1, STEP_MS_MAX);
        let floor_ms = oldest_ms / step_ms * step_ms;
        for class in self.table.classes() {
            self.races.raise_floor(class, floor_ms);
        }
    }

    /// Returns the floors of the classes of these rows, which are sorted by class. Segments carry
    /// them, so that what a floor removes here is removed everywhere.
    pub(super) fn race_floors(&self, rows: &[RaceRow]) -> Vec<(ClassId, u64)> {
        let classes = rows.chunk_by(|a, b| a.class == b.class);
        let classes = classes.map(|rows| rows[0].class);
        classes
            .map(|class| (class, self.races.floor_ms(class)))
            .collect()
    }
}
