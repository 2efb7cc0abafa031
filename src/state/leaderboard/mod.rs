//! Leaderboards: the ranks, pages and what-ifs of a board. What-if: the rank that a racer would
//! have with a given output.
//!
//! Racers are ordered by output descending, then by id ascending. Equal finishes are ordered by time,
//! then by id. All options use the same `RankedView`, the order with the what-if racer moved to its
//! new position, so they can be combined on every [`RankedBoard`]. When the order is cached, a page
//! never reads or copies all racers: it costs at most a binary search per row.

mod board;
mod cursor;
mod ranked_view;
mod sorted_board;
#[cfg(test)]
mod tests;

use crate::domain::effort::{Output, RacerId, Second};
use crate::state::leaderboard::ranked_view::{PageSource, RankedView};
use crate::state::table::Board;

pub use crate::state::leaderboard::board::{BoardRow, Finish, FinishTie, RankedBoard, RowDetail};
pub use crate::state::leaderboard::cursor::{Cursor, CursorRow, InvalidCursor};
pub(in crate::state) use crate::state::leaderboard::ranked_view::partition_point;
pub use crate::state::leaderboard::sorted_board::{FinishBoard, RaceBoard, SortedBoard};

/// Maximum number of racers that a query may name: as many as the longest page has rows.
pub(crate) const QUERY_RACERS_MAX: usize = PageLimit::MAX;

/// A query of a board. The default is its first page.
#[derive(Clone, Debug, Default)]
pub struct LeaderboardQuery {
    /// The ranking of equal outputs.
    pub ties: Ties,
    /// Maximum number of rows.
    pub limit: PageLimit,
    /// The page.
    pub page: PageSelector,
    /// Returns only these racers, at most `QUERY_RACERS_MAX`. Ranks are those of the whole board.
    /// Racers that are not on the board are left out.
    pub racers: Option<Vec<RacerId>>,
    /// The what-if.
    pub what_if: Option<WhatIf>,
}

/// The ranking of racers with equal outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ties {
    /// 1 + the number of racers with greater outputs: 1, 2, 2, 4.
    #[default]
    Competition,
    /// 1 + the number of distinct greater outputs: 1, 2, 2, 3.
    Dense,
    /// The position, whatever the output: 1, 2, 3, 4.
    Ordinal,
}

/// Maximum number of rows of a page: 1 to [`PageLimit::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageLimit(usize);

impl PageLimit {
    /// The longest page, in rows: some 60 kB of JSON.
    pub const MAX: usize = 1000;

    /// The default page, in rows.
    pub const DEFAULT: Self = Self(50);

    /// Creates a limit; `None` for 0 and for more than [`Self::MAX`].
    pub fn new(rows: usize) -> Option<Self> {
        (1..=Self::MAX).contains(&rows).then_some(Self(rows))
    }

    /// Returns the number of rows.
    pub const fn get(self) -> usize {
        self.0
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The page to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSelector {
    /// The rows after this many rows.
    Offset(usize),
    /// The rows after, or before, the position in the cursor.
    Cursor(Cursor),
    /// A full page with the racer as near to its middle as possible. If `racers` leaves the racer
    /// out, the page is around its position.
    Around(RacerId),
    /// A full page with the place of this output as near to its middle as possible. It also gives
    /// the [`Place`].
    At(Output),
}

impl Default for PageSelector {
    fn default() -> Self {
        Self::Offset(0)
    }
}

/// An output that a racer might ride. Ignored unless it is higher than the racer's best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhatIf {
    /// The racer.
    pub racer: RacerId,
    /// The output.
    pub output: Output,
}

/// One page of a board.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaderboard {
    /// Number of racers on the whole board, including the what-if racer.
    pub total: usize,
    /// Where the output of [`PageSelector::At`] would stand.
    pub place: Option<Place>,
    /// The rows.
    pub standings: Vec<Standing>,
    /// The page after this one, if a row follows.
    pub next: Option<Cursor>,
    /// The page before this one, if a row precedes. It ends where this page begins, so it can be
    /// shorter than the limit.
    pub previous: Option<Cursor>,
}

/// Where an output would stand. Nobody is added to the board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// 1 + the number of racers with greater outputs, or of distinct greater outputs for dense
    /// ranks.
    pub rank: usize,
    /// Share of racers strictly below, in percent; `None` on an empty board.
    pub percentile: Option<f64>,
}

/// One row of a leaderboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The rank among all, from 1.
    pub rank: usize,
    /// The racer.
    pub racer: RacerId,
    /// The output that ranks the racer.
    pub output: Output,
    /// The second at which the output was ridden; `None` for a what-if racer's new record, and for
    /// finishes.
    pub second: Option<Second>,
    /// The finish; `None` for a what-if racer's new record, and on other boards.
    pub finish: Option<Finish>,
    /// On the what-if racer's row: whether the output of the query beats the racer's best. `None`
    /// on other rows.
    pub new_record: Option<bool>,
    /// The rank among the query's `racers`, from 1. `None` without them.
    pub group_rank: Option<usize>,
}

/// The query asks for a page around a racer who is not on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("racer {0} has no effort here")]
pub struct RacerNotFound(pub RacerId);

/// Answers a query.
///
/// # Errors
/// The query asks for a page around a racer who is not on the board.
pub fn query<B: RankedBoard>(
    board: &B,
    query: &LeaderboardQuery,
) -> Result<Leaderboard, RacerNotFound> {
    let view = RankedView::new(board, query.what_if);
    let selected = query.racers.as_ref().map(|racers| view.positions(racers));
    let source = PageSource {
        view: &view,
        selected,
    };
    let rows = source.page(query.page, query.limit)?;
    let group_ranks = source.group_ranks(query.ties, &rows);

    let mut standings: Vec<Standing> = Vec::with_capacity(rows.len());
    for position in rows.clone().map(|index| source.position(index)) {
        let BoardRow {
            racer,
            output,
            detail,
        } = view.row(position);
        let new_record = query
            .what_if
            .filter(|what_if| what_if.racer == racer)
            .map(|_| view.what_if.is_some());
        let rank = match (query.ties, standings.last()) {
            (Ties::Ordinal, _) => position + 1,
            (_, Some(before)) if before.output == output => before.rank,
            // Without selected racers, the row before is the one before on the board.
            (Ties::Competition, Some(_)) if !source.is_selection() => position + 1,
            (Ties::Dense, Some(before)) if !source.is_selection() => before.rank + 1,
            (ties, _) => view.rank(ties, position, output),
        };
        let group_rank = group_ranks.as_ref().map(|ranks| ranks[standings.len()]);
        standings.push(Standing {
            rank,
            racer,
            output,
            second: detail.as_ref().and_then(RowDetail::second),
            finish: detail.as_ref().and_then(RowDetail::finish),
            new_record,
            group_rank,
        });
    }
    let place = match query.page {
        PageSelector::At(output) => Some(view.place(query.ties, output)),
        _ => None,
    };
    // An empty page lies before the first row or after the last one. Its cursor is then the first
    // or the last page.
    let last = standings.last().map(Standing::cursor_row);
    let first = standings.first().map(Standing::cursor_row);
    let next = last.map_or(Cursor::First, Cursor::After);
    let previous = first.map_or(Cursor::Last, Cursor::Before);
    Ok(Leaderboard {
        total: view.len(),
        place,
        standings,
        next: (rows.end < source.len()).then_some(next),
        previous: (rows.start > 0).then_some(previous),
    })
}

impl Standing {
    fn cursor_row(&self) -> CursorRow {
        CursorRow {
            output: self.output,
            racer: self.racer,
            time_ms: self.finish.and_then(|finish| finish.at_ms),
        }
    }
}

/// Returns a share of racers in percent. Always in this order, so that equal shares are equal doubles.
pub(in crate::state) fn percentile(below: usize, total: usize) -> f64 {
    100.0 * below as f64 / total as f64
}

/// A racer's rank among all on a board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RankInfo {
    /// The competition rank, from 1.
    pub rank: usize,
    /// Number of racers on the board.
    pub total: usize,
    /// Share of racers strictly below, in percent: 0 to less than 100.
    pub percentile: f64,
}

/// Returns a racer's rank. Does not need the board's order.
pub(crate) fn rank_info(board: &Board, racer: RacerId) -> Option<RankInfo> {
    let output = board.output(board.slot(racer)?)?;
    let (above, below) = board.above_and_below(output);
    let total = board.len();
    Some(RankInfo {
        rank: above + 1,
        total,
        percentile: percentile(below, total),
    })
}
