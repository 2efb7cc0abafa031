//! The dataset as text: seconds and racers ascending, numbers as JSON.stringify prints them.

use serde::Serialize;

use crate::domain::effort::{ClassId, Output, RacerId, Second};
use crate::state::table::{Board, Table};

/// The racers of a second that a query asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The selected racers; `None` selects all.
    pub racers: Option<Vec<RacerId>>,
    /// Maximum number of racers per second: the best of the selected ones, by output descending,
    /// then by racer id ascending.
    pub top: Option<usize>,
}

/// Appends the selected racers of one second, by id ascending, in the dataset's shape. Returns
/// whether there are any.
pub fn write_second(
    text: &mut Vec<u8>,
    table: &Table,
    class: ClassId,
    second: Second,
    selection: &Selection,
) -> bool {
    let board = table.board(class, second);
    push_second(text, second, selection.select(&board))
}

impl Selection {
    /// Returns the selected racers of a board, by id ascending.
    fn select<'a>(&self, board: &'a Board) -> Box<dyn Iterator<Item = (RacerId, Output)> + 'a> {
        let mut slots = match (&self.racers, self.top) {
            (None, None) => return Box::new(board.by_id()),
            (None, Some(top)) => board.order().slots().take(top).collect(),
            (Some(racers), _) => racers
                .iter()
                .filter_map(|&racer| board.slot(racer))
                .collect::<Vec<_>>(),
        };
        slots.sort_unstable_by_key(|&slot| board.racer(slot));
        slots.dedup();
        if let (Some(_), Some(top)) = (&self.racers, self.top) {
            // The sort is stable: equal outputs stay in the order of their ids.
            slots.sort_by_key(|&slot| std::cmp::Reverse(board.output(slot)));
            slots.truncate(top);
            slots.sort_unstable_by_key(|&slot| board.racer(slot));
        }
        Box::new(
            slots
                .into_iter()
                .filter_map(|slot| Some((board.racer(slot), board.output(slot)?))),
        )
    }
}

/// Appends `"S":{"id":output,…}` and returns whether it contains any racer.
pub(super) fn push_second(
    text: &mut Vec<u8>,
    second: Second,
    outputs: impl Iterator<Item = (RacerId, Output)>,
) -> bool {
    let mut integer = itoa::Buffer::new();
    text.push(b'"');
    text.extend_from_slice(integer.format(second.0).as_bytes());
    text.extend_from_slice(b"\":{");
    let start = text.len();
    for (racer, output) in outputs {
        text.push(b'"');
        text.extend_from_slice(integer.format(racer.0).as_bytes());
        text.extend_from_slice(b"\":");
        // In two thirds of the time of `ryu_js`, with which `Display` prints the same.
        output
            .serialize(&mut serde_json::Serializer::new(&mut *text))
            .expect("a number is always JSON, and memory takes it");
        text.push(b',');
    }
    let has_racers = text.len() > start;
    if has_racers {
        text.pop(); // the last comma
    }
    text.push(b'}');
    has_racers
}
