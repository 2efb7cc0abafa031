//! The dataset as text: seconds and racers ascending, numbers as JSON.stringify prints them.

use std::ops::RangeInclusive;

use crate::domain::effort::{ClassId, Output, RacerId, Second};
use crate::state::table::{Board, Table};

/// The part of a dataset that a query asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The selected seconds.
    pub seconds: RangeInclusive<Second>,
    /// The selected racers; `None` selects all.
    pub racers: Option<Vec<RacerId>>,
    /// Maximum number of racers per second: the best of the selected ones, by output descending,
    /// then by racer id ascending.
    pub top: Option<usize>,
}

/// Appends the selected part of a class's dataset in the dataset's shape: seconds, then racers by
/// id, ascending. A second without a selected racer is left out.
pub fn write_dataset(text: &mut Vec<u8>, table: &Table, class: ClassId, selection: &Selection) {
    text.push(b'{');
    let start = text.len();
    for (second, _) in table
        .seconds(class)
        .into_iter()
        .filter(|(second, _)| selection.seconds.contains(second))
    {
        let before = text.len();
        if before > start {
            text.push(b',');
        }
        if !write_second(text, table, class, second, selection) {
            text.truncate(before);
        }
    }
    text.push(b'}');
}

/// Appends the selected racers of one second, whether or not the second is selected. Returns
/// whether there are any. A part of many seconds is written by this, second by second: a dataset
/// of each would go through all seconds each time.
pub(crate) fn write_second(
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
            (None, Some(top)) => board.order().iter().take(top).copied().collect(),
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
    let mut number = ryu_js::Buffer::new();
    text.push(b'"');
    text.extend_from_slice(integer.format(second.0).as_bytes());
    text.extend_from_slice(b"\":{");
    let start = text.len();
    for (racer, output) in outputs {
        text.push(b'"');
        text.extend_from_slice(integer.format(racer.0).as_bytes());
        text.extend_from_slice(b"\":");
        text.extend_from_slice(number.format_finite(output.get()).as_bytes());
        text.push(b',');
    }
    let has_racers = text.len() > start;
    if has_racers {
        text.pop(); // the last comma
    }
    text.push(b'}');
    has_racers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::effort::Effort;

    const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

    fn written(table: &Table, selection: &Selection) -> String {
        let mut text = Vec::new();
        write_dataset(&mut text, table, CLASS, selection);
        String::from_utf8(text).expect("the text is ASCII")
    }

    proptest! {
        #[test]
        fn selection_equals_the_naive_model(
            efforts in prop::collection::btree_map((0u32..6, 0u64..12), 0u32..4, 0..60),
            racers in prop::option::of(prop::collection::vec(0u64..14, 0..8)),
            top in prop::option::of(0usize..6),
            (from, to) in (0u32..7, 0u32..7),
        ) {
            let table = Table::new(1);
            let mut model: BTreeMap<u32, Vec<(u64, u32)>> = BTreeMap::new();
            for (&(second, racer), &output) in efforts.iter().rev() {
                let effort = Effort {
                    class: CLASS,
                    second: Second(second),
                    racer: RacerId(racer),
                    output: Output::new(output.into()).expect("in bounds"),
                    race: None,
                    time: 0,
                };
                table.merge(&[effort], 0);
                let is_selected = racers.as_ref().is_none_or(|racers| racers.contains(&racer));
                if is_selected && (from..=to).contains(&second) {
                    model.entry(second).or_default().push((racer, output));
                }
            }
            let mut parts = Vec::new();
            for (second, mut rows) in model {
                rows.sort_by_key(|&(racer, output)| (std::cmp::Reverse(output), racer));
                rows.truncate(top.unwrap_or(usize::MAX));
                rows.sort();
                let rows: Vec<_> = rows.iter().map(|(racer, output)| format!("\"{racer}\":{output}")).collect();
                if !rows.is_empty() {
                    parts.push(format!("\"{second}\":{{{}}}", rows.join(",")));
                }
            }
            let racers = racers.map(|racers| racers.into_iter().map(RacerId).collect());
            let selection = Selection { seconds: Second(from)..=Second(to), racers, top };
            prop_assert_eq!(written(&table, &selection), format!("{{{}}}", parts.join(",")));
        }
    }
}
