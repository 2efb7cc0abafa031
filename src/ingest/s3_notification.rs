//! S3's event notifications: the objects that they name, in any envelope.
//!
//! Pure: objects are read elsewhere. Sources: the S3 user guide, "Event message structure"; the
//! Lambda developer guide on SQS, SNS and EventBridge.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::ingest::json_scan::{self, BorrowedText, JsonObject, text};
use crate::ingest::lambda_event::{self, EventError};

/// Maximum number of messages in an event, and of objects that it names. It is the largest batch
/// that Lambda takes from SQS.
const NOTIFIED_MAX: usize = 10_000;

/// Maximum number of envelopes around each other: S3's own, in SNS, in SQS.
const ENVELOPES_MAX: usize = 3;

/// The objects that a notification names.
#[derive(Debug, Default)]
pub(crate) struct S3Notification {
    /// The objects, each once.
    pub(crate) objects: Vec<S3ObjectRef>,
    /// The errors of records that should name an object. The other records count nevertheless.
    pub(crate) unreadable: Vec<String>,
    /// The number of records and messages that name no new object: deletions, test events, events
    /// of other services.
    pub(crate) ignored: usize,
}

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct S3ObjectRef {
    /// The bucket of the object.
    pub(crate) bucket: String,
    /// The key of the object.
    pub(crate) key: String,
    /// The decoded key, if the key has the form of an encoded one although its event does not
    /// encode keys. It is to be tried after `key`.
    pub(crate) decoded_key: Option<String>,
}

impl S3Notification {
    /// Parses a notification. An error means that nothing in it names an object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, EventError> {
        let mut collector = ObjectCollector::default();
        collector.add_envelope(&lambda_event::parse_object(body)?, ENVELOPES_MAX)?;
        let notification = collector.notification;
        match &*notification.unreadable {
            [error, ..] if notification.objects.is_empty() && notification.ignored == 0 => {
                Err(EventError(format!("no record names an object: {error}")))
            }
            _ => Ok(notification),
        }
    }
}

/// Collects the objects of nested envelopes.
#[derive(Default)]
struct ObjectCollector {
    notification: S3Notification,
    /// The buckets and keys of the objects collected so far.
    names: HashSet<(String, String)>,
}

impl ObjectCollector {
    /// Adds the content of an envelope. It may contain `depth_left` more, one in the other.
    fn add_envelope(
        &mut self,
        envelope: &NotificationEnvelope<'_>,
        depth_left: usize,
    ) -> Result<(), EventError> {
        let is_message = depth_left < ENVELOPES_MAX;
        if text(envelope.event).as_deref() == Some("s3:TestEvent") {
            self.notification.ignored += 1;
        } else if let Some(records) = envelope.records {
            let BoundedArray(records) = parse_field("Records", records)?;
            for (index, record) in records.into_iter().enumerate() {
                self.add_record_or_error(index, record, depth_left);
            }
        } else if let Some(detail) = envelope.detail {
            match text(envelope.detail_type).as_deref() {
                // EventBridge does not encode keys.
                None | Some("Object Created" | "Object Restore Completed") => {
                    let JsonObject(S3Entity { bucket, object }) = parse_field("detail", detail)?;
                    let decoded_key = decode_key(&object.key).filter(|it| *it != object.key);
                    self.add_object(bucket.name, object.key, decoded_key)?;
                }
                Some(_) => self.notification.ignored += 1,
            }
        } else if let Some(message) = envelope.message {
            let BorrowedText(message) = parse_field("Message", message)?;
            self.add_topic_message(&message, depth_left)?;
        } else if is_message {
            // A queue or a topic may also carry events of others. They must not fail a whole batch.
            self.notification.ignored += 1;
        } else {
            let error = "neither a Firehose data transformation (invocationId, records) nor an S3 event \
                         notification (Records), nor one in an SNS, SQS or EventBridge envelope";
            return Err(EventError(error.to_owned()));
        }
        Ok(())
    }

    /// Adds the objects of a record, or its error. The other records count nevertheless.
    fn add_record_or_error(&mut self, index: usize, record: &RawValue, depth_left: usize) {
        let mut source = format!("record {}", index + 1);
        let record = lambda_event::parse_object::<NotificationRecord<'_>>(record.get().as_bytes());
        let added = record.and_then(|record| {
            if let Some(id) = text(record.message_id) {
                source = format!("message {id}");
            }
            self.add_record(&record, depth_left)
        });
        if let Err(error) = added {
            let error = format!("{source}: {error}");
            self.notification.unreadable.push(error);
        }
    }

    fn add_record(
        &mut self,
        record: &NotificationRecord<'_>,
        depth_left: usize,
    ) -> Result<(), EventError> {
        if let Some(entity) = record.s3 {
            if text(record.event_name).is_some_and(|name| !is_new_object(&name)) {
                self.notification.ignored += 1;
                return Ok(());
            }
            let JsonObject(entity) = parse_field::<JsonObject<S3Entity>>("s3", entity)?;
            let key = decode_key(&entity.object.key).ok_or_else(|| {
                EventError("an object's key is not UTF-8 in URL encoding".to_owned())
            })?;
            self.add_object(entity.bucket.name, key, None)
        } else if let Some(sns) = record.sns {
            let JsonObject(sns) = parse_field::<JsonObject<SnsMessage>>("Sns", sns)?;
            self.add_topic_message(&sns.message, depth_left)
        } else if let Some(body) = record.body
            && (record.message_id.is_some()
                || text(record.event_source).as_deref() == Some("aws:sqs"))
        {
            if json_scan::begins_object(body.get().as_bytes()) {
                return self.add_message(body.get(), depth_left); // a pipe has decoded it
            }
            let BorrowedText(body) = parse_field("body", body)?;
            self.add_message(&body, depth_left)
        } else if record.event_source.is_some() {
            self.notification.ignored += 1; // a record of another service
            Ok(())
        } else {
            let error = "a record has neither s3, nor Sns, nor body and messageId";
            Err(EventError(error.to_owned()))
        }
    }

    /// Adds the envelope in a topic's message, which may also be a text for people.
    fn add_topic_message(&mut self, text: &str, depth_left: usize) -> Result<(), EventError> {
        if json_scan::begins_object(text.as_bytes()) {
            return self.add_message(text, depth_left);
        }
        self.notification.ignored += 1;
        Ok(())
    }

    /// Adds the envelope in a message's text.
    fn add_message(&mut self, text: &str, depth_left: usize) -> Result<(), EventError> {
        let Some(depth_left) = depth_left.checked_sub(1) else {
            let error = format!("over {ENVELOPES_MAX} envelopes around each other");
            return Err(EventError(error));
        };
        self.add_envelope(&lambda_event::parse_object(text.as_bytes())?, depth_left)
    }

    fn add_object(
        &mut self,
        bucket: String,
        key: String,
        decoded_key: Option<String>,
    ) -> Result<(), EventError> {
        if bucket.is_empty() || key.is_empty() {
            return Err(EventError("an object has no bucket or no key".to_owned()));
        }
        let name = (bucket.clone(), key.clone());
        if self.names.contains(&name) {
            return Ok(());
        }
        if self.names.len() == NOTIFIED_MAX {
            return Err(EventError(format!("over {NOTIFIED_MAX} objects")));
        }
        self.names.insert(name);
        self.notification.objects.push(S3ObjectRef {
            bucket,
            key,
            decoded_key,
        });
        Ok(())
    }
}

fn is_new_object(event_name: &str) -> bool {
    let name = event_name.strip_prefix("s3:").unwrap_or(event_name);
    name.starts_with("ObjectCreated:") || name == "ObjectRestore:Completed"
}

/// Decodes a key as S3 encodes it in notifications: like a form, in which `+` is a space.
fn decode_key(key: &str) -> Option<String> {
    percent_decode_str(&key.replace('+', " "))
        .decode_utf8()
        .ok()
        .map(Cow::into_owned)
}

/// Parses a field's value. Only a field that matters is parsed: events of other services may have
/// any type under the same name.
fn parse_field<'e, T: Deserialize<'e>>(
    field: &'static str,
    value: &'e RawValue,
) -> Result<T, EventError> {
    serde_json::from_str(value.get()).map_err(|error| {
        let description = json_scan::describe_error(&error);
        EventError(format!("invalid {field}: {description}"))
    })
}

/// The fields of all envelopes: those of S3, SQS and a Lambda event of SNS (`Records`), EventBridge
/// (`detail`), and SNS as it delivers to a queue (`Message`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NotificationEnvelope<'e> {
    #[serde(borrow)]
    records: Option<&'e RawValue>,
    event: Option<&'e RawValue>,
    message: Option<&'e RawValue>,
    #[serde(rename = "detail-type")]
    detail_type: Option<&'e RawValue>,
    #[serde(rename = "detail")]
    detail: Option<&'e RawValue>,
}

/// One of `Records`, from S3, SNS, SQS or another service.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NotificationRecord<'e> {
    #[serde(borrow, alias = "EventSource")]
    event_source: Option<&'e RawValue>,
    event_name: Option<&'e RawValue>,
    s3: Option<&'e RawValue>,
    #[serde(rename = "Sns")]
    sns: Option<&'e RawValue>,
    body: Option<&'e RawValue>,
    message_id: Option<&'e RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SnsMessage {
    message: String,
}

#[derive(Deserialize)]
struct S3Entity {
    bucket: S3Bucket,
    object: S3Object,
}

#[derive(Deserialize)]
struct S3Bucket {
    name: String,
}

#[derive(Deserialize)]
struct S3Object {
    key: String,
}

/// An array of at most [`NOTIFIED_MAX`] elements.
struct BoundedArray<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for BoundedArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArrayVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ArrayVisitor<T> {
            type Value = BoundedArray<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() == NOTIFIED_MAX {
                        let error = format_args!("over {NOTIFIED_MAX} records");
                        return Err(de::Error::custom(error));
                    }
                    elements.push(element);
                }
                Ok(BoundedArray(elements))
            }
        }
        deserializer.deserialize_seq(ArrayVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests;
