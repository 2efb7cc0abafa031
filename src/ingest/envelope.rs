//! A delivery's envelope: JSON with the request id, and records in base64.
//!
//! Pure. Whatever it can, it borrows from the body.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::domain::effort::Bounds;
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::ingest::decoded_records::{DecodedRecords, RecordGunzip};
use crate::ingest::envelope_fast_path;
use crate::ingest::json_scan::{self, BorrowedText};

/// Maximum number of records in a delivery. Firehose sends at most 10,000. Other senders may fill
/// the body with small records, and each record needs memory before it is decoded.
pub const RECORDS_MAX: usize = 100_000;

/// Maximum length of a request id in a body, in bytes. The response repeats the id, and Firehose
/// limits the size of the response.
pub const REQUEST_ID_BYTES_MAX: usize = 4096;

/// Maximum size of a record when gunzipped, in bytes: 16 times what Firehose accepts from a
/// producer.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A delivery's envelope. Its records are still base64.
#[derive(Debug)]
pub struct Envelope<'b> {
    /// The sender's request id, if the body has one.
    pub request_id: Option<Cow<'b, str>>,
    pub(crate) records: Vec<Cow<'b, [u8]>>,
}

/// The error for a body that is not a delivery.
#[derive(Debug, thiserror::Error)]
#[error("the body is not a delivery: {description}")]
pub struct EnvelopeError {
    /// The request id, if the body has one nevertheless.
    pub request_id: Option<String>,
    description: String,
}

impl<'b> Envelope<'b> {
    /// Parses a body. The last value of a repeated key counts.
    pub fn parse(body: &'b [u8]) -> Result<Self, EnvelopeError> {
        let body = json_scan::without_byte_order_mark(body);
        let envelope = match envelope_fast_path::parse(body) {
            Some(envelope) => envelope,
            None => Self::parse_by_serde(body)?,
        };
        let id_bytes = envelope.request_id.as_ref().map_or(0, |id| id.len());
        if id_bytes > REQUEST_ID_BYTES_MAX {
            let description = format!("requestId is over {REQUEST_ID_BYTES_MAX} bytes");
            return Err(EnvelopeError {
                request_id: None,
                description,
            });
        }
        Ok(envelope)
    }

    /// Parses as [`parse`](Self::parse) does, but without the fast path. The fast path must give
    /// the same result.
    pub(crate) fn parse_by_serde(body: &'b [u8]) -> Result<Self, EnvelopeError> {
        if !json_scan::begins_object(body) {
            return Err(EnvelopeError {
                request_id: None,
                description: "not a JSON object".to_owned(),
            });
        }
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let envelope = deserializer
            .deserialize_map(EnvelopeVisitor)
            .and_then(|envelope| deserializer.end().map(|()| envelope));
        envelope.map_err(|error| EnvelopeError {
            request_id: find_request_id(body),
            description: json_scan::describe_error(&error),
        })
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the data of the record at `index`. Invalid base64 is returned unchanged.
    pub fn record(&self, index: usize) -> Vec<u8> {
        let text = &self.records[index];
        base64_simd::STANDARD
            .decode_to_vec(text)
            .unwrap_or_else(|_| text.to_vec())
    }

    /// Decodes every record. All records together may gunzip to `bytes_max` bytes.
    pub fn decode(&self, bounds: &Bounds, receipt_ms: u64, bytes_max: usize) -> DecodedRecords {
        let mut decoded = DecodedRecords::with_capacity(self.records.len());
        let mut gunzip = RecordGunzip::new(bytes_max);
        self.decode_range(0..self.len(), bounds, receipt_ms, &mut gunzip, &mut decoded);
        decoded
    }

    /// Decodes the records of `range`, and appends them to `decoded`. Ranges must follow one another.
    pub(crate) fn decode_range(
        &self,
        range: Range<usize>,
        bounds: &Bounds,
        receipt_ms: u64,
        gunzip: &mut RecordGunzip,
        decoded: &mut DecodedRecords,
    ) {
        let mut data = Vec::new(); // used again for each record
        for text in &self.records[range] {
            data.clear();
            let result = match base64_simd::STANDARD.decode_append(text, &mut data) {
                Err(_) => Err(Rejection::new(
                    RejectionReason::Base64,
                    "the data is not base64",
                )),
                Ok(()) => gunzip
                    .plain(&data)
                    .and_then(|data| decoded.decode_record(data, bounds, receipt_ms)),
            };
            decoded.end_record(result);
        }
    }
}

/// Returns the request id of a body whose records are invalid.
fn find_request_id(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct IdOnly {
        request_id: Option<String>,
    }
    let body: IdOnly = serde_json::from_slice(body).ok()?;
    body.request_id
        .filter(|id| id.len() <= REQUEST_ID_BYTES_MAX)
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with records")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut request_id, mut records) = (None, None);
        while let Some(BorrowedText(key)) = map.next_key()? {
            match &*key {
                "requestId" => request_id = map.next_value::<Option<BorrowedText<'_>>>()?,
                "records" => records = Some(map.next_value::<RecordArray<'_>>()?),
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        let records = records.ok_or_else(|| de::Error::missing_field("records"))?;
        Ok(Envelope {
            request_id: request_id.map(|id| id.0),
            records: records.0,
        })
    }
}

/// The array `records`, with at most [`RECORDS_MAX`] elements.
struct RecordArray<'b>(Vec<Cow<'b, [u8]>>);

impl<'de: 'b, 'b> Deserialize<'de> for RecordArray<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecordsVisitor;
        impl<'de> Visitor<'de> for RecordsVisitor {
            type Value = RecordArray<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut records = Vec::new();
                while records.len() < RECORDS_MAX {
                    let Some(RecordObject(data)) = seq.next_element()? else {
                        return Ok(RecordArray(records));
                    };
                    records.push(data);
                }
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(RecordArray(records)),
                    Some(_) => {
                        let error = format_args!("over {RECORDS_MAX} records");
                        Err(de::Error::custom(error))
                    }
                }
            }
        }
        deserializer.deserialize_seq(RecordsVisitor)
    }
}

/// A record, `{"data": text}`.
struct RecordObject<'b>(Cow<'b, [u8]>);

impl<'de: 'b, 'b> Deserialize<'de> for RecordObject<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A derived struct would also accept an array of its fields.
        struct RecordVisitor;
        impl<'de> Visitor<'de> for RecordVisitor {
            type Value = RecordObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record with its data")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut data = None;
                while let Some(BorrowedText(key)) = map.next_key()? {
                    if key == "data" {
                        data = Some(match map.next_value()? {
                            BorrowedText(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
                            BorrowedText(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
                        });
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                data.map(RecordObject)
                    .ok_or_else(|| de::Error::missing_field("data"))
            }
        }
        deserializer.deserialize_map(RecordVisitor)
    }
}

#[cfg(test)]
mod tests;
