//! JSON numbers: exact integers and correctly rounded doubles.
//!
//! Nearly all numbers that arrive or are stored are digits, perhaps with a point.
//! [`JsonNumber::leading`] reads these in few steps, and the standard library the other forms.

use crate::domain::effort::INTEGER_MAX;

/// Maximum number of digits that always fit into a `u64`.
const DIGITS_MAX: usize = 19;

/// Powers of ten that are exact as doubles, as are all up to 10^22.
const POWERS_OF_TEN: [f64; DIGITS_MAX + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19,
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
    /// Returns `None` if no JSON number stands there, or if no finite double is near it.
    #[inline]
    pub fn leading(text: &[u8]) -> Option<(Self, usize)> {
        let (whole, whole_digits) = digits(text, 0);
        let is_plain =
            (1..=DIGITS_MAX).contains(&whole_digits) && (text[0] != b'0' || whole_digits == 1);
        match text.get(whole_digits) {
            Some(b'.') if is_plain => {
                let (all, places) = digits(&text[whole_digits + 1..], whole);
                let length = whole_digits + 1 + places;
                let ends = !matches!(text.get(length), Some(b'e' | b'E'));
                if ends && places > 0 && whole_digits + places <= DIGITS_MAX {
                    return Some((Self::Double(quotient(all, places)), length));
                }
            }
            Some(b'e' | b'E') => {}
            _ if is_plain => return Some((Self::Integer(whole), whole_digits)),
            _ => {}
        }
        Self::leading_of_any_form(text)
    }

    /// Reads as [`leading`](Self::leading) does, also numbers with a sign, an exponent or more
    /// digits.
    #[cold]
    fn leading_of_any_form(text: &[u8]) -> Option<(Self, usize)> {
        let length = length(text)?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        Some((Self::parse(text)?, length))
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

/// Returns the length of the JSON number at the beginning of `text`, in bytes.
fn length(text: &[u8]) -> Option<usize> {
    let digits_from = |start: usize| match digits(text.get(start..)?, 0) {
        (_, 0) => None,
        (_, count) => Some(start + count),
    };
    let start = usize::from(text.first() == Some(&b'-'));
    let mut end = digits_from(start)?;
    if text[start] == b'0' && end > start + 1 {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        end = digits_from(end + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let has_sign = matches!(text.get(end + 1), Some(b'+' | b'-'));
        end = digits_from(end + 1 + usize::from(has_sign))?;
    }
    Some(end)
}

/// Returns `digits` / 10^`places` for at most [`DIGITS_MAX`] places. It is rounded once, so
/// correctly.
#[inline]
fn quotient(digits: u64, places: usize) -> f64 {
    if digits <= INTEGER_MAX {
        return digits as f64 / POWERS_OF_TEN[places]; // both are exact
    }
    // Divides as integers, each with its highest bit set. So the quotient has 63 or 64 bits, over
    // 9 more than a double. Its last bit stands for the remainder, for halves to round correctly.
    let divisor = 10_u64.pow(places as u32);
    let (up, divisor_up) = (digits.leading_zeros(), divisor.leading_zeros());
    let dividend = u128::from(digits << up) << 63;
    let divisor = u128::from(divisor << divisor_up);
    let quotient = dividend / divisor;
    let remains = quotient * divisor != dividend;
    let scale = f64::from_bits(u64::from(1023 - 63 + divisor_up - up) << 52); // a power of two
    (quotient as u64 | u64::from(remains)) as f64 * scale
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
