//! Answers that depend on what the client has already: preconditions and ranges (RFC 9110, 13 and 14), and the body
//! that is sent piece by piece.

use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::http::error::ApiError;

/// How caches may keep what is sent here: for a second, which is how far a history may be behind in any case. Then
/// they must ask again, which a 304 answers for next to nothing. Nothing stale is ever served, since a racer that was
/// erased must be gone everywhere within seconds.
const CACHE_CONTROL: &str = "public, max-age=1, must-revalidate";

/// So much is handed over for sending at a time, in bytes. What is handed over its client has time to take, 8 s for so
/// much, whether it takes any of it or not.
const HANDED_OVER_BYTES_MAX: usize = 256 << 10;

/// One form of what a path names, ready to be sent.
pub(crate) struct Representation {
    /// Strong, in its quotes.
    pub(crate) etag: String,
    /// The media type.
    pub(crate) kind: &'static str,
    /// Whether the bytes are the media type's gzipped.
    pub(crate) gzip: bool,
    /// Whether another client may be sent another form.
    pub(crate) varies: bool,
    /// Whether parts are given.
    pub(crate) ranges: bool,
    /// Its length, in bytes.
    pub(crate) len: u64,
    /// Gives its bytes in order, or says why none can be sent just now; asked only where some are to be sent.
    pub(crate) pieces: Box<dyn FnOnce() -> Result<Pieces, ApiError> + Send>,
}

/// Bytes, piece by piece.
pub(crate) type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;

impl Representation {
    /// Answers with it, with a part of it, or with why neither is needed.
    pub(crate) fn answer(self, method: &Method, headers: &HeaderMap) -> Response {
        let is_this = |tag: &str| tag == "*" || tag == self.etag;
        if tags(headers, header::IF_MATCH).is_some_and(|mut tags| !tags.any(is_this)) {
            let detail = "If-Match names other versions than this one";
            return ApiError::new(StatusCode::PRECONDITION_FAILED, detail).into_response();
        }
        let is_known = |tag: &str| is_this(tag.strip_prefix("W/").unwrap_or(tag));
        let wanted =
            if tags(headers, header::IF_NONE_MATCH).is_some_and(|mut tags| tags.any(is_known)) {
                Wanted::Known
            } else {
                self.wanted(method, headers)
            };
        let pieces = if method != Method::HEAD && matches!(wanted, Wanted::Whole | Wanted::Part(_))
        {
            match (self.pieces)() {
                Ok(pieces) => pieces,
                Err(problem) => return problem.into_response(),
            }
        } else {
            Box::new(std::iter::empty())
        };
        let mut response = match &wanted {
            Wanted::Known => StatusCode::NOT_MODIFIED.into_response(),
            Wanted::Whole => Response::new(Body::new(InPieces::new(pieces, self.len))),
            Wanted::Part(range) => {
                let part = InPieces::new(
                    Box::new(cut(pieces, range.clone())),
                    range.end - range.start,
                );
                let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, self.len);
                (
                    StatusCode::PARTIAL_CONTENT,
                    [(header::CONTENT_RANGE, content_range)],
                    Body::new(part),
                )
                    .into_response()
            }
            Wanted::Nothing => {
                let problem = ApiError::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    format!("there are {} bytes", self.len),
                );
                return (
                    [(header::CONTENT_RANGE, format!("bytes */{}", self.len))],
                    problem,
                )
                    .into_response();
            }
        };
        let fields = response.headers_mut();
        fields.insert(
            header::ETAG,
            HeaderValue::from_str(&self.etag).expect("a tag is hexadecimal digits in quotes"),
        );
        fields.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static(CACHE_CONTROL),
        );
        if self.varies {
            fields.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if self.ranges {
            fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        if let Wanted::Known = wanted {
            // Whatever stands here is the length that a 200 would have. Left out, HEAD would have it 0.
            fields.insert(header::CONTENT_LENGTH, self.len.into());
        } else {
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
            if self.gzip {
                fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        response
    }

    fn wanted(&self, method: &Method, headers: &HeaderMap) -> Wanted {
        // A date is never this version's: it has none.
        let of_this = headers
            .get(header::IF_RANGE)
            .is_none_or(|tag| tag.as_bytes() == self.etag.as_bytes());
        match headers
            .get(header::RANGE)
            .and_then(|range| range.to_str().ok())
        {
            Some(range) if self.ranges && of_this && method == Method::GET => {
                Wanted::of(range, self.len)
            }
            _ => Wanted::Whole,
        }
    }
}

/// The tags of a header, if it is there. None of ours has a comma in it.
fn tags(headers: &HeaderMap, name: HeaderName) -> Option<impl Iterator<Item = &str>> {
    let lists = headers
        .contains_key(&name)
        .then(|| headers.get_all(name).into_iter())?;
    Some(
        lists
            .filter_map(|list| list.to_str().ok())
            .flat_map(|list| list.split(','))
            .map(str::trim),
    )
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    /// Nothing: the client has it.
    Known,
    /// All of it.
    Whole,
    /// Those bytes, which are there.
    Part(Range<u64>),
    /// Nothing: the client wants bytes that are not there.
    Nothing,
}

impl Wanted {
    /// What a `Range` header asks for. One that cannot be read, or that asks for several parts, is as good as none.
    fn of(range: &str, len: u64) -> Self {
        let range = match range.trim().split_once('=') {
            Some((unit, range)) if unit.eq_ignore_ascii_case("bytes") => range,
            _ => return Self::Whole,
        };
        let number = |text: &str| -> Option<Option<u64>> {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            // As many digits as anyone likes: a place beyond all there is.
            digits.then(|| (!text.is_empty()).then(|| text.parse().unwrap_or(u64::MAX)))
        };
        let Some((first, last)) = range.split_once('-') else {
            return Self::Whole;
        };
        let range = match (number(first.trim()), number(last.trim())) {
            (Some(Some(first)), Some(Some(last))) if first <= last => {
                first..last.saturating_add(1).min(len)
            }
            (Some(Some(first)), Some(None)) => first..len,
            (Some(None), Some(Some(last))) => len.saturating_sub(last)..len,
            _ => return Self::Whole,
        };
        if range.is_empty() {
            Self::Nothing
        } else {
            Self::Part(range)
        }
    }
}

/// Those bytes of the pieces.
fn cut(pieces: impl Iterator<Item = Bytes>, range: Range<u64>) -> impl Iterator<Item = Bytes> {
    let mut at = 0;
    pieces.filter_map(move |piece| {
        let within = |place: u64| place.clamp(at, at + piece.len() as u64) - at;
        let (from, to) = (within(range.start) as usize, within(range.end) as usize);
        at += piece.len() as u64;
        (from < to).then(|| piece.slice(from..to))
    })
}

/// A body of a known length, made piece by piece as it is sent.
struct InPieces {
    pieces: Pieces,
    /// What is left of the piece that is being sent.
    piece: Bytes,
    left: u64,
}

impl InPieces {
    fn new(pieces: Pieces, left: u64) -> Self {
        Self {
            pieces,
            piece: Bytes::new(),
            left,
        }
    }
}

impl http_body::Body for InPieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while self.piece.is_empty() {
            match self.pieces.next() {
                Some(piece) => self.piece = piece,
                None => return Poll::Ready(None),
            }
        }
        let bytes = self.piece.len().min(HANDED_OVER_BYTES_MAX);
        let handed_over = self.piece.split_to(bytes);
        self.left = self.left.saturating_sub(bytes as u64);
        Poll::Ready(Some(Ok(Frame::data(handed_over))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body;
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn what_cannot_be_sent_just_now_is_refused_to_those_alone_who_are_to_be_sent_some() {
        let status = |method: Method, (name, value): (HeaderName, &'static str)| {
            let representation = Representation {
                etag: "\"1\"".to_owned(),
                kind: "application/gzip",
                gzip: false,
                varies: false,
                ranges: true,
                len: 10,
                pieces: Box::new(|| Err(ApiError::unavailable("full"))),
            };
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            representation.answer(&method, &headers).status().as_u16()
        };
        assert_eq!(status(Method::GET, (header::ACCEPT, "*/*")), 503);
        assert_eq!(status(Method::GET, (header::RANGE, "bytes=1-2")), 503);
        assert_eq!(status(Method::GET, (header::IF_NONE_MATCH, "\"1\"")), 304);
        assert_eq!(status(Method::GET, (header::RANGE, "bytes=10-")), 416);
        assert_eq!(status(Method::HEAD, (header::ACCEPT, "*/*")), 200);
    }

    #[test]
    fn a_range_is_what_it_says_within_what_is_there() {
        for (range, wanted) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-4", Wanted::Part(2..5)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=9-99999999999999999999999", Wanted::Part(9..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=10-12", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=4-2", Wanted::Whole),
            ("bytes=0-1,4-5", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("Bytes=2-4", Wanted::Part(2..5)),
            ("lines=1-2", Wanted::Whole),
        ] {
            assert_eq!(Wanted::of(range, 10), wanted, "{range}");
        }
    }

    #[tokio::test]
    async fn a_long_piece_is_handed_over_bit_by_bit() {
        let pieces =
            [0, HANDED_OVER_BYTES_MAX + 1, 0, 5].map(|length| Bytes::from(vec![7; length]));
        let mut body = InPieces::new(
            Box::new(pieces.into_iter()),
            HANDED_OVER_BYTES_MAX as u64 + 6,
        );
        let mut lengths = Vec::new();
        while let Some(frame) = body.frame().await {
            lengths.push(frame.unwrap().into_data().unwrap().len());
        }
        assert_eq!(lengths, [HANDED_OVER_BYTES_MAX, 1, 5]);
        assert!(body.is_end_stream());
    }

    #[test]
    fn cut_pieces_are_the_cut_of_all_pieces() {
        let pieces = || {
            ["abc", "", "d", "efgh"]
                .map(|piece| Bytes::from_static(piece.as_bytes()))
                .into_iter()
        };
        for start in 0..=8_usize {
            for end in start..=8 {
                let joined = cut(pieces(), start as u64..end as u64)
                    .collect::<Vec<_>>()
                    .concat();
                assert_eq!(joined, b"abcdefgh"[start..end]);
            }
        }
    }
}
