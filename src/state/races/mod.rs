//! The races of each class, and each racer's best finish. A race has each racer's latest second:
//! while it is ridden, these are the current positions; afterwards, the results.
//!
//! A race is a lattice, as the table is. [`RaceRow`] says how rows compete, so merges in any order
//! end in the same state. It holds only what grows. Two things do not, and are kept out of it:
//!
//! - A row expires by its own time, when the class's floor rises over it. The floor only rises, and
//!   rows under it are never merged. So what has expired does not come back.
//! - A racer's latest second may be shown before it is durable: such a row is pending. It is kept
//!   apart from the durable rows, and changes no version that snapshots go by. Finals are never
//!   pending.

mod class_races;
mod finish_boards;
mod race;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use parking_lot::{Mutex, MutexGuard};

use crate::domain::effort::{ClassId, Output, RaceId, RacerId, Second};
use crate::domain::race_row::RaceRow;
use crate::state::races::class_races::ClassRaces;
use crate::state::races::finish_boards::CachedFinishBoard;
use crate::state::races::race::Race;

/// Maximum number of rows in all races of a class, some 70 MB; a race counts for 8 rows more. Beyond
/// it the floor rises. A thousand riders who race all day are 288,000.
pub(crate) const CLASS_RACE_ROWS_MAX: usize = 1_000_000;

/// Counts the changes of a class's races and finishes.
pub type RacesVersion = u64;

/// The numbers of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaceSummary {
    /// The race's id.
    pub race: RaceId,
    /// Start in milliseconds since 1970: the least time of a position minus its second. For
    /// display only.
    pub started_ms: u64,
    /// Number of racers.
    pub racers: usize,
    /// The last second that any racer reached.
    pub last_second: Second,
    /// Whether that second was reported as the race's last.
    pub is_finished: bool,
    /// The class's shown version at the race's last change. No two races of a class share one.
    pub version: RacesVersion,
}

/// A racer's position in a race.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RacePosition {
    /// The racer's id.
    pub racer: RacerId,
    /// The output at the racer's latest second.
    pub output: Output,
    /// The racer's latest second.
    pub second: Second,
}

/// The result of merging durable rows into a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassMerge {
    /// The class's version after the merge.
    pub version: RacesVersion,
    /// The version of the last change of a finish.
    pub finishes_version: RacesVersion,
    /// Whether a race changed.
    pub races_changed: bool,
    /// Whether a finish changed.
    pub finishes_changed: bool,
    /// Whether there was a final among the rows.
    pub has_finals: bool,
}

/// The races of a class, to be stored.
#[derive(Debug, PartialEq)]
pub struct RacesCopy {
    /// The version up to which the copy is complete.
    pub version: RacesVersion,
    /// The floor that every instance must know.
    pub shared_floor_ms: u64,
    /// The races by id, each with the version of its last change, and its rows unless the caller
    /// has them.
    pub races: Vec<(RaceId, RacesVersion, Option<Vec<RaceRow>>)>,
}

/// The races and finishes of every class.
#[derive(Debug)]
pub struct Races {
    classes: Box<[Mutex<ClassRaces>]>,
    finish_boards: Box<[CachedFinishBoard]>,
}

impl Races {
    /// Creates an empty set of races for the classes 1 to `classes`.
    pub fn new(classes: u16) -> Self {
        let ids = || ClassId::all(classes);
        Self {
            classes: ids()
                .map(|class| Mutex::new(ClassRaces::new(class)))
                .collect(),
            finish_boards: ids().map(|_| Mutex::default()).collect(),
        }
    }

    /// Merges durable rows. Returns the outcome of each class among them.
    pub fn merge(&self, rows: &[RaceRow]) -> Vec<(ClassId, ClassMerge)> {
        let mut merges: Vec<(ClassId, ClassMerge)> = Vec::new();
        for rows in rows.chunk_by(|a, b| a.class == b.class) {
            let id = rows[0].class;
            let mut class = self.class(id);
            let known = merges.iter().position(|&(other, _)| other == id);
            let index = known.unwrap_or_else(|| {
                merges.push((id, ClassMerge::default()));
                merges.len() - 1
            });
            let merge = &mut merges[index].1;
            for row in rows {
                class.merge_durable(row, merge);
                merge.has_finals |= row.is_final;
            }
            merge.version = class.version;
            merge.finishes_version = class.finishes_version;
        }
        merges
    }

    /// Merges positions that are not durable yet.
    pub fn merge_pending<'a>(&self, rows: impl Iterator<Item = &'a RaceRow>) {
        // A delivery mixes classes, so all are locked once, in order, instead of one per row.
        let mut classes: Vec<_> = self.ids().map(|class| self.class(class)).collect();
        for row in rows {
            classes[row.class.index()].merge_pending(row);
        }
    }

    /// Returns whether a final row would change what is durable.
    pub fn must_journal(&self, row: &RaceRow) -> bool {
        self.class(row.class).must_journal(row)
    }

    /// Returns up to `rows_max` pending rows. They stay pending until they are merged as durable.
    pub fn pending_rows(&self, rows_max: usize) -> Vec<RaceRow> {
        let mut rows = Vec::new();
        for class in self.ids() {
            rows.extend(self.class(class).pending_rows(rows_max - rows.len()));
        }
        rows
    }

    /// Returns whether there are pending rows, or a floor that is not durable yet.
    pub fn has_pending(&self) -> bool {
        self.ids().any(|class| self.class(class).has_pending())
    }

    /// Returns the class's floor: rows whose time is below it have expired.
    pub fn floor_ms(&self, class: ClassId) -> u64 {
        self.class(class).floor_ms()
    }

    /// Returns the floor that every instance must know: the maximum number of rows has raised it.
    pub fn shared_floor_ms(&self, class: ClassId) -> u64 {
        self.class(class).shared_floor_ms()
    }

    /// Returns the classes whose shared floor is not durable yet.
    pub fn pending_floors(&self) -> Vec<ClassId> {
        let ids = self.ids();
        ids.filter(|&it| self.class(it).is_floor_pending())
            .collect()
    }

    /// Raises the class's floor, and removes the rows under it.
    pub fn raise_floor(&self, class: ClassId, floor_ms: u64) {
        self.class(class).raise_floor(floor_ms);
    }

    /// Raises the class's floor to a durable one of any instance.
    pub fn merge_shared_floor(&self, class: ClassId, floor_ms: u64) {
        self.class(class).merge_shared_floor(floor_ms);
    }

    /// Removes a racer's rows and finish for which the condition holds from a class.
    pub fn erase(&self, class: ClassId, racer: RacerId, is_erased: impl Fn(&RaceRow) -> bool) {
        self.class(class).erase(racer, is_erased);
    }

    /// Returns all durable rows of a racer in a class, and the racer's best finish.
    pub fn rows_of(&self, class: ClassId, racer: RacerId) -> Vec<RaceRow> {
        self.class(class).rows_of(racer)
    }

    /// Returns the version of what readers see of a class's races. It grows with every change.
    pub fn shown_version(&self, class: ClassId) -> RacesVersion {
        self.class(class).shown
    }

    /// Returns the class's version at the last change of a finish.
    pub fn finishes_version(&self, class: ClassId) -> RacesVersion {
        self.class(class).finishes_version
    }

    /// Returns the class's races, newest first.
    pub fn summaries(&self, class: ClassId) -> Vec<RaceSummary> {
        let mut summaries: Vec<_> = {
            let races = &mut self.class(class).races;
            races.values_mut().map(Race::summary).collect()
        };
        summaries.sort_unstable_by_key(|race| std::cmp::Reverse((race.started_ms, race.race.0)));
        summaries
    }

    /// Returns the number of racers of a race; 0 if the race is unknown.
    pub fn racers(&self, class: ClassId, race: RaceId) -> usize {
        self.class(class).races.get(&race).map_or(0, Race::racers)
    }

    /// Returns a race's numbers and its positions, in no order. `None` when the race is unknown.
    pub fn positions(
        &self,
        class: ClassId,
        race: RaceId,
    ) -> Option<(RaceSummary, Vec<RacePosition>)> {
        let mut class = self.class(class);
        let race = class.races.get_mut(&race)?;
        Some((race.summary(), race.positions()))
    }

    /// Returns the number of racers with a finish.
    pub fn finish_count(&self, class: ClassId) -> usize {
        self.class(class).finishes.len()
    }

    /// Returns the version up to which the finishes are complete, and each racer's best, by racer.
    pub fn finishes(&self, class: ClassId) -> (RacesVersion, Vec<RaceRow>) {
        let (version, mut rows) = {
            let class = self.class(class);
            let rows: Vec<RaceRow> = class.finishes.values().copied().collect();
            (class.version, rows)
        };
        rows.sort_unstable_by_key(|row| row.racer);
        (version, rows)
    }

    /// Copies the class's races. Leaves out the rows of those whose version is in `known`.
    pub fn copy(&self, class: ClassId, known: &HashMap<RaceId, RacesVersion>) -> RacesCopy {
        let class = self.class(class);
        let durable = class.races.iter().filter(|(_, race)| race.changed > 0);
        let races = durable.map(|(&id, race)| {
            let is_known = known.get(&id) == Some(&race.changed);
            let rows = (!is_known).then(|| race.sorted_rows());
            (id, race.changed, rows)
        });
        let mut races: Vec<_> = races.collect();
        races.sort_unstable_by_key(|&(id, _, _)| id);
        RacesCopy {
            version: class.version,
            shared_floor_ms: class.shared_floor_ms(),
            races,
        }
    }

    /// Returns the class's version at the last change of something durable.
    pub fn version(&self, class: ClassId) -> RacesVersion {
        self.class(class).version
    }

    /// Returns each racer's best finish. Empty if a finish changed after `version`.
    pub fn finishes_up_to(&self, class: ClassId, version: RacesVersion) -> Vec<RaceRow> {
        let class = self.class(class);
        if class.finishes_version > version {
            return Vec::new();
        }
        class.finishes.values().copied().collect()
    }

    /// Returns the durable rows from `floor_ms` on. Leaves out races that changed after `version`.
    pub fn rows_up_to(&self, class: ClassId, floor_ms: u64, version: RacesVersion) -> Vec<RaceRow> {
        let races = self.copy(class, &HashMap::new()).races.into_iter();
        races
            .filter(|&(_, changed, _)| changed <= version)
            .flat_map(|(_, _, rows)| rows.unwrap_or_default())
            .filter(|row| row.at_ms >= floor_ms)
            .collect()
    }

    /// Returns the number of rows of all races of a class.
    pub fn rows(&self, class: ClassId) -> usize {
        self.class(class).rows
    }

    /// Returns the memory of all rows, in bytes, without the allocator's overhead.
    pub fn bytes(&self) -> usize {
        let of_class = |class| {
            let class = self.class(class);
            class.rows * race::ROW_BYTES + class.finishes.len() * size_of::<(RacerId, RaceRow)>()
        };
        self.ids().map(of_class).sum()
    }

    fn ids(&self) -> impl Iterator<Item = ClassId> {
        ClassId::all(self.classes.len().try_into().unwrap_or(u16::MAX))
    }

    fn class(&self, class: ClassId) -> MutexGuard<'_, ClassRaces> {
        self.classes[class.index()].lock()
    }
}
