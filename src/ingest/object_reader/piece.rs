//! Splits data into pieces: JSON objects, and the text between them.

use serde::de::IgnoredAny;

use crate::ingest::json_scan;
use crate::ingest::object_reader::gunzip_layer::MEMBER_START;

/// Maximum depth of objects within each other in a JSON piece. Telemetry is flat. Without a limit,
/// a fault in deeply nested data would be searched for again from every object within.
pub(super) const DEPTH_MAX: usize = 32;

/// The length of a piece, in bytes.
#[derive(Clone, Copy)]
pub(super) enum PieceLength {
    /// A JSON object.
    Json(usize),
    /// Other text, up to the next JSON object or to the end of the line. Or a damaged gzip member,
    /// up to the next one or to the next JSON object.
    NotJson(usize),
}

impl PieceLength {
    pub(super) fn get(self) -> usize {
        match self {
            Self::Json(length) | Self::NotJson(length) => length,
        }
    }
}

/// Returns the length of the piece at the beginning of `data`, which does not begin with white
/// space.
///
/// `is_all` says that no more data follows. Without it, `None` means that more data is needed.
pub(super) fn leading_piece(data: &[u8], is_all: bool) -> Option<PieceLength> {
    match leading_object(data) {
        Ok(length) => return Some(PieceLength::Json(length)),
        Err(NoObject::Incomplete) if !is_all => return None,
        Err(_) => {}
    }
    let is_gzip = data.starts_with(MEMBER_START);
    let is_end = |&index: &usize| {
        (data[index] == b'\n' && !is_gzip) || data[index..].starts_with(MEMBER_START)
    };
    let end = (1..data.len()).find(is_end);
    let length = end.unwrap_or(data.len());
    // Compressed data has a brace in every few hundred bytes.
    let begins_object: &[u8] = if is_gzip { b"{\"" } else { b"{" };
    let mut braces = (1..length).filter(|&index| data[index..].starts_with(begins_object));
    if let Some(next) = braces.find(|&index| leading_object(&data[index..]).is_ok()) {
        return Some(PieceLength::NotJson(next));
    }
    (end.is_some() || is_all).then_some(PieceLength::NotJson(length))
}

/// Returns data without white space and byte order marks at its beginning.
pub(super) fn trim_start(mut data: &[u8]) -> &[u8] {
    loop {
        let trimmed = json_scan::without_byte_order_mark(data.trim_ascii_start());
        if trimmed.len() == data.len() {
            return data;
        }
        data = trimmed;
    }
}

/// Returns the piece without white space at its end. A gzip member is returned unchanged.
pub(super) fn trim_end(piece: &[u8]) -> &[u8] {
    if piece.starts_with(MEMBER_START) {
        piece
    } else {
        piece.trim_ascii_end()
    }
}

/// Splits a record into its pieces.
pub(super) fn split(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    loop {
        data = trim_start(data);
        let length = leading_piece(data, true).map_or(0, PieceLength::get);
        if length == 0 {
            return pieces;
        }
        pieces.push(trim_end(&data[..length]).to_vec());
        data = &data[length..];
    }
}

/// The reason why data does not begin with a JSON object.
enum NoObject {
    /// It is invalid, whatever follows.
    Invalid,
    /// It ends within the object.
    Incomplete,
}

/// Returns the length of the JSON object at the beginning of `data`.
fn leading_object(data: &[u8]) -> Result<usize, NoObject> {
    if data.first() != Some(&b'{') {
        return Err(NoObject::Invalid);
    }
    // Thanks to this, each byte is parsed at most once per level of depth, rather than once per
    // object.
    let data = match match_braces(data) {
        Braces::Closed(length) => &data[..length],
        Braces::Open => data,
        Braces::Invalid => return Err(NoObject::Invalid),
    };
    let mut values = serde_json::Deserializer::from_slice(data).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(IgnoredAny)) => Ok(values.byte_offset()),
        Some(Err(error)) if error.is_eof() => Err(NoObject::Incomplete),
        _ => Err(NoObject::Invalid),
    }
}

/// The braces of an object, regardless of other faults in it.
enum Braces {
    /// The first brace is closed, and the object has this length in bytes.
    Closed(usize),
    /// The first brace is not closed.
    Open,
    /// The object is deeper than [`DEPTH_MAX`], or has a character that JSON does not allow there:
    /// a backslash outside of a text, or a control character in a text. So no text extends over the
    /// end of its line, and only braces outside of texts count in a line.
    Invalid,
}

fn match_braces(data: &[u8]) -> Braces {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for (index, &byte) in data.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'"' => in_text = !in_text,
            b'\\' if !in_text => return Braces::Invalid,
            b'\\' => is_escaped = true,
            ..b' ' if in_text => return Braces::Invalid,
            b'{' | b'}' if in_text => {}
            b'{' if depth == DEPTH_MAX => return Braces::Invalid,
            b'{' => depth += 1,
            b'}' if depth <= 1 => return Braces::Closed(index + 1),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    Braces::Open
}
