//! Authentication: the keys that requests must carry.

use std::path::PathBuf;

use anyhow::Context;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::Config;
use crate::http::delivery::{HeadRefusal, READ_ONLY};
use crate::http::error::{ApiError, shown};
use crate::http::respond::board::forbid_shared_caching;
use crate::http::router::RequiredKey;
use crate::http::state::AppState;
use crate::ingest::error::DeliveryErrorCode;
use crate::keys::{self, Keys};
use crate::ledger::CommitError;

const ACCESS_KEY: &str = "x-amz-firehose-access-key";

/// The configured keys, by what they open.
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
        let read = |given: &[_], file: &Option<PathBuf>, option: &'static str| {
            Keys::new(given, file.as_deref()).context(option)
        };
        let keys = Self {
            access: read(
                &config.access_keys,
                &config.access_key_file,
                "--access-key-file",
            )?,
            admin: read(
                &config.admin_keys,
                &config.admin_key_file,
                "--admin-key-file",
            )?,
            query: read(
                &config.query_keys,
                &config.query_key_file,
                "--query-key-file",
            )?,
        };
        let kinds = [&keys.access, &keys.admin, &keys.query];
        if let Some(problem) = keys::shared_key(kinds) {
            tracing::warn!("{problem}");
        }
        Ok(keys)
    }
}

/// Middleware: checks the key of a path. Queries and erasures without it get their error here. For an
/// access key it only attaches a [`HeadRefusal`], with which `delivery::ingest_or_drain` responds: each
/// path has its own form of errors.
pub(crate) async fn require_key(
    State((app, key)): State<(AppState, RequiredKey)>,
    mut request: Request,
    next: Next,
) -> Response {
    let error = match key {
        RequiredKey::Open => None,
        RequiredKey::Access => {
            if let Some(refusal) = access_refusal(&app.keys.access, request.headers()) {
                request.extensions_mut().insert(refusal);
            }
            None
        }
        RequiredKey::Query => query_error(&app.keys, request.headers()).or(not_ready(&app)),
        RequiredKey::Admin if app.ledger.is_read_only() => Some(ApiError::not_found(READ_ONLY)),
        RequiredKey::Admin => admin_error(&app.keys, &request).or(not_ready(&app)),
    };
    if let Some(error) = error {
        return error.into_response();
    }
    let mut response = next.run(request).await;
    if key == RequiredKey::Query && app.keys.query.are_needed() {
        forbid_shared_caching(response.headers_mut());
    }
    response
}

/// Checks the access key. If none is configured, refuses requests with `Origin`, which AWS never
/// sends: otherwise any web page that is open on this machine could deliver, or import objects.
fn access_refusal(access: &Keys, headers: &HeaderMap) -> Option<HeadRefusal> {
    let key = headers.get(ACCESS_KEY).map(HeaderValue::as_bytes);
    let key = key.or_else(|| bearer(headers)).unwrap_or_default();
    if !access.are_needed() {
        let message =
            "a request with an Origin header needs an access key, and the service has none";
        let is_from_browser = headers.contains_key(header::ORIGIN);
        return is_from_browser.then_some(HeadRefusal(DeliveryErrorCode::ForeignOrigin, message));
    }
    let message =
        "the access key is missing or wrong: X-Amz-Firehose-Access-Key, or Authorization: Bearer";
    (!access.accept(key)).then_some(HeadRefusal(DeliveryErrorCode::InvalidAccessKey, message))
}

/// Checks the query key, if any is configured. An admin key is accepted too: both are sent in
/// `Authorization`.
fn query_error(
    RequestKeys { query, admin, .. }: &RequestKeys,
    headers: &HeaderMap,
) -> Option<ApiError> {
    // Both are compared, so that the time tells nothing of either.
    let is_accepted = |key| query.accept(key) | admin.accept(key);
    (query.are_needed() && !bearer(headers).is_some_and(is_accepted))
        .then(|| ApiError::unauthorized("Authorization must be Bearer and a query key"))
}

/// Checks the admin key. Without one in the configuration, the paths do not exist.
fn admin_error(RequestKeys { admin, .. }: &RequestKeys, request: &Request) -> Option<ApiError> {
    if !admin.are_needed() {
        let path = shown(request.uri().path());
        let detail = format!("{path} needs an admin key, and the service has none: --admin-key");
        return Some(ApiError::not_found(detail));
    }
    (!bearer(request.headers()).is_some_and(|key| admin.accept(key)))
        .then(|| ApiError::unauthorized("Authorization must be Bearer and an admin key"))
}

/// Returns 503 before recovery, when the state is incomplete, and while the service stops.
fn not_ready(app: &AppState) -> Option<ApiError> {
    let error = app.ledger.accepts().err()?;
    matches!(error, CommitError::NotReady).then(|| ApiError::unavailable(error.to_string()))
}

/// Returns the key of `Authorization: Bearer KEY`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let authorization = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = authorization.split_at_checked("Bearer ".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer ");
    is_bearer.then_some(key.trim_ascii())
}
