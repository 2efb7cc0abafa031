//! A column: one output per slot, and their rank order once a reader has asked for it.

use std::sync::{Arc, OnceLock};

use crate::domain::effort::RacerId;
use crate::state::table::StateVersion;
use crate::state::table::rank_order::{RankOrder, SlotKeys};

/// A change of one in this many outputs, or of more, drops the order instead of updating it: the next
/// query sorts anew, which is faster than so many moves. Boards of tests are small, and are updated.
const SORTED_ANEW_SHARE: usize = if cfg!(test) { 2 } else { 64 };

/// Outputs by slot: of one second, or the best over all.
#[derive(Debug, Default)]
pub(super) struct Column {
    /// By slot. NaN: the racer has no effort here.
    pub(super) outputs: Arc<Vec<f64>>,
    /// Number of outputs that are not NaN.
    pub(super) effort_count: usize,
    /// The class's version at the column's last change.
    pub(super) version: StateVersion,
    /// Empty until a board of this column sorts it. Shared with the boards of this version.
    pub(super) order: Arc<OnceLock<RankOrder>>,
}

impl Column {
    /// Returns a slot's output.
    pub(super) fn get(&self, slot: usize) -> Option<f64> {
        self.outputs
            .get(slot)
            .copied()
            .filter(|output| !output.is_nan())
    }

    /// Prepares for changes of up to this many outputs. Without it, all changes update the order.
    pub(super) fn expect_changes(&mut self, count: usize) {
        if count * SORTED_ANEW_SHARE > self.effort_count && self.order.get().is_some() {
            self.order = Arc::default();
        }
    }

    /// Sets a slot's output in a class of the racers `ids`. NaN removes it.
    pub(super) fn set(&mut self, slot: usize, output: f64, ids: &[RacerId], version: StateVersion) {
        self.resize(slot, ids.len());
        if self.version != version {
            // Boards of the last version keep its order. No board is made between the changes of
            // one version.
            Arc::make_mut(&mut self.order);
            self.version = version;
        }
        if self.order.get().is_some()
            && let Some(order) = Arc::make_mut(&mut self.order).get_mut()
        {
            let outputs = &self.outputs;
            order.move_slot(slot as u32, output, SlotKeys { outputs, ids });
        }
        let outputs = Arc::make_mut(&mut self.outputs);
        let old = std::mem::replace(&mut outputs[slot], output);
        self.effort_count =
            self.effort_count + usize::from(!output.is_nan()) - usize::from(!old.is_nan());
    }

    /// Makes room for a slot in a class of `racer_count` racers.
    fn resize(&mut self, slot: usize, racer_count: usize) {
        if slot < self.outputs.len() {
            return;
        }
        let outputs = Arc::make_mut(&mut self.outputs);
        if outputs.capacity() <= slot {
            // Capacity doubles, but not beyond the class's racers. A new racer adds 1/16 more: a
            // class that grows racer by racer rarely copies, and wastes little.
            let capacity = (slot + 1 + slot / 16).max(racer_count.min(2 * slot));
            outputs.reserve_exact(capacity - outputs.len());
        }
        outputs.resize(slot + 1, f64::NAN);
    }

    /// Returns the column's memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let order = self.order.get().map_or(0, RankOrder::bytes);
        size_of::<Self>() + self.outputs.capacity() * size_of::<f64>() + order
    }
}
