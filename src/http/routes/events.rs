//! `POST /events`: the events of AWS Lambda, as the Lambda Web Adapter posts them.
//!
//! A Firehose data transformation returns the records, and merges nothing. An S3 notification has
//! its objects read and their records committed like a delivery's: 200 says that all of them are
//! durable. An object that cannot be read fails the event after the others are durable; a retry
//! finds nothing to improve in those.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::domain::effort::Bounds;
use crate::gzip::gunzip;
use crate::http::delivery::{self, RequestBody};
use crate::http::error::ApiError;
use crate::http::extract::query::Param;
use crate::http::respond::format;
use crate::http::state::{AppState, joined};
use crate::ingest::error::{DeliveryError, DeliveryErrorCode};
use crate::ingest::import_object::ImportResult;
use crate::ingest::lambda_event::{EVENT_BYTES_MAX, EventError, LambdaEvent};
use crate::ingest::s3_notification::S3Notification;
use crate::ingest::transformation::TransformationResponse;
use crate::memory_budget::{MemoryPermit, guarded};
use crate::observability;

/// Maximum number of events that are processed at a time: each may hold an object.
const CONCURRENT_EVENTS_MAX: usize = 4;

/// Maximum number of failed objects that a response names. The log names all.
const FAILED_SHOWN_MAX: usize = 10;

/// Returns the concurrency limit of events.
pub(crate) fn concurrency_limit() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONCURRENT_EVENTS_MAX))
}

/// Process an event of AWS Lambda
///
/// A Firehose data transformation: the output is added to every record, and nothing is merged. Or
/// an S3 notification, also in an SNS, SQS or EventBridge envelope: its objects are read if their
/// bucket is one of `--notification-bucket`, and their records made durable like a delivery's.
#[utoipa::path(
    post, path = "/events", tag = "Deliveries", operation_id = "sendEvent",
    params(
        ("X-Amz-Firehose-Access-Key" = String, Header,
            description = "An access key, if the service has any. `Authorization: Bearer` works as well."),
        ("Content-Encoding" = String, Header, description = "`gzip`, or none."),
    ),
    request_body(content = Object,
        description = "A data transformation, or an S3 notification.",
        examples(
            ("Transformation" = (value = json!({
                "invocationId": "d8ce3cc6-61c3-407a-97da-d9bc2ce58e72",
                "records": [{ "recordId": "4961", "data": "eyJjbGFzc0lkIjoxfQ==" }],
            }))),
            ("Notification" = (value = json!({ "Records": [{
                "s3": { "bucket": { "name": "rides" }, "object": { "key": "2021/04/23/13/rides-1" } },
            }] }))),
        )),
    responses(
        (status = 200, description = "The event is processed, and its records are durable. A `result` is `Ok`, `Dropped` or `ProcessingFailed`.",
            body = inline(serde_json::Value), content_type = "application/json", examples(
                ("Transformation" = (value = json!({ "records": [
                    { "recordId": "4961", "result": "ProcessingFailed", "data": "eyJjbGFzc0lkIjoxfQ==" },
                ] }))),
                ("Notification" = (value = json!({
                    "objects": 1, "records": 40, "improvements": 12, "quarantined": 0, "ignored": 0,
                }))),
            )),
        (status = 400, description = "The event is unknown, invalid or too large."),
        (status = 403, description = "A bucket is not one of `--notification-bucket`, or a browser page sends without an access key."),
        (status = 404, description = "The service runs with `--read-only`."),
        (status = 415, description = "The content encoding is not gzip."),
        (status = 500, description = "An object cannot be read. The records of the others are durable."),
    )
)]
pub(crate) async fn events(State(app): State<AppState>, request: Request) -> Response {
    process(&app, request).await.unwrap_or_else(|error| {
        tracing::warn!(?error, "event failed");
        error.into_response()
    })
}

async fn process(app: &AppState, request: Request) -> Result<Response, ApiError> {
    let timeout = app.config.limits.delivery_deadline;
    let is_gzip = delivery::is_gzip(request.headers());
    let body = delivery::request_body(app, request, EVENT_BYTES_MAX, timeout);
    let parse = async |body: &mut RequestBody| read_and_parse(app, is_gzip?, body).await;
    match delivery::ingest_or_drain(app, body, parse).await? {
        (ParsedEvent::Transformed(transformed), (_, memory_permit)) => {
            Ok(transformation_response(transformed, memory_permit)?)
        }
        // Without a deadline: Lambda freezes the process after the response, so an object that
        // takes longer would never be imported to its end.
        (ParsedEvent::Notification(notification), permits) => {
            delivery::until_shutdown_timeout(app, import(app, notification, permits)).await
        }
    }
}

/// The permits of an event: to be processed, and of its memory.
type EventPermits = (OwnedSemaphorePermit, MemoryPermit);

async fn read_and_parse(
    app: &AppState,
    is_gzip: bool,
    body: &mut RequestBody,
) -> Result<(ParsedEvent, EventPermits), ApiError> {
    let read = body.read(&app.admission.deliveries).await;
    let (bytes, memory_permit) = read.map_err(|error| match error.code {
        // Not 413: Firehose, sending to the wrong path, would drop its delivery.
        DeliveryErrorCode::TooLarge => {
            ApiError::bad_request(format!("the event is over {EVENT_BYTES_MAX} bytes"))
        }
        _ => error.into(),
    })?;
    // Bodies are read before, so that slow ones do not keep others from being processed.
    let permit = timeout_at(body.deadline(), app.events.clone().acquire_owned()).await;
    let permit = permit.map_err(|_| ApiError::unavailable("event concurrency limit reached"))?;
    let permits = (
        permit.expect("the semaphore is never closed"),
        memory_permit,
    );
    let parsed = app.pipeline.run(move |ledger| {
        // The work may outlive its caller, and its permits are released only then.
        let event = if is_gzip {
            let plain = gunzip(&bytes, EVENT_BYTES_MAX).map_err(|error| error.to_string());
            plain.and_then(|plain| parse(&plain, ledger.bounds()))
        } else {
            parse(&bytes, ledger.bounds())
        };
        (event, permits)
    });
    let (event, permits) = parsed.await?;
    Ok((event.map_err(ApiError::bad_request)?, permits))
}

/// The result of a notification.
#[derive(Serialize)]
struct NotificationResponse {
    /// Number of objects that were read.
    objects: usize,
    /// Number of records in them.
    records: usize,
    /// Number of efforts that were new personal bests.
    improvements: usize,
    /// Number of quarantined records.
    quarantined: usize,
    /// Number of entries without a new object, and of this project's snapshots: deletions, tests,
    /// histories.
    ignored: usize,
}

/// A parsed event, with the records of a transformation transformed.
enum ParsedEvent {
    Transformed(TransformationResponse),
    Notification(S3Notification),
}

fn parse(body: &[u8], bounds: &Bounds) -> Result<ParsedEvent, String> {
    let text = |error: EventError| error.to_string();
    Ok(match LambdaEvent::parse(body).map_err(text)? {
        LambdaEvent::Transformation(transformation) => {
            let transformed = transformation.transform(bounds, EVENT_BYTES_MAX);
            ParsedEvent::Transformed(transformed.map_err(text)?)
        }
        LambdaEvent::Notification(notification) => ParsedEvent::Notification(notification),
    })
}

/// Returns the response to a transformation. Its body holds the permit until it is sent.
fn transformation_response(
    transformed: TransformationResponse,
    mut permit: MemoryPermit,
) -> Result<Response, DeliveryError> {
    let TransformationResponse {
        json,
        ok,
        dropped,
        failed,
    } = transformed;
    let grown = permit.grow_to(json.capacity());
    grown.ok_or_else(DeliveryError::memory_limit)?;
    for (&reason, &count) in &failed {
        metrics::counter!(observability::TRANSFORMATION_RECORDS_FAILED_TOTAL, "reason" => reason)
            .increment(count as u64);
    }
    tracing::info!(ok, dropped, ?failed, "transformation");
    let json = Body::from(guarded(json.into(), permit));
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// Imports the objects of a notification, detached from the request: EventBridge disconnects after
/// 5 s, and otherwise every retry of a large object would stop at the same point.
async fn import(
    app: &AppState,
    notification: S3Notification,
    permits: EventPermits,
) -> Result<Response, ApiError> {
    let importer = app.importer.clone();
    let import = tokio::spawn(async move {
        let _permits = permits;
        importer.import(notification).await
    });
    notification_response(joined(import).await??)
}

fn notification_response(imported: ImportResult) -> Result<Response, ApiError> {
    let ImportResult {
        objects,
        records,
        improvements,
        quarantined,
        ignored,
        mut failed,
        forbidden,
    } = imported;
    let failures = failed.len();
    tracing::info!(
        objects,
        records,
        improvements,
        rejected = quarantined, // a delivery's log line has the same name
        ignored,
        failed = failures,
        "notification"
    );
    if failures == 0 {
        let response = NotificationResponse {
            objects,
            records,
            improvements,
            quarantined,
            ignored,
        };
        return Ok(format::json(&response, Param(None)));
    }
    failed.truncate(FAILED_SHOWN_MAX);
    let detail = format!(
        "{failures} of {} objects could not be read to their end ({}); the rest is durable: \
         {records} records, {improvements} improvements, {quarantined} quarantined",
        objects + failures,
        failed.join("; ")
    );
    // A retry does not open a bucket.
    let status = if failures == forbidden {
        StatusCode::FORBIDDEN
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    Err(ApiError::new(status, detail))
}
