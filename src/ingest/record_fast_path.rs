//! A scanner for telemetry as bikes send it: one flat object of plain texts and numbers.
//!
//! It reads nothing that serde_json would read otherwise: what it does not know (an escape, a sign, an exponent, a
//! literal, anything nested, any fault) it leaves alone, and serde_json reads the record. It takes a third of the time.

use std::borrow::Cow;

use crate::domain::json_scan;
use crate::ingest::record::{Fields, Key, Number};

/// Text that is being read from its front.
pub(crate) struct Scanner<'d> {
    text: &'d str,
    at: usize,
}

impl<'d> Scanner<'d> {
    pub(crate) fn new(text: &'d str) -> Self {
        Self { text, at: 0 }
    }

    /// Whether nothing is left but white space.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// The object that is next; `None`, and nothing is taken, where it is for serde_json to say what that is.
    pub(crate) fn object(&mut self) -> Option<Fields<'d>> {
        let before = self.at;
        let fields = self.fields();
        if fields.is_none() {
            self.at = before;
        }
        fields
    }

    fn fields(&mut self) -> Option<Fields<'d>> {
        let mut fields = Fields::default();
        self.expect(b'{')?;
        loop {
            let key = self.key()?;
            self.expect(b':')?;
            match key {
                Key::ClassId => fields.class_id = self.number()?,
                Key::Second => fields.second = self.number()?,
                Key::RacerId => fields.racer_id = self.number()?,
                Key::Cadence => fields.cadence = self.number()?,
                Key::Resistance => fields.resistance = self.number()?,
                Key::Output => fields.output = self.number()?,
                Key::RaceId => fields.race_id = self.number()?,
                Key::DeviceTimestamp => fields.device_timestamp = self.number()?,
                Key::Name => fields.name = Some(Cow::Borrowed(self.text()?)),
                Key::Event => fields.event = Some(Cow::Borrowed(self.text()?)),
                Key::Other if self.peek()? == b'"' => _ = self.text()?,
                Key::Other => _ = self.number()?,
            }
            match self.next()? {
                b',' => {}
                b'}' => return Some(fields),
                _ => return None,
            }
        }
    }

    /// A key. One that means something is known by its first bytes, without a search for its end.
    #[inline]
    fn key(&mut self) -> Option<Key> {
        if self.peek()? == b'"' {
            let rest = &self.text.as_bytes()[self.at + 1..];
            let is = |quoted: &[u8]| rest.starts_with(quoted);
            let known = match rest.first()? {
                b'c' if is(b"classId\"") => Key::ClassId,
                b'c' if is(b"cadence\"") => Key::Cadence,
                b'd' if is(b"deviceTimestamp\"") => Key::DeviceTimestamp,
                b'e' if is(b"event\"") => Key::Event,
                b'n' if is(b"name\"") => Key::Name,
                b'o' if is(b"output\"") => Key::Output,
                b'r' if is(b"racerId\"") => Key::RacerId,
                b'r' if is(b"raceId\"") => Key::RaceId,
                b'r' if is(b"resistance\"") => Key::Resistance,
                b's' if is(b"second\"") => Key::Second,
                _ => Key::Other,
            };
            if !matches!(known, Key::Other) {
                self.at += known.name().len() + 2;
                return Some(known);
            }
        }
        self.text().map(Key::of)
    }

    /// A text without escapes.
    fn text(&mut self) -> Option<&'d str> {
        self.expect(b'"')?;
        let from = self.at;
        let to = from + json_scan::text_length(&self.text.as_bytes()[from..]);
        self.at = to;
        self.expect_here(b'"')?;
        Some(&self.text[from..to])
    }

    /// A number without sign or exponent.
    fn number(&mut self) -> Option<Number> {
        self.peek()?;
        let (number, length) = json_scan::JsonNumber::leading(&self.text.as_bytes()[self.at..])?;
        self.at += length;
        Some(match number {
            json_scan::JsonNumber::Integer(integer) => Number::Integer(integer),
            json_scan::JsonNumber::Double(double) => Number::Double(double),
        })
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn expect_here(&mut self, byte: u8) -> Option<()> {
        let found = *self.text.as_bytes().get(self.at)?;
        self.at += 1;
        (found == byte).then_some(())
    }

    /// The next byte after white space.
    fn next(&mut self) -> Option<u8> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                other => return Some(other),
            }
        }
    }
}
