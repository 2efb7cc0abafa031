//! Numbers and texts of JSON in their plain form, as nearly all are that come or are stored: read exactly, and in a few
//! steps. What is in no plain form is for serde_json to read.

/// The most digits of a number that is read here: all such integers are exact as doubles, and so are the powers of ten
/// up to 10^22, so dividing one by the other rounds once, which is correct rounding.
const DIGITS_MAX: usize = 15;

const POWERS_OF_TEN: [f64; DIGITS_MAX + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JsonNumber {
    /// Without a point.
    Integer(u64),
    /// With one.
    Double(f64),
}

impl JsonNumber {
    /// The number that a text begins with, and its length in bytes. `None` where JSON has none there, or one that is
    /// not so plain: with a sign, an exponent, or more than 15 digits.
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

    /// The number as a double; an integer has no more digits than are exact.
    pub fn double(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Double(double) => double,
        }
    }
}

/// The digits that a text begins with, put behind those of `before`, and how many. Of too many, the value means
/// nothing.
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

/// How many bytes there are before the first that is not itself in a JSON text: a quote, a backslash, a control
/// character.
#[inline]
pub fn text_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES << 7;
    let mut length = 0;
    // Eight at a time. A byte's high bit is set where it is found; above the first one found there may be false ones.
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

/// What serde_json finds wrong, without the text that it found: that may be long, and somebody's data.
pub fn told(error: &serde_json::Error) -> String {
    let told = error.to_string();
    match (told.find("string \""), told.rfind("\", expected ")) {
        (Some(begins), Some(ends)) if begins < ends => {
            format!("{}text{}", &told[..begins], &told[ends + 1..])
        }
        _ => told,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_error_tells_all_but_the_text() {
        let error = |json: &str| told(&serde_json::from_str::<Vec<u8>>(json).expect_err(json));
        assert_eq!(
            error(r#""a \", expected b""#),
            "invalid type: text, expected a sequence at line 1 column 18"
        );
        assert_eq!(
            error("{}"),
            "invalid type: map, expected a sequence at line 1 column 0"
        );
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_reads(
            number in "(0|[1-9][0-9]{0,17})(\\.[0-9]{0,17})?([eE][0-9])?|-1|01|[.x,]",
            rest in "[,} ]?.{0,3}",
        ) {
            let text = format!("{number}{}", rest.trim_start_matches(|it: char| "0123456789.eE".contains(it)));
            if let Some((read, length)) = JsonNumber::leading(text.as_bytes()) {
                prop_assert_eq!(length, number.len());
                let expected: serde_json::Value = serde_json::from_str(&number).expect("a number");
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
