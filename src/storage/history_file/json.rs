//! The dataset as text: numbers as JSON.stringify prints them, seconds and racers ascending.

use std::ops::RangeInclusive;

use crate::domain::effort::{ClassId, Output, RacerId, Second};
use crate::state::table::{Board, Table};

/// The part of a dataset that a query asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Only these seconds.
    pub seconds: RangeInclusive<Second>,
    /// Only these racers; all where it is `None`.
    pub racers: Option<Vec<RacerId>>,
    /// Per second only that many, the best of those selected, by output descending, then by racer id ascending.
    pub top: Option<usize>,
}

/// Appends the selected part of the class's dataset, in the dataset's own shape: seconds, then racers by id, ascending.
/// A second at which nobody is selected is left out.
pub fn write_dataset(text: &mut Vec<u8>, table: &Table, class: ClassId, selection: &Selection) {
    text.push(b'{');
    let start = text.len();
    for (second, _) in table
        .seconds(class)
        .into_iter()
        .filter(|(second, _)| selection.seconds.contains(second))
    {
        let board = table.board(class, second);
        let before = text.len();
        if before > start {
            text.push(b',');
        }
        if !push_second(text, second, selection.standing(&board)) {
            text.truncate(before);
        }
    }
    text.push(b'}');
}

impl Selection {
    /// Who is selected of a board, by id ascending.
    fn standing<'a>(&self, board: &'a Board) -> Box<dyn Iterator<Item = (RacerId, Output)> + 'a> {
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
            // Stable, so equal outputs stay in the order of their ids.
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

/// Appends `"S":{"id":output,…}` and says whether anyone is in it.
pub(crate) fn push_second(
    text: &mut Vec<u8>,
    second: Second,
    standing: impl Iterator<Item = (RacerId, Output)>,
) -> bool {
    text.push(b'"');
    push_integer(text, second.0.into());
    text.extend_from_slice(b"\":{");
    let start = text.len();
    let mut number = ryu_js::Buffer::new();
    for (racer, output) in standing {
        text.push(b'"');
        push_integer(text, racer.0);
        text.extend_from_slice(b"\":");
        text.extend_from_slice(number.format_finite(output.get()).as_bytes());
        text.push(b',');
    }
    let anyone = text.len() > start;
    if anyone {
        text.pop(); // the last comma
    }
    text.push(b'}');
    anyone
}

/// Appends an integer in decimal. By hand, for `write!` takes several times as long and a history has millions.
fn push_integer(text: &mut Vec<u8>, mut integer: u64) {
    let mut digits = [0; 20]; // the most that a u64 has
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (integer % 10) as u8;
        integer /= 10;
        if integer == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[start..]);
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
        fn a_selection_is_what_sorting_and_cutting_gives(
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
                let wanted = racers.as_ref().is_none_or(|racers| racers.contains(&racer));
                if wanted && (from..=to).contains(&second) {
                    model.entry(second).or_default().push((racer, output));
                }
            }
            let mut parts = Vec::new();
            for (second, mut standing) in model {
                standing.sort_by_key(|&(racer, output)| (std::cmp::Reverse(output), racer));
                standing.truncate(top.unwrap_or(usize::MAX));
                standing.sort();
                let rows: Vec<_> = standing.iter().map(|(racer, output)| format!("\"{racer}\":{output}")).collect();
                if !rows.is_empty() {
                    parts.push(format!("\"{second}\":{{{}}}", rows.join(",")));
                }
            }
            let racers = racers.map(|racers| racers.into_iter().map(RacerId).collect());
            let selection = Selection { seconds: Second(from)..=Second(to), racers, top };
            prop_assert_eq!(written(&table, &selection), format!("{{{}}}", parts.join(",")));
        }

        #[test]
        fn integers_are_written_as_display_writes_them(integer: u64) {
            for integer in [integer, integer >> 40, 0, 9, 10, u64::MAX] {
                let mut text = Vec::new();
                push_integer(&mut text, integer);
                prop_assert_eq!(text, integer.to_string().into_bytes());
            }
        }
    }
}
