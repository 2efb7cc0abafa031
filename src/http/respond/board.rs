//! Responses of boards and pace curves: validators, caching and links, the same for all.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use form_urlencoded::Serializer;
use headers::{HeaderMapExt, IfNoneMatch};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::http::extract::accept;
use crate::http::extract::values::PrettyParam;
use crate::http::respond::conditional::{ascii, insert, not_modified};
use crate::http::respond::format::{FormatParam, ResponseFormat, Rows};

/// Browsers revalidate every time, so that a rider sees a delivery at once. A CDN may keep a board
/// for a second: however many clients read it, the service gets one request a second.
const CACHE_CONTROL: &str = "public, max-age=0, s-maxage=1";

/// Under query keys: a shared cache would serve clients without a key.
const PRIVATE_CACHE_CONTROL: &str = "private, max-age=0";

/// `CDN-Cache-Control` (RFC 9213). A CDN that knows it may also send a board up to 5 s after it
/// expires, while it requests the newest.
const CDN_CACHE_CONTROL: &str = "max-age=1, stale-while-revalidate=5";

const CDN_CACHE_CONTROL_NAME: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Number of headers of a response, at most: these, and those of middleware. So their map does not
/// grow.
const HEADERS: usize = 8;

/// The parameters that select a page. A link has `cursor` in their place.
const PAGE_PARAMETERS: [&str; 3] = ["offset", "cursor", "around"];

/// The preferences of a request: format, known ETag, and the address that links are relative to.
pub(crate) struct ResponsePreferences {
    wants_csv: bool,
    if_none_match: Option<IfNoneMatch>,
    uri: Uri,
}

/// A board that is paged.
pub(crate) trait BoardResponse: Rows {
    /// Returns the cursors of the next and of the previous page.
    fn cursors(&self) -> [Option<&str>; 2];
}

impl<S: Sync> FromRequestParts<S> for ResponsePreferences {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            wants_csv: accept::wants_csv(&parts.headers),
            if_none_match: parts.headers.typed_get(),
            uri: parts.uri.clone(),
        })
    }
}

impl ResponsePreferences {
    /// Returns the format of the response.
    pub(crate) fn format(&self, format: FormatParam, pretty: PrettyParam) -> ResponseFormat {
        ResponseFormat::new(format, pretty, self.wants_csv)
    }

    /// Responds with a board, or with 304. CSV rows cannot carry cursors, so the links of a CSV
    /// response are in `Link`.
    pub(crate) fn respond(&self, format: ResponseFormat, board: &impl BoardResponse) -> Response {
        let link = match format {
            ResponseFormat::Csv => self.link(board.cursors()),
            ResponseFormat::Json { .. } => None,
        };
        self.respond_with(format.content_type(), format.text(board), link)
    }

    /// Responds with a text, or with 304.
    pub(crate) fn respond_with(
        &self,
        content_type: &'static str,
        text: Bytes,
        link: Option<HeaderValue>,
    ) -> Response {
        let etag = etag(&text, link.as_ref());
        let is_known = |it: &IfNoneMatch| {
            let etag = etag.parse().expect("hexadecimal digits in quotes");
            !it.precondition_passes(&etag)
        };
        let mut response = if self.if_none_match.as_ref().is_some_and(is_known) {
            not_modified(text.len() as u64)
        } else {
            let mut response = Response::new(Body::from(text));
            response.headers_mut().reserve(HEADERS);
            insert(response.headers_mut(), header::CONTENT_TYPE, content_type);
            response
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, ascii(etag));
        insert(headers, header::CACHE_CONTROL, CACHE_CONTROL);
        insert(headers, CDN_CACHE_CONTROL_NAME, CDN_CACHE_CONTROL);
        insert(headers, header::VARY, "accept");
        if let Some(link) = link {
            headers.insert(header::LINK, link);
        }
        response
    }

    /// Returns links to the pages of these cursors, the next one and the previous one. They are
    /// relative: a proxy may serve this path below another.
    pub(crate) fn link(&self, cursors: [Option<&str>; 2]) -> Option<HeaderValue> {
        let query = self.uri.query().unwrap_or_default();
        let links = ["next", "prev"]
            .iter()
            .zip(cursors)
            .filter_map(|(rel, cursor)| {
                let query = page_query(query, cursor?);
                Some(format!("<?{query}>; rel=\"{rel}\""))
            });
        let links = links.collect::<Vec<_>>().join(", ");
        (!links.is_empty())
            .then(|| HeaderValue::try_from(links).expect("an encoded query is ASCII"))
    }
}

/// Returns the query with this page in place of its own.
fn page_query(query: &str, cursor: &str) -> String {
    let pairs = || form_urlencoded::parse(query.as_bytes());
    // Without a racer, `output` selects a page as well.
    let is_what_if = pairs().any(|(name, _)| name == "racerId");
    let is_kept = |name: &str| !PAGE_PARAMETERS.contains(&name) && (is_what_if || name != "output");
    let mut query = Serializer::new(String::new());
    query.extend_pairs(pairs().filter(|(name, _)| is_kept(name)));
    query.append_pair("cursor", cursor);
    query.finish()
}

/// Returns the strong ETag of a response's text and links, as the header has it.
fn etag(text: &[u8], link: Option<&HeaderValue>) -> String {
    let hash = xxh3_64(text);
    let hash = link.map_or(hash, |link| xxh3_64_with_seed(link.as_bytes(), hash));
    format!("\"{hash:016x}\"")
}

/// Replaces cacheability by shared caches with `private`.
pub(crate) fn forbid_shared_caching(headers: &mut HeaderMap) {
    if headers.remove(CDN_CACHE_CONTROL_NAME).is_some() {
        insert(headers, header::CACHE_CONTROL, PRIVATE_CACHE_CONTROL);
    }
    let Some(value) = headers.get_mut(header::CACHE_CONTROL) else {
        return;
    };
    let private = value
        .to_str()
        .map(|value| value.replace("public", "private"));
    if let Ok(Ok(private)) = private.map(HeaderValue::try_from) {
        *value = private;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_replaces_only_the_page() {
        for (query, expected) in [
            ("", "cursor=C"),
            ("limit=5&offset=10", "limit=5&cursor=C"),
            (
                "cursor=B&racers=1,2&racers=3",
                "racers=1%2C2&racers=3&cursor=C",
            ),
            (
                "around=7&output=20&racerId=7",
                "output=20&racerId=7&cursor=C",
            ),
            ("curs%6Fr=B&output=20", "cursor=C"),
        ] {
            assert_eq!(page_query(query, "C"), expected, "{query}");
        }
    }

    #[test]
    fn etag_covers_text_and_links() {
        let link = |text| HeaderValue::from_static(text);
        let (next, last) = (
            link("<?cursor=A>; rel=\"next\""),
            link("<?cursor=B>; rel=\"prev\""),
        );
        let tags = [
            etag(b"a", None),
            etag(b"b", None),
            etag(b"a", Some(&next)),
            etag(b"a", Some(&last)),
        ];
        for (index, tag) in tags.iter().enumerate() {
            assert!(!tags[..index].contains(tag));
        }
        assert_eq!(tags[2], etag(b"a", Some(&next)));
    }
}
