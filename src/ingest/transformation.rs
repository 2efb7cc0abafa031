//! Firehose's data transformation: adds the output to every record of an event.
//!
//! Pure, and merges nothing. Source: the Firehose developer guide, "Transform source data".

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::effort::{Bounds, Output};
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::gzip::{self, GZIP_MAGIC, GunzipError};
use crate::ingest::json_scan::{self, BorrowedText};
use crate::ingest::lambda_event::EventError;
use crate::ingest::record;

/// Maximum size of a transformed record, in bytes: Firehose's limit of 1,000 KiB before base64.
const TRANSFORMED_BYTES_MAX: usize = 1_024_000;

/// The text around the records of a response.
const RESPONSE_START: &[u8] = br#"{"records":["#;
const RESPONSE_END: &[u8] = b"]}";

/// Records to transform. Each id occurs once.
#[derive(Debug)]
pub(crate) struct Transformation<'b>(Vec<SourceRecord<'b>>);

/// A record to transform.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourceRecord<'b> {
    #[serde(borrow)]
    record_id: BorrowedText<'b>,
    #[serde(borrow)]
    data: BorrowedText<'b>,
}

/// The response to a transformation.
#[derive(Debug)]
pub(crate) struct TransformationResponse {
    /// The response body.
    pub(crate) json: Vec<u8>,
    /// The number of records with the result `Ok`.
    pub(crate) ok: usize,
    /// The number of records with the result `Dropped`.
    pub(crate) dropped: usize,
    /// The number of records with the result `ProcessingFailed`, by reason.
    pub(crate) failed: BTreeMap<&'static str, usize>,
}

/// The result of one record, in Firehose's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum RecordResult {
    Ok,
    Dropped,
    ProcessingFailed,
}

impl<'b> Transformation<'b> {
    /// Creates a transformation of these records.
    pub(crate) fn new(records: Vec<SourceRecord<'b>>) -> Result<Self, EventError> {
        let mut ids = HashSet::new();
        if records.iter().all(|it| ids.insert(&*it.record_id.0)) {
            Ok(Self(records))
        } else {
            Err(EventError("a recordId is repeated".to_owned()))
        }
    }

    /// Adds the output to every record.
    ///
    /// A record fails if it is invalid, or if its result does not fit into `bytes_max` beside the
    /// other results. A failed record has its data unchanged, which is shorter.
    ///
    /// # Errors
    /// The unchanged records do not fit. A real event is never so large: it has more fields per
    /// record than a response.
    pub(crate) fn transform(
        &self,
        bounds: &Bounds,
        bytes_max: usize,
    ) -> Result<TransformationResponse, EventError> {
        let failed_bytes = |record: &SourceRecord<'_>| {
            record
                .unchanged_result(RecordResult::ProcessingFailed)
                .len()
                + 1 // and a comma
        };
        // The part of the limit that the records still to come need if they fail.
        let mut reserved_bytes: usize = self.0.iter().map(failed_bytes).sum();
        if RESPONSE_START.len() + reserved_bytes + RESPONSE_END.len() > bytes_max {
            return Err(EventError(format!(
                "the records do not fit into a response of {bytes_max} bytes"
            )));
        }
        let mut response = TransformationResponse {
            json: RESPONSE_START.to_vec(),
            ok: 0,
            dropped: 0,
            failed: BTreeMap::new(),
        };
        for (index, record) in self.0.iter().enumerate() {
            if index > 0 {
                response.json.push(b',');
            }
            reserved_bytes -= failed_bytes(record);
            response.add(record, bounds, bytes_max - reserved_bytes);
        }
        response.json.extend_from_slice(RESPONSE_END);
        Ok(response)
    }
}

impl SourceRecord<'_> {
    /// Returns the result with the data unchanged, as JSON.
    fn unchanged_result(&self, result: RecordResult) -> Vec<u8> {
        self.result_json(result, &self.data.0)
    }

    fn result_json(&self, result: RecordResult, data: &str) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ResultJson<'r> {
            record_id: &'r str,
            result: RecordResult,
            data: &'r str,
        }
        let record_id = &self.record_id.0;
        serde_json::to_vec(&ResultJson {
            record_id,
            result,
            data,
        })
        .expect("texts always serialize")
    }
}

impl TransformationResponse {
    /// Transforms a record and adds its result. The response may then have `bytes_max` bytes, the
    /// text after the records included.
    fn add(&mut self, record: &SourceRecord<'_>, bounds: &Bounds, bytes_max: usize) {
        let transformed = add_output(&record.data.0, bounds).and_then(|data| {
            let Some(data) = data else {
                return Ok(None);
            };
            let data = base64_simd::STANDARD.encode_to_string(data);
            let json = record.result_json(RecordResult::Ok, &data);
            if self.json.len() + json.len() + RESPONSE_END.len() > bytes_max {
                let message = "the response has no space for it";
                return Err(Rejection::new(RejectionReason::TooLarge, message));
            }
            Ok(Some(json))
        });
        let json = match transformed {
            Ok(Some(json)) => {
                self.ok += 1;
                json
            }
            Ok(None) => {
                self.dropped += 1;
                record.unchanged_result(RecordResult::Dropped)
            }
            Err(rejection) => {
                *self.failed.entry(rejection.reason.as_str()).or_default() += 1;
                record.unchanged_result(RecordResult::ProcessingFailed)
            }
        };
        self.json.extend_from_slice(&json);
    }
}

/// Adds the output to each object of a record, one per line. Returns `None` for an empty record.
fn add_output(data: &str, bounds: &Bounds) -> Result<Option<Vec<u8>>, Rejection> {
    let too_large = || {
        let message = format!("the record is over {TRANSFORMED_BYTES_MAX} bytes");
        Rejection::new(RejectionReason::TooLarge, message)
    };
    let mut data = base64_simd::STANDARD
        .decode_to_vec(data)
        .map_err(|_| Rejection::new(RejectionReason::Base64, "the data is not base64"))?;
    if data.starts_with(&GZIP_MAGIC) {
        data = gzip::gunzip(&data, TRANSFORMED_BYTES_MAX).map_err(|error| match error {
            GunzipError::TooLarge(_) => too_large(),
            GunzipError::Invalid(_) => Rejection::new(RejectionReason::Gzip, error.to_string()),
        })?;
    }
    let mut outputs = Vec::new();
    let objects = record::decode(&data, bounds, 0, |telemetry| {
        outputs.push(telemetry.effort.output);
    })?;
    if objects == 0 {
        return Ok(None);
    }
    let mut lines = Vec::with_capacity(data.len() + outputs.len() * 32);
    let text = json_scan::without_byte_order_mark(&data);
    let objects = serde_json::Deserializer::from_slice(text).into_iter::<ObjectFields<'_>>();
    for (object, output) in objects.zip(outputs) {
        let object =
            object.map_err(|error| Rejection::new(RejectionReason::Json, error.to_string()))?;
        object.write(output, &mut lines);
        lines.push(b'\n');
    }
    if lines.len() > TRANSFORMED_BYTES_MAX {
        Err(too_large())
    } else {
        Ok(Some(lines))
    }
}

/// The fields of an object, in order. A repeated key has its last value at its first position.
struct ObjectFields<'d>(Vec<(Cow<'d, str>, &'d RawValue)>);

impl ObjectFields<'_> {
    /// Writes the object with this output. It replaces the field `output`, or is added at the end.
    fn write(&self, output: Output, json: &mut Vec<u8>) {
        let output = output.to_string();
        let mut has_output = false;
        json.push(b'{');
        for (index, (key, value)) in self.0.iter().enumerate() {
            let is_output = key == "output";
            has_output |= is_output;
            let value = if is_output { &output } else { value.get() };
            write_field(index, key, value, json);
        }
        if !has_output {
            write_field(self.0.len(), "output", &output, json);
        }
        json.push(b'}');
    }
}

/// Writes a field without white space outside of texts, as JSON.stringify does.
fn write_field(index: usize, key: &str, value: &str, json: &mut Vec<u8>) {
    if index > 0 {
        json.push(b',');
    }
    serde_json::to_writer(&mut *json, key).expect("writing to memory does not fail");
    json.push(b':');
    let (mut in_text, mut is_escaped) = (false, false);
    for &byte in value.as_bytes() {
        if in_text || !byte.is_ascii_whitespace() {
            json.push(byte);
        }
        in_text ^= byte == b'"' && !is_escaped;
        is_escaped = in_text && byte == b'\\' && !is_escaped;
    }
}

impl<'de: 'd, 'd> Deserialize<'de> for ObjectFields<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = ObjectFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                let mut indices = HashMap::new();
                while let Some((BorrowedText(key), value)) = map.next_entry()? {
                    match indices.get(&key) {
                        Some(&index) => fields[index] = (key, value),
                        None => {
                            indices.insert(key.clone(), fields.len());
                            fields.push((key, value));
                        }
                    }
                }
                Ok(ObjectFields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[cfg(test)]
mod tests;
