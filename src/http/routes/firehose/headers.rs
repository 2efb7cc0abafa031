//! The headers of a delivery.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::http::error::shown;
use crate::http::state::AppState;
use crate::ingest::envelope::REQUEST_ID_BYTES_MAX;
use crate::ingest::error::{DeliveryError, DeliveryErrorCode};

const REQUEST_ID: &str = "x-amz-firehose-request-id";
const PROTOCOL_VERSION: &str = "x-amz-firehose-protocol-version";
const SOURCE_ARN: &str = "x-amz-firehose-source-arn";

/// Returns the delivery's id, if the headers have a valid one.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    (1..=REQUEST_ID_BYTES_MAX)
        .contains(&id.len())
        .then(|| id.to_owned())
}

/// Checks the headers, and returns whether the body is gzip.
pub(super) fn check(app: &AppState, headers: &HeaderMap) -> Result<bool, DeliveryError> {
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
    is_gzip(headers)
}

/// Returns whether the only content encoding is gzip.
fn is_gzip(headers: &HeaderMap) -> Result<bool, DeliveryError> {
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
