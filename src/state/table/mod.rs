//! The state: the highest output of every racer, for every class and second.
//!
//! A class is a shard with its own lock. A racer has a slot in it, and every second is a dense
//! column of doubles by slot, NaN without an effort: 8 bytes per effort. Merging takes the maximum,
//! so it is commutative, associative and idempotent. Readers get views ([`Board`]): immutable, cheap
//! to make, and read without any lock.

mod board;
mod class;
mod column;
mod rank_order;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::domain::effort::{ClassId, Effort, Output, RacerId, Second};
use crate::state::table::board::BoardSeconds;
use crate::state::table::column::Column;

pub use crate::state::table::board::Board;
pub use crate::state::table::class::ClassTable;

/// Counts the changes of a class. A greater version contains everything that a smaller one
/// contains, until something is erased.
pub type StateVersion = u64;

/// The state of every class.
#[derive(Debug)]
pub struct Table {
    classes: Box<[RwLock<ClassTable>]>,
}

/// The numbers of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassSummary {
    /// Racers with an effort.
    pub racers: usize,
    /// Seconds with an effort.
    pub seconds: usize,
    /// Efforts.
    pub efforts: u64,
    /// Time of the last change in milliseconds since 1970; `None` until the first change of this
    /// process.
    pub updated_at_ms: Option<u64>,
    /// A hash of the efforts, equal on every instance where the efforts are equal.
    pub state_hash: u64,
    /// The class's version.
    pub version: StateVersion,
}

impl Table {
    /// Creates an empty table of the classes 1 to `classes`.
    pub fn new(classes: u16) -> Self {
        Self {
            classes: (0..classes).map(|_| RwLock::default()).collect(),
        }
    }

    /// Returns all classes.
    pub fn classes(&self) -> impl DoubleEndedIterator<Item = ClassId> + use<> {
        ClassId::all(self.classes.len() as u16)
    }

    /// Returns whether the class exists.
    pub fn has(&self, class: ClassId) -> bool {
        class.index() < self.classes.len()
    }

    /// Returns the indices of improving efforts, and of efforts rejected because the class is full
    /// (`racers_max`) and the racer is new. `newcomers` counts racers that are compared but not
    /// merged yet.
    pub fn compare(
        &self,
        efforts: &[Effort],
        racers_max: usize,
        newcomers: &mut Newcomers,
    ) -> Comparison {
        let guards: Vec<_> = self.classes.iter().map(RwLock::read).collect();
        for (class, pending) in &mut newcomers.0 {
            pending.refresh(&guards[class.index()], racers_max);
        }
        let mut comparison = Comparison::default();
        for (index, effort) in efforts.iter().enumerate() {
            let class = &guards[effort.class.index()];
            let slot = class.slot_of(effort.racer);
            let output = |column: &Column| column.get(slot?);
            let is_improving = match class.column(effort.second).and_then(output) {
                Some(old) => effort.output.get() > old,
                // A racer all of whose efforts were erased has a slot but no longer counts: another
                // racer may have joined instead.
                None if output(&class.best).is_some() => true,
                None => {
                    let racers = &mut newcomers.0.entry(effort.class).or_default().racers;
                    let is_known = racers.contains(&effort.racer);
                    if !is_known && class.racers + racers.len() >= racers_max {
                        comparison.class_full.push(index);
                        continue;
                    }
                    racers.insert(effort.racer);
                    true
                }
            };
            if is_improving {
                comparison.improving.push(index);
            }
        }
        comparison
    }

    /// Merges efforts. Returns the version afterwards of each class that an effort belongs to.
    pub fn merge(&self, efforts: &[Effort], now_ms: u64) -> Vec<(ClassId, StateVersion)> {
        let mut touched = vec![false; self.classes.len()];
        for effort in efforts {
            touched[effort.class.index()] = true;
        }
        let touched = self.classes().filter(|class| touched[class.index()]);
        touched
            .map(|id| {
                let mut class = self.write(id);
                class.merge(efforts, id, now_ms);
                (id, class.version)
            })
            .collect()
    }

    /// Stores a class as it is when nothing was merged into its place yet. Returns it otherwise.
    pub(crate) fn insert_if_empty(&self, id: ClassId, class: ClassTable) -> Option<ClassTable> {
        let mut current = self.write(id);
        if current.version > 0 {
            return Some(class);
        }
        *current = class;
        None
    }

    /// Erases a racer's efforts at the given seconds whose output is over `above`, or all of them
    /// when it is `None`. Returns their number.
    pub fn erase(
        &self,
        class: ClassId,
        racer: RacerId,
        seconds: RangeInclusive<Second>,
        above: Option<Output>,
        now_ms: u64,
    ) -> u64 {
        self.write(class).erase(racer, seconds, above, now_ms)
    }

    /// Clears the times of the last change: recovered efforts are no change.
    pub(crate) fn clear_updated_at(&self) {
        for class in self.classes() {
            self.write(class).updated_at_ms = None;
        }
    }

    /// Returns the numbers of a class.
    pub fn summary(&self, class: ClassId) -> ClassSummary {
        self.read(class).summary()
    }

    /// Returns the class's version.
    pub fn version(&self, class: ClassId) -> StateVersion {
        self.read(class).version
    }

    /// Returns the memory of columns, slots and cached orders in bytes, without allocator overhead.
    pub fn bytes(&self) -> usize {
        self.classes().map(|class| self.read(class).bytes()).sum()
    }

    /// Returns the seconds with an effort, ascending, each with its column's version.
    pub fn seconds(&self, class: ClassId) -> Vec<(Second, StateVersion)> {
        self.read(class)
            .columns_with_efforts()
            .map(|(second, column)| (second, column.version))
            .collect()
    }

    /// Returns the last second with an effort.
    pub(crate) fn last_second(&self, class: ClassId) -> Option<Second> {
        self.read(class)
            .columns_with_efforts()
            .next_back()
            .map(|(second, _)| second)
    }

    /// Returns whether the class has an effort that `other`, a class of the same id, neither holds nor
    /// beats. Leaves out seconds that changed after `version`.
    pub(crate) fn has_others(
        &self,
        id: ClassId,
        other: &ClassTable,
        version: StateVersion,
    ) -> bool {
        let ids = self.read(id).ids.clone();
        let slots: Vec<_> = ids.iter().map(|&racer| other.slot_of(racer)).collect();
        let seconds = self.seconds(id).into_iter();
        seconds.map(|(second, _)| second).any(|second| {
            let Some(outputs) = self.outputs_up_to(id, second, version) else {
                return false;
            };
            let given = other.column(second);
            slots.iter().zip(&*outputs).any(|(&slot, &output)| {
                let given = given.and_then(|given| given.get(slot?));
                !output.is_nan() && given.is_none_or(|given| output > given)
            })
        })
    }

    /// Returns the outputs of a second by slot, shared. `None` if it changed after `version`.
    fn outputs_up_to(
        &self,
        id: ClassId,
        second: Second,
        version: StateVersion,
    ) -> Option<Arc<Vec<f64>>> {
        let class = self.read(id);
        let column = class.column(second)?;
        (column.version <= version).then(|| column.outputs.clone())
    }

    /// Returns the board of a second.
    pub fn board(&self, class: ClassId, second: Second) -> Board {
        let class = self.read(class);
        match class.column(second) {
            Some(column) => class.board(column, BoardSeconds::One(second)),
            None => class.board(&Column::default(), BoardSeconds::One(second)),
        }
    }

    /// Returns the board of each racer's best output over all seconds. Among equal outputs the
    /// earliest second counts.
    pub(crate) fn overall_board(&self, class: ClassId) -> Board {
        let class = self.read(class);
        class.board(&class.best, BoardSeconds::Each(class.best_second.clone()))
    }

    /// Returns a racer's personal bests by second, ascending.
    pub fn racer_bests(&self, class: ClassId, racer: RacerId) -> Vec<(Second, Output)> {
        self.read(class).racer_bests(racer)
    }

    fn read(&self, class: ClassId) -> RwLockReadGuard<'_, ClassTable> {
        self.classes[class.index()].read()
    }

    fn write(&self, class: ClassId) -> RwLockWriteGuard<'_, ClassTable> {
        self.classes[class.index()].write()
    }
}

/// Racers whose first effort in a class has been compared and is not merged yet.
#[derive(Debug, Default)]
pub struct Newcomers(HashMap<ClassId, ClassNewcomers>);

#[derive(Debug, Default)]
struct ClassNewcomers {
    racers: HashSet<RacerId>,
    /// Racers of the class when it was last checked that none of `racers` is among them.
    class_racers: usize,
}

impl ClassNewcomers {
    /// Removes racers that joined the class by another path meanwhile, so that the limit does not
    /// count them twice. Skipped while the limit is far, or the class has no new racers.
    fn refresh(&mut self, class: &ClassTable, racers_max: usize) {
        if class.racers + self.racers.len() >= racers_max && class.racers != self.class_racers {
            self.racers.retain(|racer| !class.has_efforts_of(*racer));
            self.class_racers = class.racers;
        }
    }
}

/// The result of a comparison with the table: indices of the compared efforts, ascending.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Efforts that beat the table.
    pub improving: Vec<usize>,
    /// Efforts of new racers whose class is full.
    pub class_full: Vec<usize>,
}
