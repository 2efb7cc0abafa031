//! Fast path for the text of a dataset as this program writes it: without white space, and with
//! plain integers as keys.
//!
//! It accepts nothing that serde_json reads differently. It rejects any other text, and the slow
//! path then reads the whole text again with serde_json. The fast path takes a fifth of the time.

use std::io::{self, Read};

use crate::domain::effort::{INTEGER_MAX, Output, RacerId, Second};
use crate::domain::json_number::JsonNumber;

/// Size of the buffer in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Maximum length of an entry (a racer with an output, or a second), in bytes. The longest entry
/// that this program writes has some 45.
const ENTRY_BYTES_MAX: usize = 64;

/// Reasons why the text was not read to its end.
pub(super) enum FastPathError {
    /// The text has another form. The efforts that were returned so far must be discarded.
    UnknownForm,
    /// Reading the text failed.
    Io(io::Error),
}

impl From<io::Error> for FastPathError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Calls `each` with every effort of a dataset, in order.
pub(super) fn read(
    text: impl Read,
    mut each: impl FnMut(Second, RacerId, Output),
) -> Result<(), FastPathError> {
    let mut text = TextBuffer {
        inner: text,
        bytes: vec![0; BUFFER_BYTES],
        start: 0,
        end: 0,
    };
    text.parse(|bytes| bytes.starts_with(b"{").then_some(((), 1)))?;
    loop {
        let second = text.parse(second)?;
        loop {
            let (racer, output, has_next) = text.parse(entry)?;
            each(second, racer, output);
            if !has_next {
                break;
            }
        }
        if !text.parse(separator)? {
            break;
        }
    }
    if text.fill()?.is_empty() {
        Ok(())
    } else {
        Err(FastPathError::UnknownForm)
    }
}

/// A buffered part of the text.
struct TextBuffer<R> {
    inner: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> TextBuffer<R> {
    /// Consumes what `parse` recognizes at the front of the text; it returns a value and a length.
    fn parse<T>(
        &mut self,
        parse: impl FnOnce(&[u8]) -> Option<(T, usize)>,
    ) -> Result<T, FastPathError> {
        let (value, length) = parse(self.fill()?).ok_or(FastPathError::UnknownForm)?;
        self.start += length;
        Ok(value)
    }

    /// Returns the buffered text: at least [`ENTRY_BYTES_MAX`] bytes, or less at the end of the
    /// text.
    fn fill(&mut self) -> io::Result<&[u8]> {
        if self.end - self.start < ENTRY_BYTES_MAX {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            while self.end < self.bytes.len() {
                match self.inner.read(&mut self.bytes[self.end..])? {
                    0 => break,
                    read => self.end += read,
                }
            }
        }
        Ok(&self.bytes[self.start..self.end])
    }
}

/// Parses `"S":{`.
fn second(text: &[u8]) -> Option<(Second, usize)> {
    let (second, length) = key(text)?;
    (text.get(length) == Some(&b'{')).then_some(())?;
    Some((Second(u32::try_from(second).ok()?), length + 1))
}

/// Parses `"R":output` and its separator. Returns whether another entry follows in the second.
fn entry(text: &[u8]) -> Option<((RacerId, Output, bool), usize)> {
    let (racer, length) = key(text)?;
    let (number, digits) = JsonNumber::leading(&text[length..])?;
    let output = Output::new(number.double())?;
    let (has_next, end) = separator(&text[length + digits..])?;
    Some(((RacerId(racer), output, has_next), length + digits + end))
}

/// Parses `"N":`.
fn key(text: &[u8]) -> Option<(u64, usize)> {
    let text = text.strip_prefix(b"\"")?;
    let (JsonNumber::Integer(key), digits) = JsonNumber::leading(text)? else {
        return None;
    };
    (key <= INTEGER_MAX && text[digits..].starts_with(b"\":")).then_some((key, digits + 3))
}

/// Parses a comma (true) or a closing brace (false).
fn separator(text: &[u8]) -> Option<(bool, usize)> {
    match text.first()? {
        b',' => Some((true, 1)),
        b'}' => Some((false, 1)),
        _ => None,
    }
}
