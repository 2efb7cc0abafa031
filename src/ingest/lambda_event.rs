//! The events that AWS posts to `/events`: Firehose's data transformation, and S3's notifications in their envelopes.
//!
//! Pure: what an event asks for is told apart here, and a transformation is done here; objects are read elsewhere.
//! Sources: the Firehose developer guide, "Transform source data"; the S3 user guide, "LambdaEvent message structure"; the
//! Lambda developer guide on SQS, SNS and EventBridge.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};
use serde_json::value::RawValue;

use crate::domain::effort::{Bounds, Output};
use crate::domain::json_scan;
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::ingest::envelope::{self, GZIP_MAGIC, GunzipError};
use crate::ingest::record;

/// The largest event and the largest answer, in bytes. The Lambda quotas say "6 MB each for request and response"
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>); the service's own error messages give
/// it as this number.
pub const EVENT_BYTES_MAX: usize = 6_291_556;

/// The largest transformed record, in bytes: Firehose's limit of 1,000 KiB before base64.
const RECORD_BYTES_MAX: usize = 1_024_000;

/// The most messages of an event, and the most objects that it may name: the largest batch that Lambda takes from SQS.
const NOTIFIED_MAX: usize = 10_000;

/// How deep a notification may be wrapped: S3's own, in SNS, in SQS.
const ENVELOPES_MAX: usize = 3;

/// It is none of the events that are taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EventError(String);

/// What an event asks for.
#[derive(Debug)]
pub enum LambdaEvent<'b> {
    /// That records are transformed.
    Transformation(Transformation<'b>),
    /// That objects are read.
    Notification(S3Notification),
}

/// Records to be transformed.
#[derive(Debug)]
pub struct Transformation<'b>(Vec<SourceRecord<'b>>);

/// Objects to be read.
#[derive(Debug, Default)]
pub struct S3Notification {
    /// The objects, each once.
    pub objects: Vec<S3ObjectRef>,
    /// Which of its records name no object although they should, and why: they are in no other's way.
    pub unreadable: Vec<String>,
    /// What the event tells that names no new object: deletions, test events.
    pub ignored: usize,
}

/// An object that a notification names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3ObjectRef {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Where the key may have been encoded, although it should not: the key then.
    pub decoded_key: Option<String>,
}

impl<'b> LambdaEvent<'b> {
    /// Tells what event that is.
    pub fn parse(body: &'b [u8]) -> Result<Self, EventError> {
        let envelope: Envelope<'b> = parse(body)?;
        if envelope.invocation_id.is_some() {
            let records = envelope
                .records
                .ok_or_else(|| EventError("the transformation has no records".to_owned()))?;
            let records: Vec<_> = records.into_iter().map(|Keyed(record)| record).collect();
            let mut ids = HashSet::new();
            return match records
                .iter()
                .find(|record| !ids.insert(&*record.record_id.0))
            {
                None => Ok(Self::Transformation(Transformation(records))),
                Some(_) => Err(EventError("a recordId stands twice".to_owned())),
            };
        }
        let mut notification = S3Notification::default();
        let mut places = HashMap::new();
        notification.take(envelope, &mut places, ENVELOPES_MAX)?;
        match notification {
            S3Notification {
                objects,
                unreadable,
                ignored: 0,
            } if objects.is_empty() && !unreadable.is_empty() => Err(EventError(format!(
                "nothing in it names an object: {}",
                unreadable[0]
            ))),
            notification => Ok(Self::Notification(notification)),
        }
    }
}

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, EventError> {
    let body = json_scan::without_byte_order_mark(body);
    // A derived struct would take an array of its fields as well.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(EventError("it is not a JSON object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| {
        EventError(format!(
            "it is no event: {}",
            json_scan::describe_error(&error)
        ))
    })
}

type Places = HashMap<(String, String), usize>;

impl S3Notification {
    /// Takes in what an envelope holds.
    fn take(
        &mut self,
        envelope: Envelope<'_>,
        places: &mut Places,
        deeper: usize,
    ) -> Result<(), EventError> {
        if envelope.event.as_deref() == Some("s3:TestEvent") {
            self.ignored += 1;
        } else if let Some(Bounded(records)) = envelope.notified {
            for (place, Keyed(record)) in records.into_iter().enumerate() {
                let id = record.message_id.clone();
                if let Err(problem) = self.take_record(record, places, deeper) {
                    let which = id.map_or_else(
                        || format!("record {}", place + 1),
                        |id| format!("message {id}"),
                    );
                    self.unreadable.push(format!("{which}: {problem}"));
                }
            }
        } else if let Some(detail) = envelope.detail {
            match envelope.detail_type.as_deref() {
                // The keys of these are not encoded.
                None | Some("Object Created" | "Object Restore Completed") => {
                    self.name(detail, true, places)?;
                }
                Some(_) => self.ignored += 1,
            }
        } else if let Some(text) = envelope.message {
            self.unwrap(&text, places, deeper)?;
        } else {
            let problem = "it is neither a Firehose data transformation (invocationId, records) nor an S3 event \
                           notification (Records), nor one in an SNS, SQS or EventBridge envelope";
            return Err(EventError(problem.to_owned()));
        }
        Ok(())
    }

    fn take_record(
        &mut self,
        record: Enveloped,
        places: &mut Places,
        deeper: usize,
    ) -> Result<(), EventError> {
        let is_new = |name: &str| {
            let name = name.strip_prefix("s3:").unwrap_or(name);
            name.starts_with("ObjectCreated:") || name == "ObjectRestore:Completed"
        };
        match record {
            Enveloped {
                s3: Some(entity),
                event_name,
                ..
            } => match event_name.as_deref() {
                Some(name) if !is_new(name) => self.ignored += 1,
                _ => self.name(entity, false, places)?,
            },
            Enveloped { sns: Some(sns), .. } => self.unwrap(&sns.message, places, deeper)?,
            Enveloped {
                body: Some(body),
                message_id: Some(_),
                ..
            } => self.unwrap(&body, places, deeper)?,
            _ => {
                return Err(EventError(
                    "a record of it has neither s3, nor Sns, nor body and messageId".to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn unwrap(&mut self, text: &str, places: &mut Places, deeper: usize) -> Result<(), EventError> {
        let Some(deeper) = deeper.checked_sub(1) else {
            return Err(EventError(format!(
                "it is wrapped in over {ENVELOPES_MAX} envelopes"
            )));
        };
        self.take(parse(text.as_bytes())?, places, deeper)
    }

    /// Notes an object that is named.
    fn name(
        &mut self,
        entity: Entity,
        is_plain: bool,
        places: &mut Places,
    ) -> Result<(), EventError> {
        let Entity {
            bucket: Bucket { name: bucket },
            object: Object { key },
        } = entity;
        let decoded = decode_key(&key);
        let (key, decoded_key) = match (is_plain, decoded) {
            (false, Some(decoded)) => (decoded, None),
            (false, None) => {
                return Err(EventError(
                    "an object's key is not UTF-8 in URL encoding".to_owned(),
                ));
            }
            (true, decoded) => {
                let decoded = decoded.filter(|decoded| *decoded != key);
                (key, decoded)
            }
        };
        if bucket.is_empty() || key.is_empty() {
            return Err(EventError("an object has no bucket or no key".to_owned()));
        }
        let place = *places
            .entry((bucket.clone(), key.clone()))
            .or_insert(self.objects.len());
        if place == NOTIFIED_MAX {
            return Err(EventError(format!("it names over {NOTIFIED_MAX} objects")));
        }
        if place == self.objects.len() {
            self.objects.push(S3ObjectRef {
                bucket,
                key,
                decoded_key,
            });
        }
        Ok(())
    }
}

/// A key as S3 encodes it in notifications: as in a form, so `+` is a space.
fn decode_key(key: &str) -> Option<String> {
    percent_decode_str(&key.replace('+', " "))
        .decode_utf8()
        .ok()
        .map(Cow::into_owned)
}

/// An answer to a transformation.
#[derive(Debug)]
pub struct Transformed {
    /// The answer, as JSON.
    pub json: Vec<u8>,
    /// How many records are `Ok`.
    pub ok: usize,
    /// How many are `Dropped`.
    pub dropped: usize,
    /// Of those that are `ProcessingFailed`, how many for which reason.
    pub failed: BTreeMap<&'static str, usize>,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Verdict {
    Ok,
    Dropped,
    ProcessingFailed,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultRecord<'r> {
    record_id: &'r str,
    result: Verdict,
    data: &'r str,
}

impl Transformation<'_> {
    /// How many records it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds its output to every record. Those that cannot be taken, and those whose result does not fit into
    /// `bytes_max` beside the others, are `ProcessingFailed` with the data as it came, which is shorter.
    ///
    /// # Errors
    /// Not even the records as they came fit. Firehose's own event is never so large: it tells more of each record than
    /// an answer does.
    pub fn transform(&self, bounds: &Bounds, bytes_max: usize) -> Result<Transformed, EventError> {
        const AROUND: usize = r#"{"records":[]}"#.len();
        let failed_bytes = |record: &SourceRecord<'_>| {
            result(record, Verdict::ProcessingFailed, &record.data.0).len() + 1 // and a comma
        };
        let mut rest: usize = self.0.iter().map(failed_bytes).sum();
        if AROUND + rest > bytes_max {
            return Err(EventError(format!(
                "its records do not fit into an answer of {bytes_max} bytes"
            )));
        }
        let mut answer = Transformed {
            json: br#"{"records":["#.to_vec(),
            ok: 0,
            dropped: 0,
            failed: BTreeMap::new(),
        };
        for (place, record) in self.0.iter().enumerate() {
            rest -= failed_bytes(record);
            let fits = |json: &Vec<u8>| answer.json.len() + json.len() + 1 + rest + 2 <= bytes_max;
            let outcome = with_output(&record.data.0, bounds).and_then(|data| match data {
                None => Ok((
                    Verdict::Dropped,
                    result(record, Verdict::Dropped, &record.data.0),
                )),
                Some(data) => {
                    let data = base64_simd::STANDARD.encode_to_string(data);
                    let json = Some(result(record, Verdict::Ok, &data)).filter(fits);
                    let too_large = || {
                        Rejection::new(RejectionReason::TooLarge, "the answer has no room for it")
                    };
                    json.map(|json| (Verdict::Ok, json)).ok_or_else(too_large)
                }
            });
            if place > 0 {
                answer.json.push(b',');
            }
            match outcome {
                Ok((verdict, json)) => {
                    *(if verdict == Verdict::Ok {
                        &mut answer.ok
                    } else {
                        &mut answer.dropped
                    }) += 1;
                    answer.json.extend_from_slice(&json);
                }
                Err(rejection) => {
                    *answer.failed.entry(rejection.reason.as_str()).or_default() += 1;
                    answer
                        .json
                        .extend(result(record, Verdict::ProcessingFailed, &record.data.0));
                }
            }
        }
        answer.json.extend_from_slice(b"]}");
        Ok(answer)
    }
}

fn result(record: &SourceRecord<'_>, result: Verdict, data: &str) -> Vec<u8> {
    let record = ResultRecord {
        record_id: &record.record_id.0,
        result,
        data,
    };
    serde_json::to_vec(&record).expect("it has text keys and values")
}

/// The record with its output, a line for each of its objects; `None` where there is nothing in it.
fn with_output(data: &str, bounds: &Bounds) -> Result<Option<Vec<u8>>, Rejection> {
    let too_large = || {
        Rejection::new(
            RejectionReason::TooLarge,
            format!("the record is over {RECORD_BYTES_MAX} bytes"),
        )
    };
    let mut data = base64_simd::STANDARD
        .decode_to_vec(data)
        .map_err(|_| Rejection::new(RejectionReason::Base64, "the data is not base64"))?;
    if data.starts_with(&GZIP_MAGIC) {
        data = envelope::gunzip(&data, RECORD_BYTES_MAX).map_err(|error| match error {
            GunzipError::TooLarge(_) => too_large(),
            GunzipError::Broken(error) => Rejection::new(RejectionReason::Gzip, error.to_string()),
        })?;
    }
    let mut outputs = Vec::new();
    if record::decode(&data, bounds, 0, |telemetry| {
        outputs.push(telemetry.effort.output);
    })? == 0
    {
        return Ok(None);
    }
    let mut lines = Vec::with_capacity(data.len() + outputs.len() * 32);
    let text = json_scan::without_byte_order_mark(&data);
    let objects = serde_json::Deserializer::from_slice(text).into_iter::<Fields<'_>>();
    for (object, output) in objects.zip(outputs) {
        let mut fields =
            object.map_err(|error| Rejection::new(RejectionReason::Json, error.to_string()))?;
        fields.write(output, &mut lines);
        lines.push(b'\n');
    }
    if lines.len() > RECORD_BYTES_MAX {
        Err(too_large())
    } else {
        Ok(Some(lines))
    }
}

/// The fields of an object in their order, as they are written; of a key given twice, the last value in the first
/// place.
struct Fields<'d>(Vec<(Cow<'d, str>, &'d RawValue)>);

impl Fields<'_> {
    /// Writes the object with that output, which stands where one stood before, or at the end.
    fn write(&mut self, output: Output, into: &mut Vec<u8>) {
        let output = output.to_string();
        let mut has_output = false;
        into.push(b'{');
        for (place, (key, value)) in self.0.iter().enumerate() {
            let value = if key == "output" {
                &output
            } else {
                value.get()
            };
            has_output |= key == "output";
            write_field(place, key, value, into);
        }
        if !has_output {
            write_field(self.0.len(), "output", &output, into);
        }
        into.push(b'}');
    }
}

fn write_field(place: usize, key: &str, value: &str, into: &mut Vec<u8>) {
    if place > 0 {
        into.push(b',');
    }
    serde_json::to_writer(&mut *into, key).expect("writing to memory does not fail");
    into.push(b':');
    let (mut in_text, mut is_escaped) = (false, false);
    for &byte in value.as_bytes() {
        if in_text || !byte.is_ascii_whitespace() {
            into.push(byte);
        }
        in_text ^= byte == b'"' && !is_escaped;
        is_escaped = in_text && byte == b'\\' && !is_escaped;
    }
}

impl<'de: 'd, 'd> Deserialize<'de> for Fields<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                let mut places = HashMap::new();
                while let Some((Text(key), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    match places.get(&key) {
                        Some(&place) => fields[place] = (key, value),
                        None => {
                            places.insert(key.clone(), fields.len());
                            fields.push((key, value));
                        }
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// The outside of every event that is taken.
#[derive(DeserializeDerive)]
struct Envelope<'b> {
    #[serde(rename = "invocationId")]
    invocation_id: Option<Cow<'b, str>>,
    #[serde(borrow, default)]
    records: Option<Vec<Keyed<SourceRecord<'b>>>>,
    #[serde(rename = "Records")]
    notified: Option<Bounded<Keyed<Enveloped>>>,
    #[serde(rename = "Event")]
    event: Option<String>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    detail: Option<Entity>,
    /// What SNS wraps, where it is delivered to a queue as it is.
    #[serde(rename = "Message")]
    message: Option<String>,
}

/// A record that a transformation is asked for.
#[derive(Debug, DeserializeDerive)]
struct SourceRecord<'b> {
    #[serde(rename = "recordId", borrow)]
    record_id: Text<'b>,
    #[serde(borrow)]
    data: Text<'b>,
}

/// A text, borrowed where it has no escapes.
#[derive(Debug, DeserializeDerive)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

/// One of `Records`: S3's own, SNS's or SQS's.
#[derive(DeserializeDerive)]
struct Enveloped {
    #[serde(rename = "eventName")]
    event_name: Option<String>,
    s3: Option<Entity>,
    #[serde(rename = "Sns")]
    sns: Option<Sns>,
    body: Option<String>,
    #[serde(rename = "messageId")]
    message_id: Option<String>,
}

#[derive(DeserializeDerive)]
struct Sns {
    #[serde(rename = "Message")]
    message: String,
}

#[derive(DeserializeDerive)]
struct Entity {
    bucket: Bucket,
    object: Object,
}

#[derive(DeserializeDerive)]
struct Bucket {
    name: String,
}

#[derive(DeserializeDerive)]
struct Object {
    key: String,
}

/// An object, and not an array of its fields, which a derived struct would take as well.
struct Keyed<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyedVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for KeyedVisitor<T> {
            type Value = Keyed<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Keyed)
            }
        }
        deserializer.deserialize_map(KeyedVisitor(std::marker::PhantomData))
    }
}

/// A list of at most [`NOTIFIED_MAX`].
struct Bounded<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoundedVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for BoundedVisitor<T> {
            type Value = Bounded<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(one) = seq.next_element()? {
                    if list.len() == NOTIFIED_MAX {
                        return Err(de::Error::custom(format_args!(
                            "over {NOTIFIED_MAX} records"
                        )));
                    }
                    list.push(one);
                }
                Ok(Bounded(list))
            }
        }
        deserializer.deserialize_seq(BoundedVisitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        classes: 6,
        second_max: 600,
    };

    fn notification(event: &Value) -> S3Notification {
        match LambdaEvent::parse(event.to_string().as_bytes()) {
            Ok(LambdaEvent::Notification(notification)) => notification,
            other => panic!("{other:?}"),
        }
    }

    fn named(event: &Value) -> Vec<(String, String)> {
        notification(event)
            .objects
            .into_iter()
            .map(|object| (object.bucket, object.key))
            .collect()
    }

    fn s3(key: &str) -> Value {
        json!({"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
               "s3": {"bucket": {"name": "b", "arn": "x"}, "object": {"key": key, "size": 1}}})
    }

    fn transform(data: &[&str], bytes_max: usize) -> Result<Value, EventError> {
        let records: Vec<_> = data
            .iter()
            .enumerate()
            .map(|(id, data)| json!({"recordId": id.to_string(), "approximateArrivalTimestamp": 1, "data": data}))
            .collect();
        let event = json!({"invocationId": "i", "region": "r", "records": records}).to_string();
        let LambdaEvent::Transformation(transformation) = LambdaEvent::parse(event.as_bytes())?
        else {
            panic!("{event}")
        };
        assert_eq!(transformation.len(), data.len());
        let answer = transformation.transform(&BOUNDS, bytes_max)?;
        assert!(answer.json.len() <= bytes_max);
        assert_eq!(
            answer.ok + answer.dropped + answer.failed.values().sum::<usize>(),
            data.len()
        );
        Ok(serde_json::from_slice(&answer.json).expect("JSON"))
    }

    fn base64(text: &str) -> String {
        base64_simd::STANDARD.encode_to_string(text)
    }

    fn text(record: &Value) -> String {
        let data = base64_simd::STANDARD
            .decode_to_vec(record["data"].as_str().expect("base64"))
            .expect("base64");
        String::from_utf8(data).expect("text")
    }

    #[test]
    fn a_key_is_decoded_as_a_form_is() {
        let keys = ["a/b.gz", "a+b%2Bc%20d", "%C3%A9t%c3%a9"].map(s3);
        let decoded: Vec<_> = named(&json!({ "Records": keys }))
            .into_iter()
            .map(|(_, key)| key)
            .collect();
        assert_eq!(decoded, ["a/b.gz", "a b+c d", "été"]);
        let broken = json!({"Records": [s3("%ff")]}).to_string();
        assert!(LambdaEvent::parse(broken.as_bytes()).is_err());
    }

    #[test]
    fn objects_are_found_in_every_envelope() {
        let event = json!({"Records": [s3("k"), s3("l"), s3("k")]});
        let expected = [
            ("b".to_owned(), "k".to_owned()),
            ("b".to_owned(), "l".to_owned()),
        ];
        assert_eq!(named(&event), expected);
        let sns =
            json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": event.to_string()}}]});
        assert_eq!(named(&sns), expected);
        let posted =
            json!({"Type": "Notification", "MessageId": "m", "Message": event.to_string()});
        assert_eq!(named(&posted), expected);
        let sqs = |body: &Value| json!({"Records": [{"messageId": "1", "body": body.to_string()}]});
        assert_eq!(named(&sqs(&event)), expected);
        assert_eq!(named(&sqs(&posted)), expected);
        let bridge = |key: &str| {
            json!({"version": "0", "detail-type": "Object Created", "source": "aws.s3",
                   "detail": {"bucket": {"name": "b"}, "object": {"key": key, "size": 5}}})
        };
        assert_eq!(named(&bridge("k")), expected[..1]);
        let mut restored = bridge("k");
        restored["detail-type"] = json!("Object Restore Completed");
        assert_eq!(named(&restored), expected[..1]);
        assert_eq!(named(&sqs(&bridge("k"))), expected[..1]);
        let plain = notification(&bridge("a+b")).objects.remove(0);
        assert_eq!(
            (&*plain.key, plain.decoded_key.as_deref()),
            ("a+b", Some("a b"))
        );
    }

    #[test]
    fn what_names_no_new_object_is_passed_over() {
        let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"});
        let removed =
            json!({"Records": [{"eventName": "ObjectRemoved:Delete", "s3": s3("k")["s3"]}]});
        let deleted = json!({"detail-type": "Object Deleted",
            "detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}});
        for event in [test, removed, deleted] {
            let notification = notification(&event);
            assert_eq!(
                (notification.objects.len(), notification.ignored),
                (0, 1),
                "{event}"
            );
        }
    }

    #[test]
    fn a_message_that_is_no_event_is_in_no_others_way() {
        let body = json!({"Records": [s3("k")]}).to_string();
        let batch = json!({"Records": [{"messageId": "1", "body": body}, {"messageId": "2", "body": "hello"},
            {"messageId": "3", "body": body}]});
        let notification = notification(&batch);
        assert_eq!(notification.objects.len(), 1);
        assert_eq!(
            notification.unreadable,
            ["message 2: it is not a JSON object"]
        );
    }

    #[test]
    fn what_is_no_event_says_what_one_is() {
        let wrapped = (0..9).fold(
            json!({"Records": [s3("k")]}),
            |event, _| json!({"Message": event.to_string()}),
        );
        let arrays = b"{\"invocationId\":\"i\",\"records\":[[\"1\",\"\"]]}";
        for event in [
            &b"[]"[..],
            b"{}",
            b"{\"invocationId\":\"i\"}",
            b"{\"Records\":[{}]}",
            b"x",
            arrays,
        ] {
            assert!(LambdaEvent::parse(event).is_err());
        }
        assert!(
            LambdaEvent::parse(wrapped.to_string().as_bytes())
                .expect_err("too deep")
                .0
                .contains("envelopes")
        );
        let many = format!("{{\"Records\":[{}{{}}]}}", "{},".repeat(NOTIFIED_MAX));
        assert!(
            LambdaEvent::parse(many.as_bytes())
                .expect_err("too many")
                .0
                .contains("over 10000")
        );
        let twice = json!({"invocationId": "i", "records": [{"recordId": "1", "data": ""}, {"recordId": "1", "data": ""}]});
        assert!(
            LambdaEvent::parse(twice.to_string().as_bytes())
                .expect_err("twice")
                .0
                .contains("twice")
        );
    }

    #[test]
    fn a_real_event_is_transformed_as_the_original_does() {
        let event = include_str!("../../tests/data/transformation-event.json");
        let Ok(LambdaEvent::Transformation(transformation)) = LambdaEvent::parse(event.as_bytes())
        else {
            panic!("an event")
        };
        let answer = transformation
            .transform(&BOUNDS, EVENT_BYTES_MAX)
            .expect("it fits");
        let answer: Value = serde_json::from_slice(&answer.json).expect("JSON");
        let event: Value = serde_json::from_str(event).expect("JSON");
        let (records, results) = (
            event["records"].as_array().expect("a list"),
            answer["records"].as_array(),
        );
        assert_eq!(results.map(Vec::len), Some(records.len()));
        for (record, result) in records.iter().zip(results.expect("a list")) {
            assert_eq!(
                (&result["recordId"], &result["result"]),
                (&record["recordId"], &json!("Ok"))
            );
            let source = text(record);
            let telemetry: Value = serde_json::from_str(&source).expect("JSON");
            let [cadence, resistance] =
                ["cadence", "resistance"].map(|key| telemetry[key].as_f64().expect("a number"));
            let output = Output::of(cadence, resistance).expect("an output");
            assert_eq!(
                text(result),
                format!(
                    "{},\"output\":{output}}}\n",
                    source.trim_end().trim_end_matches('}')
                )
            );
        }
    }

    #[test]
    fn each_record_has_its_verdict() {
        let good = "{\"classId\":1, \"note\":{\"a b\":[1,\n\"\\\" x\"]},\"second\":1,\"racerId\":1.0,\"cadence\":80,\
            \"resistance\":78,\"note\":2,\"output\":7}";
        let twice = format!("{good}\n{}", good.replace(",\"note\":2,\"output\":7", ""));
        let data = [
            base64(good),
            String::new(),
            base64(" \n"),
            "%%".to_owned(),
            base64("{}"),
            base64(&twice),
            base64("\""),
        ];
        let answer =
            transform(&data.each_ref().map(|data| &**data), EVENT_BYTES_MAX).expect("it fits");
        let results: Vec<_> = answer["records"]
            .as_array()
            .expect("a list")
            .iter()
            .collect();
        let verdicts: Vec<_> = results
            .iter()
            .map(|record| record["result"].as_str().expect("a text"))
            .collect();
        let failed = "ProcessingFailed";
        assert_eq!(
            verdicts,
            ["Ok", "Dropped", "Dropped", failed, failed, "Ok", failed]
        );
        for place in [1, 2, 3, 4, 6] {
            assert_eq!(results[place]["data"], data[place]);
        }
        let expected = "{\"classId\":1,\"note\":2,\"second\":1,\"racerId\":1.0,\"cadence\":80,\"resistance\":78,\
            \"output\":164.45}\n";
        assert_eq!(text(results[0]), expected);
        let second = expected.replace("\"note\":2", "\"note\":{\"a b\":[1,\"\\\" x\"]}");
        assert_eq!(text(results[5]), format!("{expected}{second}"));
    }

    #[test]
    fn byte_order_mark_is_passed_over() {
        let object = "{\"classId\":1,\"second\":1,\"racerId\":1,\"cadence\":80,\"resistance\":78}";
        let data = base64(&format!("\u{feff}{object}"));
        let event = format!(
            "\u{feff}{{\"invocationId\":\"i\",\"records\":[{{\"recordId\":\"1\",\"data\":\"{data}\"}}]}}"
        );
        let Ok(LambdaEvent::Transformation(transformation)) = LambdaEvent::parse(event.as_bytes())
        else {
            panic!("{event}")
        };
        let transformed = transformation
            .transform(&BOUNDS, EVENT_BYTES_MAX)
            .expect("it fits");
        let transformed: Value = serde_json::from_slice(&transformed.json).expect("JSON");
        let expected = object.replace('}', ",\"output\":164.45}\n");
        assert_eq!(text(&transformed["records"][0]), expected);
    }

    #[test]
    fn what_does_not_fit_is_failed_and_as_it_came() {
        let good =
            base64("{\"classId\":1,\"second\":1,\"racerId\":1,\"cadence\":80,\"resistance\":78}");
        let data = [&*good; 20];
        let all = transform(&data, usize::MAX)
            .expect("it fits")
            .to_string()
            .len();
        for bytes_max in [all - 1, all - 100] {
            let answer = transform(&data, bytes_max).expect("it fits as it came");
            let records = answer["records"].as_array().expect("a list");
            assert_eq!(records[0]["result"], "Ok");
            let failed: Vec<_> = records
                .iter()
                .filter(|record| record["result"] != "Ok")
                .collect();
            assert!(
                !failed.is_empty() && failed.iter().all(|record| record["data"] == good),
                "{answer}"
            );
        }
        assert!(transform(&data, 1000).is_err());
    }
}
