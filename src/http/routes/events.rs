//! `POST /events`: what AWS Lambda's events ask for, as the Lambda Web Adapter posts them, or whoever else does.
//!
//! A Firehose data transformation is answered, and merges nothing. S3's notifications have objects read and their
//! records made durable exactly as a delivery's. An answer of 200 says that all of them are. Whatever could not be read
//! fails the event after the rest is durable: what comes again with it improves nothing.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::future::ready;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::http::auth::bearer;
use crate::http::error::ApiError;
use crate::http::respond::form;
use crate::http::routes::firehose::{self, DeliveryError, DeliveryErrorCode};
use crate::http::state::{AppState, IN_PLACE_OUTPUTS_MAX, joined};
use crate::ingest::decoded_records::DecodedRecords;
use crate::ingest::lambda_event::{EVENT_BYTES_MAX, LambdaEvent};
use crate::ingest::object_reader::{ObjectItem, ObjectReader, ObjectReaderError};
use crate::ingest::s3_notification::{S3Notification, S3ObjectRef};
use crate::ledger::Ledger;
use crate::observability;
use crate::state::races::{self, RaceUpdate};

/// Events that are worked on at a time: each may hold an object.
const EVENTS_MAX: usize = 4;

/// The largest object, gunzipped, in bytes: sixteen times the 128 MiB that Firehose buffers at most.
const OBJECT_BYTES_MAX: u64 = 2 << 30;

/// How much of an object is decoded and made durable at a time: as much as Firehose may deliver at once.
const PART_RECORDS_MAX: usize = 10_000;
const PART_BYTES_MAX: usize = 64 << 20;

/// How many objects that failed an answer names; the log names all.
const FAILED_SHOWN_MAX: usize = 10;

/// Whose turn it is, and what is read.
#[derive(Clone)]
pub(crate) struct Turn {
    free: Arc<Semaphore>,
    reading: Arc<Mutex<HashSet<Object>>>,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(EVENTS_MAX)),
            reading: Arc::default(),
        }
    }
}

impl Turn {
    /// Has an object read by one event at a time: `None` while another does. A sender that gives up and tries again
    /// would have the work done twice over, beside itself.
    fn read(&self, object: &S3ObjectRef) -> Option<Reading> {
        let object = (object.bucket.clone(), object.key.clone());
        let is_new = self.reading.lock().insert(object.clone());
        is_new.then(|| Reading {
            object,
            reading: self.reading.clone(),
        })
    }
}

/// A bucket, and the key of an object in it.
type Object = (String, String);

/// An object that is read until this is dropped.
struct Reading {
    object: Object,
    reading: Arc<Mutex<HashSet<Object>>>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.reading.lock().remove(&self.object);
    }
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(events).map(|events| events.fallback(crate::http::router::wrong_method)))
}

/// An event of AWS.
#[derive(ToSchema)]
#[schema(as = Event)]
#[serde(untagged)]
#[expect(dead_code, reason = "tells what `LambdaEvent` reads")]
enum EventBody {
    Transformation(TransformationBody),
    Notification(NotificationBody),
}

/// A data transformation of Firehose.
#[derive(ToSchema)]
#[schema(as = Transformation, rename_all = "camelCase")]
#[expect(dead_code, reason = "tells what `LambdaEvent` reads")]
struct TransformationBody {
    /// The invocation's id.
    #[schema(example = "d8ce3cc6-61c3-407a-97da-d9bc2ce58e72")]
    invocation_id: String,
    /// The records.
    records: Vec<TransformationRecord>,
}

/// A record to be transformed.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "tells what `LambdaEvent` reads")]
struct TransformationRecord {
    /// Its id, which comes back.
    #[schema(example = "49617596128959546022271020452671363531733489582035959810000000")]
    record_id: String,
    /// Telemetry objects in base64.
    #[schema(content_encoding = "base64", example = "eyJjbGFzc0lkIjoxfQ==")]
    data: String,
}

/// A notification of S3, by itself or in an envelope of SNS or SQS; EventBridge's has `detail` in place of `Records`.
#[derive(ToSchema)]
#[schema(as = Notification, rename_all = "PascalCase")]
#[expect(dead_code, reason = "tells what `LambdaEvent` reads")]
struct NotificationBody {
    /// What happened.
    records: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// An answer to an event.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "tells what is answered")]
enum EventResponse {
    Transformed(TransformationResponse),
    Merged(NotificationResponse),
}

/// The records of a transformation, in their order.
#[derive(ToSchema)]
#[schema(as = Transformed)]
#[expect(dead_code, reason = "tells what `Transformation` writes")]
struct TransformationResponse {
    /// What became of each.
    records: Vec<TransformedRecord>,
}

/// What became of a record.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "tells what `Transformation` writes")]
struct TransformedRecord {
    /// Its id.
    record_id: String,
    /// `Ok`, `Dropped` (it is empty) or `ProcessingFailed`.
    #[schema(pattern = "^(Ok|Dropped|ProcessingFailed)$")]
    result: String,
    /// With its output, JSON and a newline, in base64; where it is not `Ok`, as it came.
    #[schema(content_encoding = "base64")]
    data: String,
}

/// What became of the objects that a notification names.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Merged)]
struct NotificationResponse {
    /// How many were read.
    objects: usize,
    /// How many records they hold.
    records: usize,
    /// How many efforts were improvements.
    improvements: usize,
    /// How many records were quarantined.
    quarantined: usize,
    /// What names no new object or none with records: deletions, tests, this project's own objects.
    ignored: usize,
}

/// An event of AWS Lambda
///
/// A Firehose data transformation: the output is added to every record, and nothing is merged. Or a notification of S3,
/// also in an envelope of SNS, SQS or EventBridge: the objects that it names, in buckets that `--notification-bucket` names,
/// are read, and their records made durable like a delivery's.
#[utoipa::path(
    post, path = "/events", tag = "Deliveries",
    params(
        ("X-Amz-Firehose-Access-Key" = Option<String>, Header,
            description = "One of the keys that the service was started with, where there are any; or as a Bearer."),
    ),
    request_body = EventBody,
    responses(
        (status = 200, description = "It is done, and durable.", body = EventResponse, example = json!({
            "objects": 1, "records": 40, "improvements": 12, "quarantined": 0, "ignored": 0,
        })),
        (status = 400, description = "It is no such event, or too large.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 401, description = "The access key is missing or wrong.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 403, description = "It names a bucket that `--notification-bucket` does not (whatever else it names is \
            durable), or a browser's page sends it without a key.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 500, description = "An object cannot be read. Whatever could be read is durable.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "The store failed, or the service is starting, stopping or overloaded.",
            body = ApiError, content_type = "application/problem+json"),
    )
)]
async fn events(State(app): State<AppState>, headers: HeaderMap, body: Body) -> Response {
    match handle(&app, headers, body).await {
        Ok(response) => response,
        Err(problem) => {
            tracing::warn!(?problem, "event refused");
            let is_unauthorized = problem.is(StatusCode::UNAUTHORIZED);
            let mut response = problem.into_response();
            if is_unauthorized {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}

async fn handle(app: &AppState, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let (limits, deadline) = (
        app.config.limits.body_pause_timeout,
        app.config.delivery_deadline,
    );
    let may = may_send(app, &headers);
    drop(headers); // they may be large, and its turn be long in coming
    if let Err(problem) = may {
        let _ = tokio::time::timeout(deadline, firehose::drain(body, limits)).await; // it is refused in any case
        return Err(problem);
    }
    // Bodies come before turns, so that a few that come slowly are in nobody's way.
    let read = tokio::time::timeout(deadline, read_body(app, body, limits)).await;
    let (body, room) = read.unwrap_or_else(|_| {
        let detail = format!("the body did not come within {} s", deadline.as_secs_f64());
        Err(ApiError::bad_request(detail))
    })?;
    let turn = tokio::time::timeout(deadline, app.events.free.clone().acquire_owned()).await;
    let turn = turn
        .map_err(|_| ApiError::unavailable("too many events are under way"))?
        .expect("the semaphore is never closed");
    match LambdaEvent::parse(&body).map_err(|error| ApiError::bad_request(error.to_string()))? {
        LambdaEvent::Transformation(_) => transform(app, body.clone()).await,
        LambdaEvent::Notification(notification) => {
            // It goes on when whoever sent it hangs up, as EventBridge does after 5 s: of an object that takes longer
            // every try would come as far as the one before.
            let app = app.clone();
            let merging = tokio::spawn(async move {
                let _held = (turn, room);
                read_objects(&app, notification).await
            });
            joined(merging).await?
        }
    }
}

/// Whether whoever sends this may have buckets read: it has a key where one is needed, and where none is, it is no page
/// that is open in a browser on this machine.
fn may_send(app: &AppState, headers: &HeaderMap) -> Result<(), ApiError> {
    let keys = &app.keys.access;
    if !keys.are_needed() && headers.contains_key(header::ORIGIN) {
        let detail = "a browser's page may not send events without an access key";
        return Err(ApiError::new(StatusCode::FORBIDDEN, detail));
    }
    let key = headers
        .get(firehose::ACCESS_KEY)
        .map(HeaderValue::as_bytes)
        .or_else(|| bearer(headers));
    if keys.are_needed() && !keys.accept(key.unwrap_or_default()) {
        let detail = "the access key is missing or wrong: X-Amz-Firehose-Access-Key, or Authorization: Bearer";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, detail));
    }
    Ok(())
}

/// Reads a body up to what Lambda may send, within what all bodies may take together.
async fn read_body(
    app: &AppState,
    body: Body,
    limits: Duration,
) -> Result<(Bytes, OwnedSemaphorePermit), ApiError> {
    let read = firehose::read(body, None, EVENT_BYTES_MAX, limits, &app.gate).await;
    read.map_err(|refusal| match refusal.code {
        // A delivery is told of its stream's options. Not 413: were it one on the wrong path, Firehose would drop it.
        DeliveryErrorCode::TooLarge => {
            ApiError::bad_request(format!("an event has {EVENT_BYTES_MAX} bytes at most"))
        }
        _ => refusal.into(),
    })
}

async fn transform(app: &AppState, body: Bytes) -> Result<Response, ApiError> {
    let bounds = *app.ledger.bounds();
    let work = move || {
        let Ok(LambdaEvent::Transformation(transformation)) = LambdaEvent::parse(&body) else {
            return None;
        };
        Some(transformation.transform(&bounds, EVENT_BYTES_MAX))
    };
    // Megabytes of base64 and JSON are not for a thread that drives other requests.
    let answer = app
        .turns
        .work(IN_PLACE_OUTPUTS_MAX, work)
        .await?
        .expect("it was parsed before");
    let answer = answer.map_err(|error| ApiError::bad_request(error.to_string()))?;
    for (&reason, &count) in &answer.failed {
        metrics::counter!(observability::TRANSFORMATION_RECORDS_FAILED_TOTAL, "reason" => reason)
            .increment(count as u64);
    }
    tracing::info!(ok = answer.ok, dropped = answer.dropped, failed = ?answer.failed, "transformation");
    Ok(([(header::CONTENT_TYPE, "application/json")], answer.json).into_response())
}

/// What became of the objects of an event.
#[derive(Default)]
struct Merged {
    objects: usize,
    records: usize,
    improvements: usize,
    quarantined: usize,
    ignored: usize,
    /// What could not be read: the object, or the message, and why.
    failed: Vec<String>,
}

async fn read_objects(app: &AppState, notification: S3Notification) -> Result<Response, ApiError> {
    let S3Notification {
        objects,
        unreadable: failed,
        ignored,
    } = notification;
    let mut merged = Merged {
        ignored,
        failed,
        ..Merged::default()
    };
    let mut forbidden = 0;
    for object in &objects {
        let is_listed = app.buckets.may_be_read(&object.bucket);
        let read = if is_listed {
            read_object(app, object, &mut merged).await?
        } else {
            forbidden += 1;
            Err("the bucket may not be read; name it with --notification-bucket".to_owned())
        };
        if let Err(problem) = read {
            let S3ObjectRef { bucket, key, .. } = object;
            tracing::error!(
                bucket,
                key,
                problem,
                "an object is not merged, or not to its end"
            );
            merged
                .failed
                .push(format!("s3://{bucket}/{key}: {problem}"));
        }
    }
    answer(merged, forbidden)
}

fn answer(merged: Merged, forbidden: usize) -> Result<Response, ApiError> {
    let Merged {
        objects,
        records,
        improvements,
        quarantined,
        ignored,
        mut failed,
    } = merged;
    // What is quarantined has the name that it has where a delivery is told of, for whoever counts it in the log.
    let rejected = quarantined;
    let count = failed.len();
    tracing::info!(
        objects,
        records,
        improvements,
        rejected,
        ignored,
        failed = count,
        "notification"
    );
    if count == 0 {
        return Ok(form::json(
            &NotificationResponse {
                objects,
                records,
                improvements,
                quarantined,
                ignored,
            },
            false,
        ));
    }
    failed.truncate(FAILED_SHOWN_MAX);
    let detail = format!(
        "of {} objects could not be read, or not to the end: {count} ({}); whatever could be is durable: {records} \
         records, {improvements} improvements, {quarantined} quarantined",
        objects + count,
        failed.join("; ")
    );
    // Another try does not open a bucket.
    let status = if count == forbidden {
        StatusCode::FORBIDDEN
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    Err(ApiError::new(status, detail))
}

/// Makes the records of an object durable, part by part. The outer error is the ledger's, and ends the event; the inner
/// one is the object's.
async fn read_object(
    app: &AppState,
    object: &S3ObjectRef,
    merged: &mut Merged,
) -> Result<Result<(), String>, ApiError> {
    let Some(_reading) = app.events.read(object) else {
        return Ok(Err(
            "another event has it read just now; send this one again later".to_owned(),
        ));
    };
    let body = match app.buckets.get(object).await {
        Ok(body) => body,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let name = format!("s3://{}/{}", object.bucket, object.key);
    let mut archive = ObjectReader::open_as_records(Cursor::new(body), OBJECT_BYTES_MAX);
    loop {
        // What is checked here holds for the time of receipt: an effort's time is never after it.
        app.ledger.accepts().map_err(DeliveryError::from)?;
        let receipt_ms = app.ledger.now_ms();
        let ledger = app.ledger.clone();
        let work = move || {
            let part = Part::of(&mut archive, &ledger, receipt_ms);
            (archive, part)
        };
        let part;
        (archive, part) = match app.turns.work(IN_PLACE_OUTPUTS_MAX, work).await {
            Ok(worked) => worked,
            Err(_) => {
                return Ok(Err(
                    "the service is overloaded; send it again later".to_owned()
                ));
            }
        };
        let Part {
            raw,
            decoded,
            heard,
            end,
        } = part;
        let bytes =
            2 * raw.iter().map(Vec::len).sum::<usize>() + decoded.bytes() + size_of_val(&*heard);
        let room = app.gate.admit(bytes).map_err(ApiError::from)?;
        let raw = |places: Vec<usize>| {
            ready(Ok(places
                .into_iter()
                .map(|place| raw[place].clone())
                .collect()))
        };
        let committed = firehose::commit(
            &app.ledger,
            name.clone(),
            decoded,
            heard,
            receipt_ms,
            raw,
            Arc::new(room),
        )
        .await;
        let outcome = committed.map_err(ApiError::from)?;
        merged.records += outcome.records;
        merged.improvements += outcome.improvements;
        merged.quarantined += outcome.quarantined();
        match end {
            None => {}
            Some(Ok(())) => break,
            Some(Err(ObjectReaderError::Snapshot)) => {
                merged.ignored += 1;
                return Ok(Ok(()));
            }
            Some(Err(error)) => return Ok(Err(error.to_string())),
        }
    }
    merged.objects += 1;
    Ok(Ok(()))
}

/// A part of an object.
struct Part {
    /// Its records' data.
    raw: Vec<Vec<u8>>,
    decoded: DecodedRecords,
    heard: Vec<RaceUpdate>,
    /// Whether it is the last, and how it ended.
    end: Option<Result<(), ObjectReaderError>>,
}

impl Part {
    fn of(archive: &mut ObjectReader, ledger: &Ledger, receipt_ms: u64) -> Self {
        let (mut raw, mut bytes, mut end) = (Vec::new(), 0, None);
        while end.is_none() && raw.len() < PART_RECORDS_MAX && bytes < PART_BYTES_MAX {
            match archive.next() {
                Some(Ok(ObjectItem::Record(data))) => {
                    bytes += data.len();
                    raw.push(data);
                }
                // What this service quarantined itself would be quarantined again, and be told of again, for ever.
                Some(Ok(ObjectItem::Quarantined(_) | ObjectItem::Name)) => {}
                Some(Err(error)) => end = Some(Err(error)),
                None => end = Some(Ok(())),
            }
        }
        let records = raw.iter().map(Vec::as_slice);
        let mut decoded = DecodedRecords::of(records, ledger.bounds(), receipt_ms);
        ledger.names().retain_newer(&mut decoded.names);
        let heard = races::race_updates(&decoded.efforts, &decoded.finals);
        Self {
            raw,
            decoded,
            heard,
            end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_by_one_event_at_a_time() {
        let turn = Turn::default();
        let object = |key: &str| S3ObjectRef {
            bucket: "rides".to_owned(),
            key: key.to_owned(),
            decoded_key: None,
        };
        let first = turn.read(&object("1"));
        assert!(
            first.is_some()
                && turn.read(&object("1")).is_none()
                && turn.read(&object("2")).is_some()
        );
        drop(first);
        assert!(turn.read(&object("1")).is_some());
    }
}
