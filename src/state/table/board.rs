//! A board: an immutable view of one column, for readers.

use std::sync::{Arc, OnceLock};

use crate::domain::effort::{Output, RacerId, Second};
use crate::state::table::StateVersion;
use crate::state::table::column::Column;
use crate::state::table::rank_order::RankOrder;

/// The racers of one second, or of all seconds together, when the view was made.
#[derive(Clone, Debug)]
pub struct Board {
    ids: Arc<Vec<RacerId>>,
    by_id: Arc<Vec<u32>>,
    outputs: Arc<Vec<f64>>,
    seconds: BoardSeconds,
    effort_count: usize,
    version: StateVersion,
    order: Arc<OnceLock<RankOrder>>,
}

/// The seconds at which a board's outputs were ridden.
#[derive(Clone, Debug)]
pub(super) enum BoardSeconds {
    /// The board of one second.
    One(Second),
    /// The seconds by slot.
    Each(Arc<Vec<Second>>),
}

impl Board {
    pub(super) fn new(
        ids: Arc<Vec<RacerId>>,
        by_id: Arc<Vec<u32>>,
        column: &Column,
        seconds: BoardSeconds,
    ) -> Self {
        Self {
            ids,
            by_id,
            outputs: column.outputs.clone(),
            seconds,
            effort_count: column.effort_count,
            version: column.version,
            order: column.order.clone(),
        }
    }

    /// Returns the number of racers on the board.
    pub fn len(&self) -> usize {
        self.effort_count
    }

    /// Returns whether the board has no racers.
    pub fn is_empty(&self) -> bool {
        self.effort_count == 0
    }

    /// Returns the column's version. Equal versions of a board have equal contents.
    pub fn version(&self) -> StateVersion {
        self.version
    }

    /// Returns the racers with their outputs, by id ascending.
    pub(crate) fn by_id(&self) -> impl Iterator<Item = (RacerId, Output)> {
        self.by_id
            .iter()
            .filter_map(|&slot| Some((self.racer(slot), self.output(slot)?)))
    }

    /// Returns the bits of the outputs, in no order. Bits are ordered as their outputs are.
    pub(crate) fn output_bits(&self) -> Vec<u64> {
        if self.effort_count == self.outputs.len() {
            return self.outputs.iter().map(|output| output.to_bits()).collect();
        }
        let mut bits = Vec::with_capacity(self.effort_count);
        let outputs = self.outputs.iter().filter(|output| !output.is_nan());
        bits.extend(outputs.map(|output| output.to_bits()));
        bits
    }

    /// Returns the slots with an output, by output descending, then by racer id ascending. The first
    /// call sorts them; from then on, changes of the column update the order.
    pub(crate) fn order(&self) -> &RankOrder {
        self.order
            .get_or_init(|| RankOrder::sorted(&self.by_id, &self.outputs))
    }

    /// Returns whether the order is sorted already: then a query takes no time.
    pub(crate) fn has_order(&self) -> bool {
        self.order.get().is_some()
    }

    /// Returns the number of distinct outputs at the positions before this one.
    pub(crate) fn distinct_before(&self, position: usize) -> usize {
        self.order().distinct_before(position, &self.outputs)
    }

    /// Returns the numbers of greater and of smaller outputs. Searches the order if there is one and
    /// otherwise counts in one pass: a racer's whole curve is not worth the orders of 300 seconds.
    pub(crate) fn above_and_below(&self, output: Output) -> (usize, usize) {
        let output = output.get();
        let Some(order) = self.order.get() else {
            return self.outputs.iter().fold((0, 0), |(above, below), &other| {
                (
                    above + usize::from(other > output),
                    below + usize::from(other < output),
                )
            });
        };
        let above = order.partition_point(|slot| self.outputs[slot as usize] > output);
        let not_below = order.partition_point(|slot| self.outputs[slot as usize] >= output);
        (above, self.len() - not_below)
    }

    /// Returns the slot of a racer on the board.
    pub(crate) fn slot(&self, racer: RacerId) -> Option<u32> {
        let index = self
            .by_id
            .binary_search_by_key(&racer, |&slot| self.racer(slot))
            .ok()?;
        let slot = self.by_id[index];
        self.output(slot).map(|_| slot)
    }

    /// Returns the racer in a slot.
    pub fn racer(&self, slot: u32) -> RacerId {
        self.ids[slot as usize]
    }

    /// Returns the output in a slot.
    pub fn output(&self, slot: u32) -> Option<Output> {
        Output::new(*self.outputs.get(slot as usize)?)
    }

    /// Returns the second at which a slot's output was ridden.
    pub fn second(&self, slot: u32) -> Second {
        match &self.seconds {
            BoardSeconds::One(second) => *second,
            BoardSeconds::Each(seconds) => seconds[slot as usize],
        }
    }
}
