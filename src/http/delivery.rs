//! What deliveries, events and rides share over HTTP: reading the body, the deadline, and statuses.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::http::error::ApiError;
use crate::http::state::AppState;
use crate::ingest::body::{self, BodyLimits};
use crate::ingest::error::{DeliveryError, DeliveryErrorCode};

/// Maximum time of a delivery that is under way when the service stops: enough for a commit, and for
/// the response to be sent before connections are closed.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of a request.
pub(crate) type RequestBody = body::RequestBody<Body>;

/// Returns the body of a request with these headers.
pub(crate) fn request_body(headers: &HeaderMap, body: Body, limits: BodyLimits) -> RequestBody {
    let expect = headers.get(header::EXPECT);
    let awaits_continue =
        expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    RequestBody::new(body, awaits_continue, limits)
}

/// Returns the result of `ingest`, or an error at the deadline or when the service stops.
pub(crate) async fn within_deadline<T>(
    app: &AppState,
    deadline: Instant,
    ingest: impl Future<Output = Result<T, DeliveryError>>,
) -> Result<T, DeliveryError> {
    tokio::select! {
        result = AssertUnwindSafe(ingest).catch_unwind() => result.unwrap_or_else(|_| {
            Err(DeliveryError::new(DeliveryErrorCode::Internal, "internal server error"))
        }),
        () = tokio::time::sleep_until(deadline) => {
            let seconds = app.config.limits.delivery_deadline.as_secs_f64();
            let message = format!("not durable within {seconds} s");
            Err(DeliveryError::new(DeliveryErrorCode::DeadlineExceeded, message))
        }
        () = app.has_been_stopping(SHUTDOWN_TIMEOUT) => {
            Err(DeliveryError::new(DeliveryErrorCode::ShuttingDown, "the service is stopping"))
        }
    }
}

/// Drains the body of a refused request, until the deadline at most.
pub(crate) async fn drain_refused(app: &AppState, body: &mut RequestBody, deadline: Instant) {
    tokio::select! {
        () = body.drain() => {}
        () = tokio::time::sleep_until(deadline) => {}
        () = app.has_been_stopping(SHUTDOWN_TIMEOUT) => {}
    }
}

/// Returns the status of a delivery error. 4xx: nothing was applied. 5xx: something may have been,
/// and a retry settles it. Never 413, which makes Firehose drop the delivery.
pub(crate) fn status(code: DeliveryErrorCode) -> StatusCode {
    match code {
        DeliveryErrorCode::InvalidAccessKey => StatusCode::UNAUTHORIZED,
        DeliveryErrorCode::ForeignOrigin | DeliveryErrorCode::SourceArnNotAllowed => {
            StatusCode::FORBIDDEN
        }
        DeliveryErrorCode::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        DeliveryErrorCode::BodyIncomplete
        | DeliveryErrorCode::BodyTimeout
        | DeliveryErrorCode::InvalidEnvelope
        | DeliveryErrorCode::InvalidGzip
        | DeliveryErrorCode::InvalidRequestId
        | DeliveryErrorCode::TooLarge
        | DeliveryErrorCode::UnsupportedProtocolVersion => StatusCode::BAD_REQUEST,
        DeliveryErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        DeliveryErrorCode::DeadlineExceeded
        | DeliveryErrorCode::MemoryLimit
        | DeliveryErrorCode::NotReady
        | DeliveryErrorCode::QueueFull
        | DeliveryErrorCode::ReplicationLag
        | DeliveryErrorCode::ShuttingDown
        | DeliveryErrorCode::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl From<DeliveryError> for ApiError {
    fn from(error: DeliveryError) -> Self {
        Self::new(status(error.code), error.message)
    }
}
