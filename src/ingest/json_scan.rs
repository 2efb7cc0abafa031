//! Steps that the JSON parsers share: the fast paths scan texts, and the slow paths check types.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde_json::value::RawValue;

/// The byte order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A text of a JSON document. It is borrowed from the document unless it has escapes.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct BorrowedText<'d>(#[serde(borrow)] pub(crate) Cow<'d, str>);

/// Returns a value that is a text.
pub(crate) fn text(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let BorrowedText(text) = serde_json::from_str(value?.get()).ok()?;
    Some(text)
}

/// Returns the number of bytes before the first one that ends or escapes a JSON text: a quote, a
/// backslash or a control character.
#[inline]
pub(crate) fn text_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES << 7;
    let mut length = 0;
    // Reads eight bytes at a time, and sets the high bit of each byte found. Borrows can set false
    // bits, but only above the first byte found.
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

/// Returns `text` without the byte order mark at its beginning.
pub(crate) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Returns whether the first JSON value in `text` can only be an object.
///
/// A derived `Deserialize` also accepts an array of the fields, so it needs this check before it.
pub(crate) fn begins_object(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"{")
}

/// Describes an error of serde_json without the text that it quotes, which may be long and
/// personal.
pub(crate) fn describe_error(error: &serde_json::Error) -> String {
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

/// A `T` that is read from a JSON object. A derived `Deserialize` alone also accepts an array of
/// the fields.
pub(crate) struct JsonObject<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = JsonObject<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(JsonObject)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
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
    fn text_ends_at_the_first_quote_escape_or_control_character() {
        for end in [b"\"", b"\\", b"\n", b"\0", b"\x1f"] {
            for length in 0..20 {
                let text = [&b"\x7f\xff \xc3\xab~!#"[..], &[b'a'; 20]].concat();
                let text = [&text[..length], end, b"\"a\n"].concat();
                assert_eq!(text_length(&text), length, "{}", text.escape_ascii());
            }
        }
        assert_eq!(text_length(b"no end in nine or more"), 22);
    }
}
