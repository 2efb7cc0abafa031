//! Responses in Firehose's form.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ingest::pipeline::IngestResult;
use crate::ledger::Ledger;

/// Maximum length of an error message, in characters: Firehose's own limit.
const MESSAGE_CHARS_MAX: usize = 8192;

/// Header: the number of improving efforts of an acknowledged delivery. Firehose ignores it.
const IMPROVEMENTS: &str = "alleycat-improvements";
/// Header: the number of quarantined records by reason, such as `json=1,missing=2`.
const REJECTED: &str = "alleycat-rejected";

/// The response to a delivery.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveryResponse {
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

/// Returns a response in Firehose's form.
pub(super) fn respond(
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
pub(super) fn acknowledgement(result: &IngestResult, ledger: &Ledger) -> Response {
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
