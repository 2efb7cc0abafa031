//! Shared by deliveries, events and rides: reading the body, the deadline, and the statuses.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::FutureExt;

use crate::http::error::{ApiError, shown};
use crate::http::state::AppState;
use crate::ingest::body::{self, BodyLimits};
use crate::ingest::error::{DeliveryError, DeliveryErrorCode};

/// Maximum time of a delivery that is being handled when the service stops. Enough for a commit, and
/// shorter than the server's timeout, so that the response is sent before connections are closed.
const DELIVERY_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Added to the deadline, so that a slow body fails with `body_timeout` and not with
/// `deadline_exceeded`. Timers have a resolution of 1 ms.
const DEADLINE_MARGIN: Duration = Duration::from_millis(5);

/// The reason of refusals under `--read-only`.
pub(crate) const READ_ONLY: &str = "this instance only reads (--read-only)";

/// The body of a request.
pub(crate) type RequestBody = body::RequestBody<Body>;

/// A refusal that the head of a request decides. That of the access key is an extension of the
/// request. [`ingest_or_drain`] drains the body, and the handler responds in the form of its path.
#[derive(Clone, Copy)]
pub(crate) struct HeadRefusal(pub(crate) DeliveryErrorCode, pub(crate) &'static str);

/// A body that has not been read, and the refusal of its request.
pub(crate) struct UnreadBody {
    body: RequestBody,
    refusal: Option<HeadRefusal>,
}

/// Takes the body out of a request, and starts its timeout. Drops the headers: they may be large, and
/// the body slow.
pub(crate) fn request_body(
    app: &AppState,
    request: Request,
    bytes_max: usize,
    total_timeout: Duration,
) -> UnreadBody {
    let limits = BodyLimits {
        bytes_max,
        pause_timeout: app.config.limits.body_pause_timeout,
        total_timeout,
    };
    let (parts, body) = request.into_parts();
    let expect = parts.headers.get(header::EXPECT);
    let awaits_continue =
        expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    UnreadBody {
        body: RequestBody::new(body, awaits_continue, limits),
        refusal: read_only_refusal(app)
            .or(parts.extensions.get().copied())
            .or(coding_refusal(&parts.headers)),
    }
}

/// Refuses every request that could write, if the service only reads.
fn read_only_refusal(app: &AppState) -> Option<HeadRefusal> {
    let refusal = HeadRefusal(DeliveryErrorCode::ReadOnly, READ_ONLY);
    app.ledger.is_read_only().then_some(refusal)
}

/// Refuses every transfer coding but chunked. The HTTP library decodes no other, and would pass on the
/// coded bytes as the body.
fn coding_refusal(headers: &HeaderMap) -> Option<HeadRefusal> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |value: &[u8]| value.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let is_refused = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(coding), None) => !is_chunked(coding.as_bytes()),
        (Some(_), Some(_)) => true,
    };
    let message = "Transfer-Encoding may be chunked alone; compress with Content-Encoding";
    is_refused.then_some(HeadRefusal(
        DeliveryErrorCode::UnsupportedTransferCoding,
        message,
    ))
}

/// Returns whether the only content encoding is gzip.
pub(crate) fn is_gzip(headers: &HeaderMap) -> Result<bool, DeliveryError> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = encodings.next().map(|value| {
        let encoding = String::from_utf8_lossy(value.as_bytes());
        encoding.trim().to_ascii_lowercase()
    });
    match (encoding.as_deref().unwrap_or_default(), encodings.next()) {
        ("" | "identity", None) => Ok(false),
        ("gzip" | "x-gzip", None) => Ok(true),
        (encoding, _) => {
            let encoding = shown(encoding);
            let message = format!("Content-Encoding may be gzip or identity, and not {encoding}");
            Err(DeliveryError::new(
                DeliveryErrorCode::UnsupportedEncoding,
                message,
            ))
        }
    }
}

/// Returns the result of `ingest`, or an error if the head was refused, after a panic, at the
/// deadline, or [`DELIVERY_SHUTDOWN_TIMEOUT`] after the service began to stop. After an error, drains
/// the rest of the body.
pub(crate) async fn ingest_or_drain<T, E: From<DeliveryError>>(
    app: &AppState,
    UnreadBody { mut body, refusal }: UnreadBody,
    ingest: impl AsyncFnOnce(&mut RequestBody) -> Result<T, E>,
) -> Result<T, E> {
    let timeout = app.config.limits.delivery_deadline;
    let ingest = async {
        match refusal {
            Some(HeadRefusal(code, message)) => Err(DeliveryError::new(code, message).into()),
            None => ingest(&mut body).await,
        }
    };
    let ingest = AssertUnwindSafe(ingest).catch_unwind();
    let ingest = tokio::time::timeout(timeout + DEADLINE_MARGIN, ingest);
    let result = until_shutdown_timeout(app, async {
        let error = |code, message| Err(DeliveryError::new(code, message).into());
        match ingest.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                let message = "internal server error".to_owned();
                error(DeliveryErrorCode::Internal, message)
            }
            Err(_) => {
                let message = format!("not durable within {} s", timeout.as_secs_f64());
                error(DeliveryErrorCode::DeadlineExceeded, message)
            }
        }
    });
    let result = result.await;
    if result.is_err() {
        drain_body(app, &mut body).await;
    }
    result
}

/// Returns the result of `work`, or an error [`DELIVERY_SHUTDOWN_TIMEOUT`] after the service began to
/// stop.
pub(crate) async fn until_shutdown_timeout<T, E: From<DeliveryError>>(
    app: &AppState,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::select! {
        biased;
        result = work => result,
        () = app.has_been_stopping(DELIVERY_SHUTDOWN_TIMEOUT) => {
            let code = DeliveryErrorCode::ShuttingDown;
            Err(DeliveryError::new(code, "the service is stopping").into())
        }
    }
}

/// Drains the body of a request that no handler reads, so that its client reads the response.
pub(crate) async fn drain(app: &AppState, request: Request) {
    let timeout = app.config.limits.delivery_deadline;
    let mut unread = request_body(app, request, 0, timeout); // drained, never read
    drain_body(app, &mut unread.body).await;
}

async fn drain_body(app: &AppState, body: &mut RequestBody) {
    tokio::select! {
        () = body.drain() => {}
        () = app.has_been_stopping(DELIVERY_SHUTDOWN_TIMEOUT) => {}
    }
}

/// Returns the status of a delivery error. 4xx: nothing was applied. 5xx: a part may have been
/// applied, and the same request may be sent again. Never 413, which makes Firehose drop the delivery.
pub(crate) fn status(code: DeliveryErrorCode) -> StatusCode {
    match code {
        DeliveryErrorCode::InvalidAccessKey => StatusCode::UNAUTHORIZED,
        DeliveryErrorCode::ForeignOrigin | DeliveryErrorCode::SourceArnNotAllowed => {
            StatusCode::FORBIDDEN
        }
        DeliveryErrorCode::ReadOnly => StatusCode::NOT_FOUND,
        DeliveryErrorCode::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        DeliveryErrorCode::BodyIncomplete
        | DeliveryErrorCode::BodyTimeout
        | DeliveryErrorCode::InvalidEnvelope
        | DeliveryErrorCode::InvalidGzip
        | DeliveryErrorCode::InvalidRequestId
        | DeliveryErrorCode::TooLarge
        | DeliveryErrorCode::UnsupportedProtocolVersion
        | DeliveryErrorCode::UnsupportedTransferCoding => StatusCode::BAD_REQUEST,
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
