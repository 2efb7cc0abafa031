//! Authentication: the keys that requests must carry.

use anyhow::Context;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::Config;
use crate::http::error::ApiError;
use crate::http::state::AppState;
use crate::keys::Keys;
use crate::ledger::CommitError;

/// The keys that requests must carry.
#[derive(Clone)]
pub(crate) struct RequestKeys {
    /// A delivery's.
    pub(crate) access: Keys,
    /// For erasing.
    pub(crate) admin: Keys,
    /// For reading.
    pub(crate) query: Keys,
}

impl RequestKeys {
    /// Those of the configuration, with what its files hold.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            access: Keys::new(&config.access_keys, config.access_key_file.as_deref())
                .context("--access-key-file")?,
            admin: Keys::new(&config.admin_keys, config.admin_key_file.as_deref())
                .context("--admin-key-file")?,
            query: Keys::new(&config.query_keys, config.query_key_file.as_deref())
                .context("--query-key-file")?,
        })
    }
}

/// Whoever asks has an admin key.
pub(crate) struct Admin;

impl FromRequestParts<AppState> for Admin {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Response> {
        if !app.keys.admin.are_needed() {
            let detail = format!(
                "{} needs an admin key, and the service has none: --admin-key",
                parts.uri.path()
            );
            return Err(ApiError::not_found(detail).into_response());
        }
        if bearer(&parts.headers).is_some_and(|key| app.keys.admin.accept(key)) {
            return Ok(Self);
        }
        Err(unauthorized(
            "Authorization must be Bearer and an admin key",
        ))
    }
}

/// Says that a key is missing or wrong.
pub(crate) fn unauthorized(detail: &str) -> Response {
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, detail).into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// The key of `Authorization: Bearer KEY`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, key) = headers
        .get(header::AUTHORIZATION)?
        .as_bytes()
        .split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then_some(key.trim_ascii())
}

/// Middleware of queries: requires a query key, if any is configured, and a recovered store. An
/// admin key opens as much, since it goes in the same header. Before recovery, a part of the state
/// would be a wrong answer.
pub(crate) async fn require_query_key(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let RequestKeys { query, admin, .. } = &app.keys;
    // Erasing needs an admin key.
    let is_erasing = request.method() == Method::DELETE || request.uri().path() == "/erasures";
    let needs_key = query.are_needed() && !is_erasing;
    if needs_key
        && !bearer(request.headers()).is_some_and(|key| query.accept(key) | admin.accept(key))
    {
        return unauthorized("Authorization must be Bearer and a query key");
    }
    if let Err(error @ CommitError::NotReady) = app.ledger.accepts() {
        return ApiError::unavailable(error.to_string()).into_response();
    }
    let mut response = next.run(request).await;
    if needs_key {
        forbid_shared_caching(response.headers_mut());
    }
    response
}

/// Makes `Cache-Control` private: a shared cache would serve clients without a key.
fn forbid_shared_caching(headers: &mut HeaderMap) {
    let cache_control = headers.get(header::CACHE_CONTROL);
    let cache_control = cache_control.and_then(|value| value.to_str().ok());
    let private = cache_control.map(|value| value.replace("public", "private"));
    if let Some(private) = private.and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(header::CACHE_CONTROL, private);
    }
}
