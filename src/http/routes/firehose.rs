//! `POST /firehose`: the HTTP endpoint destination of Amazon Data Firehose.
//!
//! Every response below this path has Firehose's form, errors of every kind included. 200 says that
//! every effort of the delivery is durable. 413 is never sent: it makes Firehose drop a delivery.
//! The protocol: <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::delivery::{self, RequestBody};
use crate::http::error::shown;
use crate::http::state::AppState;
use crate::ingest::envelope::REQUEST_ID_BYTES_MAX;
use crate::ingest::error::{DeliveryError, DeliveryErrorCode};
use crate::ingest::pipeline::{DeliveryRequest, IngestResult};
use crate::ledger::Ledger;
use crate::observability;

const REQUEST_ID: &str = "x-amz-firehose-request-id";
const PROTOCOL_VERSION: &str = "x-amz-firehose-protocol-version";
const SOURCE_ARN: &str = "x-amz-firehose-source-arn";

/// Maximum length of an error message, in characters: Firehose's own limit.
const MESSAGE_CHARS_MAX: usize = 8192;

/// Header: the number of improving efforts of an acknowledged delivery. Firehose ignores it.
const IMPROVEMENTS: &str = "alleycat-improvements";
/// Header: the number of quarantined records by reason, such as `json=1,missing=2`.
const REJECTED: &str = "alleycat-rejected";

/// The response to a delivery.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeliveryResponse {
    /// The delivery's id.
    #[schema(example = "ed4acda5-034f-9f42-bba1-f29aea6d7d8f")]
    request_id: String,
    /// Time of the response, in milliseconds since 1970.
    #[schema(example = 1578090903599_u64)]
    timestamp: u64,
    /// The reason why the delivery is not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error_message: Option<String>,
}

/// Deliver telemetry
///
/// The HTTP endpoint destination of an Amazon Data Firehose stream. 200 says that every effort of
/// the delivery is durable, and that every rejected record is quarantined durably. 4xx says that
/// nothing was applied. After 5xx some of it may have been applied, and a retry settles it.
#[utoipa::path(
    post, path = "/firehose", tag = "Deliveries", operation_id = "deliverRecords",
    params(
        ("X-Amz-Firehose-Request-Id" = String, Header,
            description = "The delivery's id. Without it, the body's `requestId` is the id."),
        ("X-Amz-Firehose-Protocol-Version" = String, Header, description = "`1.0`."),
        ("X-Amz-Firehose-Access-Key" = String, Header,
            description = "An access key, if the service has any."),
        ("X-Amz-Firehose-Source-Arn" = String, Header,
            description = "The delivery stream. It must be one of `--source-arn`, if the service has any."),
        ("Content-Encoding" = String, Header, description = "`gzip`, or none."),
    ),
    request_body(content = Object,
        description = "`requestId`, and `records` with telemetry objects in base64, one after another, which may be \
            gzipped before. `timestamp` is not read.",
        example = json!({
            "requestId": "ed4acda5-034f-9f42-bba1-f29aea6d7d8f", "timestamp": 1578090901599_u64,
            "records": [{ "data": "eyJjbGFzc0lkIjoxLCJzZWNvbmQiOjEsInJhY2VySWQiOjEsIm91dHB1dCI6MTUwfQ==" }],
        })),
    responses(
        (status = 200, description = "Every effort is durable.", body = DeliveryResponse,
            headers(
                ("Alleycat-Improvements" = u64, description = "Number of efforts that beat the table."),
                ("Alleycat-Rejected" = String,
                    description = "Number of quarantined records by reason: `json=1,missing=2`, or empty."),
            )),
        (status = 400, description = "The delivery is invalid or too large."),
        (status = 403, description = "The delivery stream is not allowed, or a browser page sends without an access key."),
        (status = 404, description = "The service runs with `--read-only`."),
        (status = 415, description = "The content encoding is not gzip."),
        (status = 500, description = "The service failed."),
    )
)]
pub(crate) async fn deliver(State(app): State<AppState>, request: Request) -> Response {
    let began = Instant::now();
    let header_id = request_id(request.headers());
    let is_gzip = check_headers(&app, request.headers());
    let (bytes_max, timeout) = (
        app.config.max_body_bytes(),
        app.config.limits.delivery_deadline,
    );
    let body = delivery::request_body(&app, request, bytes_max, timeout);
    let body_id = Arc::default();
    let ingest = async |body: &mut RequestBody| {
        let ids = (header_id.clone(), Arc::clone(&body_id));
        ingest(&app, is_gzip, ids, body).await
    };
    let result = delivery::ingest_or_drain(&app, body, ingest).await;
    let took = began.elapsed();
    metrics::histogram!(observability::DELIVERY_DURATION_SECONDS).record(took.as_secs_f64());
    let response = match result {
        Ok(result) => acknowledge(&app, &result, took),
        Err(error) => {
            let request_id = header_id.as_deref().or(body_id.get().map(String::as_str));
            refuse(&app, &error, request_id.unwrap_or_default(), took)
        }
    };
    let status = response.status().as_u16().to_string();
    metrics::counter!(observability::DELIVERIES_TOTAL, "status" => status).increment(1);
    response
}

async fn ingest(
    app: &AppState,
    is_gzip: Result<bool, DeliveryError>,
    (header_id, body_id): (Option<String>, Arc<OnceLock<String>>),
    body: &mut RequestBody,
) -> Result<IngestResult, DeliveryError> {
    let is_gzip = is_gzip?;
    let receipt_ms = app.pipeline.accept_at_ms()?;
    let in_flight = app.admission.count_in_flight();
    let (body, permit) = body.read(&app.admission.deliveries).await?;
    let delivery = DeliveryRequest {
        header_id,
        body_id,
        is_gzip,
        body,
        bytes_max: app.config.max_body_bytes(),
        receipt_ms,
    };
    app.pipeline.ingest(delivery, permit, in_flight).await
}

fn acknowledge(app: &AppState, result: &IngestResult, took: Duration) -> Response {
    tracing::info!(
        request_id = ?result.request_id,
        records = result.records,
        efforts = result.efforts,
        improvements = result.improvements,
        rejected = result.quarantined(),
        milliseconds = milliseconds(took),
        commit_milliseconds = milliseconds(result.commit_duration),
        "delivery"
    );
    acknowledgement(result, &app.ledger)
}

fn refuse(app: &AppState, error: &DeliveryError, request_id: &str, took: Duration) -> Response {
    let status = delivery::status(error.code);
    tracing::warn!(
        request_id = %shown(request_id),
        status = status.as_u16(),
        code = error.code.as_str(),
        error = ?error.message,
        milliseconds = milliseconds(took),
        "delivery error"
    );
    metrics::counter!(observability::DELIVERY_ERRORS_TOTAL, "code" => error.code.as_str())
        .increment(1);
    respond(status, request_id, Some(&error.message), &app.ledger)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) async fn wrong_method(State(app): State<AppState>, request: Request) -> Response {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    not_a_delivery(&app, request, status, "deliveries are sent with POST").await
}

pub(crate) async fn unknown_path(State(app): State<AppState>, request: Request) -> Response {
    let message = "deliveries are sent to /firehose";
    not_a_delivery(&app, request, StatusCode::NOT_FOUND, message).await
}

/// Drains the body of a request that is no delivery, and refuses it.
async fn not_a_delivery(
    app: &AppState,
    request: Request,
    status: StatusCode,
    message: &str,
) -> Response {
    let request_id = request_id(request.headers()).unwrap_or_default();
    delivery::drain(app, request).await;
    respond(status, &request_id, Some(message), &app.ledger)
}

/// Returns the delivery's id, if the headers have a valid one.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    (1..=REQUEST_ID_BYTES_MAX)
        .contains(&id.len())
        .then(|| id.to_owned())
}

/// Checks the headers, and returns whether the body is gzip.
fn check_headers(app: &AppState, headers: &HeaderMap) -> Result<bool, DeliveryError> {
    let error = |code, message: &str| Err(DeliveryError::new(code, message));
    let value = |name: &str| {
        let value = headers.get(name).map(HeaderValue::as_bytes);
        value.unwrap_or_default()
    };
    let arns = &app.config.source_arns;
    let arn = value(SOURCE_ARN);
    if !arns.is_empty() && !arns.iter().any(|allowed| allowed.as_bytes() == arn) {
        let message = "X-Amz-Firehose-Source-Arn is not one of --source-arn";
        return error(DeliveryErrorCode::SourceArnNotAllowed, message);
    }
    if headers.contains_key(PROTOCOL_VERSION) && value(PROTOCOL_VERSION) != b"1.0" {
        let message = "X-Amz-Firehose-Protocol-Version must be 1.0";
        return error(DeliveryErrorCode::UnsupportedProtocolVersion, message);
    }
    delivery::is_gzip(headers)
}

/// Returns a response in Firehose's form.
fn respond(
    status: StatusCode,
    request_id: &str,
    error_message: Option<&str>,
    ledger: &Ledger,
) -> Response {
    let error_message =
        error_message.map(|message| message.chars().take(MESSAGE_CHARS_MAX).collect());
    let response = DeliveryResponse {
        request_id: request_id.to_owned(),
        timestamp: ledger.now_ms(),
        error_message,
    };
    (status, Json(response)).into_response()
}

/// Returns the response to a durable delivery.
fn acknowledgement(result: &IngestResult, ledger: &Ledger) -> Response {
    let mut response = respond(StatusCode::OK, &result.request_id, None, ledger);
    let reasons: Vec<_> = (result.rejected.iter())
        .map(|(reason, count)| format!("{reason}={count}"))
        .collect();
    let reasons = reasons.join(",").parse().expect("reasons are letters");
    let headers = response.headers_mut();
    headers.insert(IMPROVEMENTS, result.improvements.into());
    headers.insert(REJECTED, reasons);
    response
}
