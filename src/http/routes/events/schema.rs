//! The bodies of events and of their responses, for the OpenAPI document. The events themselves are
//! read and written in `ingest/lambda_event`.

use serde::Serialize;
use utoipa::ToSchema;

/// An event of AWS Lambda.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
#[serde(untagged)]
pub(super) enum EventBody {
    Transformation(TransformationBody),
    Notification(NotificationBody),
}

/// A Firehose data transformation.
#[derive(Serialize, ToSchema)]
#[schema(as = Transformation)]
#[serde(rename_all = "camelCase")]
pub(super) struct TransformationBody {
    /// The invocation's id.
    invocation_id: &'static str,
    /// The records.
    records: Vec<TransformationRecord>,
}

/// A record to transform.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TransformationRecord {
    /// Its id, which the response repeats.
    record_id: &'static str,
    /// Telemetry objects in base64.
    #[schema(content_encoding = "base64")]
    data: &'static str,
}

/// An S3 notification, by itself or in an SNS or SQS envelope. EventBridge's has `detail` in place
/// of `Records`.
#[derive(Serialize, ToSchema)]
#[schema(as = Notification)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NotificationBody {
    /// The events.
    records: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// The response to an event.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum EventResponse {
    Transformation(TransformationResponse),
    Notification(NotificationResponse),
}

/// The records of a transformation, in their order.
#[derive(Serialize, ToSchema)]
#[schema(as = Transformed)]
pub(super) struct TransformationResponse {
    /// The transformed records.
    records: Vec<TransformedRecord>,
}

/// A transformed record.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TransformedRecord {
    /// Its id.
    record_id: &'static str,
    /// `Ok`, `Dropped` (it is empty) or `ProcessingFailed`.
    #[schema(pattern = "^(Ok|Dropped|ProcessingFailed)$")]
    result: &'static str,
    /// JSON with `output` and a newline, in base64. Unless it is `Ok`, the data as received.
    #[schema(content_encoding = "base64")]
    data: &'static str,
}

/// The result of a notification.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Merged)]
pub(super) struct NotificationResponse {
    /// Number of objects that were read.
    pub(super) objects: usize,
    /// Number of records in them.
    pub(super) records: usize,
    /// Number of efforts that were new personal bests.
    pub(super) improvements: usize,
    /// Number of quarantined records.
    pub(super) quarantined: usize,
    /// Number of entries without a new object or without records: deletions, tests, this project's
    /// own objects.
    pub(super) ignored: usize,
}

const RECORD_ID: &str = "49617596128959546022271020452671363531733489582035959810000000";

impl EventBody {
    pub(super) fn example_transformation() -> Self {
        Self::Transformation(TransformationBody {
            invocation_id: "d8ce3cc6-61c3-407a-97da-d9bc2ce58e72",
            records: vec![TransformationRecord {
                record_id: RECORD_ID,
                data: "eyJjbGFzc0lkIjoxfQ==",
            }],
        })
    }

    pub(super) fn example_notification() -> Self {
        let record = serde_json::json!({
            "s3": { "bucket": { "name": "rides" }, "object": { "key": "2021/04/23/13/rides-1" } },
        });
        Self::Notification(NotificationBody {
            records: record.as_object().cloned().into_iter().collect(),
        })
    }
}

impl EventResponse {
    pub(super) fn example_transformation() -> Self {
        Self::Transformation(TransformationResponse {
            records: vec![TransformedRecord {
                record_id: RECORD_ID,
                result: "ProcessingFailed",
                data: "eyJjbGFzc0lkIjoxfQ==",
            }],
        })
    }

    pub(super) fn example_notification() -> Self {
        Self::Notification(NotificationResponse {
            objects: 1,
            records: 40,
            improvements: 12,
            quarantined: 0,
            ignored: 0,
        })
    }
}
