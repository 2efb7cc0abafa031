//! The state of one class: slots, columns, and each racer's best.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::domain::effort::{ClassId, Effort, Output, RacerId, Second};
use crate::state::table::board::{Board, BoardSeconds};
use crate::state::table::column::Column;
use crate::state::table::{ClassSummary, StateVersion};

/// The state of one class. A class that was read from the store stands alone until it is inserted
/// into a table.
#[derive(Debug, Default)]
pub struct ClassTable {
    slots: HashMap<RacerId, u32, foldhash::fast::RandomState>,
    /// The racers by slot.
    pub(super) ids: Arc<Vec<RacerId>>,
    /// The slots by racer id, ascending.
    by_id: Arc<Vec<u32>>,
    columns: Vec<Column>,
    /// Each racer's best output over all seconds.
    pub(super) best: Column,
    /// The second of each racer's best output, by slot.
    pub(super) best_second: Arc<Vec<Second>>,
    pub(super) version: StateVersion,
    efforts: u64,
    /// Racers with an effort.
    pub(super) racers: usize,
    /// The sum of the efforts' hashes: it does not depend on the order of merges.
    hash: u64,
    pub(super) updated_at_ms: Option<u64>,
}

impl ClassTable {
    /// Merges efforts of one second.
    pub(crate) fn merge_second(&mut self, second: Second, efforts: &[(RacerId, Output)]) {
        let (first_new, version) = (self.ids.len(), self.version + 1);
        if self.raise(second, efforts.iter().copied(), version) {
            self.version = version;
        }
        self.sort_new_slots(first_new);
    }

    /// Returns every effort by second, without race and time.
    pub fn efforts(&self, class: ClassId) -> impl Iterator<Item = Effort> {
        let efforts_of = move |(second, column): (usize, &'_ Column)| {
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
        self.columns.iter().enumerate().flat_map(efforts_of)
    }

    /// Merges the efforts of this class, which is `id`.
    pub(super) fn merge(&mut self, efforts: &[Effort], id: ClassId, now_ms: u64) {
        let (first_new, version) = (self.ids.len(), self.version + 1);
        let mut changed = false;
        // Stored and committed efforts are grouped by second.
        let groups = efforts.chunk_by(|a, b| (a.class, a.second) == (b.class, b.second));
        let groups = groups.filter(|group| group[0].class == id);
        self.best
            .expect_changes(groups.clone().map(<[_]>::len).sum());
        for group in groups {
            let efforts = group.iter().map(|effort| (effort.racer, effort.output));
            changed |= self.raise(group[0].second, efforts, version);
        }
        if changed {
            self.version = version;
            self.updated_at_ms = Some(now_ms);
        }
        self.sort_new_slots(first_new);
    }

    /// Stores the efforts of a second that beat the column. Returns whether there was any.
    fn raise(
        &mut self,
        second: Second,
        efforts: impl ExactSizeIterator<Item = (RacerId, Output)>,
        version: StateVersion,
    ) -> bool {
        if self.columns.len() <= second.index() {
            self.columns
                .resize_with(second.index() + 1, Column::default);
        }
        self.columns[second.index()].expect_changes(efforts.len());
        let mut changed = false;
        let mut next = 0;
        for (racer, output) in efforts {
            // Racers mostly come in the same order at every second: the next slot is tried first.
            let slot = if self.ids.get(next) == Some(&racer) {
                next
            } else {
                self.slot_or_new(racer)
            };
            next = slot + 1;
            let new = output.get();
            let column = &mut self.columns[second.index()];
            let old = column.outputs.get(slot).copied().unwrap_or(f64::NAN);
            if !beats(new, old) {
                continue;
            }
            column.set(slot, new, &self.ids, version);
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

    fn slot_or_new(&mut self, racer: RacerId) -> usize {
        let next = self.ids.len() as u32;
        let slot = *self.slots.entry(racer).or_insert(next);
        if slot == next {
            Arc::make_mut(&mut self.ids).push(racer);
        }
        slot as usize
    }

    /// Inserts the slots from `first` on into the order by id, in one pass however many they are.
    fn sort_new_slots(&mut self, first: usize) {
        if first == self.ids.len() {
            return;
        }
        let ids = &self.ids;
        let mut new: Vec<u32> = (first as u32..ids.len() as u32).collect();
        new.sort_unstable_by_key(|&slot| ids[slot as usize]);
        let merged = merge(&self.by_id, &new, |a, b| ids[a as usize] < ids[b as usize]);
        self.by_id = Arc::new(merged);
    }

    fn raise_best(&mut self, slot: usize, second: Second, output: f64, version: StateVersion) {
        let old = self.best.outputs.get(slot).copied().unwrap_or(f64::NAN);
        let is_earlier = || old == output && second < self.best_second[slot];
        if !beats(output, old) && !is_earlier() {
            return;
        }
        if old.is_nan() {
            self.racers += 1;
        }
        self.best.set(slot, output, &self.ids, version);
        let seconds = Arc::make_mut(&mut self.best_second);
        if seconds.len() <= slot {
            seconds.resize(slot + 1, Second(0));
        }
        seconds[slot] = second;
    }

    pub(super) fn erase(
        &mut self,
        racer: RacerId,
        seconds: RangeInclusive<Second>,
        above: Option<Output>,
        now_ms: u64,
    ) -> u64 {
        let Some(slot) = self.slot_of(racer) else {
            return 0;
        };
        let version = self.version + 1;
        let mut erased = 0;
        let mut best: Option<(Second, f64)> = None;
        for (second, column) in self.columns.iter_mut().enumerate() {
            let second = Second(second as u32);
            let Some(output) = column.get(slot) else {
                continue;
            };
            if seconds.contains(&second) && above.is_none_or(|above| output > above.get()) {
                column.set(slot, f64::NAN, &self.ids, version);
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
                self.best.set(slot, output, &self.ids, version);
                Arc::make_mut(&mut self.best_second)[slot] = second;
            }
            None => {
                self.best.set(slot, f64::NAN, &self.ids, version);
                self.racers -= 1;
            }
        }
        erased
    }

    pub(super) fn summary(&self) -> ClassSummary {
        ClassSummary {
            racers: self.racers,
            seconds: self.columns_with_efforts().count(),
            efforts: self.efforts,
            updated_at_ms: self.updated_at_ms,
            state_hash: self.hash,
            version: self.version,
        }
    }

    /// Returns the racer's slot. After an erasure it may have no efforts.
    pub(super) fn slot_of(&self, racer: RacerId) -> Option<usize> {
        self.slots.get(&racer).map(|&slot| slot as usize)
    }

    pub(super) fn has_efforts_of(&self, racer: RacerId) -> bool {
        self.slot_of(racer)
            .is_some_and(|slot| self.best.get(slot).is_some())
    }

    pub(super) fn column(&self, second: Second) -> Option<&Column> {
        self.columns.get(second.index())
    }

    pub(super) fn columns_with_efforts(
        &self,
    ) -> impl DoubleEndedIterator<Item = (Second, &Column)> {
        let columns = self.columns.iter().enumerate();
        columns
            .filter(|(_, column)| column.effort_count > 0)
            .map(|(second, column)| (Second(second as u32), column))
    }

    pub(super) fn racer_bests(&self, racer: RacerId) -> Vec<(Second, Output)> {
        let Some(slot) = self.slot_of(racer) else {
            return Vec::new();
        };
        let bests = self.columns_with_efforts();
        bests
            .filter_map(|(second, column)| Some((second, Output::new(column.get(slot)?)?)))
            .collect()
    }

    pub(super) fn board(&self, column: &Column, seconds: BoardSeconds) -> Board {
        Board::new(self.ids.clone(), self.by_id.clone(), column, seconds)
    }

    pub(super) fn bytes(&self) -> usize {
        let slots = self.slots.capacity() * (size_of::<(RacerId, u32)>() + 1); // and a control byte
        let ids =
            self.ids.capacity() * size_of::<RacerId>() + self.by_id.capacity() * size_of::<u32>();
        let best = self.best.bytes() + self.best_second.capacity() * size_of::<Second>();
        slots + ids + best + self.columns.iter().map(Column::bytes).sum::<usize>()
    }
}

/// Returns whether an output beats the old one. The old one is NaN for a racer without an effort.
fn beats(new: f64, old: f64) -> bool {
    !matches!(
        old.partial_cmp(&new),
        Some(std::cmp::Ordering::Greater | std::cmp::Ordering::Equal)
    )
}

/// Merges two ordered lists.
fn merge(a: &[u32], b: &[u32], before: impl Fn(u32, u32) -> bool) -> Vec<u32> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let mut rest = a;
    for &slot in b {
        let split = rest.partition_point(|&other| before(other, slot));
        merged.extend_from_slice(&rest[..split]);
        merged.push(slot);
        rest = &rest[split..];
    }
    merged.extend_from_slice(rest);
    merged
}

fn hash(second: Second, racer: RacerId, output: f64) -> u64 {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&second.0.to_le_bytes());
    key[4..12].copy_from_slice(&racer.0.to_le_bytes());
    key[12..].copy_from_slice(&output.to_bits().to_le_bytes());
    xxh3_64(&key)
}
