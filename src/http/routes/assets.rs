//! The page: the output of `npm run build` in `static/dist`, embedded in the binary.
//!
//! A build without it works; `/` then says how to get it. A debug build reads the folder at start.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use headers::ETag;
use rust_embed::RustEmbed;
use xxhash_rust::xxh3::xxh3_128;

use crate::gzip::gzip_smallest;
use crate::http::error::{ApiError, shown};
use crate::http::extract::accept;
use crate::http::respond::conditional::{Representation, insert};

/// The file that names all others.
const INDEX: &str = "index.html";

/// The attribute that lets the page send rides: as built, and as served where `/rides` exists.
const RIDES_CLOSED: &str = "data-rides=\"closed\"";
const RIDES_OPEN: &str = "data-rides=\"open\"";

/// The page's build writes a file compressed with brotli beside it, under its name and this.
const BROTLI_EXTENSION: &str = ".br";

/// The page loads from its own origin alone, and has no inline script or style.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `Cache-Control` of files under `/assets`: their names contain a hash of the content.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// `Cache-Control` of the front page, which keeps its name: clients revalidate each time, mostly for a 304.
const REVALIDATED: &str = "no-cache";

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/static/dist"]
#[allow_missing = true]
struct Dist;

/// A file of the page, plain and compressed.
struct Asset {
    content_type: &'static str,
    cache_control: &'static str,
    plain: Encoded,
    /// If it is shorter.
    gzip: Option<Encoded>,
    /// If the page's build wrote it.
    brotli: Option<Encoded>,
}

/// Bytes and their ETag.
struct Encoded {
    bytes: Bytes,
    etag: ETag,
}

/// The front page with rides, among the files.
const INDEX_WITH_RIDES: &str = "index-with-rides.html";

/// Every file by its path, and [`INDEX_WITH_RIDES`].
static FILES: LazyLock<HashMap<String, Asset>> = LazyLock::new(|| {
    let files = Dist::iter().filter_map(|path| Some((path.to_string(), Dist::get(&path)?.data)));
    let mut files: HashMap<_, _> = files.collect();
    if let Some(index) = files.get(INDEX) {
        let index = String::from_utf8_lossy(index).replace(RIDES_CLOSED, RIDES_OPEN);
        files.insert(INDEX_WITH_RIDES.to_owned(), index.into_bytes().into());
    }
    files.retain(|path, _| !path.ends_with(BROTLI_EXTENSION));
    let assets = files.into_iter().map(|(path, bytes)| {
        let mut asset = Asset::of(&path, bytes.into_owned());
        asset.brotli = Dist::get(&format!("{path}{BROTLI_EXTENSION}"))
            .map(|file| Encoded::of(file.data.into_owned()));
        (path, asset)
    });
    assets.collect()
});

/// Responds with the front page, if it is in this build. `rides` says whether `/rides` exists.
pub(crate) fn index(headers: &HeaderMap, rides: bool) -> Option<Response> {
    let index = if rides { INDEX_WITH_RIDES } else { INDEX };
    FILES.get(index).map(|index| index.respond(headers))
}

/// Responds with a file that the front page names.
pub(crate) async fn file(uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let file = FILES.get(uri.path().trim_start_matches('/'));
    file.map(|file| file.respond(&headers))
        .ok_or_else(|| ApiError::not_found(format!("the page has no file {}", shown(uri.path()))))
}

impl Asset {
    fn of(path: &str, bytes: Vec<u8>) -> Self {
        let gzip = Some(gzip_smallest(&bytes))
            .filter(|gzip| gzip.len() < bytes.len())
            .map(Encoded::of);
        let cache_control = if path.starts_with("assets/") {
            IMMUTABLE
        } else {
            REVALIDATED
        };
        Self {
            content_type: content_type(path),
            cache_control,
            plain: Encoded::of(bytes),
            gzip,
            brotli: None,
        }
    }

    fn respond(&self, headers: &HeaderMap) -> Response {
        let brotli = self
            .brotli
            .as_ref()
            .filter(|_| accept::wants_brotli(headers));
        let gzip = self.gzip.as_ref().filter(|_| accept::wants_gzip(headers));
        let encoding = brotli.map(|_| "br").or(gzip.map(|_| "gzip"));
        let encoded = brotli.or(gzip).unwrap_or(&self.plain);
        let bytes = encoded.bytes.clone();
        let representation = Representation {
            etag: encoded.etag.clone(),
            content_type: self.content_type,
            cache_control: self.cache_control,
            encoding,
            vary: Some("accept, accept-encoding"),
            ranges: false,
            len: bytes.len() as u64,
            pieces: Box::new(|| Ok(Box::new(std::iter::once(bytes)))),
        };
        // As for GET: the router removes the body of HEAD.
        let mut response = representation.respond(&Method::GET, headers);
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ] {
            insert(response.headers_mut(), name, value);
        }
        response
    }
}

impl Encoded {
    fn of(bytes: Vec<u8>) -> Self {
        let etag = format!("\"{:032x}\"", xxh3_128(&bytes));
        Self {
            bytes: bytes.into(),
            etag: etag.parse().expect("a tag is hexadecimal digits in quotes"),
        }
    }
}

/// Returns the media type of a file that the page's build writes.
fn content_type(path: &str) -> &'static str {
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
    use axum::http::StatusCode;

    use super::*;

    fn asset() -> Asset {
        let text = "let text = 'long enough for gzip to be shorter';".repeat(20);
        let mut asset = Asset::of("assets/page-1a2b.js", text.into());
        asset.brotli = Some(Encoded::of(b"as the page's build wrote it".to_vec()));
        asset
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn each_encoding_has_its_own_etag() {
        let asset = asset();
        let plain = asset.respond(&HeaderMap::new());
        let gzip = asset.respond(&headers(&[(header::ACCEPT_ENCODING, "gzip")]));
        assert_eq!(plain.headers().get(header::CONTENT_ENCODING), None);
        assert_eq!(gzip.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(
            gzip.headers()[header::CONTENT_TYPE],
            "text/javascript; charset=utf-8"
        );
        let brotli = asset.respond(&headers(&[(header::ACCEPT_ENCODING, "gzip, br")]));
        assert_eq!(brotli.headers()[header::CONTENT_ENCODING], "br");
        assert_ne!(plain.headers()[header::ETAG], gzip.headers()[header::ETAG]);
        assert_ne!(brotli.headers()[header::ETAG], gzip.headers()[header::ETAG]);
        for response in [plain, gzip, brotli] {
            assert_eq!(response.headers()[header::CACHE_CONTROL], IMMUTABLE);
            assert_eq!(
                response.headers()[header::X_CONTENT_TYPE_OPTIONS],
                "nosniff"
            );
            assert!(
                !response.headers()[header::CONTENT_SECURITY_POLICY]
                    .to_str()
                    .unwrap()
                    .contains("unsafe")
            );
        }
    }

    #[test]
    fn known_etags_get_304() {
        let asset = asset();
        let etag = asset.respond(&HeaderMap::new()).headers()[header::ETAG].clone();
        let etag = etag.to_str().unwrap().to_owned();
        let status = |tags: &str| {
            asset
                .respond(&headers(&[(header::IF_NONE_MATCH, tags)]))
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
        assert_eq!(
            asset.respond(&headers(&other_form)).status(),
            StatusCode::OK
        );
    }

    #[test]
    fn only_hashed_names_are_immutable() {
        assert_eq!(Asset::of(INDEX, Vec::new()).cache_control, REVALIDATED);
        assert_eq!(asset().cache_control, IMMUTABLE);
    }

    #[test]
    fn the_front_page_has_the_rides_attribute() {
        if let Some(closed) = FILES.get(INDEX) {
            let open = &FILES[INDEX_WITH_RIDES];
            assert!(String::from_utf8_lossy(&closed.plain.bytes).contains(RIDES_CLOSED));
            assert!(String::from_utf8_lossy(&open.plain.bytes).contains(RIDES_OPEN));
        }
    }
}
