//! Boards of rows that are sorted once: of a race, and of best finishes.

use std::sync::OnceLock;

use crate::domain::effort::{Output, RacerId, Second};
use crate::state::leaderboard::board::{BoardRow, Finish, RankedBoard, RowDetail};

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
    /// The number of distinct outputs up to each position. Only dense ranks need it.
    distinct: OnceLock<Vec<u32>>,
}

impl<D: RowDetail> SortedBoard<D> {
    /// Creates a board of rows in any order, one per racer.
    pub fn new(rows: impl IntoIterator<Item = (RacerId, Output, D)>) -> Self {
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_unstable_by_key(|row| board_row(row).key());
        Self {
            rows,
            by_id: OnceLock::new(),
            distinct: OnceLock::new(),
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
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, position: usize) -> BoardRow<D> {
        board_row(&self.rows[position])
    }

    fn find(&self, racer: RacerId) -> Option<BoardRow<D>> {
        let by_id = self.by_id();
        let index = by_id
            .binary_search_by_key(&racer, |&position| self.rows[position as usize].0)
            .ok()?;
        Some(board_row(&self.rows[by_id[index] as usize]))
    }

    fn distinct_before(&self, position: usize) -> usize {
        let distinct = self.distinct.get_or_init(|| {
            let groups = self.rows.chunk_by(|a, b| a.1 == b.1).zip(1..);
            let counts = groups.flat_map(|(tied, count)| tied.iter().map(move |_| count));
            counts.collect()
        });
        position
            .checked_sub(1)
            .map_or(0, |last| distinct[last] as usize)
    }
}
