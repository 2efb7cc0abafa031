//! The rank order of a column's slots, and the move of one slot in it.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::sync::{Arc, OnceLock};

use crate::domain::effort::RacerId;

/// Number of slots of a new chunk. A change copies a chunk, and counts the chunks after it: a million
/// racers have 2,000. Tests have small chunks, so that small boards have many.
const CHUNK_SLOTS: usize = if cfg!(test) { 4 } else { 512 };

/// A longer chunk is split.
const CHUNK_SLOTS_MAX: usize = 2 * CHUNK_SLOTS;

/// A shorter chunk is merged with a neighbor, if both fit into a new chunk.
const CHUNK_SLOTS_MIN: usize = CHUNK_SLOTS / 2;

/// Number of slots by which the capacity of a chunk grows: little memory is unused.
const CHUNK_GROWTH: usize = 32;

/// Slots in rank order: by output descending, then by racer id ascending.
///
/// The order is a list of chunks. Copies of an order share the chunks that have not changed since.
/// So the move of a slot is fast however many racers there are, and a board keeps its own order.
#[derive(Clone, Debug, Default)]
pub(crate) struct RankOrder {
    chunks: Vec<Arc<Chunk>>,
    /// The number of slots up to the end of each chunk.
    ends: Vec<usize>,
    /// The number of distinct outputs up to the end of each chunk. Only dense ranks need it.
    distinct_ends: OnceLock<Vec<usize>>,
}

#[derive(Clone, Debug)]
struct Chunk {
    /// Never empty.
    slots: Vec<u32>,
    /// Only dense ranks need it.
    outputs: OnceLock<ChunkOutputs>,
}

/// The outputs of a chunk, as dense ranks need them.
#[derive(Clone, Copy, Debug)]
struct ChunkOutputs {
    first: f64,
    last: f64,
    distinct: usize,
}

/// The output and the racer of each slot: they order the slots of a column.
#[derive(Clone, Copy)]
pub(super) struct SlotKeys<'a> {
    /// By slot.
    pub(super) outputs: &'a [f64],
    /// By slot.
    pub(super) ids: &'a [RacerId],
}

/// The sort key of a slot, ascending. The bits of outputs are ordered as the outputs are, since none
/// is negative.
type SlotKey = (Reverse<u64>, RacerId);

impl SlotKeys<'_> {
    fn key(self, slot: u32) -> SlotKey {
        self.key_with(slot, self.outputs[slot as usize])
    }

    fn key_with(self, slot: u32, output: f64) -> SlotKey {
        (Reverse(output.to_bits()), self.ids[slot as usize])
    }
}

impl RankOrder {
    /// Sorts the slots that have an output. `by_id` are all slots by racer id ascending.
    pub(super) fn sorted(by_id: &[u32], outputs: &[f64]) -> Self {
        // The leading bits of an output and the slot's index in `by_id` share an integer: integers
        // sort faster than pairs. `!` makes the greatest output the first. After this sort, only slots
        // with the same leading bits may be in the wrong order.
        let index_mask = (by_id.len() as u64).next_power_of_two() - 1;
        let packed = by_id.iter().zip(0..).filter_map(|(&slot, index)| {
            let output = *outputs.get(slot as usize)?;
            (!output.is_nan()).then(|| !output.to_bits() & !index_mask | index)
        });
        let mut packed: Vec<u64> = packed.collect();
        packed.sort_unstable();
        let slots = packed.iter().map(|it| by_id[(it & index_mask) as usize]);
        let mut slots: Vec<u32> = slots.collect();
        let mut rest = &mut slots[..];
        for run in packed.chunk_by(|a, b| a | index_mask == b | index_mask) {
            let (run, after) = rest.split_at_mut(run.len());
            // The sort is stable: equal outputs stay in the order of their ids.
            run.sort_by_key(|&slot| Reverse(outputs[slot as usize].to_bits()));
            rest = after;
        }
        let chunks = slots.chunks(CHUNK_SLOTS);
        let chunks = chunks.map(|chunk| Chunk::new(chunk.to_vec()));
        let mut order = Self {
            chunks: chunks.collect(),
            ..Self::default()
        };
        order.count_from(0);
        order
    }

    /// Returns the slot at a position.
    pub(crate) fn slot(&self, position: usize) -> u32 {
        let chunk = self.chunk_of(position);
        self.chunks[chunk].slots[position - self.start(chunk)]
    }

    /// Returns the slots in order.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        self.chunks.iter().flat_map(|it| it.slots.iter().copied())
    }

    /// Returns the number of leading slots for which the condition holds. It must not hold for any
    /// slot after one for which it fails.
    pub(super) fn partition_point(&self, holds: impl Fn(u32) -> bool) -> usize {
        let (chunk, index) = self.locate(holds);
        self.start(chunk) + index
    }

    /// Returns the number of distinct outputs of the slots before a position.
    pub(super) fn distinct_before(&self, position: usize, outputs: &[f64]) -> usize {
        let Some(last) = position.checked_sub(1) else {
            return 0;
        };
        let chunk = self.chunk_of(last);
        let slots = &self.chunks[chunk].slots[..position - self.start(chunk)];
        let distinct = ChunkOutputs::of(slots, outputs).distinct;
        let Some(before) = chunk.checked_sub(1) else {
            return distinct;
        };
        let ends = self
            .distinct_ends
            .get_or_init(|| self.count_distinct(outputs));
        let is_continued = self.is_continued(before, outputs);
        ends[before] + distinct - usize::from(is_continued)
    }

    /// Moves a slot to the position of its new output. Its old output must still be in `keys`. NaN
    /// is no output: such a slot has no position.
    pub(super) fn move_slot(&mut self, slot: u32, new: f64, keys: SlotKeys<'_>) {
        if !keys.outputs[slot as usize].is_nan() {
            self.remove(keys.key(slot), keys);
        }
        if !new.is_nan() {
            self.insert(slot, keys.key_with(slot, new), keys);
        }
        self.distinct_ends.take();
    }

    /// Returns the memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let of_chunk = |chunk: &Arc<Chunk>| {
            size_of::<Chunk>() + chunk.slots.capacity() * size_of::<u32>() + 2 * size_of::<usize>()
        };
        self.chunks.iter().map(of_chunk).sum()
    }

    fn remove(&mut self, key: SlotKey, keys: SlotKeys<'_>) {
        let (chunk, index) = self.locate(|other| keys.key(other) < key);
        let slots = Chunk::slots_mut(&mut self.chunks[chunk]);
        slots.remove(index);
        if slots.is_empty() {
            self.chunks.remove(chunk);
        } else if slots.len() < CHUNK_SLOTS_MIN {
            self.merge_with_neighbor(chunk);
        }
        self.count_from(chunk.saturating_sub(1));
    }

    fn insert(&mut self, slot: u32, key: SlotKey, keys: SlotKeys<'_>) {
        if self.chunks.is_empty() {
            self.chunks.push(Chunk::new(Vec::new()));
        }
        let (chunk, index) = self.locate(|other| keys.key(other) < key);
        let slots = Chunk::slots_mut(&mut self.chunks[chunk]);
        if slots.len() == slots.capacity() {
            slots.reserve_exact(CHUNK_GROWTH);
        }
        slots.insert(index, slot);
        if slots.len() > CHUNK_SLOTS_MAX {
            let rest = slots.split_off(CHUNK_SLOTS);
            slots.shrink_to_fit();
            self.chunks.insert(chunk + 1, Chunk::new(rest));
        }
        self.count_from(chunk);
    }

    /// Merges a chunk with the one before it, or else with the one after it, if they fit into a new
    /// one.
    fn merge_with_neighbor(&mut self, chunk: usize) {
        for first in chunk.saturating_sub(1)..=chunk {
            if let Some([a, b]) = self.chunks.get(first..first + 2)
                && a.slots.len() + b.slots.len() <= CHUNK_SLOTS
            {
                let merged = Chunk::new([&a.slots[..], &b.slots[..]].concat());
                self.chunks.splice(first..first + 2, [merged]);
                return;
            }
        }
    }

    /// Returns the first slot for which the condition fails: its chunk, and its index in the chunk.
    /// If the condition holds for all slots, returns the end of the last chunk.
    fn locate(&self, holds: impl Fn(u32) -> bool) -> (usize, usize) {
        let chunks = &self.chunks;
        let chunk = chunks.partition_point(|it| it.slots.last().is_some_and(|&slot| holds(slot)));
        let chunk = chunk.min(chunks.len().saturating_sub(1));
        let slots = chunks.get(chunk).map_or(&[][..], |it| &it.slots);
        (chunk, slots.partition_point(|&slot| holds(slot)))
    }

    /// Returns the chunk of a position.
    fn chunk_of(&self, position: usize) -> usize {
        self.ends.partition_point(|&end| end <= position)
    }

    /// Returns the position of a chunk's first slot.
    fn start(&self, chunk: usize) -> usize {
        chunk.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Counts the ends of the chunks anew, from a chunk on.
    fn count_from(&mut self, chunk: usize) {
        self.ends.truncate(chunk);
        let mut end = self.ends.last().copied().unwrap_or(0);
        self.ends.extend(self.chunks[chunk..].iter().map(|it| {
            end += it.slots.len();
            end
        }));
    }

    fn count_distinct(&self, outputs: &[f64]) -> Vec<usize> {
        let mut end = 0;
        let chunks = self.chunks.iter().enumerate();
        let ends = chunks.map(|(index, chunk)| {
            end += chunk.outputs(outputs).distinct;
            if let Some(before) = index.checked_sub(1) {
                end -= usize::from(self.is_continued(before, outputs));
            }
            end
        });
        ends.collect()
    }

    /// Returns whether the next chunk begins with the last output of this one.
    fn is_continued(&self, chunk: usize, outputs: &[f64]) -> bool {
        let [this, next] = [chunk, chunk + 1].map(|it| self.chunks[it].outputs(outputs));
        this.last == next.first
    }
}

impl Chunk {
    fn new(slots: Vec<u32>) -> Arc<Self> {
        Arc::new(Self {
            slots,
            outputs: OnceLock::new(),
        })
    }

    /// Returns the slots for a change. Copies the chunk if other orders share it.
    fn slots_mut(chunk: &mut Arc<Self>) -> &mut Vec<u32> {
        let chunk = Arc::make_mut(chunk);
        chunk.outputs.take();
        &mut chunk.slots
    }

    fn outputs(&self, outputs: &[f64]) -> ChunkOutputs {
        *self
            .outputs
            .get_or_init(|| ChunkOutputs::of(&self.slots, outputs))
    }
}

impl ChunkOutputs {
    /// Returns the outputs of slots in order. There must be a slot.
    fn of(slots: &[u32], outputs: &[f64]) -> Self {
        let output = |&slot: &u32| outputs[slot as usize];
        let changes = slots
            .windows(2)
            .filter(|pair| output(&pair[0]) != output(&pair[1]));
        Self {
            first: output(&slots[0]),
            last: output(&slots[slots.len() - 1]),
            distinct: 1 + changes.count(),
        }
    }
}
