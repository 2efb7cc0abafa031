//! The races and finishes of one class: how rows enter, expire and leave.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use crate::domain::effort::{ClassId, RaceId, RacerId};
use crate::domain::race_row::{EXPIRY_STEP_MS, RaceRow};
use crate::state::races::race::Race;
use crate::state::races::{CLASS_RACE_ROWS_MAX, ClassMerge, RacesVersion};

/// One row of this many expires when the class is full. Expiring many at once makes the scan rare.
const EXPIRED_SHARE: usize = 16;

/// Number of rows that each race counts in addition to its own: its maps and its part of the stored
/// object need as much memory.
const RACE_WEIGHT: usize = 8;

/// The races and finishes of one class.
#[derive(Debug)]
pub(super) struct ClassRaces {
    class: ClassId,
    pub(super) races: HashMap<RaceId, Race, RandomState>,
    /// Each racer's best finish of all time. All are durable.
    pub(super) finishes: HashMap<RacerId, RaceRow, RandomState>,
    /// Rows of races whose time is below this, in ms since 1970, have expired and are not merged.
    floor_ms: u64,
    /// The floor that every instance must know: the maximum number of rows has raised it. Time raises
    /// `floor_ms` alone, since every instance has a clock.
    shared_floor_ms: u64,
    /// Whether the shared floor is not durable yet.
    is_floor_pending: bool,
    /// Number of rows of all races, pending ones included.
    pub(super) rows: usize,
    /// The racers with pending rows, by race.
    pending: HashSet<(RaceId, RacerId), RandomState>,
    /// The version at the last change of something durable. From 1, so that 0 covers nothing.
    pub(super) version: RacesVersion,
    /// The version at the last change that readers see.
    pub(super) shown: RacesVersion,
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
            shared_floor_ms: 0,
            is_floor_pending: false,
            rows: 0,
            pending: HashSet::default(),
            version: 1,
            shown: 1,
            finishes_version: 1,
        }
    }

    pub(super) fn floor_ms(&self) -> u64 {
        self.floor_ms
    }

    pub(super) fn shared_floor_ms(&self) -> u64 {
        self.shared_floor_ms
    }

    pub(super) fn is_floor_pending(&self) -> bool {
        self.is_floor_pending
    }

    /// Merges a durable row: its position, and its finish if it is final.
    pub(super) fn merge_durable(&mut self, row: &RaceRow, merged: &mut ClassMerge) {
        if row.at_ms >= self.floor_ms {
            merged.races_changed |= self.merge_position(row);
        }
        if row.is_final && self.improves_finish(row) {
            self.finishes.insert(row.racer, *row);
            self.note_finish_change();
            merged.finishes_changed = true;
        }
    }

    fn merge_position(&mut self, row: &RaceRow) -> bool {
        let race = self.races.entry(row.race);
        let race = race.or_insert_with(|| Race::new(self.class, row.race));
        let before = race.len_of(row.racer);
        let merged = race.merge(row);
        self.rows = self.rows + race.len_of(row.racer) - before;
        if merged.is_settled {
            self.pending.remove(&(row.race, row.racer));
        }
        if merged.changed {
            self.version += 1;
            self.shown += 1;
            (race.changed, race.shown) = (self.version, self.shown);
            self.expire_excess();
        }
        merged.changed
    }

    /// Merges a position that is not durable yet.
    pub(super) fn merge_pending(&mut self, row: &RaceRow) {
        if row.at_ms < self.floor_ms {
            return;
        }
        let race = self.races.entry(row.race);
        let race = race.or_insert_with(|| Race::new(self.class, row.race));
        let before = race.len_of(row.racer);
        if race.merge_pending(row) {
            self.rows = self.rows + race.len_of(row.racer) - before;
            self.shown += 1;
            race.shown = self.shown;
            self.pending.insert((row.race, row.racer));
            self.expire_excess();
        }
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
        let race = self.races.get(&row.race);
        let finish = self.finishes.get(&row.racer);
        let repeats_finish = finish.is_some_and(|it| it.race == row.race && row.repeats(it));
        let is_new_position =
            row.at_ms >= self.floor_ms && !race.is_some_and(|it| it.is_superfluous(row));
        is_new_position || self.improves_finish(row) && !repeats_finish
    }

    /// Returns up to `rows_max` pending rows.
    pub(super) fn pending_rows(&self, rows_max: usize) -> Vec<RaceRow> {
        let rows = self.pending.iter().filter_map(|&(race, racer)| {
            let race = self.races.get(&race)?;
            race.pending_row_of(racer)
        });
        rows.take(rows_max).collect()
    }

    /// Returns whether something waits to become durable.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty() || self.is_floor_pending
    }

    /// Raises the floor, and removes the rows under it.
    pub(super) fn raise_floor(&mut self, floor_ms: u64) {
        if floor_ms <= self.floor_ms {
            return;
        }
        self.floor_ms = floor_ms;
        self.change_races(|race| race.expire(floor_ms));
    }

    /// Raises the floor to a durable one of any instance.
    pub(super) fn merge_shared_floor(&mut self, floor_ms: u64) {
        if floor_ms >= self.shared_floor_ms {
            self.shared_floor_ms = floor_ms;
            self.is_floor_pending = false;
        }
        self.raise_floor(floor_ms);
    }

    /// Raises the floor if there are too many rows.
    fn expire_excess(&mut self) {
        if self.rows + self.races.len() * RACE_WEIGHT <= CLASS_RACE_ROWS_MAX {
            return;
        }
        let races = self.races.values();
        let mut times: Vec<u64> = races.flat_map(Race::times).collect();
        let index = times.len() / EXPIRED_SHARE;
        let (_, &mut time_ms, _) = times.select_nth_unstable(index);
        // The whole step of that time: at least one row goes.
        let floor_ms = (time_ms / EXPIRY_STEP_MS + 1) * EXPIRY_STEP_MS;
        self.shared_floor_ms = floor_ms;
        self.is_floor_pending = true;
        self.raise_floor(floor_ms);
    }

    /// Removes the rows and the finish of a racer for which the condition holds.
    pub(super) fn erase(&mut self, racer: RacerId, is_erased: impl Fn(&RaceRow) -> bool) {
        self.change_races(|race| {
            if race.has(racer) {
                race.remove(Some(racer), &is_erased)
            } else {
                0
            }
        });
        if self.finishes.get(&racer).is_some_and(is_erased) {
            self.finishes.remove(&racer);
            self.note_finish_change();
        }
    }

    /// Removes rows of races, then the empty races. `change` returns the number of removed rows.
    fn change_races(&mut self, change: impl Fn(&mut Race) -> usize) {
        let mut has_changed = false;
        for race in self.races.values_mut() {
            let removed = change(race);
            if removed > 0 {
                has_changed = true;
                self.rows -= removed;
                self.version += 1;
                self.shown += 1;
                (race.changed, race.shown) = (self.version, self.shown);
            }
        }
        if !has_changed {
            return;
        }
        self.races.retain(|_, race| !race.is_empty());
        let races = &self.races;
        self.pending.retain(|(race, racer)| {
            let race = races.get(race);
            race.is_some_and(|race| race.pending_row_of(*racer).is_some())
        });
    }

    /// Returns all durable rows of a racer, and the racer's finish.
    pub(super) fn rows_of(&self, racer: RacerId) -> Vec<RaceRow> {
        let rows = self.races.values().flat_map(|race| race.rows_of(racer));
        rows.chain(self.finishes.get(&racer).copied()).collect()
    }
}
