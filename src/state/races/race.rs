//! One race: the rows of its racers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;

use crate::domain::effort::{ClassId, Output, RaceId, RacerId, Second};
use crate::domain::race_row::RaceRow;
use crate::state::races::{RacePosition, RaceSummary, RacesVersion};

/// The rows of a race, by racer.
#[derive(Debug)]
pub(super) struct Race {
    class: ClassId,
    id: RaceId,
    /// The durable rows.
    racers: HashMap<RacerId, RacerRows, RandomState>,
    /// Positions that are not durable yet. Each is further than its racer's durable rows.
    pending: HashMap<RacerId, KeptRow, RandomState>,
    /// The class's version at the last change of a durable row.
    pub(super) changed: RacesVersion,
    /// The class's version at the last change that readers see.
    pub(super) shown: RacesVersion,
    /// Lower bound of the times of all rows. Computed anew only when rows are removed.
    earliest_ms: u64,
    /// The numbers as they were computed last. Valid while their version equals `shown`.
    summary: Option<RaceSummary>,
}

/// The durable rows of one racer in one race that no other dominates: the furthest first, each next
/// one of a later step than the one before.
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
}

/// The result of merging a durable row into a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RacerMerge {
    /// Whether the set of durable rows changed.
    pub(super) changed: bool,
    /// Whether the racer has no pending row any more.
    pub(super) is_settled: bool,
}

impl KeptRow {
    fn new(row: &RaceRow) -> Self {
        Self {
            second: row.second,
            output: row.output,
            at_ms: row.at_ms,
            has_effort_time: row.has_effort_time,
            is_final: row.is_final,
        }
    }

    /// Returns the row with the class, race and racer of another.
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

    fn len(&self) -> usize {
        1 + self.later.len()
    }

    /// Merges a row. Returns whether that changed the set of rows.
    fn merge(&mut self, new: &RaceRow) -> bool {
        if self.iter().any(|it| it.at_place_of(new).dominates(new)) {
            return false;
        }
        let added = KeptRow::new(new);
        if self.later.is_empty() && new.dominates(&self.furthest.at_place_of(new)) {
            self.furthest = added; // the usual case
            return true;
        }
        let left = self.iter().copied();
        let left = left.filter(|it| !new.dominates(&it.at_place_of(new)));
        // No row dominates another, so the further one is always of the earlier step.
        let (mut rows, later): (Vec<_>, Vec<_>) =
            left.partition(|it| it.at_place_of(new).expiry_step() < new.expiry_step());
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
            pending: HashMap::default(),
            changed: 0,
            shown: 0,
            earliest_ms: u64::MAX,
            summary: None,
        }
    }

    /// Merges a durable row of this race. Drops the racer's pending row unless it is further.
    pub(super) fn merge(&mut self, row: &RaceRow) -> RacerMerge {
        self.earliest_ms = self.earliest_ms.min(row.at_ms);
        let changed = match self.racers.entry(row.racer) {
            Entry::Occupied(mut rows) => rows.get_mut().merge(row),
            Entry::Vacant(vacant) => {
                vacant.insert(RacerRows {
                    furthest: KeptRow::new(row),
                    later: Box::default(),
                });
                true
            }
        };
        if changed {
            let pending = self.pending.get(&row.racer).copied();
            let is_further = |it: KeptRow| it.at_place_of(row).position_order(row).is_gt();
            if pending.is_some_and(|it| !is_further(it)) {
                self.pending.remove(&row.racer);
            }
        }
        RacerMerge {
            changed,
            is_settled: !self.pending.contains_key(&row.racer),
        }
    }

    /// Merges a position that is not durable yet. Returns whether it is further than the racer's
    /// other rows.
    pub(super) fn merge_pending(&mut self, row: &RaceRow) -> bool {
        let furthest = self.furthest(row.racer);
        if furthest.is_some_and(|it| it.at_place_of(row).position_order(row).is_ge()) {
            return false;
        }
        self.earliest_ms = self.earliest_ms.min(row.at_ms);
        self.pending.insert(row.racer, KeptRow::new(row));
        true
    }

    /// Returns the racer's position: the furthest row, durable or not.
    fn furthest(&self, racer: RacerId) -> Option<KeptRow> {
        let durable = || self.racers.get(&racer).map(|rows| rows.furthest);
        self.pending.get(&racer).copied().or_else(durable)
    }

    /// Returns whether the durable rows make the row superfluous: one dominates it, or is the same
    /// record, received before.
    pub(super) fn is_superfluous(&self, row: &RaceRow) -> bool {
        self.rows_of(row.racer)
            .any(|it| it.dominates(row) || it.repeats(row))
    }

    /// Removes rows of all racers, or of one. Returns their number.
    pub(super) fn remove(
        &mut self,
        only: Option<RacerId>,
        is_removed: impl Fn(&RaceRow) -> bool,
    ) -> usize {
        let (class, race) = (self.class, self.id);
        let is_kept = |racer: RacerId, it: &KeptRow| {
            only.is_some_and(|only| only != racer) || !is_removed(&it.row(class, race, racer))
        };
        let before = self.len();
        self.pending.retain(|&racer, row| is_kept(racer, row));
        self.racers.retain(|&racer, rows| {
            if rows.iter().all(|it| is_kept(racer, it)) {
                return true;
            }
            let left = rows.retained(|it| is_kept(racer, it));
            left.map(|left| *rows = left).is_some()
        });
        let removed = before - self.len();
        if removed > 0 {
            self.earliest_ms = self.times().min().unwrap_or(u64::MAX);
        }
        removed
    }

    /// Removes the rows that are earlier. Returns their number.
    pub(super) fn expire(&mut self, floor_ms: u64) -> usize {
        if self.earliest_ms >= floor_ms {
            return 0;
        }
        self.remove(None, |row| row.at_ms < floor_ms)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.racers.is_empty() && self.pending.is_empty()
    }

    pub(super) fn has(&self, racer: RacerId) -> bool {
        self.racers.contains_key(&racer) || self.pending.contains_key(&racer)
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        let durable = self.racers.values().map(RacerRows::len);
        durable.sum::<usize>() + self.pending.len()
    }

    /// Returns the number of rows of a racer.
    pub(super) fn len_of(&self, racer: RacerId) -> usize {
        let durable = self.racers.get(&racer).map_or(0, RacerRows::len);
        durable + usize::from(self.pending.contains_key(&racer))
    }

    /// Returns the times of all rows, in no order.
    pub(super) fn times(&self) -> impl Iterator<Item = u64> {
        let durable = self.racers.values().flat_map(RacerRows::iter);
        durable.chain(self.pending.values()).map(|row| row.at_ms)
    }

    /// Returns the durable rows of a racer.
    pub(super) fn rows_of(&self, racer: RacerId) -> impl Iterator<Item = RaceRow> {
        let rows = self.racers.get(&racer).into_iter();
        let rows = rows.flat_map(RacerRows::iter);
        rows.map(move |it| it.row(self.class, self.id, racer))
    }

    pub(super) fn pending_row_of(&self, racer: RacerId) -> Option<RaceRow> {
        let row = self.pending.get(&racer)?;
        Some(row.row(self.class, self.id, racer))
    }

    /// Returns each racer's position, in no order.
    fn shown_rows(&self) -> impl Iterator<Item = (RacerId, KeptRow)> {
        let durable = self
            .racers
            .iter()
            .map(|(&racer, rows)| (racer, rows.furthest));
        let durable = durable.filter(|(racer, _)| !self.pending.contains_key(racer));
        durable.chain(self.pending.iter().map(|(&racer, &row)| (racer, row)))
    }

    pub(super) fn racers(&self) -> usize {
        let pending = self.pending.keys();
        let only_pending = pending.filter(|racer| !self.racers.contains_key(racer));
        self.racers.len() + only_pending.count()
    }

    /// Returns each racer's position, in no order.
    pub(super) fn positions(&self) -> Vec<RacePosition> {
        let positions = self.shown_rows().map(|(racer, row)| RacePosition {
            racer,
            output: row.output,
            second: row.second,
        });
        positions.collect()
    }

    /// Returns the numbers of the race. Scans the rows only after a change.
    pub(super) fn summary(&mut self) -> RaceSummary {
        let is_current = |it: &RaceSummary| it.version == self.shown;
        let known = self.summary.filter(is_current);
        let summary = known.unwrap_or_else(|| self.new_summary());
        self.summary = Some(summary);
        summary
    }

    fn new_summary(&self) -> RaceSummary {
        let mut last_second = Second(0);
        let mut end = None;
        let mut started_ms = u64::MAX;
        for (_, row) in self.shown_rows() {
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
            racers: self.racers(),
            last_second,
            // A final before the others' latest second is of a racer who left early: the race goes
            // on.
            is_finished: end == Some(last_second),
            version: self.shown,
        }
    }

    /// Returns the durable rows in a fixed order: by racer, each racer's furthest first.
    pub(super) fn sorted_rows(&self) -> Vec<RaceRow> {
        let mut racers: Vec<_> = self.racers.keys().copied().collect();
        racers.sort_unstable();
        racers.iter().flat_map(|&it| self.rows_of(it)).collect()
    }
}
