//! A column: one output per slot, and their cached rank order.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::state::table::StateVersion;

/// Outputs by slot: of one second, or the best over all.
#[derive(Debug, Default)]
pub(super) struct Column {
    /// By slot. NaN: the racer has no effort here.
    pub(super) outputs: Arc<Vec<f64>>,
    /// Number of outputs that are not NaN.
    pub(super) effort_count: usize,
    /// The class's version at the column's last change.
    pub(super) version: StateVersion,
    /// Shared with the boards of this column.
    pub(super) order: Arc<Mutex<CachedOrder>>,
}

/// The rank order of a column at a version.
#[derive(Debug, Default)]
pub(super) struct CachedOrder {
    /// The version of the column that has this order.
    pub(super) version: StateVersion,
    /// Slots in rank order.
    pub(super) order: Arc<Vec<u32>>,
    /// By position in `order`. `None` until first used.
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

    /// Sets a slot's output in a class of `racer_count` racers. NaN removes it.
    pub(super) fn set(
        &mut self,
        slot: usize,
        output: f64,
        racer_count: usize,
        version: StateVersion,
    ) {
        let outputs = Arc::make_mut(&mut self.outputs);
        if outputs.len() <= slot {
            if outputs.capacity() <= slot {
                // Capacity doubles, but not beyond the class's racers. A new racer adds 1/16 more:
                // a class that grows racer by racer rarely copies, and wastes little.
                let capacity = (slot + 1 + slot / 16).max(racer_count.min(2 * slot));
                outputs.reserve_exact(capacity - outputs.len());
            }
            outputs.resize(slot + 1, f64::NAN);
        }
        let old = std::mem::replace(&mut outputs[slot], output);
        self.effort_count =
            self.effort_count + usize::from(!output.is_nan()) - usize::from(!old.is_nan());
        self.version = version;
    }

    /// Returns the column's memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        // A locked order is skipped rather than waited for, and counted the next time.
        let order_len = self.order.try_lock().map_or(0, |cached| {
            let ranks = cached.dense_ranks.as_ref();
            cached.order.capacity() + ranks.map_or(0, |ranks| ranks.capacity())
        });
        size_of::<Self>()
            + self.outputs.capacity() * size_of::<f64>()
            + order_len * size_of::<u32>()
    }
}
