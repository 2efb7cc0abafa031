//! Reads JSON's numbers and texts in their plain form, exactly and in few steps.
//!
//! Nearly all numbers and texts that arrive or are stored have the plain form. For any other form
//! these functions give up, and serde_json reads it.

use crate::domain::effort::INTEGER_MAX;

/// Maximum number of digits that [`JsonNumber::leading`] reads. An integer of 15 digits is exact as
/// a double, and so is a power of ten up to 10^22. Their quotient is rounded once, so correctly.
const DIGITS_MAX: usize = 15;

const POWERS_OF_TEN: [f64; DIGITS_MAX + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// The byte order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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

/// Returns the number of bytes before the first one that ends or escapes a JSON text: a quote, a
/// backslash or a control character.
#[inline]
pub fn text_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES << 7;
    let mut length = 0;
    // Eight bytes at a time. The high bit of each byte found is set. Borrows can set false bits, but
    // only above the first byte found.
    while let Some(eight) = bytes[length..].first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        let below =
            |bytes: u64, limit: u8| bytes.wrapping_sub(ONES * u64::from(limit)) & !bytes & HIGHS;
        let is = |byte: u8| below(eight ^ (ONES * u64::from(byte)), 1);
        let found = below(eight, b' ') | is(b'"') | is(b'\\');
        if found != 0 {
            return length + found.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let rest = &bytes[length..];
    length
        + rest
            .iter()
            .position(|&byte| matches!(byte, ..b' ' | b'"' | b'\\'))
            .unwrap_or(rest.len())
}

/// Returns the text after a byte order mark, if it begins with one.
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Describes an error of serde_json without the text that it quotes, which may be long and personal.
pub fn describe_error(error: &serde_json::Error) -> String {
    let description = error.to_string();
    match (
        description.find("string \""),
        description.rfind("\", expected "),
    ) {
        (Some(start), Some(end)) if start < end => {
            format!("{}text{}", &description[..start], &description[end + 1..])
        }
        _ => description,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn error_description_omits_the_quoted_text() {
        let error =
            |json: &str| describe_error(&serde_json::from_str::<Vec<u8>>(json).expect_err(json));
        assert_eq!(
            error(r#""a \", expected b""#),
            "invalid type: text, expected a sequence at line 1 column 18"
        );
        assert_eq!(
            error("{}"),
            "invalid type: map, expected a sequence at line 1 column 0"
        );
    }

    #[test]
    fn whole_numbers_of_any_form_are_integers() {
        let integer = |text| JsonNumber::parse(text).expect(text).integer();
        for text in ["3", "3.0", "3.00", "3e0", "30E-1", "0.3e1"] {
            assert_eq!(integer(text), Some(3), "{text}");
        }
        for text in ["0", "-0", "-0.0", "0e9"] {
            assert_eq!(integer(text), Some(0), "{text}");
        }
        assert_eq!(integer("9007199254740991.0"), Some(INTEGER_MAX));
        for text in ["3.5", "-1", "9007199254740992.0", "1e300", "1e-7"] {
            assert_eq!(integer(text), None, "{text}");
        }
        for text in ["1e999", "\"3\"", "true", "[3]", "{}"] {
            assert_eq!(JsonNumber::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn plain_numbers_are_read_as_serde_reads_them(
            number in "(0|[1-9][0-9]{0,17})(\\.[0-9]{0,17})?([eE][0-9])?|-1|01|[.x,]",
            rest in "[,} ]?.{0,3}",
        ) {
            let text = format!("{number}{}", rest.trim_start_matches(|it: char| "0123456789.eE".contains(it)));
            if let Some((read, length)) = JsonNumber::leading(text.as_bytes()) {
                prop_assert_eq!(length, number.len());
                let expected: serde_json::Value = serde_json::from_str(&number).expect("a number");
                prop_assert_eq!(JsonNumber::parse(&number), Some(read));
                match read {
                    JsonNumber::Integer(integer) => prop_assert_eq!(expected.as_u64(), Some(integer)),
                    JsonNumber::Double(double) => {
                        prop_assert!(!expected.is_u64());
                        prop_assert_eq!(expected.as_f64().map(f64::to_bits), Some(double.to_bits()));
                    }
                }
                prop_assert_eq!(expected.as_f64(), Some(read.double()));
            } else {
                let digits = number.bytes().filter(u8::is_ascii_digit).count();
                let plain = digits <= DIGITS_MAX && number.bytes().all(|it| it.is_ascii_digit() || it == b'.');
                prop_assert!(!plain || serde_json::from_str::<f64>(&number).is_err(), "{}", number);
            }
        }
    }
}
