//! Authentication: the keys that requests must carry.

use anyhow::Context;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::Config;
use crate::http::error::{ApiError, shown};
use crate::http::state::AppState;
use crate::keys::Keys;
use crate::ledger::CommitError;

/// Detail of the 401 of queries.
pub(crate) const QUERY_KEY_MISSING: &str = "Authorization must be Bearer and a query key";

/// Detail of the 401 of erasures.
pub(crate) const ADMIN_KEY_MISSING: &str = "Authorization must be Bearer and an admin key";

/// The keys that requests must carry.
#[derive(Clone)]
pub(crate) struct RequestKeys {
    /// Keys for deliveries and events.
    pub(crate) access: Keys,
    /// Keys for erasures.
    pub(crate) admin: Keys,
    /// Keys for queries.
    pub(crate) query: Keys,
}

impl RequestKeys {
    /// Reads the keys of the configuration and of the files that it names.
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
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

/// Middleware of queries: requires a query key, if any is configured, and a recovered store. An
/// admin key opens as much, since it goes in the same header.
pub(crate) async fn require_query_key(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let RequestKeys { query, admin, .. } = &app.keys;
    let needs_key = query.are_needed();
    let key = bearer(request.headers());
    // Both are compared, so that the time tells nothing of either.
    if needs_key && !key.is_some_and(|key| query.accept(key) | admin.accept(key)) {
        return ApiError::unauthorized(QUERY_KEY_MISSING).into_response();
    }
    if let Some(error) = before_recovery(&app) {
        return error;
    }
    let mut response = next.run(request).await;
    if needs_key {
        forbid_shared_caching(response.headers_mut());
    }
    response
}

/// Middleware of erasures: requires an admin key and a recovered store. Without an admin key in the
/// configuration, the paths do not exist.
pub(crate) async fn require_admin_key(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let admin = &app.keys.admin;
    if !admin.are_needed() {
        let path = shown(request.uri().path());
        let detail = format!("{path} needs an admin key, and the service has none: --admin-key");
        return ApiError::not_found(detail).into_response();
    }
    if !bearer(request.headers()).is_some_and(|key| admin.accept(key)) {
        return ApiError::unauthorized(ADMIN_KEY_MISSING).into_response();
    }
    match before_recovery(&app) {
        Some(error) => error,
        None => next.run(request).await,
    }
}

/// Returns 503 before recovery: a part of the state would be a wrong answer.
fn before_recovery(app: &AppState) -> Option<Response> {
    match app.ledger.accepts() {
        Err(error @ CommitError::NotReady) => {
            Some(ApiError::unavailable(error.to_string()).into_response())
        }
        _ => None,
    }
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

/// Returns the key of `Authorization: Bearer KEY`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let authorization = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = authorization.split_at_checked("Bearer ".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer ");
    is_bearer.then_some(key.trim_ascii())
}
