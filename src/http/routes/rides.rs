//! `POST /rides`: rides from the page, where the operator lets it send them (`serve --demo`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::respond::form;
use crate::http::routes::firehose::{self, DeliveryError, Outcome, STOPPING_PATIENCE};
use crate::http::state::AppState;
use crate::ingest::decoded_records::DecodedRecords;
use crate::ingest::json_scan;
use crate::state::races;

/// The longest body, in bytes: the page sends a second's records at a time, some 5 kB at the greatest speed; a whole
/// race that waited for the service has 80 kB.
const BODY_BYTES_MAX: usize = 256 << 10;

/// What rides take up at the most, in bytes: a body, as much for what is quarantined, and what is decoded from it.
const RIDES_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

/// The most records of a body: a race has 300, and each record may have to be quarantined.
const RECORDS_MAX: usize = 1000;

/// What became of the records.
#[derive(Serialize, ToSchema)]
struct Ridden {
    /// How many there were.
    #[schema(example = 20)]
    records: usize,
    /// How many efforts were new personal bests.
    #[schema(example = 3)]
    improvements: usize,
    /// How many records are not telemetry, and were quarantined.
    #[schema(example = 0)]
    rejected: usize,
}

/// A record of a ride.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "tells what `telemetry` reads")]
struct RideRecord {
    #[schema(minimum = 1, example = 1)]
    class_id: u16,
    #[schema(example = 60)]
    second: u32,
    #[schema(maximum = 9007199254740991_u64, example = 17)]
    racer_id: u64,
    #[schema(minimum = 0, maximum = 300, example = 80)]
    cadence: f64,
    #[schema(minimum = 0, maximum = 100, example = 78)]
    resistance: f64,
    #[schema(maximum = 9007199254740991_u64, example = 1619185620265_u64)]
    race_id: Option<u64>,
    /// In milliseconds since 1970.
    #[schema(maximum = 9007199254740991_u64, example = 1619185789755_u64)]
    device_timestamp: Option<u64>,
    #[schema(example = "Hubert")]
    name: Option<String>,
    /// `final` for the last second of the race, else `update`.
    #[schema(example = "update")]
    event: Option<String>,
}

/// A ride from the page
///
/// Only where the service was started with `--demo`. Taken like a delivery: 200 says that every effort is durable, and
/// that what is no telemetry is quarantined. After 5xx some of it may be durable, and sending it again settles it.
/// Pages of other origins cannot send it.
#[utoipa::path(
    post, path = "/rides", tag = "Deliveries",
    request_body = Vec<RideRecord>,
    responses(
        (status = 200, description = "It is durable.", body = Ridden),
        (status = 400, description = "It is not an array of up to 1000 records, or too long in coming.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 403, description = "A page of another origin sends it.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 404, description = "The service takes no rides from the page.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 413, description = "It is over 256 KiB.", body = ApiError, content_type = "application/problem+json"),
        (status = 415, description = "It is not `application/json`.", body = ApiError,
            content_type = "application/problem+json"),
        (status = 503, description = "The store failed, or the service is starting, stopping or overloaded.",
            body = ApiError, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn rides(
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if app.config.demo.is_none() {
        return Err(ApiError::not_found(
            "rides are taken from the page only where the service runs with --demo",
        ));
    }
    // With any other type a browser would let a page of another origin send it without asking.
    if !is_json(&headers) {
        let detail = "rides are sent as application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    if comes_from_elsewhere(&headers) {
        let detail = "rides are taken from this service's own page, and from whoever is no browser";
        return Err(ApiError::new(StatusCode::FORBIDDEN, detail));
    }
    drop(headers); // they may be large, and the body be long in coming
    let deadline = app.config.delivery_deadline;
    let outcome = tokio::select! {
        taken = take(&app, body) => taken?,
        () = tokio::time::sleep(deadline) => {
            return Err(ApiError::unavailable(format!("not durable within {} s", deadline.as_secs_f64())));
        }
        () = app.has_been_stopping(STOPPING_PATIENCE) => return Err(ApiError::unavailable("the service is stopping")),
    };
    let Outcome {
        records,
        efforts,
        improvements,
        ..
    } = outcome;
    let rejected = outcome.quarantined();
    tracing::debug!(records, efforts, improvements, rejected, "ride");
    Ok(form::json(
        &Ridden {
            records,
            improvements,
            rejected,
        },
        false,
    ))
}

async fn take(app: &AppState, body: Body) -> Result<Outcome, ApiError> {
    app.ledger.accepts().map_err(DeliveryError::from)?;
    let receipt_ms = app.ledger.now_ms();
    let room = Arc::new(app.gate.admit(RIDES_BYTES_MAX)?);
    let limits = app.config.limits.ride_body_timeout;
    let body = tokio::time::timeout(limits, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    let body = body.map_err(|_| {
        ApiError::bad_request(format!(
            "the body did not come within {} s",
            limits.as_secs_f64()
        ))
    })?;
    let body = body.map_err(|_| {
        let detail = format!("the body is over {BODY_BYTES_MAX} bytes, or did not arrive whole");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    })?;
    let records: Vec<&RawValue> = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(format!(
            "the body is not a JSON array of records: {}",
            json_scan::describe_error(&error)
        ))
    })?;
    if records.len() > RECORDS_MAX {
        return Err(ApiError::bad_request(format!(
            "the body has {} records, over {RECORDS_MAX}",
            records.len()
        )));
    }
    let bytes = || records.iter().map(|record| record.get().as_bytes());
    let mut decoded = DecodedRecords::of(bytes(), app.ledger.bounds(), receipt_ms);
    app.ledger.names().retain_newer(&mut decoded.names);
    let heard = races::race_updates(&decoded.efforts, &decoded.finals);
    let raw = |places: Vec<usize>| {
        let raw = places
            .into_iter()
            .map(|place| records[place].get().as_bytes().to_vec());
        std::future::ready(Ok(raw.collect()))
    };
    let id = "a ride from the page".to_owned();
    Ok(firehose::commit(&app.ledger, id, decoded, heard, receipt_ms, raw, room).await?)
}

/// Whether a browser says that a page of another origin sends it. What is no browser says nothing.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), ..) => !matches!(site, "same-origin" | "none"),
        (None, None, _) => false,
        (None, Some(origin), host) => {
            origin.split_once("://").map(|(_, authority)| authority) != host || host.is_none()
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_is_told_by_what_its_browser_says() {
        let elsewhere = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            comes_from_elsewhere(&headers.collect())
        };
        assert!(!elsewhere(&[("host", "127.0.0.1:8080")]), "no browser");
        assert!(!elsewhere(&[("host", "a:1"), ("origin", "http://a:1")]));
        assert!(!elsewhere(&[
            ("origin", "https://a"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(elsewhere(&[("host", "a:1"), ("origin", "http://b:1")]));
        assert!(elsewhere(&[("host", "a:1"), ("origin", "null")]));
        assert!(elsewhere(&[("origin", "http://a:1")]));
        for site in ["cross-site", "same-site", "odd"] {
            assert!(elsewhere(&[
                ("host", "a:1"),
                ("origin", "http://a:1"),
                ("sec-fetch-site", site)
            ]));
        }
    }
}
