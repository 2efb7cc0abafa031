//! The trait of boards that leaderboards rank, and its implementation for the table's boards.

use std::cmp::Reverse;
use std::fmt::Debug;

use crate::domain::effort::{Output, RaceId, RacerId, Second};
use crate::state::table::Board;

/// A board whose rows have a rank order: by output descending, then by the tie-break key of
/// [`RowDetail`], then by racer id ascending. Positions count from 0.
pub trait RankedBoard {
    /// The columns of a row other than racer and output.
    type Detail: RowDetail;

    /// Returns the number of rows.
    fn len(&self) -> usize;

    /// Returns whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the row at a position.
    fn row(&self, position: usize) -> BoardRow<Self::Detail>;

    /// Returns the racer's row.
    fn find(&self, racer: RacerId) -> Option<BoardRow<Self::Detail>>;

    /// Returns the number of distinct outputs at the positions before this one.
    fn distinct_before(&self, position: usize) -> usize;
}

/// The columns of a row other than racer and output.
pub trait RowDetail: Copy + Debug {
    /// Tie-break key: orders rows of equal outputs, before the racer's id does.
    type Tie: Copy + Ord;

    /// Returns the tie-break key of a row with this time.
    fn tie(time_ms: Option<u64>) -> Self::Tie;

    /// Returns the time of the row, if times order rows and it is known.
    fn time_ms(&self) -> Option<u64>;

    /// Returns the second of the output, if rows have one.
    fn second(&self) -> Option<Second>;

    /// Returns the finish, if rows are finishes.
    fn finish(&self) -> Option<Finish>;
}

/// A row of a board.
#[derive(Clone, Copy, Debug)]
pub struct BoardRow<D> {
    /// Racer who has the output.
    pub racer: RacerId,
    /// The output that ranks the racer.
    pub output: Output,
    /// `None` for the output of a what-if.
    pub detail: Option<D>,
}

/// The sort key of rows, ascending.
pub(super) type RankKey<D> = (Reverse<Output>, <D as RowDetail>::Tie, RacerId);

impl<D: RowDetail> BoardRow<D> {
    pub(super) fn key(&self) -> RankKey<D> {
        let time_ms = self.detail.as_ref().and_then(D::time_ms);
        (Reverse(self.output), D::tie(time_ms), self.racer)
    }
}

/// The end of a race: the race, and when the racer ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Race that the racer ended.
    pub race: RaceId,
    /// Time in milliseconds since 1970; `None` if unknown.
    pub at_ms: Option<u64>,
}

/// The order of finishes with equal outputs: by time, unknown times last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FinishTie {
    is_unknown: bool,
    at_ms: u64,
}

impl RowDetail for Second {
    type Tie = ();

    fn tie(_: Option<u64>) {}

    fn time_ms(&self) -> Option<u64> {
        None
    }

    fn second(&self) -> Option<Second> {
        Some(*self)
    }

    fn finish(&self) -> Option<Finish> {
        None
    }
}

impl RowDetail for Finish {
    type Tie = FinishTie;

    fn tie(time_ms: Option<u64>) -> FinishTie {
        FinishTie {
            is_unknown: time_ms.is_none(),
            at_ms: time_ms.unwrap_or_default(),
        }
    }

    fn time_ms(&self) -> Option<u64> {
        self.at_ms
    }

    fn second(&self) -> Option<Second> {
        None
    }

    fn finish(&self) -> Option<Finish> {
        Some(*self)
    }
}

impl RankedBoard for Board {
    type Detail = Second;

    fn len(&self) -> usize {
        self.len()
    }

    fn row(&self, position: usize) -> BoardRow<Second> {
        let slot = self.order().slot(position);
        BoardRow {
            racer: self.racer(slot),
            output: self
                .output(slot)
                .expect("an order contains only slots with an output"),
            detail: Some(self.second(slot)),
        }
    }

    fn find(&self, racer: RacerId) -> Option<BoardRow<Second>> {
        let slot = self.slot(racer)?;
        Some(BoardRow {
            racer,
            output: self.output(slot)?,
            detail: Some(self.second(slot)),
        })
    }

    fn distinct_before(&self, position: usize) -> usize {
        self.distinct_before(position)
    }
}
