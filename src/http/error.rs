//! Errors of requests: RFC 9457 problem details.
//!
//! An invalid HTTP request, a target over 64 KiB, over 100 headers or a head over 128 KiB
//! reaches no path: the HTTP library responds 400, 414 or 431 without a body and closes the
//! connection.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A problem, sent as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ApiError {
    /// The HTTP status.
    #[schema(example = 400)]
    status: u16,
    /// The status as text.
    #[schema(example = "Bad Request")]
    title: String,
    /// The cause, and what would be right.
    #[schema(example = "second is \"x\"; it must be an integer from 0 to 600, or last")]
    detail: String,
}

impl ApiError {
    /// Creates a problem of that status.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self {
            status: status.as_u16(),
            title,
            detail: detail.into(),
        }
    }

    /// 400; the detail names the parameter, its value and what it must be.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: a key is missing or wrong.
    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 404.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503: a retry may succeed soon.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

/// Returns text from a request in quotes, cut at 100 characters: an error needs no more of it.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 100;
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{shown:?}")
}

/// `Retry-After` of 503, in seconds: such states are short.
const RETRY_AFTER_S: &str = "1";

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = [
            (header::CONTENT_TYPE, "application/problem+json"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        let more = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some([(header::RETRY_AFTER, RETRY_AFTER_S)]),
            StatusCode::UNAUTHORIZED => Some([(header::WWW_AUTHENTICATE, "Bearer")]),
            _ => None,
        };
        (status, headers, more, Json(self)).into_response()
    }
}
