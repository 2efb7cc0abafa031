//! Conditional and partial responses (RFC 9110, 13 and 14), and bodies that are sent piece by piece.

use std::convert::Infallible;
use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use headers::{ETag, HeaderMapExt, IfMatch, IfNoneMatch, IfRange};
use http_range_header::{RangeUnsatisfiableError, parse_range_header};

use crate::http::error::ApiError;

/// Maximum length of a frame, in bytes: the server's send buffer holds frames of slow clients.
const FRAME_BYTES_MAX: usize = 256 << 10;

/// One representation of a resource.
pub(crate) struct Representation {
    /// Strong.
    pub(crate) etag: ETag,
    pub(crate) content_type: &'static str,
    pub(crate) cache_control: &'static str,
    /// `Content-Encoding`; `None` if the bytes are not encoded.
    pub(crate) encoding: Option<&'static str>,
    /// The request headers that select the representation.
    pub(crate) vary: Option<&'static str>,
    /// Whether `Range` is supported.
    pub(crate) ranges: bool,
    /// Length in bytes.
    pub(crate) len: u64,
    /// Returns the bytes in order, or the reason why they cannot be sent now. Called only for a
    /// response with a body.
    pub(crate) pieces: PiecesFn,
}

/// Bytes, piece by piece.
pub(crate) type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

/// Returns pieces, or the error that is the response.
pub(crate) type PiecesFn = Box<dyn FnOnce() -> Result<Pieces, ApiError> + Send>;

impl Representation {
    /// Responds with the representation, a part of it, or a status that makes it unnecessary.
    pub(crate) fn respond(self, method: &Method, headers: &HeaderMap) -> Response {
        let if_match = headers.typed_get::<IfMatch>();
        if if_match.is_some_and(|it| !it.precondition_passes(&self.etag)) {
            let detail = "If-Match names other versions than this one";
            return ApiError::new(StatusCode::PRECONDITION_FAILED, detail).into_response();
        }
        let if_none_match = headers.typed_get::<IfNoneMatch>();
        if if_none_match.is_some_and(|it| !it.precondition_passes(&self.etag)) {
            let mut response = not_modified(self.len);
            self.insert_headers(response.headers_mut());
            return response;
        }
        let (status, bytes) = match self.requested_range(method, headers) {
            Ok(None) => (StatusCode::OK, 0..self.len),
            Ok(Some(range)) => (StatusCode::PARTIAL_CONTENT, range),
            Err(_) => return self.range_not_satisfiable(),
        };
        let mut response = status.into_response();
        let headers = response.headers_mut();
        self.insert_headers(headers);
        insert(headers, header::CONTENT_TYPE, self.content_type);
        if let Some(encoding) = self.encoding {
            insert(headers, header::CONTENT_ENCODING, encoding);
        }
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, self.len);
            headers.insert(header::CONTENT_RANGE, ascii(range));
        }
        headers.insert(header::CONTENT_LENGTH, (bytes.end - bytes.start).into());
        if method != Method::HEAD {
            let frames = match (self.pieces)() {
                Ok(pieces) => frames(pieces, bytes).map(Ok::<_, Infallible>),
                Err(error) => return error.into_response(),
            };
            *response.body_mut() = Body::from_stream(stream::iter(frames));
        }
        response
    }

    fn insert_headers(&self, headers: &mut HeaderMap) {
        headers.typed_insert(self.etag.clone());
        insert(headers, header::CACHE_CONTROL, self.cache_control);
        if let Some(vary) = self.vary {
            insert(headers, header::VARY, vary);
        }
        if self.ranges {
            insert(headers, header::ACCEPT_RANGES, "bytes");
        }
    }

    fn requested_range(&self, method: &Method, headers: &HeaderMap) -> RequestedRange {
        let range = headers
            .get(header::RANGE)
            .and_then(|range| range.to_str().ok());
        // A date never matches: a representation has none. Neither does an invalid tag.
        let is_of_this = !headers.contains_key(header::IF_RANGE)
            || headers
                .typed_get::<IfRange>()
                .is_some_and(|it| !it.is_modified(Some(&self.etag), None));
        match range {
            Some(range) if self.ranges && is_of_this && method == Method::GET => {
                parse_range(range, self.len)
            }
            _ => Ok(None),
        }
    }

    fn range_not_satisfiable(&self) -> Response {
        let detail = format!("there are {} bytes", self.len);
        let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, detail);
        let range = ascii(format!("bytes */{}", self.len));
        ([(header::CONTENT_RANGE, range)], error).into_response()
    }
}

/// Returns a 304 with the length of the 200. Without that, HEAD would respond with 0.
pub(crate) fn not_modified(len: u64) -> Response {
    let len = [(header::CONTENT_LENGTH, HeaderValue::from(len))];
    (StatusCode::NOT_MODIFIED, len).into_response()
}

/// Inserts a constant header.
pub(crate) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

pub(crate) fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits and ASCII punctuation are a valid header value")
}

/// The bytes that `Range` requests; `None` for all.
type RequestedRange = Result<Option<Range<u64>>, RangeUnsatisfiableError>;

/// Parses `Range`. An invalid one, or one of several ranges, is ignored, as RFC 9110 allows.
fn parse_range(range: &str, len: u64) -> RequestedRange {
    let ranges = parse_range_header(range).ok();
    let ranges = ranges.filter(|ranges| ranges.len() == 1);
    let ranges = ranges.map_or(Ok(Vec::new()), |ranges| ranges.validate(len))?;
    Ok(ranges.first().map(|it| *it.start()..it.end() + 1))
}

/// Returns those bytes of the pieces, as frames.
fn frames(pieces: impl Iterator<Item = Bytes>, range: Range<u64>) -> impl Iterator<Item = Bytes> {
    let mut at = 0;
    let slices = pieces.map(move |piece| {
        let within = |position: u64| position.clamp(at, at + piece.len() as u64) - at;
        let (from, to) = (within(range.start) as usize, within(range.end) as usize);
        at += piece.len() as u64;
        piece.slice(from..to)
    });
    slices.flat_map(|mut slice| {
        std::iter::from_fn(move || {
            let bytes = slice.len().min(FRAME_BYTES_MAX);
            (bytes > 0).then(|| slice.split_to(bytes))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unavailable_bytes_fail_only_responses_with_a_body() {
        let status = |method: Method, (name, value): (HeaderName, &'static str)| {
            let representation = Representation {
                etag: "\"1\"".parse().unwrap(),
                content_type: "application/gzip",
                cache_control: "no-cache",
                encoding: None,
                vary: None,
                ranges: true,
                len: 10,
                pieces: Box::new(|| Err(ApiError::unavailable("full"))),
            };
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            representation.respond(&method, &headers).status().as_u16()
        };
        assert_eq!(status(Method::GET, (header::ACCEPT, "*/*")), 503);
        assert_eq!(status(Method::GET, (header::RANGE, "bytes=1-2")), 503);
        assert_eq!(status(Method::GET, (header::IF_NONE_MATCH, "\"1\"")), 304);
        assert_eq!(status(Method::GET, (header::RANGE, "bytes=10-")), 416);
        assert_eq!(status(Method::HEAD, (header::ACCEPT, "*/*")), 200);
    }

    #[test]
    fn ranges_are_cut_at_the_length() {
        for (range, expected) in [
            ("bytes=0-0", Some(Some(0..1))),
            ("bytes=2-4", Some(Some(2..5))),
            ("bytes=2-", Some(Some(2..10))),
            ("bytes=-3", Some(Some(7..10))),
            ("bytes=-30", Some(Some(0..10))),
            ("bytes=9-99999999999999999999999", Some(Some(9..10))),
            ("bytes=10-", None),
            ("bytes=10-12", None),
            ("bytes=-0", None),
            ("bytes=4-2", Some(None)),
            ("bytes=0-1,4-5", Some(None)),
            ("bytes=", Some(None)),
            ("bytes=-", Some(None)),
            ("bytes=+1-2", Some(None)),
            ("Bytes=2-4", Some(Some(2..5))),
            ("lines=1-2", Some(None)),
        ] {
            assert_eq!(parse_range(range, 10).ok(), expected, "{range}");
        }
    }

    #[test]
    fn long_pieces_are_sent_in_frames() {
        let pieces = [0, FRAME_BYTES_MAX + 1, 0, 5].map(|length| Bytes::from(vec![7; length]));
        let lengths = frames(pieces.into_iter(), 0..u64::MAX).map(|frame| frame.len());
        assert_eq!(lengths.collect::<Vec<_>>(), [FRAME_BYTES_MAX, 1, 5]);
    }

    #[test]
    fn cutting_pieces_equals_cutting_the_whole() {
        let pieces = || {
            ["abc", "", "d", "efgh"]
                .map(|piece| Bytes::from_static(piece.as_bytes()))
                .into_iter()
        };
        for start in 0..=8_usize {
            for end in start..=8 {
                let joined = frames(pieces(), start as u64..end as u64)
                    .collect::<Vec<_>>()
                    .concat();
                assert_eq!(joined, b"abcdefgh"[start..end]);
            }
        }
    }
}
