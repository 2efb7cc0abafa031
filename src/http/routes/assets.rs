//! The page: what `npm run build` wrote to `static/dist`, in the binary.
//!
//! A build without it works as well; `/` then says how to get it. A debug build reads the folder when it starts.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use rust_embed::RustEmbed;
use xxhash_rust::xxh3::xxh3_128;

use crate::gzip::gzip_smallest;
use crate::http::error::ApiError;
use crate::http::extract::accept;
use crate::http::state::AppState;

/// What of the page is read before anything else.
const INDEX: &str = "index.html";

/// What the page reads to know that rides may be sent: as it is built, and as it is served where they may.
const RIDES_CLOSED: &str = "data-rides=\"closed\"";
const RIDES_OPEN: &str = "data-rides=\"open\"";

/// The page needs its own origin, and nothing else; no script or style that is not a file of it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// RacerNames of files under `/assets` have a hash of what is in them: they never change.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// What keeps its name is asked for again each time; mostly the answer is that it is still the same.
const REVALIDATED: &str = "no-cache";

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/static/dist"]
#[allow_missing = true]
struct Dist;

/// A file of the page, as it is and compressed, with their tags.
struct Asset {
    kind: &'static str,
    cache: &'static str,
    plain: Form,
    /// Where it is shorter.
    gzip: Option<Form>,
}

/// Bytes to be sent, and their ETag.
struct Form {
    bytes: Bytes,
    etag: HeaderValue,
}

/// Every file by its path, and the front page once for services that take rides and once for those that do not.
struct Page {
    files: HashMap<String, Asset>,
    closed: Option<Asset>,
    open: Option<Asset>,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let index = Dist::get(INDEX).map(|file| String::from_utf8_lossy(&file.data).into_owned());
    let index = |of: &dyn Fn(&str) -> String| {
        index
            .as_deref()
            .map(|text| Asset::of(INDEX, of(text).into()))
    };
    Page {
        files: Dist::iter()
            .filter(|path| path != INDEX)
            .filter_map(|path| {
                Dist::get(&path)
                    .map(|file| (path.to_string(), Asset::of(&path, file.data.into_owned())))
            })
            .collect(),
        closed: index(&str::to_owned),
        open: index(&|text| text.replace(RIDES_CLOSED, RIDES_OPEN)),
    }
});

/// The files that the front page names.
pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/assets/{file}", get(asset)).route(
        "/favicon.svg",
        get(async |headers: HeaderMap| file("favicon.svg", &headers)),
    )
}

/// The front page, if it is in this build. `rides` says whether the service takes rides from it.
pub(crate) fn index(headers: &HeaderMap, rides: bool) -> Option<Response> {
    let index = if rides { &PAGE.open } else { &PAGE.closed };
    index.as_ref().map(|index| index.answer(headers))
}

async fn asset(name: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    match name {
        Ok(Path(name)) => file(&format!("assets/{name}"), &headers),
        Err(_) => {
            ApiError::not_found("the page has no file whose name is not UTF-8").into_response()
        }
    }
}

fn file(path: &str, headers: &HeaderMap) -> Response {
    match PAGE.files.get(path) {
        Some(asset) => asset.answer(headers),
        None => ApiError::not_found(format!("the page has no file /{path}")).into_response(),
    }
}

impl Asset {
    fn of(path: &str, bytes: Vec<u8>) -> Self {
        let gzip = Some(gzip_smallest(&bytes))
            .filter(|gzip| gzip.len() < bytes.len())
            .map(Form::of);
        let cache = if path.starts_with("assets/") {
            IMMUTABLE
        } else {
            REVALIDATED
        };
        Self {
            kind: kind(path),
            cache,
            plain: Form::of(bytes),
            gzip,
        }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let gzip = self.gzip.as_ref().filter(|_| accept::wants_gzip(headers));
        let form = gzip.unwrap_or(&self.plain);
        let mut response = if known(headers, &form.etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut whole =
                ([(header::CONTENT_TYPE, self.kind)], form.bytes.clone()).into_response();
            if gzip.is_some() {
                whole
                    .headers_mut()
                    .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            whole
        };
        let fields = response.headers_mut();
        fields.insert(header::ETAG, form.etag.clone());
        for (name, value) in [
            (header::CACHE_CONTROL, self.cache),
            (header::VARY, "accept, accept-encoding"),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (
                header::HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ] {
            fields.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl Form {
    fn of(bytes: Vec<u8>) -> Self {
        let etag = format!("\"{:032x}\"", xxh3_128(&bytes));
        Self {
            bytes: bytes.into(),
            etag: etag.parse().expect("a tag is hexadecimal digits in quotes"),
        }
    }
}

/// Whether the client has what bears that tag.
fn known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let lists = headers
        .get_all(header::IF_NONE_MATCH)
        .into_iter()
        .filter_map(|list| list.to_str().ok());
    let mut tags = lists
        .flat_map(|list| list.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|tag| tag == "*" || tag.as_bytes() == etag.as_bytes())
}

/// The media type of what the page's build writes.
fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset() -> Asset {
        Asset::of(
            "assets/page-1a2b.js",
            "let it_is_long_enough = 'to be worth it';"
                .repeat(20)
                .into(),
        )
    }

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_file_is_sent_compressed_to_those_who_like_it_each_form_with_a_tag_of_its_own() {
        let asset = asset();
        let plain = asset.answer(&HeaderMap::new());
        let gzip = asset.answer(&headers(&[(header::ACCEPT_ENCODING, "gzip")]));
        assert_eq!(plain.headers().get(header::CONTENT_ENCODING), None);
        assert_eq!(gzip.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(
            gzip.headers()[header::CONTENT_TYPE],
            "text/javascript; charset=utf-8"
        );
        assert_ne!(plain.headers()[header::ETAG], gzip.headers()[header::ETAG]);
        for answer in [plain, gzip] {
            assert_eq!(answer.headers()[header::CACHE_CONTROL], IMMUTABLE);
            assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert!(
                !answer.headers()[header::CONTENT_SECURITY_POLICY]
                    .to_str()
                    .unwrap()
                    .contains("unsafe")
            );
        }
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let asset = asset();
        let etag = asset.plain.etag.to_str().unwrap().to_owned();
        let status = |tags: &str| {
            asset
                .answer(&headers(&[(header::IF_NONE_MATCH, tags)]))
                .status()
        };
        for tags in [
            etag.clone(),
            format!("W/{etag}"),
            format!("\"x\", {etag}"),
            "*".to_owned(),
        ] {
            assert_eq!(status(&tags), StatusCode::NOT_MODIFIED, "{tags}");
        }
        assert_eq!(status("\"x\""), StatusCode::OK);
        let other_form = [
            (header::IF_NONE_MATCH, etag.as_str()),
            (header::ACCEPT_ENCODING, "gzip"),
        ];
        assert_eq!(asset.answer(&headers(&other_form)).status(), StatusCode::OK);
    }

    #[test]
    fn only_names_that_never_change_their_meaning_are_kept_for_good() {
        assert_eq!(Asset::of("favicon.svg", Vec::new()).cache, REVALIDATED);
        assert_eq!(Asset::of(INDEX, Vec::new()).cache, REVALIDATED);
        assert_eq!(asset().cache, IMMUTABLE);
    }

    #[test]
    fn the_page_is_told_that_rides_are_taken_where_it_looks_for_it() {
        if let Some(closed) = &PAGE.closed {
            let open = PAGE.open.as_ref().expect("both are there or none");
            assert!(String::from_utf8_lossy(&closed.plain.bytes).contains(RIDES_CLOSED));
            assert!(String::from_utf8_lossy(&open.plain.bytes).contains(RIDES_OPEN));
        }
    }
}
