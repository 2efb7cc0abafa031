//! `POST /firehose`: the HTTP endpoint destination of Amazon Data Firehose.
//!
//! Every answer on this path has the form that Firehose reads, failures of every kind included; 200 says that every
//! effort of the delivery is durable, and 413, which makes Firehose drop a batch, is never said. The protocol:
//! <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::App;
use crate::delivery::{self, Decoded, Envelope, GunzipError};
use crate::effort::Bounds;
use crate::ledger::{CommitError, Ledger, Quarantined, Submission};
use crate::names::Names;
use crate::races::{self, Heard};
use crate::telemetry::{Reason, Rejection};

/// What one delivery may take up, in largest bodies: its body, as much again for what of it may have to be quarantined,
/// and what is decoded from it and from what its records gunzip to, at up to three times the text of that.
const DELIVERY_BODIES_MAX: usize = 8;

/// What a delivery takes up at the least, in bytes: its task, buffers, and answer.
const DELIVERY_BYTES_MIN: usize = 64 << 10;

/// The semaphore of the bytes counts in this many bytes, since it cannot count to a gigabyte one by one.
const PERMIT_BYTES: usize = 1 << 10;

/// What a sender may go on sending after it was refused, in bytes, so that it comes to read the answer: more than the
/// 86 MiB that Firehose sends at most, whatever the cap.
const DRAIN_BYTES_MAX: usize = 128 << 20;

/// How long a delivery that is under way when the service stops has left: time for a commit, and for the answer to be
/// sent before connections are cut.
pub(super) const STOPPING_PATIENCE: Duration = Duration::from_secs(5);

/// The longest error message, in characters: Firehose's own limit.
const MESSAGE_CHARS_MAX: usize = 8192;

const REQUEST_ID: &str = "x-amz-firehose-request-id";
const PROTOCOL_VERSION: &str = "x-amz-firehose-protocol-version";
pub(super) const ACCESS_KEY: &str = "x-amz-firehose-access-key";
const SOURCE_ARN: &str = "x-amz-firehose-source-arn";
const COMMON_ATTRIBUTES: &str = "x-amz-firehose-common-attributes";
/// How many efforts of an acknowledged delivery were improvements.
const IMPROVEMENTS: &str = "alleycat-improvements";
/// How many of its records were quarantined, by reason: `json=1,missing=2`.
const REJECTED: &str = "alleycat-rejected";

/// What deliveries must pass: the bytes that they take up together, and how many are decoded at a time.
#[derive(Clone)]
pub(super) struct Gate {
    bytes_max: usize,
    bytes: Arc<Semaphore>,
    decoding: Arc<Semaphore>,
    in_flight: Arc<AtomicUsize>,
}

/// A delivery that is being read or decoded, counted until dropped.
struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// A gate for deliveries of up to `bytes_max` together, or more where one body of up to `body_bytes_max` needs it.
    pub(super) fn new(bytes_max: usize, body_bytes_max: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let bytes_max = bytes_max.max(body_bytes_max.saturating_mul(DELIVERY_BODIES_MAX));
        let permits = (bytes_max / PERMIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self {
            bytes_max: permits * PERMIT_BYTES,
            bytes: Arc::new(Semaphore::new(permits)),
            decoding: Arc::new(Semaphore::new(cores)),
            in_flight: Arc::default(),
        }
    }

    /// Deliveries that are being read or decoded.
    pub(super) fn deliveries_in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What all deliveries under way take up, in bytes, to the limit's own measure.
    pub(super) fn bytes_in_flight(&self) -> usize {
        self.bytes_max - self.bytes.available_permits() * PERMIT_BYTES
    }

    fn note_in_flight(&self) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.in_flight.clone())
    }

    /// Lets in what takes up that many bytes for as long as the permit is held.
    pub(super) fn admit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let admitted = self.bytes.clone().try_acquire_many_owned(permits(bytes));
        admitted.map_err(|_| Refusal::unavailable("too_many", "too many deliveries are under way"))
    }

    /// Lets in that it has come to take up so many bytes.
    pub(super) fn admit_more(&self, permit: &mut OwnedSemaphorePermit, bytes: usize) -> Result<(), Refusal> {
        let held = permit.num_permits() * PERMIT_BYTES;
        if bytes > held {
            permit.merge(self.admit(bytes - held)?);
        }
        Ok(())
    }
}

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(deliver).map(|deliveries| deliveries.fallback(wrong_method)))
        .route("/firehose/", any(unknown_path))
        .route("/firehose/{*rest}", any(unknown_path))
}

/// Why deliveries are refused, as it is counted.
pub(super) const REFUSED_BECAUSE: [&str; 19] = [
    "access_key",
    "behind",
    "body_broken_off",
    "body_too_slow",
    "deadline",
    "encoding",
    "envelope",
    "failure",
    "gzip",
    "not_serving",
    "origin",
    "protocol_version",
    "queue_full",
    "request_id",
    "source_arn",
    "stopping",
    "store",
    "too_large",
    "too_many",
];

/// Why a delivery is not acknowledged. 4xx: nothing was applied; 5xx: perhaps it was, and the retry settles it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// To count by: one of [`REFUSED_BECAUSE`].
    reason: &'static str,
    pub(super) message: String,
    /// The id from the body, where the header has none.
    request_id: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), request_id: None }
    }

    fn bad_request(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, message)
    }

    pub(super) fn unavailable(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, message)
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        let reason = match &error {
            CommitError::NotServing => "not_serving",
            CommitError::Behind => "behind",
            CommitError::Overloaded => "queue_full",
            // What exactly is for the log alone.
            CommitError::Store(_) => return Self::unavailable("store", "the store failed"),
        };
        Self::unavailable(reason, error.to_string())
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
struct DeliveryAnswer {
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
fn refused(message: &str) -> DeliveryAnswer {
    DeliveryAnswer {
        request_id: "ed4acda5-034f-9f42-bba1-f29aea6d7d8f".to_owned(),
        timestamp: 1_578_090_903_599,
        error_message: Some(message.to_owned()),
    }
}

/// What became of an acknowledged delivery, for the log.
pub(super) struct Outcome {
    pub(super) request_id: String,
    pub(super) records: usize,
    pub(super) efforts: usize,
    pub(super) improvements: usize,
    /// How many records were quarantined for which reason.
    pub(super) rejected: BTreeMap<&'static str, usize>,
    /// How long its commit was waited for.
    commit: Duration,
}

impl Outcome {
    /// How many records were quarantined.
    pub(super) fn quarantined(&self) -> usize {
        self.rejected.values().sum()
    }

    /// Tells a sender that wants to know. Firehose's form has no place for it but in headers, which it does not read.
    fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(IMPROVEMENTS, self.improvements.into());
        let reasons: Vec<_> = self.rejected.iter().map(|(reason, count)| format!("{reason}={count}")).collect();
        headers.insert(REJECTED, reasons.join(",").parse().expect("reasons are of letters"));
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
        ("X-Amz-Firehose-Common-Attributes" = Option<String>, Header,
            description = "`{\"commonAttributes\":{…}}`, as set on the stream."),
        ("Content-Encoding" = Option<String>, Header, description = "`gzip`, or none.", pattern = "^(gzip|identity)?$"),
    ),
    request_body = DeliveryBody,
    responses(
        (status = 200, description = "It is durable.", body = DeliveryAnswer, example = json!({
            "requestId": "ed4acda5-034f-9f42-bba1-f29aea6d7d8f", "timestamp": 1578090903599_u64,
        })),
        (status = 400, description = "It is no delivery, or too large.", body = DeliveryAnswer,
            example = json!(refused("Content-Encoding says gzip, and the body is not"))),
        (status = 401, description = "The access key is missing or wrong.", body = DeliveryAnswer,
            example = json!(refused("X-Amz-Firehose-Access-Key is missing or wrong"))),
        (status = 403, description = "Its delivery stream may not deliver.", body = DeliveryAnswer,
            example = json!(refused("X-Amz-Firehose-Source-Arn is missing or none of those that may deliver"))),
        (status = 415, description = "It is encoded in another way than gzip.", body = DeliveryAnswer,
            example = json!(refused("Content-Encoding is br; it must be gzip, or not there"))),
        (status = 500, description = "The service failed.", body = DeliveryAnswer,
            example = json!(refused("an error of the service's own"))),
        (status = 503, description = "The store failed, or the service is starting, stopping or overloaded.",
            body = DeliveryAnswer, example = json!(refused("too many deliveries are under way"))),
    )
)]
async fn deliver(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let began = Instant::now();
    let header_id = header_id(&headers);
    let deadline = app.config.delivery_deadline;
    let handled = AssertUnwindSafe(handle(&app, headers, header_id.as_deref(), body)).catch_unwind();
    let outcome = tokio::select! {
        handled = handled => handled.unwrap_or_else(|_| {
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "failure", "an error of the service's own"))
        }),
        () = tokio::time::sleep(deadline) => {
            Err(Refusal::unavailable("deadline", format!("not durable within {} s", deadline.as_secs_f64())))
        }
        () = app.has_been_stopping(STOPPING_PATIENCE) => {
            Err(Refusal::unavailable("stopping", "the service is stopping"))
        }
    };
    let took = began.elapsed();
    metrics::histogram!("alleycat_delivery_duration_seconds").record(took.as_secs_f64());
    let milliseconds = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(outcome) => {
            metrics::counter!("alleycat_deliveries_total", "status" => "200").increment(1);
            let Outcome { request_id, records, efforts, improvements, commit, .. } = &outcome;
            let rejected = outcome.quarantined();
            let (milliseconds, commit_milliseconds) = (milliseconds(took), milliseconds(*commit));
            tracing::info!(
                ?request_id,
                records,
                efforts,
                improvements,
                rejected,
                milliseconds,
                commit_milliseconds,
                "delivery"
            );
            let mut answer = answer(StatusCode::OK, request_id, None, &app.ledger);
            outcome.tell(answer.headers_mut());
            answer
        }
        Err(Refusal { status, reason, message, request_id }) => {
            let milliseconds = milliseconds(took);
            metrics::counter!("alleycat_deliveries_refused_total", "reason" => reason).increment(1);
            let request_id = header_id.or(request_id).unwrap_or_default();
            metrics::counter!("alleycat_deliveries_total", "status" => status.as_u16().to_string()).increment(1);
            tracing::warn!(?request_id, status = status.as_u16(), reason, ?message, milliseconds, "delivery refused");
            answer(status, &request_id, Some(&message), &app.ledger)
        }
    }
}

async fn handle(app: &App, headers: HeaderMap, header_id: Option<&str>, body: Body) -> Result<Outcome, Refusal> {
    let bytes_max = app.config.body_bytes_max();
    let checked = check_headers(app, &headers);
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    drop(headers); // they may be large, and the body be long in coming
    let gzip = match checked {
        Ok(gzip) => gzip,
        Err(refusal) => {
            drain(body, app.config.patience.body).await;
            return Err(refusal);
        }
    };
    // What is checked here holds for the time of receipt: an effort's time is never after it.
    if let Err(error) = app.ledger.accepts() {
        drain(body, app.config.patience.body).await;
        return Err(error.into());
    }
    let receipt_ms = app.ledger.now_ms();
    let in_flight = app.gate.note_in_flight();
    let (body, mut room) = read_body(body, announced, bytes_max, app).await?;
    let decoding = app.gate.decoding.clone().acquire_owned().await.expect("the semaphore is never closed");
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
    let decoded = tokio::task::spawn_blocking(move || {
        let _held = (decoding, in_flight);
        let decoded = decode.run(body, &mut room)?;
        Ok::<_, Refusal>((decoded, room))
    });
    let decoded = decoded.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let ((request_id, body, decoded, heard), room) = decoded?;
    let raw = |records: &[usize]| -> Vec<Vec<u8>> {
        let envelope = Envelope::parse(&body).expect("it was parsed before");
        records.iter().map(|&record| envelope.record(record)).collect()
    };
    commit(&app.ledger, request_id, decoded, heard, receipt_ms, raw, Arc::new(room)).await
}

/// What decoding a body needs, on a thread of its own.
struct Decode {
    bounds: Bounds,
    receipt_ms: u64,
    header_id: Option<String>,
    gzip: bool,
    bytes_max: usize,
    ledger: Ledger,
    gate: Gate,
}

impl Decode {
    fn run(
        self,
        mut body: Bytes,
        room: &mut OwnedSemaphorePermit,
    ) -> Result<(String, Bytes, Decoded, Vec<Heard>), Refusal> {
        if self.gzip {
            body = match delivery::gunzip(&body, self.bytes_max) {
                Ok(plain) => plain.into(),
                Err(GunzipError::TooLarge(bytes_max)) => return Err(over_the_cap(bytes_max)),
                Err(error) => return Err(Refusal::bad_request("gzip", error.to_string())),
            };
        }
        // Gunzipped it may be a thousand times as long, and is kept for its quarantine until it is durable.
        self.gate.admit_more(room, 2 * body.len())?;
        let envelope = Envelope::parse(&body).map_err(|error| Refusal {
            status: StatusCode::BAD_REQUEST,
            reason: "envelope",
            message: error.to_string(),
            request_id: error.request_id,
        })?;
        let request_id = match (self.header_id, envelope.request_id.as_deref()) {
            (Some(header), Some(body)) if header != body => {
                return Err(Refusal::bad_request("request_id", "requestId differs from X-Amz-Firehose-Request-Id"));
            }
            (Some(header), _) => header,
            (None, Some(body)) if !body.is_empty() => body.to_owned(),
            (None, _) => {
                let message = "neither X-Amz-Firehose-Request-Id nor requestId names the request";
                return Err(Refusal::bad_request("request_id", message));
            }
        };
        let names: &Names = self.ledger.names();
        let decoded = envelope.decode(&self.bounds, self.receipt_ms, names, self.bytes_max);
        drop(envelope);
        let heard = races::latest(&decoded.efforts, &decoded.finals);
        // So may its records. As many as there are cores are decoded at a time, so this is not too late.
        self.gate.admit_more(room, 2 * body.len() + decoded.bytes() + size_of_val(&*heard))?;
        Ok((request_id, body, decoded, heard))
    }
}

/// Makes what was decoded durable: the efforts, the names, and the records that are not taken. `raw` gives the data of
/// the records in those places, as it came.
pub(super) async fn commit(
    ledger: &Ledger,
    request_id: String,
    mut decoded: Decoded,
    heard: Vec<Heard>,
    arrival_ms: u64,
    raw: impl Fn(&[usize]) -> Vec<Vec<u8>>,
    room: Arc<OwnedSemaphorePermit>,
) -> Result<Outcome, Refusal> {
    let began = Instant::now();
    let records = decoded.records();
    let efforts = decoded.efforts.len();
    let origins = decoded.origins();
    // A record is counted once, whatever is wrong with it.
    let mut rejected = BTreeMap::new();
    let mut quarantine = |rejections: Vec<(usize, Rejection)>| -> Vec<Quarantined> {
        if rejections.is_empty() {
            return Vec::new();
        }
        let raw = raw(&rejections.iter().map(|&(record, _)| record).collect::<Vec<_>>());
        let quarantined = rejections.into_iter().zip(raw).map(|((record, rejection), raw)| {
            let reason = rejection.reason.as_str();
            metrics::counter!("alleycat_records_rejected_total", "reason" => reason).increment(1);
            tracing::info!(?request_id, record, reason, message = rejection.message, "record quarantined");
            rejected.entry(record).or_insert(reason);
            Quarantined { rejection, raw, arrival_ms }
        });
        quarantined.collect()
    };
    metrics::counter!("alleycat_records_total").increment(records as u64);
    metrics::counter!("alleycat_records_empty_total").increment(decoded.empty as u64);
    let submission = Submission {
        efforts: decoded.efforts,
        names: decoded.names,
        quarantined: quarantine(decoded.rejected.into_iter().map(|r| (r.record, r.rejection)).collect()),
        heard,
        room: Some(room.clone()),
    };
    let committed = ledger.commit(submission).await?;
    if !committed.refused.is_empty() {
        let mut refused: Vec<_> =
            committed.refused.iter().map(|&(effort, reason)| (origins.of(effort), reason)).collect();
        refused.dedup_by_key(|&mut (record, _)| record);
        let refused = refused.into_iter().map(|(record, reason)| (record, refused_because(reason))).collect();
        let quarantined = quarantine(refused);
        ledger.commit(Submission { quarantined, room: Some(room), ..Submission::default() }).await?;
    }
    metrics::counter!("alleycat_improvements_total").increment(committed.improvements as u64);
    let (improvements, commit) = (committed.improvements, began.elapsed());
    let mut outcome = Outcome { request_id, records, efforts, improvements, rejected: BTreeMap::new(), commit };
    for reason in rejected.into_values() {
        *outcome.rejected.entry(reason).or_default() += 1;
    }
    Ok(outcome)
}

fn refused_because(reason: Reason) -> Rejection {
    let message = match reason {
        Reason::Erased => "racerId was erased, and deviceTimestamp does not say that it was ridden since",
        _ => "racerId is new, and its class has as many racers as --max-racers allows",
    };
    Rejection::new(reason, message)
}

/// Checks what the headers tell; `true` when the body is gzip.
fn check_headers(app: &App, headers: &HeaderMap) -> Result<bool, Refusal> {
    let keys = &app.keys.access;
    let key = headers.get(ACCESS_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    // Without a key, a page that is open in a browser on this machine could deliver. Firehose is no browser.
    if !keys.are_needed() && headers.contains_key(header::ORIGIN) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "origin",
            "a browser's page may not deliver without an access key",
        ));
    }
    if keys.are_needed() && !keys.accept(key) {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "access_key",
            "X-Amz-Firehose-Access-Key is missing or wrong",
        ));
    }
    let arns = &app.config.source_arns;
    let arn = headers.get(SOURCE_ARN).map(HeaderValue::as_bytes).unwrap_or_default();
    if !arns.is_empty() && !arns.iter().any(|known| known.as_bytes() == arn) {
        let message = "X-Amz-Firehose-Source-Arn is none of --source-arn";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "source_arn", message));
    }
    if let Some(version) = headers.get(PROTOCOL_VERSION)
        && version.as_bytes() != b"1.0"
    {
        return Err(Refusal::bad_request("protocol_version", "X-Amz-Firehose-Protocol-Version must be 1.0"));
    }
    note_attributes(headers);
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    match (
        encodings.next().map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase()),
        encodings.next(),
    ) {
        (None, _) => Ok(false),
        (Some(encoding), None) if encoding == "identity" || encoding.is_empty() => Ok(false),
        (Some(encoding), None) if encoding == "gzip" || encoding == "x-gzip" => Ok(true),
        (Some(encoding), _) => {
            let message = format!("Content-Encoding may be gzip or identity, and not {encoding}");
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", message))
        }
    }
}

/// The common attributes are the operator's own; all there is to say is whether they are what Firehose sends.
fn note_attributes(headers: &HeaderMap) {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Attributes {
        #[expect(dead_code, reason = "only that it is there is looked at")]
        common_attributes: std::collections::HashMap<String, String>,
    }
    if let Some(attributes) = headers.get(COMMON_ATTRIBUTES)
        && serde_json::from_slice::<Attributes>(attributes.as_bytes()).is_err()
    {
        metrics::counter!("alleycat_malformed_attributes_total").increment(1);
    }
}

fn header_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// Reads a body up to `bytes_max`, within what all deliveries may take up together. `announced` is its length, where that
/// is told.
async fn read_body(
    mut body: Body,
    announced: Option<usize>,
    bytes_max: usize,
    app: &App,
) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
    let (gate, patience) = (&app.gate, app.config.patience.body);
    if announced.is_some_and(|announced| announced > bytes_max) {
        drain(body, patience).await;
        return Err(over_the_cap(bytes_max));
    }
    let mut permit = match gate.admit(announced.unwrap_or(0).max(DELIVERY_BYTES_MIN)) {
        Ok(permit) => permit,
        Err(refusal) => {
            drain(body, patience).await;
            return Err(refusal);
        }
    };
    let mut read = Vec::with_capacity(announced.unwrap_or(0));
    loop {
        let Ok(frame) = tokio::time::timeout(patience, body.frame()).await else {
            let message = format!("nothing more of the body came within {} s", patience.as_secs_f64());
            return Err(Refusal::bad_request("body_too_slow", message));
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            Refusal::bad_request("body_broken_off", format!("the body did not arrive whole: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > bytes_max {
            drain(body, patience).await;
            return Err(over_the_cap(bytes_max));
        }
        read.extend_from_slice(&data);
        if let Err(refusal) = gate.admit_more(&mut permit, read.capacity()) {
            drain(body, patience).await;
            return Err(refusal);
        }
    }
    Ok((read.into(), permit))
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX)
}

fn over_the_cap(bytes_max: usize) -> Refusal {
    let message = format!(
        "the body is over {bytes_max} bytes (--body-max): lower the buffer size (BufferingHints.SizeInMBs) of the \
         delivery stream, or raise --body-max"
    );
    Refusal::bad_request("too_large", message)
}

/// Reads what a refused sender is still sending, up to [`DRAIN_BYTES_MAX`] and with no longer pauses than `patience`,
/// so that it can read the answer.
pub(super) async fn drain(mut body: Body, patience: Duration) {
    let mut left = DRAIN_BYTES_MAX;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(patience, body.frame()).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// An answer in Firehose's form.
fn answer(status: StatusCode, request_id: &str, message: Option<&str>, ledger: &Ledger) -> Response {
    let error_message = message.map(|message| match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => message[..end].to_owned(),
        None => message.to_owned(),
    });
    let answer = DeliveryAnswer { request_id: request_id.to_owned(), timestamp: ledger.now_ms(), error_message };
    (status, axum::Json(answer)).into_response()
}

async fn wrong_method(State(app): State<App>, headers: HeaderMap) -> Response {
    let id = header_id(&headers).unwrap_or_default();
    let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, &id, Some("deliveries are sent with POST"), &app.ledger);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

async fn unknown_path(State(app): State<App>, headers: HeaderMap) -> Response {
    let id = header_id(&headers).unwrap_or_default();
    answer(StatusCode::NOT_FOUND, &id, Some("deliveries are sent to /firehose"), &app.ledger)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    #[test]
    fn deliveries_are_let_in_up_to_their_limit_together_as_they_grow() {
        let gate = Gate::new(BYTES_MAX, 1);
        let mut first = gate.admit(10).expect("there is room");
        assert!(gate.admit_more(&mut first, BYTES_MAX - PERMIT_BYTES).is_ok());
        let mut second = gate.admit(PERMIT_BYTES).expect("there is just enough room");
        let refusal = gate.admit_more(&mut second, PERMIT_BYTES + 1).expect_err("there is no more");
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        assert!(gate.admit_more(&mut second, BYTES_MAX).is_ok());
        assert!(
            Gate::new(BYTES_MAX, 1 << 30).admit(8 << 30).is_ok(),
            "the largest body fits, with all that comes of it"
        );
    }
}
