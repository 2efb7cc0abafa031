//! Reads the records of a stored object, one at a time. The format is detected from the content.
//!
//! Formats: NDJSON, or JSON objects one after another as Firehose delivers them, with or without
//! newlines between; Firehose's error output and this project's quarantine, whose lines carry a
//! record in `rawData`; this project's journal. Each may be compressed with gzip, and so may each
//! record in it, as a delivery's records may.
//!
//! An object is read piece by piece, with bounded memory, whatever its size. A piece that is not
//! JSON is returned unchanged, and does not affect the pieces after it.

mod gunzip_layer;
mod item_decoder;
mod piece;

use std::collections::VecDeque;
use std::io::{self, Read};

use self::gunzip_layer::{GunzipLayer, MEMBER_START, SizeLimit};
use self::item_decoder::ItemDecoder;
use self::piece::PieceLength;
use crate::ingest::envelope::RECORD_BYTES_MAX;
use crate::ingest::json_scan;

/// Maximum length of a piece, in bytes. A longer one is cut there. No delivery could carry it.
const PIECE_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// Minimum number of bytes that are read at a time.
const READ_BYTES_MIN: usize = 256 << 10;

/// Maximum number of pieces that are held back until one of them is JSON. If none is, and one is
/// binary data, the object has no records.
const HELD_PIECES_MAX: usize = 1000;

/// Maximum number of bytes that are held back.
const HELD_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// Number of bytes, without white space, that tell a part of a store from records: two names of up
/// to 20 digits, and the beginning of a value.
const BEGINNING_BYTES: usize = 64;

/// The newest version of the journal's format that is read.
const JOURNAL_VERSION: u64 = 2;

/// The reason why an object has no further items.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectReaderError {
    /// Reading failed, the object is too large, or its gzip data is damaged or cut short.
    #[error("it cannot be read to its end: {0}")]
    Unreadable(#[from] io::Error),
    /// It is binary data without any JSON.
    #[error("it holds no records: it is neither text nor gzip")]
    NoRecords,
    /// A part of a store was cut: a journal, races, finishes, or another snapshot.
    #[error("it is incomplete: {0} lines that its first line declares are missing")]
    Incomplete(u64),
    /// A snapshot was cut within its only JSON object.
    #[error("it is incomplete: it is a part of a store whose end is missing")]
    NoEnd,
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
    /// A history, races, finishes, names or erasures: a part of a store without records. It was
    /// passed over; to use it, put it back into a store.
    Snapshot,
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
    is_started: bool,
    is_ended: bool,
    /// The pieces before the first JSON. `None` after it.
    held: Option<Vec<Vec<u8>>>,
    decoder: ItemDecoder,
    /// Items that were decoded, but not yet returned.
    ready: VecDeque<ObjectItem>,
}

impl ObjectReader {
    /// Reads an object, gzip or plain. An object of over `bytes_max` bytes when gunzipped ends with
    /// an error.
    pub(crate) fn open(object: impl Read + Send + 'static, bytes_max: u64) -> Self {
        // Both layers are limited: the records of an object may gunzip to nothing.
        let object = SizeLimit::new(GunzipLayer::of_object(object), bytes_max);
        let records = SizeLimit::new(GunzipLayer::of_records(object), bytes_max);
        Self {
            input: Box::new(records),
            buffer: Vec::new(),
            start: 0,
            is_read: false,
            read_error: None,
            is_started: false,
            is_ended: false,
            held: Some(Vec::new()),
            decoder: ItemDecoder::default(),
            ready: VecDeque::new(),
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
            let piece = piece::trim_end(&self.buffer[self.start..end]).to_vec();
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
                    let bytes: usize = held.iter().map(Vec::len).sum();
                    if held.len() > HELD_PIECES_MAX || bytes > HELD_BYTES_MAX {
                        self.release_held()?;
                    }
                }
            }
        }
    }

    /// Reads the beginning, and passes over a history, names or erasures there. What follows them is
    /// read.
    fn start(&mut self) -> Result<(), ObjectReaderError> {
        self.fill();
        if !begins_part_of_a_store(json_scan::without_byte_order_mark(&self.buffer)) {
            return Ok(());
        }
        let is_snapshot = match self.next_piece() {
            Some(PieceLength::Json(length)) => {
                let end = self.start + length;
                let is_record = item_decoder::is_record(&self.buffer[self.start..end]);
                self.start = if is_record { self.start } else { end };
                !is_record
            }
            // No record is that long.
            Some(PieceLength::NotJson(_)) if self.buffer.len() - self.start >= PIECE_BYTES_MAX => {
                self.skip_object()?;
                true
            }
            _ => false,
        };
        self.ready
            .extend(is_snapshot.then_some(ObjectItem::Snapshot));
        Ok(())
    }

    /// Moves `start` to the end of the JSON object that begins there.
    fn skip_object(&mut self) -> Result<(), ObjectReaderError> {
        let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
        loop {
            for (index, &byte) in self.buffer[self.start..].iter().enumerate() {
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' => is_escaped = true,
                    b'"' => in_text = !in_text,
                    b'{' if !in_text => depth += 1,
                    b'}' if !in_text => depth -= 1,
                    _ => continue,
                }
                if depth == 0 {
                    self.start += index + 1;
                    return Ok(());
                }
            }
            self.start = self.buffer.len();
            if self.is_read {
                let error = self.read_error.take();
                return Err(error.map_or(ObjectReaderError::NoEnd, Into::into));
            }
            self.fill();
        }
    }

    fn end(&mut self) -> Result<Option<ObjectItem>, ObjectReaderError> {
        if let Some(error) = self.read_error.take() {
            return Err(error.into());
        }
        self.release_held()?;
        match self.ready.pop_front() {
            None => self.decoder.check_complete().map(|()| None),
            item => Ok(item),
        }
    }

    /// Returns the held pieces, of which none is JSON, as records unless one is binary data.
    fn release_held(&mut self) -> Result<(), ObjectReaderError> {
        let held = self.held.take().unwrap_or_default();
        if held.iter().any(|piece| is_binary(piece)) {
            return Err(ObjectReaderError::NoRecords);
        }
        self.ready.extend(held.into_iter().map(ObjectItem::Record));
        Ok(())
    }

    /// Removes the returned bytes from the buffer, and reads on. It reads as much as the buffer
    /// holds, so a long piece is not scanned too often.
    fn fill(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        let bytes_max = self.buffer.len().max(READ_BYTES_MIN) as u64;
        let mut input = self.input.by_ref().take(bytes_max);
        match input.read_to_end(&mut self.buffer) {
            Ok(read) => self.is_read |= (read as u64) < bytes_max,
            Err(error) => {
                self.is_read = true;
                self.read_error = Some(error);
            }
        }
    }

    /// Returns the length of the next piece, and moves `start` to it. Returns `None` at the end.
    fn next_piece(&mut self) -> Option<PieceLength> {
        loop {
            let rest = &self.buffer[self.start..];
            self.start += rest.len() - piece::trim_start(rest).len();
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

/// Returns whether an object begins as a history (`{"second":{"racer":output`), names
/// (`{"racer":{"name":`) or erasures do, or is empty.
fn begins_part_of_a_store(object: &[u8]) -> bool {
    let visible = object.iter().filter(|byte| !byte.is_ascii_whitespace());
    let beginning: Vec<u8> = visible.take(BEGINNING_BYTES).copied().collect();
    let after_number = |text: &[u8], end: &[u8]| {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let rest = text[digits..].strip_prefix(end);
        rest.filter(|_| digits > 0).map(<[u8]>::to_vec)
    };
    if let Some(rest) = beginning.strip_prefix(b"{\"format\":") {
        return after_number(rest, b",\"version\":").is_some();
    }
    let entry = beginning.strip_prefix(b"{\"");
    match entry.and_then(|entry| after_number(entry, b"\":{")) {
        None => beginning == b"{}",
        Some(value) => {
            let racer = value.strip_prefix(b"\"");
            let output = racer.and_then(|racer| after_number(racer, b"\":"));
            output.is_some_and(|output| output.first().is_some_and(u8::is_ascii_digit))
                || value.starts_with(b"\"name\":\"")
                || value.starts_with(b"}")
        }
    }
}

/// Returns whether a piece is data of no known form. A damaged gzip member is a damaged record, and
/// so is what begins as a record does.
fn is_binary(piece: &[u8]) -> bool {
    let is_text = |&byte: &u8| byte >= b' ' || byte.is_ascii_whitespace();
    let begins_record = piece.starts_with(MEMBER_START) || piece.starts_with(b"{");
    !begins_record && !piece.iter().all(is_text)
}

#[cfg(test)]
mod tests;
