//! The rows of a board in rank order, with a what-if racer moved to its new position, and the pages
//! that are cut from them.

use std::cmp::Reverse;
use std::ops::Range;

use crate::domain::effort::{Output, RacerId};
use crate::state::leaderboard::board::{BoardRow, RankKey, RankedBoard, RowDetail};
use crate::state::leaderboard::cursor::{Cursor, CursorRow};
use crate::state::leaderboard::{
    PageLimit, PageSelector, Place, RacerNotFound, Ties, WhatIf, percentile,
};

/// The racers in order, the what-if racer at its new position. Positions count from 0.
pub(super) struct RankedView<'a, B: RankedBoard> {
    board: &'a B,
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

/// The key of the row at a cursor.
fn key_at<D: RowDetail>(row: CursorRow) -> RankKey<D> {
    (Reverse(row.output), D::tie(row.time_ms), row.racer)
}

impl<'a, B: RankedBoard> RankedView<'a, B> {
    pub(super) fn new(board: &'a B, what_if: Option<WhatIf>) -> Self {
        let mut view = Self {
            board,
            what_if: None,
        };
        view.what_if = what_if.and_then(|what_if| view.move_of(what_if));
        view
    }

    fn move_of(&self, what_if: WhatIf) -> Option<WhatIfMove> {
        let WhatIf { racer, output } = what_if;
        let old = self.board.find(racer);
        if old.is_some_and(|old| old.output >= output) {
            return None;
        }
        let new = BoardRow::<B::Detail> {
            racer,
            output,
            detail: None,
        };
        let count = |output| self.partition_point(|row| row.output >= output) - self.above(output);
        Some(WhatIfMove {
            what_if,
            to: self.rows_before(new.key()),
            from: old.map(|old| self.rows_before(old.key())),
            removed_output: old.map(|old| old.output).filter(|&old| count(old) == 1),
            added_output: Some(output).filter(|&output| count(output) == 0),
        })
    }

    pub(super) fn len(&self) -> usize {
        let is_added = self.what_if.as_ref().is_some_and(|it| it.from.is_none());
        self.board.len() + usize::from(is_added)
    }

    pub(super) fn row(&self, position: usize) -> BoardRow<B::Detail> {
        let Some(what_if) = &self.what_if else {
            return self.board.row(position);
        };
        if position == what_if.to {
            let WhatIf { racer, output } = what_if.what_if;
            return BoardRow {
                racer,
                output,
                detail: None,
            };
        }
        let without_new = position - usize::from(position > what_if.to);
        let is_after_old = what_if.from.is_some_and(|from| from <= without_new);
        let stored = without_new + usize::from(is_after_old);
        self.board.row(stored)
    }

    /// Returns the number of leading rows for which the condition holds. It must not hold for any
    /// row after one for which it fails.
    fn partition_point(&self, holds: impl Fn(&BoardRow<B::Detail>) -> bool) -> usize {
        partition_point(self.len(), |position| holds(&self.row(position)))
    }

    /// Returns the number of rows before a key, whether or not it has a row.
    fn rows_before(&self, key: RankKey<B::Detail>) -> usize {
        self.partition_point(|row| row.key() < key)
    }

    /// Returns the number of greater outputs.
    fn above(&self, output: Output) -> usize {
        self.partition_point(|row| row.output > output)
    }

    /// Returns the number of distinct greater outputs.
    fn distinct_above(&self, output: Output) -> usize {
        let above = partition_point(self.board.len(), |position| {
            self.board.row(position).output > output
        });
        let stored = self.board.distinct_before(above);
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

    /// Returns where an output would stand. Nobody is added.
    pub(super) fn place(&self, ties: Ties, output: Output) -> Place {
        let total = self.len();
        let above = match ties {
            Ties::Competition | Ties::Ordinal => self.above(output),
            Ties::Dense => self.distinct_above(output),
        };
        let below = total - self.partition_point(|row| row.output >= output);
        Place {
            rank: above + 1,
            percentile: (total > 0).then(|| percentile(below, total)),
        }
    }

    fn position(&self, racer: RacerId) -> Option<usize> {
        match &self.what_if {
            Some(what_if) if what_if.what_if.racer == racer => Some(what_if.to),
            _ => Some(self.rows_before(self.board.find(racer)?.key())),
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

/// Returns the number of leading positions for which the condition holds.
pub(in crate::state) fn partition_point(len: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The rows that pages are cut from: all, or those of selected racers.
pub(super) struct PageSource<'a, B: RankedBoard> {
    pub(super) view: &'a RankedView<'a, B>,
    /// The positions of the selected rows, ascending.
    pub(super) selected: Option<Vec<usize>>,
}

impl<B: RankedBoard> PageSource<'_, B> {
    pub(super) fn len(&self) -> usize {
        self.selected.as_ref().map_or(self.view.len(), Vec::len)
    }

    /// Returns whether the rows are those of selected racers.
    pub(super) fn is_selection(&self) -> bool {
        self.selected.is_some()
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
        let middle = |position| {
            let start = self.index(position).saturating_sub(limit / 2);
            from(start.min(len.saturating_sub(limit)))
        };
        Ok(match page {
            PageSelector::Offset(offset) => from(offset.min(len)),
            PageSelector::Around(racer) => {
                let position = self.view.position(racer).ok_or(RacerNotFound(racer))?;
                middle(position)
            }
            PageSelector::At(output) => middle(self.view.above(output)),
            PageSelector::Cursor(Cursor::First) => from(0),
            PageSelector::Cursor(Cursor::After(row)) => {
                let key = key_at::<B::Detail>(row);
                from(self.index(self.view.partition_point(|row| row.key() <= key)))
            }
            PageSelector::Cursor(Cursor::Before(row)) => {
                to(self.index(self.view.rows_before(key_at::<B::Detail>(row))))
            }
            PageSelector::Cursor(Cursor::Last) => to(len),
        })
    }

    /// Returns the ranks of these rows among the selected ones, or `None` when all are selected.
    pub(super) fn group_ranks(&self, ties: Ties, rows: &Range<usize>) -> Option<Vec<usize>> {
        let selected = self.selected.as_ref()?;
        let mut ranks: Vec<usize> = Vec::with_capacity(rows.end);
        let mut last = None;
        for (index, &position) in selected[..rows.end].iter().enumerate() {
            let output = self.view.row(position).output;
            let before = ranks.last().copied().unwrap_or(0);
            ranks.push(match ties {
                Ties::Competition | Ties::Dense if last == Some(output) => before,
                Ties::Competition | Ties::Ordinal => index + 1,
                Ties::Dense => before + 1,
            });
            last = Some(output);
        }
        Some(ranks.split_off(rows.start))
    }
}
