//! The boards of finishes, each kept until a finish of its class changes.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::effort::ClassId;
use crate::state::leaderboard::{Finish, FinishBoard};
use crate::state::races::{Races, RacesVersion};

/// The board of a class that was built last, and the version that its finishes have at least.
pub(super) type CachedFinishBoard = Mutex<Option<(RacesVersion, Arc<FinishBoard>)>>;

impl Races {
    /// Returns the board of a class's best finishes if it is built already. Returns at once.
    pub(crate) fn cached_finish_board(&self, class: ClassId) -> Option<Arc<FinishBoard>> {
        let kept = self.finish_boards[class.index()].try_lock()?;
        let (version, board) = kept.as_ref()?;
        (*version == self.finishes_version(class)).then(|| board.clone())
    }

    /// Returns the board of a class's best finishes. Building it sorts them; concurrent callers
    /// wait for that.
    pub(crate) fn finish_board(&self, class: ClassId) -> Arc<FinishBoard> {
        let mut kept = self.finish_boards[class.index()].lock();
        // Read before the finishes. If they change in between, the board is newer than this
        // version, and the next call sorts them again.
        let version = self.finishes_version(class);
        if let Some((kept_version, board)) = &*kept
            && *kept_version == version
        {
            return board.clone();
        }
        let (_, finishes) = self.finishes(class);
        let rows = finishes.iter().map(|row| {
            let finish = Finish {
                race: row.race,
                at_ms: row.has_effort_time.then_some(row.at_ms),
            };
            (row.racer, row.output, finish)
        });
        let board = Arc::new(FinishBoard::new(rows));
        *kept = Some((version, board.clone()));
        board
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effort::{Effort, RaceId};
    use crate::domain::race_row::RaceRow;
    use crate::state::leaderboard::RankedBoard;

    #[test]
    fn board_is_built_again_only_after_a_finish_changed() {
        let class = ClassId::new(1).unwrap();
        let races = Races::new(1);
        let row = |racer, is_final| {
            let effort = Effort {
                race: Some(RaceId(7)),
                ..Effort::of(1, 9, racer, 90.0)
            };
            RaceRow::new(&effort, is_final, 5).unwrap()
        };
        races.merge(&[row(1, true)]);
        assert!(races.cached_finish_board(class).is_none());
        let first = races.finish_board(class);
        assert_eq!(first.len(), 1);
        races.merge(&[row(2, false)]);
        let again = races.cached_finish_board(class).expect("no finish changed");
        assert!(Arc::ptr_eq(&first, &again));
        races.merge(&[row(2, true)]);
        assert!(races.cached_finish_board(class).is_none());
        assert_eq!(races.finish_board(class).len(), 2);
    }
}
