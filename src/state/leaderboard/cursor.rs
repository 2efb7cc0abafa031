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
/// and the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The first rows.
    First,
    /// The rows after the row with this output and racer.
    After(Output, RacerId),
    /// The rows before the row with this output and racer.
    Before(Output, RacerId),
    /// The last rows.
    Last,
}

impl Cursor {
    const VERSION: u8 = 1;
    const BYTES: usize = 18;
    const CHARACTERS: usize = Self::BYTES / 3 * 4;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let (kind, row) = match self {
            Self::First => (0, None),
            Self::After(output, racer) => (1, Some((output, racer))),
            Self::Before(output, racer) => (2, Some((output, racer))),
            Self::Last => (3, None),
        };
        let mut bytes = [0; Self::BYTES];
        bytes[..2].copy_from_slice(&[Self::VERSION, kind]);
        if let Some((output, racer)) = row {
            bytes[2..10].copy_from_slice(&racer.0.to_be_bytes());
            bytes[10..].copy_from_slice(&output.get().to_bits().to_be_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let number = |at: usize| {
            bytes[at..at + 8]
                .iter()
                .fold(0, |number, &byte| number << 8 | u64::from(byte))
        };
        let racer = Some(RacerId(number(2))).filter(|racer| racer.0 <= INTEGER_MAX)?;
        let output = Output::new(f64::from_bits(number(10)))?;
        let cursor = match bytes[1] {
            0 => Self::First,
            1 => Self::After(output, racer),
            2 => Self::Before(output, racer),
            3 => Self::Last,
            _ => return None,
        };
        (cursor.to_bytes() == *bytes).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode_to_string(self.to_bytes()))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if text.len() != Self::CHARACTERS {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode_to_vec(text)
            .map_err(|_| InvalidCursor)?;
        <&[u8; Self::BYTES]>::try_from(&*bytes)
            .ok()
            .and_then(Self::from_bytes)
            .ok_or(InvalidCursor)
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

    #[test]
    fn invalid_text_is_rejected() {
        let mut texts = vec![
            String::new(),
            "2".into(),
            "A".repeat(24),
            "=".repeat(24),
            "é".repeat(12),
        ];
        let valid = Cursor::After(output(1.0), RacerId(1));
        for (byte, value) in [(0, 2), (1, 0), (1, 4), (2, 0xff), (10, 0xbf), (10, 0x7f)] {
            let mut bytes = valid.to_bytes();
            bytes[byte] = value;
            if byte == 10 && value == 0x7f {
                bytes[11] = 0xf8; // NaN
            }
            texts.push(URL_SAFE_NO_PAD.encode_to_string(bytes));
        }
        texts.push(format!("{valid}A"));
        texts.push(format!("{valid}=="));
        for text in texts {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }

    proptest! {
        #[test]
        fn cursor_round_trips_through_its_text(
            kind in 0..4_u8, racer in 0..=INTEGER_MAX, watts in 0.0..f64::MAX, noise in any::<[u8; 18]>(),
        ) {
            let cursor = match kind {
                0 => Cursor::First,
                1 => Cursor::After(output(watts), RacerId(racer)),
                2 => Cursor::Before(output(watts), RacerId(racer)),
                _ => Cursor::Last,
            };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            let text = URL_SAFE_NO_PAD.encode_to_string(noise);
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,30}") {
            prop_assert!(text.parse::<Cursor>().is_err() || text.len() == Cursor::CHARACTERS);
        }
    }
}
