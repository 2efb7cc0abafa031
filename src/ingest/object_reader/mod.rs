//! Reads the records of a stored object, one at a time. The format is detected from the content.
//!
//! Formats: NDJSON, or JSON objects one after another as Firehose delivers them, with or without
//! newlines between; Firehose's error output and this project's quarantine, whose lines carry a
//! record in `rawData`; this project's journal. Each may be compressed with gzip.
//!
//! An object is read piece by piece, with bounded memory, whatever its size. A piece that is not
//! JSON is returned unchanged, and does not affect the pieces after it.

mod item_decoder;
mod piece;

use std::collections::VecDeque;
use std::io::{self, Cursor, Read};

use flate2::read::MultiGzDecoder;

use self::item_decoder::ItemDecoder;
use self::piece::PieceLength;
use crate::gzip::GZIP_MAGIC;
use crate::ingest::envelope::RECORD_BYTES_MAX;
use crate::ingest::json_scan;

/// Maximum length of a piece, in bytes. A longer one is cut there. No delivery could carry it.
const PIECE_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// Minimum number of bytes that are read at a time.
const READ_BYTES_MIN: usize = 256 << 10;

/// Maximum number of pieces that are held back until one of them is JSON. An object without JSON in
/// its first pieces has no records.
const HELD_PIECES_MAX: usize = 1000;

/// The newest version of the journal's format that is read.
const JOURNAL_VERSION: u64 = 1;

/// The reason why an object has no further items.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectReaderError {
    /// Reading failed, the object is too large, or its gzip data is damaged or cut short.
    #[error("it cannot be read to its end: {0}")]
    Unreadable(#[from] io::Error),
    /// Nothing in it is JSON.
    #[error("it holds no records")]
    NoRecords,
    /// It is this project's history, names or erasures.
    #[error("it is a part of a store and holds no records; to use it, put it back into a store")]
    Snapshot,
    /// It is a journal of a newer program.
    #[error(
        "it is a journal of format version {0}, and this program reads up to {JOURNAL_VERSION}"
    )]
    NewerJournal(u64),
}

/// One item of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ObjectItem {
    /// The data of a record, valid or not.
    Record(Vec<u8>),
    /// The data of a record that this project quarantined.
    Quarantined(Vec<u8>),
    /// A name in a journal. It cannot be delivered, since the journal has no effort of its racer.
    Name,
}

/// An iterator over the items of an object. An error is its last element.
pub(crate) struct ObjectReader {
    input: Box<dyn Read + Send>,
    /// The bytes read, but not yet returned, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// Whether all input is in the buffer.
    is_read: bool,
    /// The error that ended the input. It is returned after the items before it.
    read_error: Option<io::Error>,
    /// The number of bytes that may still be read.
    bytes_left: u64,
    is_started: bool,
    is_ended: bool,
    /// The pieces before the first JSON. `None` after it.
    held: Option<Vec<Vec<u8>>>,
    decoder: ItemDecoder,
    /// Items that were decoded, but not yet returned.
    ready: VecDeque<ObjectItem>,
}

impl ObjectReader {
    /// Reads an object, gzip or plain. If nothing in it is JSON, the only element is an error.
    pub(crate) fn open(object: impl Read + Send + 'static) -> Self {
        let mut object: Box<dyn Read + Send> = Box::new(object);
        let mut magic = Vec::with_capacity(GZIP_MAGIC.len());
        let read_error = (&mut object)
            .take(GZIP_MAGIC.len() as u64)
            .read_to_end(&mut magic)
            .err();
        let is_gzip = magic == GZIP_MAGIC;
        let whole = Cursor::new(magic).chain(object);
        Self {
            input: if is_gzip {
                Box::new(MultiGzDecoder::new(whole))
            } else {
                Box::new(whole)
            },
            buffer: Vec::new(),
            start: 0,
            is_read: read_error.is_some(),
            read_error,
            bytes_left: u64::MAX,
            is_started: false,
            is_ended: false,
            held: Some(Vec::new()),
            decoder: ItemDecoder::default(),
            ready: VecDeque::new(),
        }
    }

    /// Reads an object as [`open`](Self::open) does, but returns every piece, even if none is JSON.
    /// An object of over `bytes_max` bytes when gunzipped ends with an error.
    pub(crate) fn open_as_records(object: impl Read + Send + 'static, bytes_max: u64) -> Self {
        Self {
            held: None,
            bytes_left: bytes_max,
            ..Self::open(object)
        }
    }

    fn next_item(&mut self) -> Result<Option<ObjectItem>, ObjectReaderError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            if !self.is_started {
                self.is_started = true;
                self.start()?;
            }
            let Some(length) = self.next_piece() else {
                return self.end();
            };
            let end = self.start + length.get();
            let piece = self.buffer[self.start..end].trim_ascii_end().to_vec();
            self.start = end;
            match (length, &mut self.held) {
                (PieceLength::Json(_), held) => {
                    let held = held.take().into_iter().flatten();
                    self.ready.extend(held.map(ObjectItem::Record));
                    self.decoder.decode(piece, &mut self.ready)?;
                }
                (PieceLength::NotJson(_), None) => self.ready.push_back(ObjectItem::Record(piece)),
                (PieceLength::NotJson(_), Some(held)) => {
                    held.push(piece);
                    if held.len() > HELD_PIECES_MAX {
                        return Err(ObjectReaderError::NoRecords);
                    }
                }
            }
        }
    }

    /// Reads the beginning. Returns an error if it is that of a snapshot, names or erasures.
    fn start(&mut self) -> Result<(), ObjectReaderError> {
        self.fill();
        self.start = self.buffer.len() - json_scan::without_byte_order_mark(&self.buffer).len();
        let beginning = self.buffer[self.start..].trim_ascii_start();
        let Some(key) = beginning.strip_prefix(b"{").map(<[u8]>::trim_ascii_start) else {
            return Ok(());
        };
        let digits = key.strip_prefix(b"\"").map_or(0, |key| {
            key.iter().take_while(|byte| byte.is_ascii_digit()).count()
        });
        let has_numeric_key = digits > 0 && key.get(digits + 1) == Some(&b'"');
        let is_empty = key
            .strip_prefix(b"}")
            .is_some_and(|rest| rest.trim_ascii().is_empty());
        let is_erasures = key.starts_with(b"\"format\":");
        if has_numeric_key || is_empty || is_erasures {
            Err(ObjectReaderError::Snapshot)
        } else {
            Ok(())
        }
    }

    fn end(&mut self) -> Result<Option<ObjectItem>, ObjectReaderError> {
        if let Some(error) = self.read_error.take() {
            return Err(error.into());
        }
        match self.held.take() {
            Some(held) if !held.is_empty() => Err(ObjectReaderError::NoRecords),
            _ => Ok(None),
        }
    }

    /// Removes the returned bytes from the buffer, and reads on. It reads as much as the buffer
    /// holds, so a long piece is not scanned too often.
    fn fill(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        let bytes_max = self.buffer.len().max(READ_BYTES_MIN) as u64;
        let mut input = self.input.by_ref().take(bytes_max);
        match input.read_to_end(&mut self.buffer) {
            Ok(read) => {
                let read = read as u64;
                self.is_read |= read < bytes_max;
                match self.bytes_left.checked_sub(read) {
                    Some(left) => self.bytes_left = left,
                    None => self.end_input(io::Error::other("it is too large")),
                }
            }
            Err(error) => self.end_input(error),
        }
    }

    fn end_input(&mut self, error: io::Error) {
        self.is_read = true;
        self.read_error = Some(error);
    }

    /// Returns the length of the next piece, and moves `start` to it. Returns `None` at the end.
    fn next_piece(&mut self) -> Option<PieceLength> {
        loop {
            let rest = &self.buffer[self.start..];
            self.start += rest.len() - rest.trim_ascii_start().len();
            let rest = &self.buffer[self.start..];
            let is_all = self.is_read || rest.len() >= PIECE_BYTES_MAX;
            if !rest.is_empty()
                && let Some(length) = piece::leading_piece(rest, is_all)
            {
                // An error that cut the piece is reported in place of it.
                let is_cut = self.read_error.is_some()
                    && length.get() == rest.len()
                    && matches!(length, PieceLength::NotJson(_));
                return (!is_cut).then_some(length);
            }
            if self.is_read {
                return None;
            }
            self.fill();
        }
    }
}

impl Iterator for ObjectReader {
    type Item = Result<ObjectItem, ObjectReaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let next = self.next_item();
        self.is_ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

#[cfg(test)]
mod tests;
