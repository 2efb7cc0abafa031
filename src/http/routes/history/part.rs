//! A part of a history, built for one request.

use std::io::Write;
use std::ops::RangeInclusive;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::domain::effort::{ClassId, RacerId, Second};
use crate::http::error::ApiError;
use crate::state::table::Table;
use crate::storage::history_file::{Selection, write_dataset};

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
                    .filter(|board| !board.has_order(false))
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
        let range = self.seconds;
        let mut selection = Selection {
            seconds: range.clone(),
            racers: self.racers,
            top: self.top,
        };
        let mut text = Vec::new();
        let mut separator = "";
        out.write_all(b"{").expect(TO_MEMORY);
        let seconds = table.seconds(class).into_iter().map(|(second, _)| second);
        for second in seconds.filter(|second| range.contains(second)) {
            selection.seconds = second..=second;
            text.clear();
            write_dataset(&mut text, table, class, &selection);
            let inner = &text[1..text.len() - 1]; // without the braces
            if inner.is_empty() {
                continue;
            }
            out.write_all(separator.as_bytes()).expect(TO_MEMORY);
            separator = ",";
            out.write_all(inner).expect(TO_MEMORY);
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
