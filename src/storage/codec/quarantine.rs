//! Quarantined records, in the form in which Firehose keeps its failed records: NDJSON, gzip.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use crate::domain::rejection::Rejection;
use crate::gzip::gzip;
use crate::storage::codec::journal_segment::write_line;

/// A rejected record.
#[derive(Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The reason.
    pub rejection: Rejection,
    /// The record's original data.
    pub raw: Vec<u8>,
    /// Receipt in milliseconds since 1970.
    pub arrival_ms: u64,
}

impl fmt::Debug for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the data, which is personal: it must not get into logs.
        f.debug_struct("Quarantined")
            .field("rejection", &self.rejection)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QuarantineLine<'a> {
    attempts_made: u32,
    arrival_timestamp: u64,
    error_code: String,
    error_message: &'a str,
    attempt_ending_timestamp: u64,
    raw_data: String,
}

/// Encodes records as one object of the quarantine.
pub(crate) fn encode(records: &[Quarantined]) -> Bytes {
    let mut lines = Vec::new();
    for record in records {
        let line = QuarantineLine {
            attempts_made: 1,
            arrival_timestamp: record.arrival_ms,
            error_code: format!("Alleycat.{}", record.rejection.reason.as_str()),
            error_message: &record.rejection.message,
            attempt_ending_timestamp: record.arrival_ms,
            raw_data: base64_simd::STANDARD.encode_to_string(&record.raw),
        };
        write_line(&mut lines, &line);
    }
    gzip(&lines).into()
}
