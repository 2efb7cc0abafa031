//! A part of a history, built for one request.

use std::io::Write;
use std::ops::RangeInclusive;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::domain::effort::{ClassId, RacerId, Second};
use crate::http::error::ApiError;
use crate::state::table::Table;
use crate::storage::history_file::{Selection, write_second};

/// Maximum length of a part, in bytes as sent: 300 seconds of 40,000 racers are 170 MB of text. The
/// whole history is larger, but cached.
pub(super) const PART_BYTES_MAX: usize = 256 << 20;

/// A fast level: each part is compressed for one request. [`crate::storage::history_file`] tells
/// the cost of each level.
const GZIP_LEVEL: u32 = 2;

/// Upper bounds of the cost of a part, in outputs.
pub(super) struct PartCost {
    pub(super) read: usize,
    pub(super) written: usize,
}

/// A part of a history, built for one request.
pub(super) struct HistoryPart {
    pub(super) seconds: RangeInclusive<Second>,
    pub(super) racers: Option<Vec<RacerId>>,
    pub(super) top: Option<usize>,
}

impl HistoryPart {
    /// Returns whether it is the top of all racers, for which the boards' orders are used.
    pub(super) fn is_top(&self) -> bool {
        self.racers.is_none() && self.top.is_some()
    }

    /// Estimates the cost.
    pub(super) fn cost(&self, table: &Table, class: ClassId) -> PartCost {
        let seconds = table.seconds(class).into_iter().map(|(second, _)| second);
        let seconds: Vec<_> = seconds
            .filter(|second| self.seconds.contains(second))
            .collect();
        let racers = table.overall_board(class).len();
        let chosen = self.racers.as_ref().map_or(racers, Vec::len);
        let top = self.top.map_or(chosen, |top| top.min(chosen));
        let written = seconds.len() * top;
        let read = if self.is_top() {
            // The order of a board is computed once.
            let boards = seconds.into_iter().map(|second| table.board(class, second));
            written
                + boards
                    .filter(|board| !board.has_order())
                    .map(|board| board.len())
                    .sum::<usize>()
        } else {
            seconds.len() * chosen
        };
        PartCost { read, written }
    }

    /// Builds the part, plain or gzipped.
    pub(super) fn build(
        self,
        table: &Table,
        class: ClassId,
        gzip: bool,
    ) -> Result<Bytes, ApiError> {
        if !gzip {
            return Ok(self.write(table, class, Vec::new(), Vec::len)?.into());
        }
        let encoder = GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
        let encoder = self.write(table, class, encoder, |encoder| encoder.get_ref().len())?;
        Ok(encoder.finish().expect(TO_MEMORY).into())
    }

    /// Writes the part second by second, so that one that is too long ends early.
    fn write<W: Write>(
        self,
        table: &Table,
        class: ClassId,
        mut out: W,
        bytes_written: impl Fn(&W) -> usize,
    ) -> Result<W, ApiError> {
        let selection = Selection {
            racers: self.racers,
            top: self.top,
        };
        let mut text = Vec::new();
        let mut separator = "";
        out.write_all(b"{").expect(TO_MEMORY);
        let seconds = table.seconds(class).into_iter().map(|(second, _)| second);
        for second in seconds.filter(|second| self.seconds.contains(second)) {
            text.clear();
            if !write_second(&mut text, table, class, second, &selection) {
                continue;
            }
            out.write_all(separator.as_bytes()).expect(TO_MEMORY);
            separator = ",";
            out.write_all(&text).expect(TO_MEMORY);
            if bytes_written(&out) > PART_BYTES_MAX {
                return Err(ApiError::bad_request(format!(
                    "this part is over {PART_BYTES_MAX} bytes; request fewer seconds or racers, or the \
                     whole history, which is cached"
                )));
            }
        }
        out.write_all(b"}").expect(TO_MEMORY);
        Ok(out)
    }
}

const TO_MEMORY: &str = "a vector accepts every byte";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::effort::Effort;

    const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

    proptest! {
        #[test]
        fn part_equals_the_naive_model(
            efforts in prop::collection::btree_map((0u32..6, 0u64..12), 0u32..4, 0..60),
            racers in prop::option::of(prop::collection::vec(0u64..14, 0..8)),
            top in prop::option::of(0usize..6),
            (from, to) in (0u32..7, 0u32..7),
        ) {
            let table = Table::new(1);
            let mut model: BTreeMap<u32, Vec<(u64, u32)>> = BTreeMap::new();
            for (&(second, racer), &output) in efforts.iter().rev() {
                table.merge(&[Effort::of(1, second, racer, output.into())], 0);
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
            let part = HistoryPart { seconds: Second(from)..=Second(to), racers, top };
            let text = part.build(&table, CLASS, false).expect("a part");
            prop_assert_eq!(text, format!("{{{}}}", parts.join(",")));
        }
    }

    #[test]
    fn part_of_many_seconds_is_built_in_linear_time() {
        // If each second went through all of them, this would take an hour, and the suite would
        // time out.
        const SECONDS: u32 = 1 << 20;
        let efforts: Vec<_> = (0..SECONDS)
            .map(|second| Effort::of(1, second, 7, 100.0))
            .collect();
        let table = Table::new(1);
        table.merge(&efforts, 0);
        let part = HistoryPart {
            seconds: Second(0)..=Second(u32::MAX),
            racers: Some(vec![RacerId(7)]),
            top: None,
        };
        let bytes = part.build(&table, CLASS, false).expect("a part");
        let is_comma = |byte: &&u8| **byte == b',';
        assert_eq!(bytes.iter().filter(is_comma).count(), SECONDS as usize - 1);
        assert!(bytes.ends_with(b"\"1048575\":{\"7\":100}}"));
    }
}
