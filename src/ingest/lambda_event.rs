//! The events of AWS Lambda functions: a Firehose data transformation, or an S3 notification.
//!
//! Pure: this module decides which event it is. Objects are read elsewhere.

use serde::Deserialize;

use crate::ingest::json_scan::{self, BorrowedText, JsonObject};
use crate::ingest::s3_notification::S3Notification;
use crate::ingest::transformation::{SourceRecord, Transformation};

/// Maximum size of an event and of its response, in bytes.
///
/// The Lambda quotas say "6 MB each for request and response"
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>). Lambda's own error
/// messages give this number.
pub(crate) const EVENT_BYTES_MAX: usize = 6_291_556;

/// The error for an event that is invalid or not supported.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct EventError(pub(crate) String);

/// An event.
#[derive(Debug)]
pub(crate) enum LambdaEvent<'b> {
    /// A request to transform records.
    Transformation(Transformation<'b>),
    /// The names of objects to read.
    Notification(S3Notification),
}

impl<'b> LambdaEvent<'b> {
    /// Parses an event.
    pub(crate) fn parse(body: &'b [u8]) -> Result<Self, EventError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct TransformationEvent<'b> {
            #[serde(borrow, default)]
            invocation_id: Option<BorrowedText<'b>>,
            #[serde(borrow, default)]
            records: Option<Vec<JsonObject<SourceRecord<'b>>>>,
        }
        let event: TransformationEvent<'b> = parse_object(body)?;
        if event.invocation_id.is_none() {
            return S3Notification::parse(body).map(Self::Notification);
        }
        let records = event
            .records
            .ok_or_else(|| EventError("the transformation has no records".to_owned()))?;
        let records = records.into_iter().map(|JsonObject(record)| record);
        Transformation::new(records.collect()).map(Self::Transformation)
    }
}

/// Parses one JSON object of an event.
pub(crate) fn parse_object<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, EventError> {
    let body = json_scan::without_byte_order_mark(body);
    if !json_scan::begins_object(body) {
        return Err(EventError("not a JSON object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| {
        let description = json_scan::describe_error(&error);
        EventError(format!("invalid event: {description}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error(event: &[u8]) -> String {
        let event = LambdaEvent::parse(event);
        event.expect_err("not a supported event").to_string()
    }

    #[test]
    fn event_that_is_not_an_object_is_an_error() {
        for event in [&b"[]"[..], b"x", b"\"secret\"", b"", b"\xef\xbb\xbf[]"] {
            assert_eq!(error(event), "not a JSON object");
        }
    }

    #[test]
    fn unknown_event_is_an_error_that_names_the_supported_ones() {
        let error = error(b"{}");
        assert!(error.contains("invocationId"), "{error}");
        assert!(error.contains("S3 event notification"), "{error}");
    }

    #[test]
    fn invalid_transformation_is_an_error() {
        let no_records = error(b"{\"invocationId\":\"i\"}");
        assert!(no_records.contains("no records"), "{no_records}");
        let array = error(b"{\"invocationId\":\"i\",\"records\":[[\"1\",\"\"]]}");
        assert!(array.contains("expected an object"), "{array}");
        let record = json!({"recordId": "1", "data": ""});
        let event = json!({"invocationId": "i", "records": [record, record]});
        let repeated = error(event.to_string().as_bytes());
        assert!(repeated.contains("recordId is repeated"), "{repeated}");
    }
}
