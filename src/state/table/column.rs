//! A column: the outputs of one second by slot.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::state::table::StateVersion;

#[derive(Debug, Default)]
pub(super) struct Column {
    /// NaN without an effort.
    pub(super) outputs: Arc<Vec<f64>>,
    /// Number of outputs that are not NaN.
    pub(super) efforts: usize,
    pub(super) version: StateVersion,
    /// Shared with the boards of this column.
    pub(super) order: Arc<Mutex<CachedOrder>>,
}

/// The rank order of a column at a version.
#[derive(Debug, Default)]
pub(super) struct CachedOrder {
    pub(super) version: StateVersion,
    pub(super) order: Arc<Vec<u32>>,
    pub(super) dense_ranks: Option<Arc<Vec<u32>>>,
}

impl Column {
    /// Returns a slot's output.
    pub(super) fn get(&self, slot: usize) -> Option<f64> {
        self.outputs
            .get(slot)
            .copied()
            .filter(|output| !output.is_nan())
    }

    /// Sets a slot's output in a class of `racers` racers. NaN removes it.
    pub(super) fn set(&mut self, slot: usize, output: f64, racers: usize, version: StateVersion) {
        let outputs = Arc::make_mut(&mut self.outputs);
        if outputs.len() <= slot {
            if outputs.capacity() <= slot {
                // Doubles up to the number of racers. Beyond that it reserves a sixteenth more: a
                // class that grows racer by racer rarely copies, and wastes little.
                let capacity = (slot + 1 + slot / 16).max(racers.min(2 * slot));
                outputs.reserve_exact(capacity - outputs.len());
            }
            outputs.resize(slot + 1, f64::NAN);
        }
        let old = std::mem::replace(&mut outputs[slot], output);
        self.efforts = self.efforts + usize::from(!output.is_nan()) - usize::from(!old.is_nan());
        self.version = version;
    }

    /// Returns the column's memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        // An order that is being repaired right now is counted the next time.
        let order = self.order.try_lock().map_or(0, |cached| {
            let ranks = cached.dense_ranks.as_ref();
            cached.order.capacity() + ranks.map_or(0, |ranks| ranks.capacity())
        });
        size_of::<Self>() + self.outputs.capacity() * size_of::<f64>() + order * size_of::<u32>()
    }
}
