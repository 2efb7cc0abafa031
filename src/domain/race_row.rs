//! The rows of races: a racer's position in a race, and the racer's finish.
//!
//! Rows compete in two ways, and every merge keeps the winners, in any order of merges:
//!
//! - The rows of one racer in one race, by [`RaceRow::dominates`]. Rows expire by their time, in
//!   whole seconds, so a row of a later second is not dropped for one that expires earlier. So several
//!   rows of a racer may stay. With honest clocks it is one: the time grows with the second.
//! - The finishes of one racer in a class, by [`RaceRow::finish_order`].

use std::cmp::{Ordering, Reverse};

use crate::domain::effort::{ClassId, Effort, EffortTimeMs, Output, RaceId, RacerId, Second};

/// Length of the steps in which rows expire, in ms: a second. Floors are whole steps. So a racer has
/// at most one row a step in a race, whatever the clocks say.
pub const EXPIRY_STEP_MS: u64 = 1_000;

/// A racer's output at a second of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceRow {
    /// Class in which it was ridden.
    pub class: ClassId,
    /// Race in which it was ridden.
    pub race: RaceId,
    /// Racer who rode it.
    pub racer: RacerId,
    /// The second of the race.
    pub second: Second,
    /// The output at that second.
    pub output: Output,
    /// The time of the row in ms since 1970: the effort's, or its receipt if that is unknown. The
    /// instance that accepts the row sets it. No other instance computes it again.
    pub at_ms: u64,
    /// Whether `at_ms` is the effort's own time.
    pub has_effort_time: bool,
    /// Whether the second is the racer's last of the race.
    pub is_final: bool,
}

impl RaceRow {
    /// Returns the row of an effort; `None` if the effort names no race.
    pub fn new(effort: &Effort, is_final: bool, receipt_ms: u64) -> Option<Self> {
        let has_effort_time = effort.time != 0;
        Some(Self {
            class: effort.class,
            race: effort.race?,
            racer: effort.racer,
            second: effort.second,
            output: effort.output,
            at_ms: if has_effort_time {
                effort.time
            } else {
                receipt_ms
            },
            has_effort_time,
            is_final,
        })
    }

    /// Returns the row as an effort at the row's time. Erasures cover it as they cover efforts.
    pub fn effort(&self) -> Effort {
        Effort {
            class: self.class,
            second: self.second,
            racer: self.racer,
            output: self.output,
            race: Some(self.race),
            time: self.at_ms,
        }
    }

    /// Returns the effort's own time, or 0 if that is unknown.
    pub fn effort_time(&self) -> EffortTimeMs {
        if self.has_effort_time { self.at_ms } else { 0 }
    }

    /// Compares the positions of two rows of one racer in one race. Greater means: a later second;
    /// at equal seconds a final, then the greater output, then a known time.
    pub fn position_order(&self, other: &Self) -> Ordering {
        let position = |row: &Self| (row.second, row.is_final, row.output, row.has_effort_time);
        position(self).cmp(&position(other))
    }

    /// Returns the step in which it expires.
    pub fn expiry_step(&self) -> u64 {
        self.at_ms / EXPIRY_STEP_MS
    }

    /// Returns whether the other row of the same racer and race adds nothing to this one: it is not
    /// further, and expires in no later step. Equal positions are compared by time.
    pub fn dominates(&self, other: &Self) -> bool {
        let order = self.position_order(other);
        let order = order.then(self.at_ms.cmp(&other.at_ms));
        order.is_ge() && self.expiry_step() >= other.expiry_step()
    }

    /// Returns whether both rows, of the same racer and race, are the same record without a time,
    /// received twice.
    pub fn repeats(&self, other: &Self) -> bool {
        !self.has_effort_time && self.position_order(other).is_eq()
    }

    /// Compares two finishes of one racer in one class. Greater means better: a higher output, then
    /// an earlier time (unknown times last), then a smaller race id. Second and `at_ms` only make
    /// the order total.
    pub fn finish_order(&self, other: &Self) -> Ordering {
        let key = |row: &Self| {
            let ridden = Reverse((!row.has_effort_time, row.effort_time(), row.race));
            (row.output, ridden, Reverse((row.second, row.at_ms)))
        };
        key(self).cmp(&key(other))
    }
}

/// Keeps the rows that no other row dominates, and all finals, which may be finishes. Sorts them by
/// class, race and racer, and each racer's by position, the latest first.
pub fn keep_undominated(rows: &mut Vec<RaceRow>) {
    let key = |row: &RaceRow| (row.class, row.race, row.racer);
    rows.sort_unstable_by(|a, b| {
        key(a)
            .cmp(&key(b))
            .then_with(|| b.position_order(a))
            .then_with(|| b.at_ms.cmp(&a.at_ms))
    });
    rows.dedup();
    let mut before: Option<RaceRow> = None; // the row with the latest time of the same racer
    rows.retain(|row| {
        let is_dominated = before.is_some_and(|it| key(&it) == key(row) && it.dominates(row));
        if !is_dominated {
            before = Some(*row);
        }
        !is_dominated || row.is_final
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(second: u32, output: f64, at_ms: u64) -> RaceRow {
        let effort = Effort {
            race: Some(RaceId(7)),
            time: at_ms,
            ..Effort::of(1, second, 1, output)
        };
        RaceRow::new(&effort, false, 0).expect("it names a race")
    }

    #[test]
    fn effort_without_a_time_gets_the_receipt() {
        let effort = Effort {
            race: Some(RaceId(7)),
            ..Effort::of(1, 1, 1, 1.0)
        };
        let row = RaceRow::new(&effort, false, 5).expect("it names a race");
        assert_eq!((row.at_ms, row.effort_time()), (5, 0));
        let effort = Effort {
            race: None,
            ..effort
        };
        assert_eq!(RaceRow::new(&effort, false, 5), None);
    }

    #[test]
    fn row_of_a_later_step_stays_beside_a_further_one() {
        let step = |number| number * EXPIRY_STEP_MS;
        let far = row(10, 1.0, step(1) + 7);
        let late = row(9, 1.0, step(2));
        let (neither, same_step) = (row(8, 9.0, step(2) - 1), row(9, 9.0, step(1) + 9));
        let mut rows = vec![neither, late, far, late, same_step];
        keep_undominated(&mut rows);
        assert_eq!(rows, [far, late]);
    }

    #[test]
    fn final_is_over_an_update_of_the_same_second_and_is_never_dropped() {
        let update = row(10, 5.0, 100);
        let last = RaceRow {
            is_final: true,
            ..row(10, 4.0, 100)
        };
        assert!(last.dominates(&update));
        let further = row(11, 4.0, 100);
        let mut rows = vec![update, last, further];
        keep_undominated(&mut rows);
        assert_eq!(rows, [further, last]);
    }

    #[test]
    fn better_finish_is_higher_then_earlier_then_of_the_smaller_race() {
        let better = [
            row(9, 6.0, 900),
            row(9, 5.0, 100),
            row(9, 5.0, 200),
            RaceRow {
                race: RaceId(8),
                ..row(9, 5.0, 200)
            },
            RaceRow {
                has_effort_time: false,
                ..row(9, 5.0, 50)
            },
        ];
        for pair in better.windows(2) {
            assert!(pair[0].finish_order(&pair[1]).is_gt(), "{pair:?}");
        }
    }
}
