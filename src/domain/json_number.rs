//! JSON numbers: exact integers and correctly rounded doubles.
//!
//! Nearly all numbers that arrive or are stored have a plain form, which [`JsonNumber::leading`]
//! reads in few steps. serde_json reads the other forms.

use crate::domain::effort::INTEGER_MAX;

/// Maximum number of digits that [`JsonNumber::leading`] reads. An integer of 15 digits is exact as
/// a double, and so is a power of ten up to 10^22. Their quotient is rounded once, so correctly.
const DIGITS_MAX: usize = 15;

const POWERS_OF_TEN: [f64; DIGITS_MAX + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// A JSON number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JsonNumber {
    /// A number written as digits alone.
    Integer(u64),
    /// Any other form, correctly rounded.
    Double(f64),
}

impl JsonNumber {
    /// Reads the number at the beginning of `text`. Returns it with its length in bytes.
    ///
    /// Returns `None` if no JSON number stands there, or one with a sign, an exponent, or more than
    /// [`DIGITS_MAX`] digits.
    #[inline]
    pub fn leading(text: &[u8]) -> Option<(Self, usize)> {
        let (whole, whole_digits) = digits(text, 0);
        if whole_digits == 0 || whole_digits > DIGITS_MAX || (text[0] == b'0' && whole_digits > 1) {
            return None;
        }
        match text.get(whole_digits) {
            Some(b'.') => {
                let (all, places) = digits(&text[whole_digits + 1..], whole);
                let length = whole_digits + 1 + places;
                let is_exact = places > 0 && whole_digits + places <= DIGITS_MAX;
                let ends = !matches!(text.get(length), Some(b'e' | b'E'));
                (is_exact && ends)
                    .then(|| (Self::Double(all as f64 / POWERS_OF_TEN[places]), length))
            }
            Some(b'e' | b'E') => None,
            _ => Some((Self::Integer(whole), whole_digits)),
        }
    }

    /// Reads `text`, which is one JSON value. Returns `None` if it is not a number, or if no finite
    /// double is near it.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(integer) = text.parse() {
            return Some(Self::Integer(integer));
        }
        let double = text.parse().ok().filter(|double: &f64| double.is_finite());
        double.map(Self::Double)
    }

    /// Returns the number as a double. Integers up to [`INTEGER_MAX`] are exact.
    pub fn double(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Double(double) => double,
        }
    }

    /// Returns the number as an integer if it is whole, in whatever form (`1`, `1.0`, `1e0`). A
    /// double must be from 0 to [`INTEGER_MAX`], where all integers are exact.
    pub fn integer(self) -> Option<u64> {
        match self {
            Self::Integer(integer) => Some(integer),
            Self::Double(double) => (double.fract() == 0.0
                && (0.0..=INTEGER_MAX as f64).contains(&double))
            .then_some(double as u64),
        }
    }
}

/// Appends the digits at the beginning of `text` to the digits of `before`. Returns the value and
/// the number of digits read. The value is meaningless if all digits together exceed a `u64`.
#[inline]
fn digits(text: &[u8], before: u64) -> (u64, usize) {
    let mut value = before;
    let mut count = 0;
    while let Some(digit @ b'0'..=b'9') = text.get(count) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        count += 1;
    }
    (value, count)
}

#[cfg(test)]
mod tests;
