//! A scanner for telemetry as bikes send it: one flat object of plain texts and numbers.
//!
//! It reads nothing that serde_json would read otherwise: what it does not know (an escape, a sign, an exponent, a
//! literal, anything nested, any fault) it leaves alone, and serde_json reads the record. It takes a third of the time.

use std::borrow::Cow;

use super::{Fields, Key, Number};

/// The most digits of a number that is read here: all such integers are exact as doubles, and so are the powers of ten
/// up to 10^22, so dividing one by the other rounds once, which is correct rounding.
const DIGITS_MAX: usize = 15;

const POWERS_OF_TEN: [f64; DIGITS_MAX + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Text that is being read from its front.
pub(super) struct Scanner<'d> {
    text: &'d str,
    at: usize,
}

impl<'d> Scanner<'d> {
    pub(super) fn new(text: &'d str) -> Self {
        Self { text, at: 0 }
    }

    /// Whether nothing is left but white space.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// The object that is next; `None`, and nothing is taken, where it is for serde_json to say what that is.
    pub(super) fn object(&mut self) -> Option<Fields<'d>> {
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
            let key = Key::of(self.text()?);
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

    /// A text without escapes.
    fn text(&mut self) -> Option<&'d str> {
        self.expect(b'"')?;
        let from = self.at;
        let to = from + plain_length(&self.text.as_bytes()[from..]);
        self.at = to;
        self.expect_here(b'"')?;
        Some(&self.text[from..to])
    }

    /// A number without sign or exponent.
    fn number(&mut self) -> Option<Number> {
        let first = self.peek()?;
        let (whole, whole_digits) = self.digits(0);
        if whole_digits == 0 || whole_digits > DIGITS_MAX || (first == b'0' && whole_digits > 1) {
            return None;
        }
        match self.text.as_bytes().get(self.at) {
            Some(b'.') => {
                self.at += 1;
                let (digits, places) = self.digits(whole);
                let is_exact = places > 0 && whole_digits + places <= DIGITS_MAX;
                let ends = !matches!(self.text.as_bytes().get(self.at), Some(b'e' | b'E'));
                (is_exact && ends).then(|| Number::Double(digits as f64 / POWERS_OF_TEN[places]))
            }
            Some(b'e' | b'E') => None,
            _ => Some(Number::Integer(whole)),
        }
    }

    /// Digits, put behind those of `before`, and how many. Of too many, the value means nothing.
    fn digits(&mut self, before: u64) -> (u64, usize) {
        let mut value = before;
        let from = self.at;
        while let Some(digit @ b'0'..=b'9') = self.text.as_bytes().get(self.at) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        (value, self.at - from)
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

/// How many bytes there are before the first that is not itself in a JSON text: a quote, a backslash, a control
/// character.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES << 7;
    let mut length = 0;
    // Eight at a time. A byte's high bit is set where it is found; above the first one found there may be false ones.
    while let Some(eight) = bytes[length..].first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        let below = |bytes: u64, limit: u8| bytes.wrapping_sub(ONES * u64::from(limit)) & !bytes & HIGHS;
        let is = |byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
        let found = below(eight, b' ') | is(b'"') | is(b'\\');
        if found != 0 {
            return length + found.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let rest = &bytes[length..];
    length + rest.iter().position(|&byte| matches!(byte, ..b' ' | b'"' | b'\\')).unwrap_or(rest.len())
}
