//! `/`: the page for browsers, and for other clients a guide to the paths.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use crate::http::extract::accept;
use crate::http::routes::assets;
use crate::http::state::AppState;

/// The page
///
/// For clients that do not accept HTML, a plain-text guide to these paths.
#[utoipa::path(
    get, path = "/", tag = "Documentation", operation_id = "getPage",
    params(("If-None-Match" = String, Header, description = "ETags of versions that the client has."),),
    responses(
        (status = 200, description = "The page, or the guide.", content(
            (String = "text/plain", example = "Alleycat: …"),
            (String = "text/html", example = "<!doctype html>…"),
        ), headers(("ETag" = String, description = "Of the page; the guide has none."))),
        (status = 304, description = "The client has this version of the page."),
    )
)]
pub(crate) async fn root(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let html = accept::wants_html(&headers);
    if html && let Some(index) = assets::index(&headers, app.config.demo.is_some()) {
        return index;
    }
    let guide = include_str!("guide.txt").replace("{origin}", &origin(&headers));
    let (content_type, text) = if html {
        let guide = guide.replace('&', "&amp;").replace('<', "&lt;");
        let page = include_str!("no_page.html").replace("{guide}", &guide);
        ("text/html; charset=utf-8", page)
    } else {
        ("text/plain; charset=utf-8", guide)
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::VARY, "accept, host, x-forwarded-proto"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

/// Returns the URL of the service as the client says; only what a URL's host may contain is echoed.
fn origin(headers: &HeaderMap) -> String {
    let is_host = |host: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        (1..=255).contains(&host.len()) && host.bytes().all(plain)
    };
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).filter(is_host);
    let host = host.unwrap_or("localhost:8080");
    let scheme = match headers.get("x-forwarded-proto") {
        Some(scheme) if scheme == "https" => "https",
        _ => "http",
    };
    format!("{scheme}://{host}")
}
