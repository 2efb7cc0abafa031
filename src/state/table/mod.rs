//! The state: for every class and second, the highest output of every racer.
//!
//! A class is a shard with a lock of its own. In it a racer has a slot, and every second is a dense column of doubles
//! by slot, NaN where there is no effort: 8 bytes an effort. Merging takes the maximum, so it is commutative,
//! associative and idempotent. Readers take views ([`Board`]): immutable, cheap to take, and read without any lock.

pub(crate) mod rank_order;

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::effort::{ClassId, Effort, Output, RacerId, Second};

/// Counts the merges of a class: a greater version holds all that a smaller one holds, until something is erased.
pub type StateVersion = u64;

/// The state of every class.
#[derive(Debug)]
pub struct Table {
    classes: Box<[RwLock<ClassTable>]>,
}

/// What one class holds. A table has one of each class; one that was read from the store stands alone until a table
/// takes it over.
#[derive(Debug, Default)]
pub struct ClassTable {
    slots: HashMap<RacerId, u32, foldhash::fast::RandomState>,
    ids: Arc<Vec<RacerId>>,
    by_id: Arc<Vec<u32>>,
    columns: Vec<Column>,
    best: Column,
    best_second: Arc<Vec<Second>>,
    version: StateVersion,
    efforts: u64,
    racers: usize,
    hash: u64,
    updated_at_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Column {
    outputs: Arc<Vec<f64>>,
    efforts: usize,
    version: StateVersion,
    order: Arc<Mutex<CachedOrder>>,
}

#[derive(Debug, Default)]
struct CachedOrder {
    version: StateVersion,
    order: Arc<Vec<u32>>,
    dense_ranks: Option<Arc<Vec<u32>>>,
}

/// What a class holds, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassSummary {
    /// Racers with an effort.
    pub racers: usize,
    /// Seconds with an effort.
    pub seconds: usize,
    /// Efforts.
    pub efforts: u64,
    /// When something last changed, in milliseconds since 1970; `None` until the first change of this process.
    pub updated_at_ms: Option<u64>,
    /// Equal where the efforts are equal, on every instance.
    pub state_hash: u64,
    /// The class's version.
    pub version: StateVersion,
}

/// The racers of one second, or of all seconds together, as they stood when the view was taken.
#[derive(Clone, Debug)]
pub struct Board {
    ids: Arc<Vec<RacerId>>,
    by_id: Arc<Vec<u32>>,
    outputs: Arc<Vec<f64>>,
    seconds: Seconds,
    efforts: usize,
    version: StateVersion,
    order: Arc<Mutex<CachedOrder>>,
}

#[derive(Clone, Debug)]
enum Seconds {
    One(Second),
    Each(Arc<Vec<Second>>),
}

impl Table {
    /// An empty table of classes 1 to `classes`.
    pub fn new(classes: u16) -> Self {
        Self {
            classes: (0..classes).map(|_| RwLock::default()).collect(),
        }
    }

    /// The classes there are.
    pub fn classes(&self) -> impl DoubleEndedIterator<Item = ClassId> + use<> {
        ClassId::all(self.classes.len() as u16)
    }

    /// Whether there is such a class.
    pub fn has(&self, class: ClassId) -> bool {
        class.index() < self.classes.len()
    }

    /// The places in `efforts` of those that beat what is here, and of those that nothing here can take because their
    /// class has `racers_max` racers already and theirs is not among them.
    /// `newcomers` counts racers that are on their way in already.
    pub fn compare(
        &self,
        efforts: &[Effort],
        racers_max: usize,
        newcomers: &mut Newcomers,
    ) -> Comparison {
        let guards: Vec<_> = self.classes.iter().map(read).collect();
        for (class, racers) in &mut newcomers.0 {
            let class = &guards[class.index()];
            // Who came in another way since then is not counted twice where it matters.
            if class.racers + racers.waiting.len() >= racers_max && class.racers != racers.beside {
                racers.waiting.retain(|racer| !class.stands(*racer));
                racers.beside = class.racers;
            }
        }
        let mut comparison = Comparison::default();
        for (place, effort) in efforts.iter().enumerate() {
            let class = &guards[effort.class.index()];
            let slot = class.slots.get(&effort.racer).map(|&slot| slot as usize);
            let output = |column: &Column| {
                column
                    .outputs
                    .get(slot?)
                    .copied()
                    .filter(|output| !output.is_nan())
            };
            let old = class.columns.get(effort.second.index()).and_then(output);
            let better = match old {
                Some(old) => effort.output.get() > old,
                // A racer all of whose efforts were erased has a slot and no place: theirs went to whoever came first.
                None if output(&class.best).is_some() => true,
                None => {
                    let newcomers = &mut newcomers.0.entry(effort.class).or_default().waiting;
                    let known = newcomers.contains(&effort.racer);
                    if !known && class.racers + newcomers.len() >= racers_max {
                        comparison.class_full.push(place);
                        continue;
                    }
                    newcomers.insert(effort.racer);
                    true
                }
            };
            if better {
                comparison.improving.push(place);
            }
        }
        comparison
    }

    /// Takes in every effort that beats what is here. Returns, per class that was named, its version afterwards.
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

    /// Puts a class in its place as it is, where nothing was merged yet; else gives it back.
    pub fn insert_if_empty(&self, id: ClassId, class: ClassTable) -> Option<ClassTable> {
        let mut here = self.write(id);
        if here.version > 0 {
            return Some(class);
        }
        *here = class;
        None
    }

    /// Takes away the racer's efforts at those seconds whose output is over `above` (all of them where it is `None`).
    /// Returns how many.
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

    /// Forgets when something last changed: what was recovered did not change.
    pub fn clear_updated_at(&self) {
        for class in self.classes() {
            self.write(class).updated_at_ms = None;
        }
    }

    /// What the class holds, in numbers.
    pub fn summary(&self, class: ClassId) -> ClassSummary {
        let class = self.read(class);
        ClassSummary {
            racers: class.racers,
            seconds: class
                .columns
                .iter()
                .filter(|column| column.efforts > 0)
                .count(),
            efforts: class.efforts,
            updated_at_ms: class.updated_at_ms,
            state_hash: class.hash,
            version: class.version,
        }
    }

    /// The class's version.
    pub fn version(&self, class: ClassId) -> StateVersion {
        self.read(class).version
    }

    /// What the table takes up, in bytes: columns, slots and the orders that are kept, without what allocators add.
    pub fn bytes(&self) -> usize {
        self.classes().map(|class| self.read(class).bytes()).sum()
    }

    /// The seconds at which anyone has an effort, ascending, each with its column's version.
    pub fn seconds(&self, class: ClassId) -> Vec<(Second, StateVersion)> {
        let class = self.read(class);
        let columns = class
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.efforts > 0);
        columns
            .map(|(second, column)| (Second(second as u32), column.version))
            .collect()
    }

    /// The last second at which anyone has an effort.
    pub fn last_second(&self, class: ClassId) -> Option<Second> {
        self.read(class)
            .columns
            .iter()
            .rposition(|column| column.efforts > 0)
            .map(|second| Second(second as u32))
    }

    /// The racers at that second.
    pub fn board(&self, class: ClassId, second: Second) -> Board {
        let class = self.read(class);
        match class.columns.get(second.index()) {
            Some(column) => class.view(column, Seconds::One(second)),
            None => class.view(&Column::default(), Seconds::One(second)),
        }
    }

    /// Each racer's best output over all seconds; among equal ones the earliest second's.
    pub fn overall_board(&self, class: ClassId) -> Board {
        let class = self.read(class);
        class.view(&class.best, Seconds::Each(class.best_second.clone()))
    }

    /// The racer's personal best at every second at which there is one, ascending.
    pub fn racer_bests(&self, class: ClassId, racer: RacerId) -> Vec<(Second, Output)> {
        let class = self.read(class);
        let Some(&slot) = class.slots.get(&racer) else {
            return Vec::new();
        };
        let outputs = class
            .columns
            .iter()
            .map(|column| column.outputs.get(slot as usize));
        let outputs = outputs
            .enumerate()
            .filter_map(|(second, output)| Some((second, Output::new(*output?)?)));
        outputs
            .map(|(second, output)| (Second(second as u32), output))
            .collect()
    }

    fn read(&self, class: ClassId) -> RwLockReadGuard<'_, ClassTable> {
        read(&self.classes[class.index()])
    }

    fn write(&self, class: ClassId) -> RwLockWriteGuard<'_, ClassTable> {
        self.classes[class.index()]
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Racers whose first effort in a class has been compared and is yet to be merged.
#[derive(Debug, Default)]
pub struct Newcomers(HashMap<ClassId, Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    waiting: HashSet<RacerId>,
    /// How many racers the class had when it was last seen that none of these is among them.
    beside: usize,
}

/// What a comparison with the table found: places in the list that was compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Efforts that beat what is in the table.
    pub improving: Vec<usize>,
    /// Efforts of racers for whom their class has no room.
    pub class_full: Vec<usize>,
}

fn read(class: &RwLock<ClassTable>) -> RwLockReadGuard<'_, ClassTable> {
    class.read().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an output counts against what is there, which is NaN where there is nothing.
fn beats(new: f64, old: f64) -> bool {
    !matches!(
        old.partial_cmp(&new),
        Some(std::cmp::Ordering::Greater | std::cmp::Ordering::Equal)
    )
}

impl ClassTable {
    /// Whether the racer has an effort.
    fn stands(&self, racer: RacerId) -> bool {
        let best = self
            .slots
            .get(&racer)
            .and_then(|&slot| self.best.outputs.get(slot as usize));
        best.is_some_and(|output| !output.is_nan())
    }

    /// Takes in a second's efforts that beat what is here.
    pub fn merge_second(&mut self, second: Second, efforts: &[(RacerId, Output)]) {
        let (before, version) = (self.ids.len(), self.version + 1);
        if self.raise(second, efforts.iter().copied(), version) {
            self.version = version;
        }
        self.sort_in(before);
    }

    /// Every effort, of no race and of time 0, by second.
    pub fn efforts(&self, class: ClassId) -> impl Iterator<Item = Effort> {
        let of_column = move |(second, column): (usize, &'_ Column)| {
            let outputs = column.outputs.clone();
            let second = Second(second as u32);
            (0..outputs.len()).filter_map(move |slot| {
                let output = Output::new(outputs[slot])?;
                Some(Effort {
                    class,
                    second,
                    racer: self.ids[slot],
                    output,
                    race: None,
                    time: 0,
                })
            })
        };
        self.columns.iter().enumerate().flat_map(of_column)
    }

    fn merge(&mut self, efforts: &[Effort], id: ClassId, now_ms: u64) {
        let (before, version) = (self.ids.len(), self.version + 1);
        let mut changed = false;
        // What was stored, or is committed, has the efforts of a second together.
        for together in efforts.chunk_by(|a, b| (a.class, a.second) == (b.class, b.second)) {
            if together[0].class == id {
                let efforts = together.iter().map(|effort| (effort.racer, effort.output));
                changed |= self.raise(together[0].second, efforts, version);
            }
        }
        if changed {
            self.version = version;
            self.updated_at_ms = Some(now_ms);
        }
        self.sort_in(before);
    }

    /// Raises what a second's efforts beat. Whether there was any.
    fn raise(
        &mut self,
        second: Second,
        efforts: impl Iterator<Item = (RacerId, Output)>,
        version: StateVersion,
    ) -> bool {
        if self.columns.len() <= second.index() {
            self.columns
                .resize_with(second.index() + 1, Column::default);
        }
        let mut changed = false;
        let mut next = 0;
        for (racer, output) in efforts {
            // They are mostly in one order at every second.
            let slot = if self.ids.get(next) == Some(&racer) {
                next
            } else {
                self.slot(racer)
            };
            next = slot + 1;
            let new = output.get();
            let column = &mut self.columns[second.index()];
            let old = column.outputs.get(slot).copied().unwrap_or(f64::NAN);
            if !beats(new, old) {
                continue;
            }
            column.set(slot, new, self.ids.len(), version);
            changed = true;
            if old.is_nan() {
                self.efforts += 1;
            } else {
                self.hash = self.hash.wrapping_sub(hash(second, racer, old));
            }
            self.hash = self.hash.wrapping_add(hash(second, racer, new));
            self.raise_best(slot, second, new, version);
        }
        changed
    }

    fn slot(&mut self, racer: RacerId) -> usize {
        let next = self.ids.len() as u32;
        let slot = *self.slots.entry(racer).or_insert(next);
        if slot == next {
            Arc::make_mut(&mut self.ids).push(racer);
        }
        slot as usize
    }

    /// Brings the slots from `first` on into the order by id: one pass, however many they are.
    fn sort_in(&mut self, first: usize) {
        if first == self.ids.len() {
            return;
        }
        let ids = &self.ids;
        let mut new: Vec<u32> = (first as u32..ids.len() as u32).collect();
        new.sort_unstable_by_key(|&slot| ids[slot as usize]);
        let merged = rank_order::merge(&self.by_id, &new, |a, b| ids[a as usize] < ids[b as usize]);
        self.by_id = Arc::new(merged);
    }

    fn raise_best(&mut self, slot: usize, second: Second, output: f64, version: StateVersion) {
        let old = self.best.outputs.get(slot).copied().unwrap_or(f64::NAN);
        let earlier = || old == output && second < self.best_second[slot];
        if !beats(output, old) && !earlier() {
            return;
        }
        if old.is_nan() {
            self.racers += 1;
        }
        self.best.set(slot, output, self.ids.len(), version);
        let seconds = Arc::make_mut(&mut self.best_second);
        if seconds.len() <= slot {
            seconds.resize(slot + 1, Second(0));
        }
        seconds[slot] = second;
    }

    fn erase(
        &mut self,
        racer: RacerId,
        seconds: RangeInclusive<Second>,
        above: Option<Output>,
        now_ms: u64,
    ) -> u64 {
        let Some(&slot) = self.slots.get(&racer) else {
            return 0;
        };
        let slot = slot as usize;
        let version = self.version + 1;
        let mut erased = 0;
        let mut best: Option<(Second, f64)> = None;
        for (second, column) in self.columns.iter_mut().enumerate() {
            let second = Second(second as u32);
            let output = column.outputs.get(slot).copied().unwrap_or(f64::NAN);
            if output.is_nan() {
                continue;
            }
            if seconds.contains(&second) && above.is_none_or(|above| output > above.get()) {
                column.set(slot, f64::NAN, 0, version);
                self.hash = self.hash.wrapping_sub(hash(second, racer, output));
                erased += 1;
            } else if best.is_none_or(|(_, best)| output > best) {
                best = Some((second, output));
            }
        }
        if erased == 0 {
            return 0;
        }
        self.efforts -= erased;
        self.version = version;
        self.updated_at_ms = Some(now_ms);
        match best {
            Some((second, output)) => {
                self.best.set(slot, output, self.ids.len(), version);
                Arc::make_mut(&mut self.best_second)[slot] = second;
            }
            None => {
                self.best.set(slot, f64::NAN, 0, version);
                self.racers -= 1;
            }
        }
        erased
    }

    fn bytes(&self) -> usize {
        let slots = self.slots.capacity() * (size_of::<(RacerId, u32)>() + 1); // a byte of control each
        let ids =
            self.ids.capacity() * size_of::<RacerId>() + self.by_id.capacity() * size_of::<u32>();
        let best = self.best.bytes() + self.best_second.capacity() * size_of::<Second>();
        slots + ids + best + self.columns.iter().map(Column::bytes).sum::<usize>()
    }

    fn view(&self, column: &Column, seconds: Seconds) -> Board {
        Board {
            ids: self.ids.clone(),
            by_id: self.by_id.clone(),
            outputs: column.outputs.clone(),
            seconds,
            efforts: column.efforts,
            version: column.version,
            order: column.order.clone(),
        }
    }
}

impl Column {
    fn bytes(&self) -> usize {
        // An order that is just being repaired is counted the next time.
        let order = self.order.try_lock().map_or(0, |cached| {
            cached.order.capacity()
                + cached
                    .dense_ranks
                    .as_ref()
                    .map_or(0, |ranks| ranks.capacity())
        });
        size_of::<Self>() + self.outputs.capacity() * size_of::<f64>() + order * size_of::<u32>()
    }

    /// Sets a slot's output in a class of so many racers; NaN takes it away.
    fn set(&mut self, slot: usize, output: f64, racers: usize, version: StateVersion) {
        let outputs = Arc::make_mut(&mut self.outputs);
        if outputs.len() <= slot {
            if outputs.capacity() <= slot {
                // Doubled as long as there are racers to fill it. Beyond them a sixteenth to spare: a class that grows
                // racer by racer copies seldom, and wastes little.
                let room = (slot + 1 + slot / 16).max(racers.min(2 * slot));
                outputs.reserve_exact(room - outputs.len());
            }
            outputs.resize(slot + 1, f64::NAN);
        }
        let old = std::mem::replace(&mut outputs[slot], output);
        self.efforts = self.efforts + usize::from(!output.is_nan()) - usize::from(!old.is_nan());
        self.version = version;
    }
}

fn hash(second: Second, racer: RacerId, output: f64) -> u64 {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&second.0.to_le_bytes());
    key[4..12].copy_from_slice(&racer.0.to_le_bytes());
    key[12..].copy_from_slice(&output.to_bits().to_le_bytes());
    xxh3_64(&key)
}

impl Board {
    /// How many racers stand here.
    pub fn len(&self) -> usize {
        self.efforts
    }

    /// Whether nobody stands here.
    pub fn is_empty(&self) -> bool {
        self.efforts == 0
    }

    /// The version of what is seen: equal versions of one board are equal boards.
    pub fn version(&self) -> StateVersion {
        self.version
    }

    /// The racers with an output here, by id ascending.
    pub fn by_id(&self) -> impl Iterator<Item = (RacerId, Output)> {
        self.by_id
            .iter()
            .filter_map(|&slot| Some((self.racer(slot), self.output(slot)?)))
    }

    /// The slots with an output here, by output descending, then by racer id ascending. Kept until the board changes;
    /// after a change the last order is repaired rather than made anew.
    pub fn order(&self) -> Arc<Vec<u32>> {
        let mut cached = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.version == self.version {
            return cached.order.clone();
        }
        let order = Arc::new(rank_order::repair(&cached.order, &self.outputs, &self.ids));
        if cached.version < self.version {
            *cached = CachedOrder {
                version: self.version,
                order: order.clone(),
                dense_ranks: None,
            };
        }
        order
    }

    /// Whether the order is kept as it is now, and the dense ranks with it if they are asked for: what takes no time.
    pub fn has_order(&self, dense_ranks: bool) -> bool {
        // One that is just being repaired would have to be waited for.
        let cached = self.order.try_lock();
        cached.is_ok_and(|it| {
            it.version == self.version && (!dense_ranks || it.dense_ranks.is_some())
        })
    }

    /// For every place in the order the dense rank, from 1: how many different outputs there are down to that place.
    /// Made when first asked for and kept as long as the order.
    pub fn dense_ranks(&self) -> Arc<Vec<u32>> {
        let order = self.order();
        let make = || Arc::new(rank_order::dense_ranks(&order, &self.outputs));
        let mut cached = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.version == self.version {
            cached.dense_ranks.get_or_insert_with(make).clone()
        } else {
            make()
        }
    }

    /// How many outputs are greater than that one, and how many are smaller. Searches the order where it is kept
    /// already, and otherwise counts in one pass: a racer's whole curve is not worth the orders of 300 seconds.
    pub fn above_and_below(&self, output: Output) -> (usize, usize) {
        let output = output.get();
        // An order that is just being repaired would be waited for longer than counting takes.
        let order = self
            .order
            .try_lock()
            .ok()
            .filter(|cached| cached.version == self.version);
        let Some(order) = order.map(|cached| cached.order.clone()) else {
            return self.outputs.iter().fold((0, 0), |(above, below), &other| {
                (
                    above + usize::from(other > output),
                    below + usize::from(other < output),
                )
            });
        };
        let above = order.partition_point(|&slot| self.outputs[slot as usize] > output);
        let not_below = order.partition_point(|&slot| self.outputs[slot as usize] >= output);
        (above, order.len() - not_below)
    }

    /// The slot of a racer that stands here.
    pub fn slot(&self, racer: RacerId) -> Option<u32> {
        let place = self
            .by_id
            .binary_search_by_key(&racer, |&slot| self.racer(slot))
            .ok()?;
        let slot = self.by_id[place];
        self.output(slot).map(|_| slot)
    }

    /// The racer in a slot.
    pub fn racer(&self, slot: u32) -> RacerId {
        self.ids[slot as usize]
    }

    /// The output in a slot, where there is one.
    pub fn output(&self, slot: u32) -> Option<Output> {
        Output::new(*self.outputs.get(slot as usize)?)
    }

    /// The second at which a slot's output was ridden.
    pub fn second(&self, slot: u32) -> Second {
        match &self.seconds {
            Seconds::One(second) => *second,
            Seconds::Each(seconds) => seconds[slot as usize],
        }
    }
}

#[cfg(test)]
mod tests;
