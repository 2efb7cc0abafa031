//! Boards of rows that are sorted once: of a race, and of best finishes.

use std::sync::{Arc, OnceLock};

use crate::domain::effort::{Output, RacerId, Second};
use crate::state::leaderboard::board::{BoardRow, Finish, RankedBoard, RowDetail};
use crate::state::table::dense_ranks;

/// The standings of a race, each racer at its latest second.
pub type RaceBoard = SortedBoard<Second>;

/// The best finish of every racer.
pub type FinishBoard = SortedBoard<Finish>;

/// An immutable board of the given rows.
#[derive(Debug)]
pub struct SortedBoard<D> {
    /// In rank order.
    rows: Vec<(RacerId, Output, D)>,
    /// The positions by racer id. Only queries that name racers need it.
    by_id: OnceLock<Vec<u32>>,
    /// Only dense ranks need it.
    dense_ranks: OnceLock<Arc<Vec<u32>>>,
}

impl<D: RowDetail> SortedBoard<D> {
    /// Creates a board of rows in any order, one per racer.
    pub fn new(rows: impl IntoIterator<Item = (RacerId, Output, D)>) -> Self {
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_unstable_by_key(|row| board_row(row).key());
        Self {
            rows,
            by_id: OnceLock::new(),
            dense_ranks: OnceLock::new(),
        }
    }

    fn by_id(&self) -> &[u32] {
        self.by_id.get_or_init(|| {
            let mut positions: Vec<u32> = (0..self.rows.len() as u32).collect();
            positions.sort_unstable_by_key(|&position| self.rows[position as usize].0);
            positions
        })
    }
}

fn board_row<D: RowDetail>(&(racer, output, detail): &(RacerId, Output, D)) -> BoardRow<D> {
    BoardRow {
        racer,
        output,
        detail: Some(detail),
    }
}

impl<D: RowDetail> RankedBoard for SortedBoard<D> {
    type Detail = D;
    type Order = ();

    fn order(&self) {}

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, (): &(), position: usize) -> BoardRow<D> {
        board_row(&self.rows[position])
    }

    fn find(&self, racer: RacerId) -> Option<BoardRow<D>> {
        let by_id = self.by_id();
        let index = by_id
            .binary_search_by_key(&racer, |&position| self.rows[position as usize].0)
            .ok()?;
        Some(board_row(&self.rows[by_id[index] as usize]))
    }

    fn dense_ranks(&self) -> Arc<Vec<u32>> {
        let ranks = self.dense_ranks.get_or_init(|| {
            let outputs = self.rows.iter().map(|(_, output, _)| output.get());
            Arc::new(dense_ranks(outputs))
        });
        ranks.clone()
    }
}
