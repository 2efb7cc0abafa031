//! Scans telemetry as bikes send it: flat objects of numbers and texts without escapes.
//!
//! It never reads an object otherwise than serde_json would. At an escape, a literal, a nested
//! value or a fault it gives up, and serde_json reads the object. The scanner needs a third of
//! serde_json's time.

use std::borrow::Cow;

use crate::domain::json_number::JsonNumber;
use crate::ingest::json_scan;
use crate::ingest::record::{FieldName, NumberField, RecordFields};

/// A cursor over a record's text.
pub(crate) struct RecordScanner<'d> {
    text: &'d str,
    position: usize,
}

impl<'d> RecordScanner<'d> {
    pub(crate) fn new(text: &'d str) -> Self {
        Self { text, position: 0 }
    }

    /// Skips white space. Returns whether nothing follows it.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Returns the text that is not yet read.
    pub(crate) fn rest(&self) -> &'d str {
        &self.text[self.position..]
    }

    /// Skips the next `bytes` bytes.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.position += bytes;
    }

    /// Reads the next object. Returns `None`, and stays in place, if serde_json must read it.
    pub(crate) fn object(&mut self) -> Option<RecordFields<'d>> {
        let start = self.position;
        let fields = self.fields();
        if fields.is_none() {
            self.position = start;
        }
        fields
    }

    fn fields(&mut self) -> Option<RecordFields<'d>> {
        let mut fields = RecordFields::default();
        self.expect(b'{')?;
        loop {
            let name = self.key()?;
            self.expect(b':')?;
            match name {
                FieldName::ClassId => fields.class_id = self.number()?,
                FieldName::Second => fields.second = self.number()?,
                FieldName::RacerId => fields.racer_id = self.number()?,
                FieldName::Cadence => fields.cadence = self.number()?,
                FieldName::Resistance => fields.resistance = self.number()?,
                FieldName::Output => fields.output = self.number()?,
                FieldName::RaceId => fields.race_id = self.number()?,
                FieldName::DeviceTimestamp => fields.device_timestamp = self.number()?,
                FieldName::Name => fields.name = Some(Cow::Borrowed(self.text()?)),
                FieldName::Event => fields.event = Some(Cow::Borrowed(self.text()?)),
                FieldName::Other if self.peek()? == b'"' => _ = self.text()?,
                FieldName::Other => _ = self.number()?,
            }
            match self.next()? {
                b',' => {}
                b'}' => return Some(fields),
                _ => return None,
            }
        }
    }

    /// Reads a key. A known one is found by its first bytes, without a search for its end.
    #[inline]
    fn key(&mut self) -> Option<FieldName> {
        self.expect(b'"')?;
        let rest = &self.text.as_bytes()[self.position..];
        let is = |key: &[u8]| rest.starts_with(key);
        let (name, length) = match rest.first()? {
            b'c' if is(b"classId\"") => (FieldName::ClassId, 8),
            b'c' if is(b"cadence\"") => (FieldName::Cadence, 8),
            b'd' if is(b"deviceTimestamp\"") => (FieldName::DeviceTimestamp, 16),
            b'e' if is(b"event\"") => (FieldName::Event, 6),
            b'n' if is(b"name\"") => (FieldName::Name, 5),
            b'o' if is(b"output\"") => (FieldName::Output, 7),
            b'r' if is(b"racerId\"") => (FieldName::RacerId, 8),
            b'r' if is(b"raceId\"") => (FieldName::RaceId, 7),
            b'r' if is(b"resistance\"") => (FieldName::Resistance, 11),
            b's' if is(b"second\"") => (FieldName::Second, 7),
            _ => {
                self.text_after_quote()?;
                return Some(FieldName::Other);
            }
        };
        self.position += length;
        Some(name)
    }

    /// Reads a text without escapes.
    fn text(&mut self) -> Option<&'d str> {
        self.expect(b'"')?;
        self.text_after_quote()
    }

    /// Reads a text without escapes, after its first quote.
    fn text_after_quote(&mut self) -> Option<&'d str> {
        let start = self.position;
        let end = start + json_scan::text_length(&self.text.as_bytes()[start..]);
        if *self.text.as_bytes().get(end)? != b'"' {
            return None;
        }
        self.position = end + 1;
        Some(&self.text[start..end])
    }

    /// Reads a number.
    fn number(&mut self) -> Option<NumberField> {
        self.peek()?;
        let (number, length) = JsonNumber::leading(&self.text.as_bytes()[self.position..])?;
        self.position += length;
        Some(NumberField::Number(number))
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// Skips white space. Returns the byte after it, and passes it.
    fn next(&mut self) -> Option<u8> {
        let next = self.peek()?;
        self.position += 1;
        Some(next)
    }

    /// Skips white space. Returns the byte after it, and stays before it.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.position)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.position += 1,
                other => return Some(other),
            }
        }
    }
}
