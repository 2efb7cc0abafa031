//! Errors for readers: RFC 9457 problem details.
//!
//! A request that is no HTTP, whose target is over 64 KiB, or whose headers are over 100 or some 400 KiB, comes this
//! far on no path: the server's HTTP library answers 400, 414 or 431 without a body, and closes the connection.

use std::ops::ControlFlow;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::extract::params::read_pretty;

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

/// Lays a problem out for people where the request says so, as the answer itself would have been.
pub(crate) fn lay_out(
    request: &Request,
) -> ControlFlow<Response, impl FnOnce(Response) -> Response + use<>> {
    let may_be_asked = request.uri().query().is_some() && request.method() != Method::HEAD;
    let uri = may_be_asked.then(|| request.uri().clone());
    ControlFlow::Continue(move |mut response: Response| {
        if let Some(problem) = response.extensions_mut().remove::<ApiError>()
            && uri.is_some_and(|uri| is_pretty(&uri))
            && let Ok(text) = serde_json::to_string_pretty(&problem)
        {
            *response.body_mut() = Body::from(text + "\n");
            response.headers_mut().remove(header::CONTENT_LENGTH); // it was the other's
        }
        response
    })
}

fn is_pretty(uri: &Uri) -> bool {
    let asked = Query::<Vec<(String, String)>>::try_from_uri(uri).unwrap_or_default();
    asked
        .0
        .iter()
        .any(|(name, value)| name == "pretty" && read_pretty(value) == Some(true))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        response.extensions_mut().insert(self); // for `lay_out`
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
