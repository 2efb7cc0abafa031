//! The rows of a board in rank order, with a what-if racer moved to its new position, and the pages
//! that are cut from them.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use crate::domain::effort::{Output, RacerId, Second};
use crate::state::leaderboard::{Cursor, PageLimit, PageSelector, RacerNotFound, Ties, WhatIf};
use crate::state::table::Board;

/// The racers in order, the what-if racer at its new position. Positions count from 0.
pub(super) struct RankedView<'a> {
    board: &'a Board,
    order: Arc<Vec<u32>>,
    dense_ranks: OnceCell<Arc<Vec<u32>>>,
    /// `None` without a what-if, or when its output does not beat the racer's best.
    pub(super) what_if: Option<WhatIfMove>,
}

/// The move of a what-if racer whose output counts.
pub(super) struct WhatIfMove {
    what_if: WhatIf,
    /// The new position. It is never after the old one, so removing the old row does not shift it.
    to: usize,
    /// The old position in the board's order.
    from: Option<usize>,
    /// The racer's old output if no other racer has it.
    removed_output: Option<Output>,
    /// The racer's new output if no other racer has it.
    added_output: Option<Output>,
}

#[derive(Clone, Copy)]
pub(super) struct BoardRow {
    pub(super) racer: RacerId,
    pub(super) output: Output,
    pub(super) second: Option<Second>,
}

/// The sort key of rows, ascending.
pub(super) type RankKey = (Reverse<Output>, RacerId);

impl BoardRow {
    fn key(&self) -> RankKey {
        (Reverse(self.output), self.racer)
    }
}

impl<'a> RankedView<'a> {
    pub(super) fn new(board: &'a Board, what_if: Option<WhatIf>) -> Self {
        let mut view = Self {
            board,
            order: board.order(),
            dense_ranks: OnceCell::new(),
            what_if: None,
        };
        view.what_if = what_if.and_then(|what_if| view.move_of(what_if));
        view
    }

    fn move_of(&self, what_if: WhatIf) -> Option<WhatIfMove> {
        let WhatIf { racer, output } = what_if;
        let old = self
            .board
            .slot(racer)
            .and_then(|slot| self.board.output(slot));
        if old.is_some_and(|old| old >= output) {
            return None;
        }
        let count = |output| self.partition_point(|row| row.output >= output) - self.above(output);
        Some(WhatIfMove {
            what_if,
            to: self.rows_before((Reverse(output), racer)),
            from: old.map(|old| self.rows_before((Reverse(old), racer))),
            removed_output: old.filter(|&old| count(old) == 1),
            added_output: Some(output).filter(|&output| count(output) == 0),
        })
    }

    pub(super) fn len(&self) -> usize {
        let is_added = self.what_if.as_ref().is_some_and(|it| it.from.is_none());
        self.order.len() + usize::from(is_added)
    }

    pub(super) fn row(&self, position: usize) -> BoardRow {
        let Some(what_if) = &self.what_if else {
            return self.stored_row(position);
        };
        if position == what_if.to {
            let WhatIf { racer, output } = what_if.what_if;
            return BoardRow {
                racer,
                output,
                second: None,
            };
        }
        let without_new = position - usize::from(position > what_if.to);
        let is_after_old = what_if.from.is_some_and(|from| from <= without_new);
        self.stored_row(without_new + usize::from(is_after_old))
    }

    /// Returns the row at a position of the board's own order.
    fn stored_row(&self, position: usize) -> BoardRow {
        let slot = self.order[position];
        let output = self
            .board
            .output(slot)
            .expect("an order contains only slots with an output");
        BoardRow {
            racer: self.board.racer(slot),
            output,
            second: Some(self.board.second(slot)),
        }
    }

    /// Returns the number of leading rows for which the condition holds. It must not hold for any
    /// row after one for which it fails.
    fn partition_point(&self, holds: impl Fn(&BoardRow) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if holds(&self.row(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Returns the number of rows before a key, whether or not it has a row.
    fn rows_before(&self, key: RankKey) -> usize {
        self.partition_point(|row| row.key() < key)
    }

    /// Returns the number of greater outputs.
    fn above(&self, output: Output) -> usize {
        self.partition_point(|row| row.output > output)
    }

    /// Returns the number of distinct greater outputs.
    fn distinct_above(&self, output: Output) -> usize {
        let ranks = self.dense_ranks.get_or_init(|| self.board.dense_ranks());
        let above = self
            .order
            .partition_point(|&slot| self.board.output(slot) > Some(output));
        let stored = above.checked_sub(1).map_or(0, |last| ranks[last] as usize);
        let is_above = |other: Option<Output>| usize::from(other > Some(output));
        let Some(what_if) = &self.what_if else {
            return stored;
        };
        stored + is_above(what_if.added_output) - is_above(what_if.removed_output)
    }

    pub(super) fn rank(&self, ties: Ties, position: usize, output: Output) -> usize {
        match ties {
            // A search for the first row of the tie is only needed where the row before is equal.
            Ties::Competition if position == 0 || self.row(position - 1).output != output => {
                position + 1
            }
            Ties::Competition => self.above(output) + 1,
            Ties::Dense => self.distinct_above(output) + 1,
            Ties::Ordinal => position + 1,
        }
    }

    fn position(&self, racer: RacerId) -> Option<usize> {
        match &self.what_if {
            Some(what_if) if what_if.what_if.racer == racer => Some(what_if.to),
            _ => {
                let output = self.board.output(self.board.slot(racer)?)?;
                Some(self.rows_before((Reverse(output), racer)))
            }
        }
    }

    /// Returns the positions of the given racers, ascending. Racers without a row are left out.
    pub(super) fn positions(&self, racers: &[RacerId]) -> Vec<usize> {
        let mut positions: Vec<_> = racers
            .iter()
            .filter_map(|&racer| self.position(racer))
            .collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }
}

/// The rows that pages are cut from: all, or those of selected racers.
pub(super) struct PageSource<'a> {
    pub(super) view: &'a RankedView<'a>,
    /// The positions of the selected rows, ascending.
    pub(super) selected: Option<Vec<usize>>,
}

impl PageSource<'_> {
    pub(super) fn len(&self) -> usize {
        self.selected.as_ref().map_or(self.view.len(), Vec::len)
    }

    pub(super) fn position(&self, index: usize) -> usize {
        self.selected
            .as_ref()
            .map_or(index, |selected| selected[index])
    }

    /// Returns the number of source rows before a position of the view.
    fn index(&self, position: usize) -> usize {
        self.selected.as_ref().map_or(position, |selected| {
            selected.partition_point(|&other| other < position)
        })
    }

    pub(super) fn page(
        &self,
        page: PageSelector,
        limit: PageLimit,
    ) -> Result<Range<usize>, RacerNotFound> {
        let (len, limit) = (self.len(), limit.get());
        let from = |start: usize| start..len.min(start + limit);
        let to = |end: usize| end.saturating_sub(limit)..end;
        Ok(match page {
            PageSelector::Offset(offset) => from(offset.min(len)),
            PageSelector::Around(racer) => {
                let position = self.view.position(racer).ok_or(RacerNotFound(racer))?;
                let start = self.index(position).saturating_sub(limit / 2);
                from(start.min(len.saturating_sub(limit)))
            }
            PageSelector::Cursor(Cursor::First) => from(0),
            PageSelector::Cursor(Cursor::After(output, racer)) => {
                let key = (Reverse(output), racer);
                from(self.index(self.view.partition_point(|row| row.key() <= key)))
            }
            PageSelector::Cursor(Cursor::Before(output, racer)) => {
                to(self.index(self.view.rows_before((Reverse(output), racer))))
            }
            PageSelector::Cursor(Cursor::Last) => to(len),
        })
    }
}
