//! Cursors: opaque references to a page.

use std::fmt;
use std::str::FromStr;

use base64_simd::URL_SAFE_NO_PAD;

use crate::domain::effort::{INTEGER_MAX, Output, RacerId};

/// A reference to a page by the row next to it, not by its number: it stays right while racers
/// join, leave and move. It fits every board. On another board it means the rows on that side of
/// the position where its row would be.
///
/// Its text is opaque: 24 URL-safe characters that encode `Cursor::VERSION`, the kind, the racer
/// and the output, and 12 more for the time of a row that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The first rows.
    First,
    /// The rows after this row.
    After(CursorRow),
    /// The rows before this row.
    Before(CursorRow),
    /// The last rows.
    Last,
}

/// The sort key of a cursor's row: its place in a board's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorRow {
    /// The output.
    pub output: Output,
    /// The racer.
    pub racer: RacerId,
    /// The time, where times order the rows and it is known.
    pub time_ms: Option<u64>,
}

impl Cursor {
    const VERSION: u8 = 1;
    const BYTES: usize = 18;
    /// Length with a time and a byte of padding: the text of a multiple of 3 bytes needs no `=`.
    const BYTES_WITH_TIME: usize = 27;

    fn to_bytes(self) -> ([u8; Self::BYTES_WITH_TIME], usize) {
        let (kind, row) = match self {
            Self::First => (0, None),
            Self::After(row) => (1, Some(row)),
            Self::Before(row) => (2, Some(row)),
            Self::Last => (3, None),
        };
        let mut bytes = [0; Self::BYTES_WITH_TIME];
        bytes[..2].copy_from_slice(&[Self::VERSION, kind]);
        if let Some(row) = row {
            bytes[2..10].copy_from_slice(&row.racer.0.to_be_bytes());
            bytes[10..18].copy_from_slice(&row.output.get().to_bits().to_be_bytes());
        }
        let time_ms = row.and_then(|row| row.time_ms);
        bytes[18..26].copy_from_slice(&time_ms.unwrap_or_default().to_be_bytes());
        let len = time_ms.map_or(Self::BYTES, |_| Self::BYTES_WITH_TIME);
        (bytes, len)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| {
            let bytes = bytes[at..at + 8].try_into().expect("8 bytes");
            u64::from_be_bytes(bytes)
        };
        let time_ms = match bytes.len() {
            Self::BYTES => None,
            Self::BYTES_WITH_TIME => Some(number(18)),
            _ => return None,
        };
        let row = CursorRow {
            racer: Some(RacerId(number(2))).filter(|racer| racer.0 <= INTEGER_MAX)?,
            output: Output::new(f64::from_bits(number(10)))?,
            time_ms,
        };
        let cursor = match bytes[1] {
            0 => Self::First,
            1 => Self::After(row),
            2 => Self::Before(row),
            3 => Self::Last,
            _ => return None,
        };
        let (expected, len) = cursor.to_bytes();
        (expected[..len] == *bytes).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, len) = self.to_bytes();
        f.write_str(&URL_SAFE_NO_PAD.encode_to_string(&bytes[..len]))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        // The length is checked before the text is decoded.
        if text.len() > Self::BYTES_WITH_TIME / 3 * 4 {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(text);
        let bytes = bytes.map_err(|_| InvalidCursor)?;
        Self::from_bytes(&bytes).ok_or(InvalidCursor)
    }
}

/// A text that is not a cursor of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that this service returned as `next` or `previous`")]
pub struct InvalidCursor;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn output(output: f64) -> Output {
        Output::new(output).expect("a finite output that is not negative")
    }

    fn row(watts: f64, racer: u64, time_ms: Option<u64>) -> CursorRow {
        CursorRow {
            output: output(watts),
            racer: RacerId(racer),
            time_ms,
        }
    }

    #[test]
    fn invalid_text_is_rejected() {
        let mut texts = vec![
            String::new(),
            "2".into(),
            "A".repeat(24),
            "=".repeat(24),
            "é".repeat(12),
        ];
        let valid = Cursor::After(row(1.0, 1, None));
        for (byte, value) in [(0, 2), (1, 0), (1, 4), (2, 0xff), (10, 0xbf), (10, 0x7f)] {
            let (mut bytes, len) = valid.to_bytes();
            bytes[byte] = value;
            if byte == 10 && value == 0x7f {
                bytes[11] = 0xf8; // NaN
            }
            texts.push(URL_SAFE_NO_PAD.encode_to_string(&bytes[..len]));
        }
        texts.push(format!("{valid}A"));
        texts.push(format!("{valid}=="));
        texts.push(format!("{valid}{}", "A".repeat(8)));
        texts.push(format!("{valid}{}", "_".repeat(12))); // the padding is not 0
        for text in texts {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }

    proptest! {
        #[test]
        fn cursor_round_trips_through_its_text(
            kind in 0..4_u8,
            racer in 0..=INTEGER_MAX,
            watts in 0.0..f64::MAX,
            time_ms in prop::option::of(any::<u64>()),
            noise in prop::collection::vec(any::<u8>(), 0..30),
        ) {
            let cursor = match kind {
                0 => Cursor::First,
                1 => Cursor::After(row(watts, racer, time_ms)),
                2 => Cursor::Before(row(watts, racer, time_ms)),
                _ => Cursor::Last,
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            let text = URL_SAFE_NO_PAD.encode_to_string(noise);
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            prop_assert!(text.parse::<Cursor>().is_err() || [24, 36].contains(&text.len()));
        }
    }
}
