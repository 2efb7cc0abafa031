//! One race: the rows of its racers.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::domain::effort::{ClassId, Output, RaceId, RacerId, Second};
use crate::domain::race_row::RaceRow;
use crate::state::races::{RacePosition, RaceSummary, RacesVersion};

/// The rows of a race, by racer.
#[derive(Debug)]
pub(super) struct Race {
    class: ClassId,
    id: RaceId,
    racers: HashMap<RacerId, RacerRows, RandomState>,
    /// The class's version at the last change.
    pub(super) changed: RacesVersion,
    /// Lower bound of the rows' times. Removing rows computes it anew; between removals it may be
    /// too early.
    earliest_ms: u64,
    /// The numbers as they were computed last. Valid while their version equals `changed`.
    summary: Option<RaceSummary>,
}

/// The rows of one racer in one race that no other dominates: the furthest first, each next one
/// later than the one before.
#[derive(Debug)]
struct RacerRows {
    furthest: KeptRow,
    /// Rows that expire later. There are none while the racer's clock runs forward.
    later: Box<[KeptRow]>,
}

/// Memory of a racer with one row, as is usual, in bytes.
pub(super) const ROW_BYTES: usize = size_of::<(RacerId, RacerRows)>();

/// A row without class, race and racer, which its place in the maps gives.
#[derive(Clone, Copy, Debug)]
struct KeptRow {
    second: Second,
    output: Output,
    at_ms: u64,
    has_effort_time: bool,
    is_final: bool,
    /// Whether it is not durable yet.
    is_pending: bool,
}

/// The result of merging a row into a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RacerMerge {
    /// Whether the racer's set of rows changed.
    pub(super) changed: bool,
    /// Whether the racer has pending rows now.
    pub(super) has_pending: bool,
    /// Number of rows of the racer before and after.
    pub(super) rows: (usize, usize),
}

impl KeptRow {
    fn new(row: &RaceRow, is_pending: bool) -> Self {
        Self {
            second: row.second,
            output: row.output,
            at_ms: row.at_ms,
            has_effort_time: row.has_effort_time,
            is_final: row.is_final,
            is_pending,
        }
    }

    /// Returns the row at the place of another.
    fn at_place_of(&self, place: &RaceRow) -> RaceRow {
        self.row(place.class, place.race, place.racer)
    }

    fn row(&self, class: ClassId, race: RaceId, racer: RacerId) -> RaceRow {
        RaceRow {
            class,
            race,
            racer,
            second: self.second,
            output: self.output,
            at_ms: self.at_ms,
            has_effort_time: self.has_effort_time,
            is_final: self.is_final,
        }
    }
}

impl RacerRows {
    fn iter(&self) -> impl Iterator<Item = &KeptRow> {
        std::iter::once(&self.furthest).chain(&self.later)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut KeptRow> {
        std::iter::once(&mut self.furthest).chain(&mut self.later)
    }

    fn len(&self) -> usize {
        1 + self.later.len()
    }

    fn has_pending(&self) -> bool {
        self.iter().any(|it| it.is_pending)
    }

    /// Merges a row. Returns whether the set of rows changed.
    fn merge(&mut self, new: &RaceRow, is_pending: bool) -> bool {
        if let Some(equal) = self.iter_mut().find(|it| it.at_place_of(new) == *new) {
            equal.is_pending &= is_pending;
            return false;
        }
        if self.iter().any(|it| it.at_place_of(new).dominates(new)) {
            return false;
        }
        let added = KeptRow::new(new, is_pending);
        if self.later.is_empty() && new.dominates(&self.furthest.at_place_of(new)) {
            self.furthest = added; // the usual case
            return true;
        }
        let left = self.iter().copied();
        let left = left.filter(|it| !new.dominates(&it.at_place_of(new)));
        // No row dominates another, so the further one is always the earlier one.
        let (mut rows, later): (Vec<_>, Vec<_>) = left.partition(|it| it.at_ms < new.at_ms);
        rows.push(added);
        rows.extend(later);
        *self = Self::of(rows).expect("there is the new row");
        true
    }

    /// Returns the rows, which are in order; `None` if empty.
    fn of(mut rows: Vec<KeptRow>) -> Option<Self> {
        let later = rows.split_off(rows.len().min(1)).into();
        let furthest = rows.pop()?;
        Some(Self { furthest, later })
    }

    /// Keeps the rows for which the condition holds; `None` if none is left.
    fn retained(&self, is_kept: impl Fn(&KeptRow) -> bool) -> Option<Self> {
        Self::of(self.iter().filter(|it| is_kept(it)).copied().collect())
    }
}

impl Race {
    pub(super) fn new(class: ClassId, id: RaceId) -> Self {
        Self {
            class,
            id,
            racers: HashMap::default(),
            changed: 0,
            earliest_ms: u64::MAX,
            summary: None,
        }
    }

    /// Merges a row of this race.
    pub(super) fn merge(&mut self, row: &RaceRow, is_pending: bool) -> RacerMerge {
        self.earliest_ms = self.earliest_ms.min(row.at_ms);
        let Some(racer) = self.racers.get_mut(&row.racer) else {
            let rows = RacerRows {
                furthest: KeptRow::new(row, is_pending),
                later: Box::default(),
            };
            self.racers.insert(row.racer, rows);
            return RacerMerge {
                changed: true,
                has_pending: is_pending,
                rows: (0, 1),
            };
        };
        let before = racer.len();
        let changed = racer.merge(row, is_pending);
        RacerMerge {
            changed,
            has_pending: racer.has_pending(),
            rows: (before, racer.len()),
        }
    }

    /// Returns whether a durable row dominates the row.
    pub(super) fn holds_durably(&self, row: &RaceRow) -> bool {
        self.racers.get(&row.racer).is_some_and(|racer| {
            let mut durable = racer.iter().filter(|it| !it.is_pending);
            durable.any(|it| it.at_place_of(row).dominates(row))
        })
    }

    /// Removes rows of all racers, or of one. Returns their number.
    pub(super) fn remove(
        &mut self,
        only: Option<RacerId>,
        is_removed: impl Fn(&RaceRow) -> bool,
    ) -> usize {
        let before = self.rows().count();
        let (class, race) = (self.class, self.id);
        let keep = |racer: RacerId, rows: &mut RacerRows| {
            let is_kept = |it: &KeptRow| !is_removed(&it.row(class, race, racer));
            if rows.iter().all(is_kept) {
                return true;
            }
            let left = rows.retained(is_kept);
            left.map(|left| *rows = left).is_some()
        };
        match only {
            None => self.racers.retain(|&racer, rows| keep(racer, rows)),
            Some(racer) => {
                let is_left = self.racers.get_mut(&racer).is_none_or(|it| keep(racer, it));
                if !is_left {
                    self.racers.remove(&racer);
                }
            }
        }
        let after = self.rows().count();
        self.earliest_ms = self.rows().map(|row| row.at_ms).min().unwrap_or(u64::MAX);
        before - after
    }

    /// Removes the rows that are earlier. Returns their number.
    pub(super) fn expire(&mut self, floor_ms: u64) -> usize {
        if self.earliest_ms >= floor_ms {
            return 0;
        }
        self.remove(None, |row| row.at_ms < floor_ms)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.racers.is_empty()
    }

    pub(super) fn has(&self, racer: RacerId) -> bool {
        self.racers.contains_key(&racer)
    }

    /// Returns all rows, in no order.
    pub(super) fn rows(&self) -> impl Iterator<Item = RaceRow> {
        let racers = self.racers.iter();
        racers.flat_map(move |(&racer, rows)| {
            let rows = rows.iter();
            rows.map(move |it| it.row(self.class, self.id, racer))
        })
    }

    pub(super) fn rows_of(&self, racer: RacerId) -> impl Iterator<Item = RaceRow> {
        let rows = self.racers.get(&racer).into_iter();
        let rows = rows.flat_map(RacerRows::iter);
        rows.map(move |it| it.row(self.class, self.id, racer))
    }

    pub(super) fn pending_rows_of(&self, racer: RacerId) -> impl Iterator<Item = RaceRow> {
        let rows = self.racers.get(&racer).into_iter();
        let pending = rows.flat_map(RacerRows::iter).filter(|it| it.is_pending);
        pending.map(move |it| it.row(self.class, self.id, racer))
    }

    pub(super) fn racers(&self) -> usize {
        self.racers.len()
    }

    /// Returns each racer's position, in no order.
    pub(super) fn positions(&self) -> Vec<RacePosition> {
        let racers = self.racers.iter();
        let positions = racers.map(|(&racer, rows)| RacePosition {
            racer,
            output: rows.furthest.output,
            second: rows.furthest.second,
        });
        positions.collect()
    }

    /// Returns the numbers of the race. Scans the rows only after a change.
    pub(super) fn summary(&mut self) -> RaceSummary {
        let is_current = |it: &RaceSummary| it.version == self.changed;
        let known = self.summary.filter(is_current);
        let summary = known.unwrap_or_else(|| self.new_summary());
        self.summary = Some(summary);
        summary
    }

    fn new_summary(&self) -> RaceSummary {
        let mut last_second = Second(0);
        let mut end = None;
        let mut started_ms = u64::MAX;
        for row in self.rows() {
            last_second = last_second.max(row.second);
            if row.is_final {
                end = end.max(Some(row.second));
            }
            let start = row.at_ms.saturating_sub(u64::from(row.second.0) * 1000);
            started_ms = started_ms.min(start);
        }
        RaceSummary {
            race: self.id,
            started_ms,
            racers: self.racers.len(),
            last_second,
            // A racer whose last second is before the others' latest has left early: the race goes
            // on.
            is_finished: end == Some(last_second),
            version: self.changed,
        }
    }

    /// Returns the rows in a fixed order: by racer, each racer's furthest first.
    pub(super) fn sorted_rows(&self) -> Vec<RaceRow> {
        let mut racers: Vec<_> = self.racers.keys().copied().collect();
        racers.sort_unstable();
        racers.iter().flat_map(|&it| self.rows_of(it)).collect()
    }
}
