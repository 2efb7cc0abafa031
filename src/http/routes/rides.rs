//! `POST /rides`: rides from the page, only under `serve --demo`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::http::delivery::{self, RequestBody};
use crate::http::error::ApiError;
use crate::http::extract::query::Param;
use crate::http::respond::format;
use crate::http::state::AppState;
use crate::ingest::error::{DeliveryError, DeliveryErrorCode};
use crate::ingest::json_scan;
use crate::ingest::pipeline::{DecodedBatch, IngestResult};

/// Maximum length of a body, in bytes. The page sends one record a second, some 200 bytes; a whole
/// race that waited for the service has some 80 kB.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Maximum number of records of a body. A race has 300, and each record may be quarantined.
const RECORDS_MAX: usize = 1000;

/// The result of a ride.
#[derive(Serialize, ToSchema)]
#[schema(as = Ridden)]
struct RideResponse {
    /// Number of records.
    #[schema(example = 20)]
    records: usize,
    /// Number of efforts that were new personal bests.
    #[schema(example = 3)]
    improvements: usize,
    /// Number of records that were rejected and quarantined.
    #[schema(example = 0)]
    rejected: usize,
}

/// Send a ride from the page
///
/// Only where the service was started with `--demo`. Processed like a delivery: 200 says that every
/// effort is durable, and that every rejected record is quarantined. After 5xx some of it may be
/// durable, and a retry settles it. Pages of other origins cannot send rides.
#[utoipa::path(
    post, path = "/rides", tag = "Deliveries", operation_id = "sendRides",
    request_body(content = Vec<Object>,
        description = "Telemetry objects. `event` is `final` for the last second of the race, else `update`.",
        example = json!([{
            "classId": 1, "second": 60, "racerId": 17, "cadence": 80, "resistance": 78, "raceId": 1619185620265_u64,
            "deviceTimestamp": 1619185789755_u64, "name": "Hubert", "event": "update",
        }])),
    responses(
        (status = 200, description = "Every effort is durable.", body = RideResponse),
        (status = 400, description = "The body is not an array of up to 1000 records, or too slow."),
        (status = 404, description = "The service does not run with `--demo`."),
        (status = 413, description = "The body is over 256 KiB."),
        (status = 415, description = "The body is not `application/json`."),
    )
)]
pub(crate) async fn rides(
    State(app): State<AppState>,
    request: Request,
) -> Result<Response, ApiError> {
    let timeout = app.config.limits.ride_body_timeout;
    let checked = check(&app, request.headers());
    let body = delivery::request_body(&app, request, BODY_BYTES_MAX, timeout);
    let ingest = async |body: &mut RequestBody| {
        checked?;
        ingest(&app, body).await.map_err(ride_error)
    };
    let result = delivery::ingest_or_drain(&app, body, ingest).await?;
    let rejected = result.quarantined();
    let IngestResult {
        records,
        efforts,
        improvements,
        ..
    } = result;
    tracing::debug!(records, efforts, improvements, rejected, "ride");
    let response = RideResponse {
        records,
        improvements,
        rejected,
    };
    Ok(format::json(&response, Param(None)))
}

fn check(app: &AppState, headers: &HeaderMap) -> Result<(), ApiError> {
    if app.config.demo.is_none() {
        return Err(ApiError::not_found(
            "rides need a service that runs with --demo",
        ));
    }
    // Before a page of another origin sends this type, the browser sends a CORS preflight, which is
    // not allowed here. Other types need no preflight.
    if !is_json(headers) {
        let detail = "rides are sent as application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    Ok(())
}

async fn ingest(app: &AppState, body: &mut RequestBody) -> Result<IngestResult, DeliveryError> {
    let receipt_ms = app.pipeline.accept_at_ms()?;
    let (body, mut permit) = body.read(&app.admission.rides).await?;
    let decoded = app.pipeline.run(move |ledger| {
        let records = parse(&body)?;
        let batch = DecodedBatch::of_records("ride".to_owned(), records, receipt_ms, ledger);
        let grown = permit.grow_to(batch.memory_bytes());
        grown.ok_or_else(DeliveryError::memory_limit)?;
        Ok::<_, DeliveryError>((batch, permit))
    });
    let (batch, permit) = decoded.await??;
    app.pipeline.commit(batch, permit).await
}

fn parse(body: &[u8]) -> Result<Vec<Vec<u8>>, DeliveryError> {
    let invalid = |message| DeliveryError::new(DeliveryErrorCode::InvalidEnvelope, message);
    let records: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
        let error = json_scan::describe_error(&error);
        invalid(format!("the body is not a JSON array of records: {error}"))
    })?;
    if records.len() > RECORDS_MAX {
        let count = records.len();
        return Err(invalid(format!(
            "the body has {count} records, over {RECORDS_MAX}"
        )));
    }
    let records = records.into_iter();
    Ok(records
        .map(|record| record.get().as_bytes().to_vec())
        .collect())
}

/// Returns the error of a ride. Rides do not come from Firehose, so a large one may get 413.
fn ride_error(error: DeliveryError) -> ApiError {
    match error.code {
        DeliveryErrorCode::TooLarge => {
            let detail = format!("the body is over {BODY_BYTES_MAX} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        }
        _ => error.into(),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next());
    media_type.is_some_and(|it| it.trim().eq_ignore_ascii_case("application/json"))
}
