//! The protocol's requests and responses, as bytes and headers.

use anyhow::Context;
use bytes::Bytes;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use serde::{Deserialize, Serialize};

use crate::firehose_client::{AccessKey, ClientOptions, RecordCounts, now_ms};
use crate::gzip;

/// Maximum size of a response, in bytes: Firehose reads no more.
pub(crate) const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// Maximum length of an endpoint's error message, in characters: enough for a person, short enough
/// for a log.
const MESSAGE_CHARS_MAX: usize = 500;

/// Maximum number of rejection reasons that a response may name.
const REASONS_MAX: usize = 32;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-amz-firehose-protocol-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-firehose-request-id");
const SOURCE_ARN: HeaderName = HeaderName::from_static("x-amz-firehose-source-arn");
const ACCESS_KEY: HeaderName = HeaderName::from_static("x-amz-firehose-access-key");
const COMMON_ATTRIBUTES: HeaderName = HeaderName::from_static("x-amz-firehose-common-attributes");

/// The request of a delivery, the same at every try.
pub(crate) struct DeliveryRequest {
    pub(crate) id: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl DeliveryRequest {
    pub(crate) async fn new<R>(options: &ClientOptions, records: Vec<R>) -> Self
    where
        R: AsRef<[u8]> + Send + 'static,
    {
        let id = uuid::Builder::from_random_bytes(rand::random())
            .into_uuid()
            .to_string();
        let mut headers = constant_headers(options)
            .expect("the same headers were valid when the client was made");
        headers.insert(
            REQUEST_ID,
            HeaderValue::from_str(&id).expect("a UUID is a header value"),
        );
        let (body_id, gzip) = (id.clone(), options.gzip);
        // Base64 and gzip of up to 64 MiB would block a thread that drives other deliveries.
        let encoding = tokio::task::spawn_blocking(move || {
            encode_delivery(&body_id, now_ms(), &records, gzip)
        });
        Self {
            id,
            headers,
            body: encoding
                .await
                .expect("encoding does not panic, and is not cancelled"),
        }
    }
}

/// Returns the headers that are the same for every delivery.
pub(crate) fn constant_headers(options: &ClientOptions) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static("1.0"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static("Amazon Kinesis Data Firehose Agent/1.0"),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        SOURCE_ARN,
        HeaderValue::from_str(&options.source_arn).context("the source's ARN")?,
    );
    if options.gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(AccessKey(key)) = &options.access_key {
        headers.insert(ACCESS_KEY, key.clone());
    }
    if !options.common_attributes.is_empty() {
        let attributes =
            serde_json::json!({ "commonAttributes": options.common_attributes }).to_string();
        let value =
            HeaderValue::from_bytes(attributes.as_bytes()).context("the common attributes")?;
        headers.insert(COMMON_ATTRIBUTES, value);
    }
    Ok(headers)
}

/// Returns the body: `{"requestId":…,"timestamp":…,"records":[{"data":…},…]}`, compressed with
/// `gzip`.
pub(crate) fn encode_delivery<R: AsRef<[u8]>>(
    id: &str,
    timestamp_ms: u64,
    records: &[R],
    gzip: bool,
) -> Bytes {
    let base64_bytes: usize = records
        .iter()
        .map(|record| record.as_ref().len().div_ceil(3) * 4 + 12)
        .sum();
    let mut body = Vec::with_capacity(base64_bytes + id.len() + 64);
    body.extend_from_slice(
        format!(r#"{{"requestId":"{id}","timestamp":{timestamp_ms},"records":["#).as_bytes(),
    );
    for (index, record) in records.iter().enumerate() {
        body.extend_from_slice(if index == 0 {
            br#"{"data":""#
        } else {
            br#",{"data":""#
        });
        base64_simd::STANDARD.encode_append(record, &mut body);
        body.extend_from_slice(br#""}"#);
    }
    body.extend_from_slice(b"]}");
    if !gzip {
        return body.into();
    }
    gzip::gzip(&body).into()
}

/// A response's body. Firehose's specification names these keys and no others.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResponseBody {
    request_id: String,
    timestamp: u64,
    error_message: Option<String>,
}

/// Checks that the body is the protocol's acknowledgement of that request.
pub(crate) fn check_response(body: &[u8], id: &str) -> Result<(), String> {
    if body.len() > RESPONSE_BYTES_MAX {
        return Err(format!(
            "the response is longer than {RESPONSE_BYTES_MAX} bytes"
        ));
    }
    let response: ResponseBody = serde_json::from_slice(body)
        .map_err(|error| format!("the response is not the protocol's JSON: {error}"))?;
    if response.request_id != id {
        return Err("the response is to another request".to_owned());
    }
    Ok(())
}

/// Returns the counts in the headers: `alleycat-improvements: 3`, `alleycat-rejected:
/// json=1,missing=2`.
pub(crate) fn record_counts(headers: &HeaderMap) -> Option<RecordCounts> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let improvements = text("alleycat-improvements")?.parse().ok()?;
    let rejected = text("alleycat-rejected")
        .unwrap_or_default()
        .split(',')
        .take(REASONS_MAX)
        .filter_map(|reason| {
            let (reason, count) = reason.split_once('=')?;
            let is_reason = !reason.is_empty()
                && reason
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            Some((reason.to_owned(), count.parse().ok()?)).filter(|_| is_reason)
        });
    Some(RecordCounts {
        improvements,
        rejected: rejected.collect(),
    })
}

/// Returns the response's `errorMessage`, or its body, without control characters.
pub(crate) fn error_message(body: &[u8]) -> String {
    let message = serde_json::from_slice::<ResponseBody>(body)
        .ok()
        .and_then(|response| response.error_message);
    message
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
        .chars()
        .filter(|char| !char.is_control())
        .take(MESSAGE_CHARS_MAX)
        .collect()
}
