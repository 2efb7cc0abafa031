//! Merges, expires and erases the race rows of one class, and keeps its finishes.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::domain::effort::{ClassId, RaceId, RacerId};
use crate::domain::race_row::RaceRow;
use crate::state::races::race::Race;
use crate::state::races::{CLASS_RACE_ROWS_MAX, ClassMerge, RacesVersion};

/// One row of this many expires when the class has too many. Expiring many at once makes the scan
/// of all rows rare.
const EXPIRED_SHARE: usize = 16;

/// The races and finishes of one class.
#[derive(Debug)]
pub(super) struct ClassRaces {
    class: ClassId,
    pub(super) races: HashMap<RaceId, Race, RandomState>,
    /// Each racer's best finish of all time. All are durable.
    pub(super) finishes: HashMap<RacerId, RaceRow, RandomState>,
    /// Rows of races that are earlier have expired.
    pub(super) floor_ms: u64,
    /// Number of rows of all races.
    pub(super) rows: usize,
    /// The racers with pending rows, by race.
    pending: HashSet<(RaceId, RacerId), RandomState>,
    pub(super) version: RacesVersion,
    /// The version at the last change of a finish.
    pub(super) finishes_version: RacesVersion,
}

impl ClassRaces {
    pub(super) fn new(class: ClassId) -> Self {
        Self {
            class,
            races: HashMap::default(),
            finishes: HashMap::default(),
            floor_ms: 0,
            rows: 0,
            pending: HashSet::default(),
            version: 0,
            finishes_version: 0,
        }
    }

    /// Merges a durable row: its position, and its finish if it is final.
    pub(super) fn merge_durable(&mut self, row: &RaceRow, merged: &mut ClassMerge) {
        merged.races_changed |= self.merge_position(row, false);
        if row.is_final {
            merged.finishes_changed |= self.merge_finish(row);
        }
    }

    /// Merges a position. Returns whether the race's set of rows changed.
    pub(super) fn merge_position(&mut self, row: &RaceRow, is_pending: bool) -> bool {
        if row.at_ms < self.floor_ms {
            return false;
        }
        let race = self.races.entry(row.race);
        let race = race.or_insert_with(|| Race::new(self.class, row.race));
        let merged = race.merge(row, is_pending);
        let (before, after) = merged.rows;
        self.rows = self.rows + after - before;
        if merged.has_pending {
            self.pending.insert((row.race, row.racer));
        } else if !is_pending {
            self.pending.remove(&(row.race, row.racer));
        }
        if merged.changed {
            self.version += 1;
            race.changed = self.version;
        }
        if self.rows > CLASS_RACE_ROWS_MAX {
            self.expire_excess();
        }
        merged.changed
    }

    fn merge_finish(&mut self, row: &RaceRow) -> bool {
        if !self.improves_finish(row) {
            return false;
        }
        self.finishes.insert(row.racer, *row);
        self.note_finish_change();
        true
    }

    fn improves_finish(&self, row: &RaceRow) -> bool {
        let known = self.finishes.get(&row.racer);
        known.is_none_or(|known| row.finish_order(known).is_gt())
    }

    fn note_finish_change(&mut self) {
        self.version += 1;
        self.finishes_version = self.version;
    }

    /// Returns whether the final row changes what is durable.
    pub(super) fn must_journal(&self, row: &RaceRow) -> bool {
        let is_new_position = row.at_ms >= self.floor_ms
            && !self
                .races
                .get(&row.race)
                .is_some_and(|it| it.holds_durably(row));
        is_new_position || self.improves_finish(row)
    }

    /// Returns up to `rows_max` pending rows.
    pub(super) fn pending_rows(&self, rows_max: usize) -> Vec<RaceRow> {
        let places = self.pending.iter();
        let rows = places.flat_map(|&(race, racer)| {
            let race = self.races.get(&race).into_iter();
            race.flat_map(move |race| race.pending_rows_of(racer))
        });
        rows.take(rows_max).collect()
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Raises the floor, and removes the rows under it.
    pub(super) fn raise_floor(&mut self, floor_ms: u64) {
        if floor_ms <= self.floor_ms {
            return;
        }
        self.floor_ms = floor_ms;
        let (version, rows) = (&mut self.version, &mut self.rows);
        for race in self.races.values_mut() {
            let removed = race.expire(floor_ms);
            if removed > 0 {
                *rows -= removed;
                *version += 1;
                race.changed = *version;
            }
        }
        self.remove_empty();
    }

    fn expire_excess(&mut self) {
        let races = self.races.values();
        let mut times: Vec<u64> = races.flat_map(Race::rows).map(|row| row.at_ms).collect();
        let index = times.len() / EXPIRED_SHARE;
        let (_, &mut floor_ms, _) = times.select_nth_unstable(index);
        // Plus 1: rows of exactly this time expire too, so at least one row does.
        self.raise_floor(floor_ms + 1);
    }

    /// Removes the rows and the finish of a racer for which the condition holds.
    pub(super) fn erase(&mut self, racer: RacerId, is_erased: impl Fn(&RaceRow) -> bool) {
        let (version, rows) = (&mut self.version, &mut self.rows);
        for race in self.races.values_mut().filter(|race| race.has(racer)) {
            let removed = race.remove(Some(racer), &is_erased);
            if removed > 0 {
                *rows -= removed;
                *version += 1;
                race.changed = *version;
            }
        }
        self.remove_empty();
        if self.finishes.get(&racer).is_some_and(is_erased) {
            self.finishes.remove(&racer);
            self.note_finish_change();
        }
    }

    fn remove_empty(&mut self) {
        self.races.retain(|_, race| !race.is_empty());
        let races = &self.races;
        self.pending.retain(|(race, racer)| {
            let race = races.get(race);
            race.is_some_and(|race| race.pending_rows_of(*racer).next().is_some())
        });
    }

    /// Returns all rows of a racer, and the racer's finish.
    pub(super) fn rows_of(&self, racer: RacerId) -> Vec<RaceRow> {
        let rows = self.races.values().flat_map(|race| race.rows_of(racer));
        rows.chain(self.finishes.get(&racer).copied()).collect()
    }
}
