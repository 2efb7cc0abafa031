//! Errors for readers: RFC 9457 problem details.
//!
//! A request that is no HTTP, whose target is over 64 KiB, or whose headers are over 100 or some 400 KiB, comes this
//! far on no path: the server's HTTP library answers 400, 414 or 431 without a body, and closes the connection.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong with a request, as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ApiError {
    /// The HTTP status.
    #[schema(example = 400)]
    status: u16,
    /// The status in words.
    #[schema(example = "Bad Request")]
    title: String,
    /// What is wrong, and what would be right.
    #[schema(example = "second is \"x\"; it must be an integer from 0 to 600, or last")]
    detail: String,
}

impl ApiError {
    /// A problem of that status.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self {
            status: status.as_u16(),
            title,
            detail: detail.into(),
        }
    }

    /// Whether it is of that status.
    pub(crate) fn is(&self, status: StatusCode) -> bool {
        self.status == status.as_u16()
    }

    /// 400: a parameter that cannot be taken; names it, its value and what it takes.
    pub(crate) fn parameter(name: &str, value: &str, takes: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("{name} is {}; it must be {takes}", shown(value)))
    }

    /// 400: parameters that are not there or do not go together.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503: it may be well again soon.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

/// What came from a request, in quotes, as much of it as helps whoever sent it.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 100;
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{shown:?}")
}

/// How long a reader who is told to come again should wait, in seconds.
const RETRY_AFTER_S: u16 = 1;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        response
    }
}
