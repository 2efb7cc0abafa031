//! `POST /firehose`: the HTTP endpoint destination of Amazon Data Firehose.
//!
//! Every answer on this path has the form that Firehose reads, failures of every kind included; 200 says that every
//! effort of the delivery is durable, and 413, which makes Firehose drop a batch, is never said. The protocol:
//! <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>.

use crate::http::body;
use crate::observability;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use futures_util::FutureExt;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::domain::effort::Bounds;
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::gzip::{self, GunzipError};
use crate::http::error::{ApiError, shown};
use crate::http::state::AppState;
use crate::ingest::decoded_records::DecodedRecords;
use crate::ingest::envelope::{Envelope, REQUEST_ID_BYTES_MAX};
use crate::ledger::{CommitError, Ledger, Quarantined, WriteBatch};
use crate::state::races::{self, RaceUpdate};

pub(crate) use crate::http::body::{IngestAdmission, drain, read};

/// How much nicer than others the threads are that decode: where cores are short, a delivery, for which nobody waits,
/// has a third of what those have that answer readers.
const DECODING_NICENESS: i32 = 5;

/// How long a delivery that is under way when the service stops has left: time for a commit, and for the answer to be
/// sent before connections are cut.
pub(crate) const STOPPING_PATIENCE: Duration = Duration::from_secs(5);

/// Of how many rejected records at most the log tells, a delivery; all are in the quarantine, with their reasons.
const REJECTIONS_TOLD_MAX: usize = 10;

/// The longest error message, in characters: Firehose's own limit.
const MESSAGE_CHARS_MAX: usize = 8192;

/// One of the keys that deliveries may carry.
pub(crate) const ACCESS_KEY: &str = "x-amz-firehose-access-key";
const REQUEST_ID: &str = "x-amz-firehose-request-id";
const PROTOCOL_VERSION: &str = "x-amz-firehose-protocol-version";
const SOURCE_ARN: &str = "x-amz-firehose-source-arn";

/// How many efforts of an acknowledged delivery were improvements.
const IMPROVEMENTS: &str = "alleycat-improvements";
/// How many of its records were quarantined, by reason: `json=1,missing=2`.
const REJECTED: &str = "alleycat-rejected";

/// The path that takes deliveries, and what is said under it of every other.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(deliver).map(|deliveries| deliveries.fallback(wrong_method)))
        .route("/firehose/", any(unknown_path))
        .route("/firehose/{*rest}", any(unknown_path))
}

/// The cause of a delivery error, as the metric and the log name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryErrorCode {
    /// The access key is missing or wrong.
    InvalidAccessKey,
    /// The last successful listing of the store is too old.
    ReplicationLag,
    /// The connection ended before the body did.
    BodyIncomplete,
    /// The body paused for too long.
    BodyTimeout,
    /// The delivery was not durable within the deadline.
    DeadlineExceeded,
    /// The content encoding is not gzip or identity.
    UnsupportedEncoding,
    /// The body is not a Firehose request in JSON.
    InvalidEnvelope,
    /// The handler panicked.
    Internal,
    /// The body is not valid gzip data.
    InvalidGzip,
    /// The service is starting or stopping.
    NotReady,
    /// A browser page sent the delivery without an access key.
    ForeignOrigin,
    /// The protocol version is not 1.0.
    UnsupportedProtocolVersion,
    /// The commit queue is full.
    QueueFull,
    /// The request id is missing, or header and body differ.
    InvalidRequestId,
    /// The delivery stream is not one of `--source-arn`.
    SourceArnNotAllowed,
    /// The service stopped before the delivery was durable.
    ShuttingDown,
    /// The store failed.
    StoreUnavailable,
    /// The body is over `--max-body-size`.
    TooLarge,
    /// The memory budget for deliveries is used up.
    MemoryLimit,
}

impl DeliveryErrorCode {
    /// Every code.
    pub(crate) const ALL: [Self; 19] = [
        Self::InvalidAccessKey,
        Self::ReplicationLag,
        Self::BodyIncomplete,
        Self::BodyTimeout,
        Self::DeadlineExceeded,
        Self::UnsupportedEncoding,
        Self::InvalidEnvelope,
        Self::Internal,
        Self::InvalidGzip,
        Self::NotReady,
        Self::ForeignOrigin,
        Self::UnsupportedProtocolVersion,
        Self::QueueFull,
        Self::InvalidRequestId,
        Self::SourceArnNotAllowed,
        Self::ShuttingDown,
        Self::StoreUnavailable,
        Self::TooLarge,
        Self::MemoryLimit,
    ];

    /// Returns the value of the metric's `code` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidAccessKey => "invalid_access_key",
            Self::ReplicationLag => "replication_lag",
            Self::BodyIncomplete => "body_incomplete",
            Self::BodyTimeout => "body_timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::InvalidEnvelope => "invalid_envelope",
            Self::Internal => "internal",
            Self::InvalidGzip => "invalid_gzip",
            Self::NotReady => "not_ready",
            Self::ForeignOrigin => "foreign_origin",
            Self::UnsupportedProtocolVersion => "unsupported_protocol_version",
            Self::QueueFull => "queue_full",
            Self::InvalidRequestId => "invalid_request_id",
            Self::SourceArnNotAllowed => "source_arn_not_allowed",
            Self::ShuttingDown => "shutting_down",
            Self::StoreUnavailable => "store_unavailable",
            Self::TooLarge => "too_large",
            Self::MemoryLimit => "memory_limit",
        }
    }
}

/// Why a delivery is not acknowledged. 4xx: nothing was applied; 5xx: perhaps it was, and the retry settles it.
#[derive(Debug)]
pub(crate) struct DeliveryError {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// A sentence for whoever set up the delivery stream.
    pub(crate) message: String,
    /// The cause, for the metric and the log.
    pub(crate) code: DeliveryErrorCode,
    /// The id from the body, where the header has none.
    request_id: Option<String>,
}

impl DeliveryError {
    fn new(status: StatusCode, code: DeliveryErrorCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            code,
            request_id: None,
        }
    }

    /// 400: it is no delivery that could be taken.
    pub(crate) fn bad_request(code: DeliveryErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 503: come again.
    pub(crate) fn unavailable(code: DeliveryErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }
}

/// As it is told on other paths, which take in the same things in other forms.
impl From<DeliveryError> for ApiError {
    fn from(refusal: DeliveryError) -> Self {
        Self::new(refusal.status, refusal.message)
    }
}

impl From<CommitError> for DeliveryError {
    fn from(error: CommitError) -> Self {
        let code = match &error {
            CommitError::NotReady => DeliveryErrorCode::NotReady,
            CommitError::ReplicationLag => DeliveryErrorCode::ReplicationLag,
            CommitError::QueueFull => DeliveryErrorCode::QueueFull,
            // What exactly is for the log alone.
            CommitError::Store(_) => {
                return Self::unavailable(DeliveryErrorCode::StoreUnavailable, "the store failed");
            }
        };
        Self::unavailable(code, error.to_string())
    }
}

/// What Firehose sends.
#[derive(ToSchema)]
#[schema(as = Delivery, rename_all = "camelCase")]
#[expect(dead_code, reason = "tells what `Envelope` reads")]
struct DeliveryBody {
    /// The delivery's id.
    #[schema(min_length = 1, example = "ed4acda5-034f-9f42-bba1-f29aea6d7d8f")]
    request_id: String,
    /// When it was sent, in milliseconds since 1970.
    #[schema(example = 1578090901599_u64)]
    timestamp: u64,
    /// The records.
    records: Vec<DeliveryRecord>,
}

/// A record of a delivery.
#[derive(ToSchema)]
#[expect(dead_code, reason = "tells what `Envelope` reads")]
struct DeliveryRecord {
    /// Telemetry objects, one after another, in base64; perhaps compressed with gzip before.
    #[schema(
        content_encoding = "base64",
        example = "eyJjbGFzc0lkIjoxLCJzZWNvbmQiOjEsInJhY2VySWQiOjEsIm91dHB1dCI6MTUwfQ=="
    )]
    data: String,
}

/// What Firehose reads.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeliveryResponse {
    /// The delivery's id.
    request_id: String,
    /// When it was answered, in milliseconds since 1970.
    timestamp: u64,
    /// Why it is not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_message: Option<String>,
}

/// An example of an answer that does not acknowledge.
fn refusal_example(message: &str) -> DeliveryResponse {
    DeliveryResponse {
        request_id: "ed4acda5-034f-9f42-bba1-f29aea6d7d8f".to_owned(),
        timestamp: 1_578_090_903_599,
        error_message: Some(message.to_owned()),
    }
}

/// What became of an acknowledged delivery, for the log.
pub(crate) struct Outcome {
    /// The delivery's id, or what stands for one.
    pub(crate) request_id: String,
    /// How many records there were.
    pub(crate) records: usize,
    /// How many efforts were in them.
    pub(crate) efforts: usize,
    /// How many of these were new personal bests.
    pub(crate) improvements: usize,
    /// How many records were quarantined for which reason.
    pub(crate) rejected: BTreeMap<&'static str, usize>,
    /// How long its commit was waited for.
    commit: Duration,
}

impl Outcome {
    /// How many records were quarantined.
    pub(crate) fn quarantined(&self) -> usize {
        self.rejected.values().sum()
    }

    /// Tells a sender that wants to know. Firehose's form has no place for it but in headers, which it does not read.
    fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(IMPROVEMENTS, self.improvements.into());
        let reasons: Vec<_> = self
            .rejected
            .iter()
            .map(|(reason, count)| format!("{reason}={count}"))
            .collect();
        headers.insert(
            REJECTED,
            reasons.join(",").parse().expect("reasons are of letters"),
        );
    }
}

/// A delivery of telemetry
///
/// The HTTP endpoint destination of an Amazon Data Firehose stream. 200 says that every effort of the delivery is
/// durable, and whatever failed inside it is quarantined durably. 4xx says that nothing was applied; after 5xx some of
/// it may have been, and sending it again settles it.
#[utoipa::path(
    post, path = "/firehose", tag = "Deliveries",
    params(
        ("X-Amz-Firehose-Request-Id" = Option<String>, Header,
            description = "The delivery's id; where it is missing, the body's `requestId` is."),
        ("X-Amz-Firehose-Protocol-Version" = Option<String>, Header, description = "`1.0`.",
            pattern = "^1\\.0$", example = "1.0"),
        ("X-Amz-Firehose-Access-Key" = Option<String>, Header,
            description = "One of the keys that the service was started with, where there are any."),
        ("X-Amz-Firehose-Source-Arn" = Option<String>, Header,
            description = "The delivery stream, which must be one of those that may deliver, where any are named."),
        ("X-Amz-Firehose-Common-Attributes" = Option<String>, Header,
            description = "`{\"commonAttributes\":{…}}`, as set on the stream."),
        ("Content-Encoding" = Option<String>, Header, description = "`gzip`, or none.", pattern = "^(gzip|identity)?$"),
    ),
    request_body = DeliveryBody,
    responses(
        (status = 200, description = "It is durable.", body = DeliveryResponse,
            headers(
                ("Alleycat-Improvements" = u64, description = "How many efforts beat what stood before the delivery."),
                ("Alleycat-Rejected" = String,
                    description = "How many records were quarantined, by reason: `json=1,missing=2`, or nothing."),
            ),
            example = json!({
                "requestId": "ed4acda5-034f-9f42-bba1-f29aea6d7d8f", "timestamp": 1578090903599_u64,
            })),
        (status = 400, description = "It is no delivery, or too large.", body = DeliveryResponse,
            example = json!(refusal_example("invalid gzip data: invalid gzip header"))),
        (status = 401, description = "The access key is missing or wrong.", body = DeliveryResponse,
            example = json!(refusal_example("X-Amz-Firehose-Access-Key is missing or wrong"))),
        (status = 403, body = DeliveryResponse,
            description = "Its delivery stream may not deliver, or it is a browser's page without an access key.",
            example = json!(refusal_example("X-Amz-Firehose-Source-Arn is none of --source-arn"))),
        (status = 415, description = "It is encoded in another way than gzip.", body = DeliveryResponse,
            example = json!(refusal_example("Content-Encoding may be gzip or identity, and not \"br\""))),
        (status = 500, description = "The service failed.", body = DeliveryResponse,
            example = json!(refusal_example("internal server error"))),
        (status = 503, description = "The store failed, or the service is starting, stopping or overloaded.",
            body = DeliveryResponse, example = json!(refusal_example("too many deliveries are under way"))),
    )
)]
async fn deliver(State(app): State<AppState>, headers: HeaderMap, body: Body) -> Response {
    let began = Instant::now();
    let header_id = header_id(&headers);
    let deadline = app.config.delivery_deadline;
    let handled =
        AssertUnwindSafe(handle(&app, headers, header_id.as_deref(), body)).catch_unwind();
    let outcome = tokio::select! {
        handled = handled => handled.unwrap_or_else(|_| {
            Err(DeliveryError::new(StatusCode::INTERNAL_SERVER_ERROR, DeliveryErrorCode::Internal, "internal server error"))
        }),
        () = tokio::time::sleep(deadline) => {
            Err(DeliveryError::unavailable(DeliveryErrorCode::DeadlineExceeded, format!("not durable within {} s", deadline.as_secs_f64())))
        }
        () = app.has_been_stopping(STOPPING_PATIENCE) => {
            Err(DeliveryError::unavailable(DeliveryErrorCode::ShuttingDown, "the service is stopping"))
        }
    };
    let took = began.elapsed();
    metrics::histogram!(observability::DELIVERY_DURATION_SECONDS).record(took.as_secs_f64());
    let milliseconds = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let answer = match outcome {
        Ok(outcome) => {
            tracing::info!(
                request_id = ?outcome.request_id,
                records = outcome.records,
                efforts = outcome.efforts,
                improvements = outcome.improvements,
                rejected = outcome.quarantined(),
                milliseconds = milliseconds(took),
                commit_milliseconds = milliseconds(outcome.commit),
                "delivery"
            );
            let mut answer = answer(StatusCode::OK, &outcome.request_id, None, &app.ledger);
            outcome.tell(answer.headers_mut());
            answer
        }
        Err(DeliveryError {
            status,
            message,
            code,
            request_id,
        }) => {
            let request_id = header_id.or(request_id).unwrap_or_default();
            let milliseconds = milliseconds(took);
            let (id, status_told) = (shown(&request_id), status.as_u16());
            tracing::warn!(request_id = %id, status = status_told, code = code.as_str(), ?message, milliseconds, "delivery error");
            metrics::counter!(observability::DELIVERY_ERRORS_TOTAL, "code" => code.as_str())
                .increment(1);
            answer(status, &request_id, Some(&message), &app.ledger)
        }
    };
    let status = answer.status().as_u16().to_string();
    metrics::counter!(observability::DELIVERIES_TOTAL, "status" => status).increment(1);
    answer
}

/// From the headers to the commit.
async fn handle(
    app: &AppState,
    headers: HeaderMap,
    header_id: Option<&str>,
    body: Body,
) -> Result<Outcome, DeliveryError> {
    let (bytes_max, limits) = (
        app.config.max_body_bytes(),
        app.config.limits.body_pause_timeout,
    );
    let checked = check_headers(app, &headers);
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    drop(headers); // they may be large, and the body be long in coming
    let gzip = match checked {
        Ok(gzip) => gzip,
        Err(refusal) => return Err(body::drained(body, limits, refusal).await),
    };
    // What is checked here holds for the time of receipt: an effort's time is never after it.
    if let Err(error) = app.ledger.accepts() {
        return Err(body::drained(body, limits, error.into()).await);
    }
    let receipt_ms = app.ledger.now_ms();
    let in_flight = app.gate.note_in_flight();
    let (body, mut room) = body::read(body, announced, bytes_max, limits, &app.gate).await?;
    let turn = app.gate.turn_to_decode().await;
    let decode = Decode {
        bounds: *app.ledger.bounds(),
        receipt_ms,
        header_id: header_id.map(str::to_owned),
        gzip,
        bytes_max,
        ledger: app.ledger.clone(),
        gate: app.gate.clone(),
    };
    // Whoever waits for it may be gone before it ends, and what it takes up is given back only then.
    let received = behind_readers(move || {
        let _held = (turn, in_flight);
        Ok((decode.run(body, &mut room)?, room))
    });
    let (
        Received {
            request_id,
            body,
            decoded,
            heard,
        },
        room,
    ) = received.await?;
    let room = Arc::new(room);
    let raw = async |records: Vec<usize>| {
        let held = (app.gate.turn_to_decode().await, room.clone());
        let body = body.clone();
        let read = move || {
            let _held = held;
            let envelope =
                Envelope::parse(&body, std::thread::yield_now).expect("it was parsed before");
            Ok(records
                .into_iter()
                .map(|record| envelope.record(record))
                .collect())
        };
        behind_readers(read).await
    };
    commit(
        &app.ledger,
        request_id,
        decoded,
        heard,
        receipt_ms,
        raw,
        room.clone(),
    )
    .await
}

/// Does long work on a thread that lets those go first that answer readers. It is a thread of its own, for one that has
/// stepped back may not step forward again; to start it takes as long as to decode some fifty records.
async fn behind_readers<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DeliveryError> + Send + 'static,
) -> Result<T, DeliveryError> {
    let (done, result) = oneshot::channel();
    let work = move || {
        step_back();
        let _ = done.send(std::panic::catch_unwind(AssertUnwindSafe(work))); // whoever asked may be gone
    };
    let thread = std::thread::Builder::new()
        .name("decoding".to_owned())
        .spawn(work);
    thread.map_err(|error| {
        DeliveryError::unavailable(
            DeliveryErrorCode::MemoryLimit,
            format!("no thread to decode on: {error}"),
        )
    })?;
    let result = result.await.expect("the thread sends what became of it");
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Gives this thread [`DECODING_NICENESS`]. Where that cannot be, it goes on as it is.
fn step_back() {
    #[cfg(target_os = "linux")] // elsewhere it would be the whole process
    if let Ok(niceness) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, niceness + DECODING_NICENESS);
    }
}

/// What decoding a body needs, on a thread of its own.
struct Decode {
    bounds: Bounds,
    receipt_ms: u64,
    header_id: Option<String>,
    gzip: bool,
    bytes_max: usize,
    ledger: Ledger,
    gate: IngestAdmission,
}

/// A delivery, decoded.
struct Received {
    request_id: String,
    /// The envelope's text, for the records that are to be quarantined.
    body: Bytes,
    decoded: DecodedRecords,
    heard: Vec<RaceUpdate>,
}

impl Decode {
    fn run(self, body: Bytes, room: &mut OwnedSemaphorePermit) -> Result<Received, DeliveryError> {
        let body = if self.gzip { self.gunzip(&body)? } else { body };
        // Gunzipped it may be a thousand times as long, and is kept for its quarantine until it is durable.
        self.gate.admit_more(room, 2 * body.len())?;
        // However nice the thread is, the system would leave it the core for 3 ms once it has it.
        let let_others = std::thread::yield_now;
        let envelope = Envelope::parse(&body, let_others).map_err(|error| {
            let refusal =
                DeliveryError::bad_request(DeliveryErrorCode::InvalidEnvelope, error.to_string());
            DeliveryError {
                request_id: error.request_id,
                ..refusal
            }
        })?;
        let request_id = match (self.header_id, envelope.request_id.as_deref()) {
            (Some(header), Some(body)) if header != body => {
                return Err(DeliveryError::bad_request(
                    DeliveryErrorCode::InvalidRequestId,
                    "requestId differs from X-Amz-Firehose-Request-Id",
                ));
            }
            (Some(header), _) => header,
            (None, Some(body)) if !body.is_empty() => body.to_owned(),
            (None, _) => {
                let message = "neither X-Amz-Firehose-Request-Id nor requestId names the request";
                return Err(DeliveryError::bad_request(
                    DeliveryErrorCode::InvalidRequestId,
                    message,
                ));
            }
        };
        let mut decoded =
            envelope.decode(&self.bounds, self.receipt_ms, self.bytes_max, let_others);
        self.ledger.names().retain_newer(&mut decoded.names);
        drop(envelope);
        let heard = races::race_updates(&decoded.efforts, &decoded.finals);
        // So may its records. As many as there are cores are decoded at a time, so this is not too late.
        self.gate.admit_more(
            room,
            2 * body.len() + decoded.bytes() + size_of_val(&*heard),
        )?;
        Ok(Received {
            request_id,
            body,
            decoded,
            heard,
        })
    }

    fn gunzip(&self, body: &[u8]) -> Result<Bytes, DeliveryError> {
        match gzip::gunzip(body, self.bytes_max) {
            Ok(plain) => Ok(plain.into()),
            Err(GunzipError::TooLarge(bytes_max)) => Err(body::over_the_cap(bytes_max)),
            Err(error @ GunzipError::Invalid(_)) => Err(DeliveryError::bad_request(
                DeliveryErrorCode::InvalidGzip,
                error.to_string(),
            )),
        }
    }
}

/// Makes what was decoded durable: the efforts, the names, and the records that are not taken. `raw` gives the data of
/// the records in those places, as it came; `room` is kept until all of it is durable.
pub(crate) async fn commit<F: Future<Output = Result<Vec<Vec<u8>>, DeliveryError>>>(
    ledger: &Ledger,
    request_id: String,
    mut decoded: DecodedRecords,
    heard: Vec<RaceUpdate>,
    receipt_ms: u64,
    raw: impl Fn(Vec<usize>) -> F,
    room: Arc<OwnedSemaphorePermit>,
) -> Result<Outcome, DeliveryError> {
    let began = Instant::now();
    let records = decoded.records();
    let efforts = decoded.efforts.len();
    let origins = decoded.origins();
    // A record is counted once, whatever is wrong with it.
    let mut rejected = BTreeMap::new();
    let mut quarantine =
        async |rejections: Vec<(usize, Rejection)>| -> Result<Vec<Quarantined>, DeliveryError> {
            if rejections.is_empty() {
                return Ok(Vec::new());
            }
            let raw = raw(rejections.iter().map(|&(record, _)| record).collect()).await?;
            let still_told = REJECTIONS_TOLD_MAX.saturating_sub(rejected.len());
            for (record, Rejection { reason, message }) in rejections.iter().take(still_told) {
                tracing::info!(
                    ?request_id,
                    record,
                    reason = reason.as_str(),
                    message,
                    "record quarantined"
                );
            }
            let reasons = rejections
                .iter()
                .map(|(record, rejection)| (*record, rejection.reason.as_str()));
            for (reason, count) in counted(reasons.clone().map(|(_, reason)| reason)) {
                metrics::counter!(observability::RECORDS_REJECTED_TOTAL, "reason" => reason)
                    .increment(count as u64);
            }
            reasons.for_each(|(record, reason)| _ = rejected.entry(record).or_insert(reason));
            let quarantined = rejections.into_iter().zip(raw);
            Ok(quarantined
                .map(|((_, rejection), raw)| Quarantined {
                    rejection,
                    raw,
                    arrival_ms: receipt_ms,
                })
                .collect())
        };
    let quarantined = quarantine(
        decoded
            .rejected
            .into_iter()
            .map(|r| (r.record, r.rejection))
            .collect(),
    )
    .await?;
    metrics::counter!(observability::RECORDS_TOTAL).increment(records as u64);
    metrics::counter!(observability::RECORDS_EMPTY_TOTAL).increment(decoded.empty as u64);
    let submission = WriteBatch {
        efforts: decoded.efforts,
        names: decoded.names,
        quarantined,
        race_updates: heard,
        guard: Some(Box::new(room.clone())),
    };
    let committed = ledger.commit(submission).await?;
    if !committed.rejected.is_empty() {
        let mut refused: Vec<_> = committed
            .rejected
            .iter()
            .map(|&(effort, reason)| (origins.of(effort), reason))
            .collect();
        refused.dedup_by_key(|&mut (record, _)| record);
        let refused = refused
            .into_iter()
            .map(|(record, reason)| (record, refused_because(reason)))
            .collect();
        let quarantined = quarantine(refused).await?;
        ledger
            .commit(WriteBatch {
                quarantined,
                guard: Some(Box::new(room)),
                ..WriteBatch::default()
            })
            .await?;
    }
    metrics::counter!(observability::PERSONAL_BESTS_TOTAL).increment(committed.improvements as u64);
    let rejected = counted(rejected.into_values());
    let (improvements, commit) = (committed.improvements, began.elapsed());
    Ok(Outcome {
        request_id,
        records,
        efforts,
        improvements,
        rejected,
        commit,
    })
}

/// How often each reason is there.
fn counted(reasons: impl Iterator<Item = &'static str>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    reasons.for_each(|reason| *counts.entry(reason).or_default() += 1);
    counts
}

/// Why the writer refused an effort that could be decoded.
fn refused_because(reason: RejectionReason) -> Rejection {
    let message = match reason {
        RejectionReason::Erased => {
            "racerId was erased, and deviceTimestamp does not say that it was ridden since"
        }
        _ => "racerId is new, and its class has as many racers as --max-racers allows",
    };
    Rejection::new(reason, message)
}

/// Checks what the headers tell; `true` when the body is gzip.
fn check_headers(app: &AppState, headers: &HeaderMap) -> Result<bool, DeliveryError> {
    let of = |name: &str| {
        headers
            .get(name)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default()
    };
    let (keys, arns) = (&app.keys.access, &app.config.source_arns);
    // Without a key, a page that is open in a browser on this machine could deliver. Firehose is no browser.
    if !keys.are_needed() && headers.contains_key(header::ORIGIN) {
        let message = "a browser's page may not deliver without an access key";
        return Err(DeliveryError::new(
            StatusCode::FORBIDDEN,
            DeliveryErrorCode::ForeignOrigin,
            message,
        ));
    }
    if keys.are_needed() && !keys.accept(of(ACCESS_KEY)) {
        let message = "X-Amz-Firehose-Access-Key is missing or wrong";
        return Err(DeliveryError::new(
            StatusCode::UNAUTHORIZED,
            DeliveryErrorCode::InvalidAccessKey,
            message,
        ));
    }
    if !arns.is_empty() && !arns.iter().any(|known| known.as_bytes() == of(SOURCE_ARN)) {
        let message = "X-Amz-Firehose-Source-Arn is none of --source-arn";
        return Err(DeliveryError::new(
            StatusCode::FORBIDDEN,
            DeliveryErrorCode::SourceArnNotAllowed,
            message,
        ));
    }
    if let Some(version) = headers.get(PROTOCOL_VERSION)
        && version.as_bytes() != b"1.0"
    {
        return Err(DeliveryError::bad_request(
            DeliveryErrorCode::UnsupportedProtocolVersion,
            "X-Amz-Firehose-Protocol-Version must be 1.0",
        ));
    }
    is_gzip(headers)
}

/// Whether the body is gzip, by its one encoding.
fn is_gzip(headers: &HeaderMap) -> Result<bool, DeliveryError> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = encodings.next().map(|value| {
        String::from_utf8_lossy(value.as_bytes())
            .trim()
            .to_ascii_lowercase()
    });
    match (encoding.as_deref().unwrap_or_default(), encodings.next()) {
        ("" | "identity", None) => Ok(false),
        ("gzip" | "x-gzip", None) => Ok(true),
        (encoding, _) => {
            let message = format!(
                "Content-Encoding may be gzip or identity, and not {}",
                shown(encoding)
            );
            Err(DeliveryError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                DeliveryErrorCode::UnsupportedEncoding,
                message,
            ))
        }
    }
}

/// The delivery's id, where the headers have one that may be one.
fn header_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    (1..=REQUEST_ID_BYTES_MAX)
        .contains(&id.len())
        .then(|| id.to_owned())
}

/// An answer in Firehose's form.
fn answer(
    status: StatusCode,
    request_id: &str,
    message: Option<&str>,
    ledger: &Ledger,
) -> Response {
    let error_message =
        message.map(
            |message| match message.char_indices().nth(MESSAGE_CHARS_MAX) {
                Some((end, _)) => message[..end].to_owned(),
                None => message.to_owned(),
            },
        );
    let answer = DeliveryResponse {
        request_id: request_id.to_owned(),
        timestamp: ledger.now_ms(),
        error_message,
    };
    (status, axum::Json(answer)).into_response()
}

async fn wrong_method(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let id = header_id(&headers).unwrap_or_default();
    let mut response = answer(
        StatusCode::METHOD_NOT_ALLOWED,
        &id,
        Some("deliveries are sent with POST"),
        &app.ledger,
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

async fn unknown_path(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let id = header_id(&headers).unwrap_or_default();
    answer(
        StatusCode::NOT_FOUND,
        &id,
        Some("deliveries are sent to /firehose"),
        &app.ledger,
    )
}
