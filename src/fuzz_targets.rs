//! Properties that hold for any input bytes. They panic if a property is broken.
//!
//! `fuzz/` has a target for each. The tests here check them on the corpora under `fuzz/corpus/`,
//! and on mutations of these. Each function returns whether the bytes are valid input of its kind.
//!
//! The service uses nothing of this module. It is built for the tests and for `fuzz/` only.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::effort::{Bounds, ClassId, Effort, OUTPUT_MAX, Output, RacerId, Second};
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::gzip::{self, GZIP_MAGIC};
use crate::ingest::decoded_records::DecodedRecords;
use crate::ingest::envelope::Envelope;
use crate::ingest::json_scan;
use crate::ingest::record::{self, Telemetry};
use crate::state::leaderboard::Cursor;
use crate::state::table::{ClassTable, Table};
use crate::storage::codec::journal_segment;
use crate::storage::history_file::{History, StoredHistory};

const BOUNDS: Bounds = Bounds {
    classes: 6,
    second_max: 600,
};
const RECEIPT_MS: u64 = 1_619_185_800_000;
const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

/// Maximum size of gunzipped data, in bytes.
const PLAIN_BYTES_MAX: usize = 1 << 20;

/// Maximum second of a history. A start rejects later ones, and each second costs memory.
const SECOND_MAX: Second = Second(10_000);

/// Maximum length of a rejection's message, in bytes. It names the fault, and never repeats a
/// record.
const MESSAGE_BYTES_MAX: usize = 200;

/// Checks the data of a record: the fast path equals serde_json, efforts are within the bounds, and
/// the message of a rejection is short.
pub fn record(data: &[u8]) -> bool {
    let (all, result) = decode(|each| record::decode(data, &BOUNDS, RECEIPT_MS, each));
    for (effort, ..) in &all {
        assert!(effort.class.index() < BOUNDS.classes.into());
        assert!(effort.second.0 <= BOUNDS.second_max);
        assert!((0.0..=OUTPUT_MAX).contains(&effort.output.get()));
        assert!(effort.output.get().is_sign_positive());
        assert!(effort.time <= RECEIPT_MS);
    }
    match &result {
        Ok(count) => assert_eq!(*count, all.len()),
        Err(rejection) => assert!(rejection.message.len() <= MESSAGE_BYTES_MAX, "{rejection}"),
    }
    let is_valid = !all.is_empty();
    let by_serde =
        |text: &str| decode(|each| record::decode_by_serde(text, &BOUNDS, RECEIPT_MS, each));
    match std::str::from_utf8(data) {
        Ok(text) => assert_eq!((all, result), by_serde(text)),
        Err(error) => {
            let valid = &data[..error.valid_up_to()];
            let valid = std::str::from_utf8(valid).expect("valid up to there");
            assert_eq!(all, by_serde(valid).0);
            let rejection = result.expect_err("not UTF-8");
            assert_eq!(rejection.reason, RejectionReason::Utf8);
        }
    }
    is_valid
}

/// An effort, its racer's name, and whether it is the last of a race.
type DecodedEffort = (Effort, Option<String>, bool);

fn decode(
    decode: impl FnOnce(&mut dyn FnMut(Telemetry<'_>)) -> Result<usize, Rejection>,
) -> (Vec<DecodedEffort>, Result<usize, Rejection>) {
    let mut all = Vec::new();
    let result = decode(&mut |telemetry| {
        let name = telemetry.name.map(|name| name.into_owned());
        all.push((telemetry.effort, name, telemetry.is_final));
    });
    (all, result)
}

/// Checks the body of a delivery, gzip or plain. A parsed envelope has the records that serde_json
/// finds in it, and each record decodes as it does alone.
pub fn delivery(body: &[u8]) -> bool {
    let plain;
    let body = if body.starts_with(&GZIP_MAGIC) {
        let Ok(gunzipped) = gzip::gunzip(body, PLAIN_BYTES_MAX) else {
            return false;
        };
        assert!(gunzipped.len() <= PLAIN_BYTES_MAX);
        plain = gunzipped;
        let again = gzip::gunzip(&gzip::gzip(&plain), plain.len());
        assert_eq!(again.expect("valid gzip data"), plain);
        &plain
    } else {
        body
    };
    let parsed = Envelope::parse(body);
    check_envelope_by_serde(body, parsed.as_ref().ok());
    let Ok(envelope) = parsed else {
        return false;
    };
    let text = json_scan::without_byte_order_mark(body);
    // An unknown field may hold what a `Value` cannot: a number beyond all doubles, or half of a
    // surrogate pair.
    if let Ok(value) = serde_json::from_slice::<Value>(text) {
        check_records(&envelope, &value);
    }
    true
}

/// Checks that the fast path gave the envelope that serde_json gives, or `None` as serde_json does.
fn check_envelope_by_serde(body: &[u8], envelope: Option<&Envelope<'_>>) {
    let by_serde = Envelope::parse_by_serde(json_scan::without_byte_order_mark(body)).ok();
    let Some(envelope) = envelope else {
        let is_id_too_long = |it: Envelope<'_>| {
            it.request_id
                .is_some_and(|id| id.len() > crate::ingest::envelope::REQUEST_ID_BYTES_MAX)
        };
        assert!(by_serde.is_none_or(is_id_too_long));
        return;
    };
    let by_serde = by_serde.expect("the fast path accepts only what serde_json accepts");
    assert_eq!(envelope.request_id, by_serde.request_id);
    assert_eq!(envelope.records, by_serde.records);
}

/// Checks the content of an envelope against its JSON.
fn check_records(envelope: &Envelope<'_>, json: &Value) {
    let records = json["records"].as_array().expect("a delivery has records");
    assert_eq!(envelope.len(), records.len());
    assert_eq!(envelope.request_id.as_deref(), json["requestId"].as_str());

    let mut decoded = envelope.decode(&BOUNDS, RECEIPT_MS, PLAIN_BYTES_MAX);
    assert_eq!(decoded.records(), records.len());
    let efforts = std::mem::take(&mut decoded.efforts);
    let mut position = 0;
    for (index, record) in records.iter().enumerate() {
        let rejected = decoded.rejected.iter().find(|it| it.record == index);
        let rejection = rejected.map(|it| &it.rejection);
        let text = record["data"].as_str().expect("a record has data");
        let Some(data) = record_data(envelope, index, text, rejection) else {
            continue;
        };
        let alone = DecodedRecords::of([&*data], &BOUNDS, RECEIPT_MS, PLAIN_BYTES_MAX);
        assert_eq!(
            rejection,
            alone.rejected.first().map(|it| &it.rejection),
            "record {index}"
        );
        let end = position + alone.efforts.len();
        assert_eq!(
            efforts.get(position..end),
            Some(&*alone.efforts),
            "record {index}"
        );
        position = end;
    }
    assert_eq!(position, efforts.len());
    let origins = decoded.origins();
    assert!((0..efforts.len()).all(|effort| origins.of(effort) < records.len()));
}

/// Returns the data of a record. Returns `None` if it was rightly rejected before.
fn record_data(
    envelope: &Envelope<'_>,
    index: usize,
    text: &str,
    rejection: Option<&Rejection>,
) -> Option<Vec<u8>> {
    let reason = rejection.map(|it| it.reason);
    let data = base64_simd::STANDARD.decode_to_vec(text);
    assert_eq!(
        envelope.record(index),
        data.as_deref().unwrap_or(text.as_bytes())
    );
    match data {
        Err(_) => {
            assert_eq!(reason, Some(RejectionReason::Base64));
            None
        }
        // Over the limit that all gzip records share.
        Ok(data) if data.starts_with(&GZIP_MAGIC) && reason == Some(RejectionReason::TooLarge) => {
            None
        }
        Ok(data) => Some(data),
    }
}

/// Checks a journal segment: a valid one is written such that it reads back the same.
pub fn segment(object: &[u8]) -> bool {
    journal_segment::assert_segment_round_trips(&gzip_unless_gzip(object))
}

/// Checks a stored history. The fast path equals serde_json. A valid history gives a table whose
/// history reads back as the same table. Its bytes and ETags do not depend on the order of merging.
pub fn snapshot(object: &[u8]) -> bool {
    let object = gzip_unless_gzip(object);
    let Some(class) = read_history(&object) else {
        return false;
    };
    let best = bests(&class);
    let mut efforts: Vec<_> = class.efforts(CLASS).collect();
    let (table, history) = merge(&efforts);
    let summary = table.summary(CLASS);
    assert_eq!(summary.efforts, best.len() as u64);
    let file = file_bytes(&history);
    let again = StoredHistory::open(&file).expect("just built");
    let again = again.read(SECOND_MAX).expect("just built");
    assert_eq!(bests(&again), best);
    efforts.reverse();
    let (reversed_table, reversed_history) = merge(&efforts);
    assert_eq!(reversed_table.summary(CLASS).state_hash, summary.state_hash);
    assert_eq!(file_bytes(&reversed_history), file);
    assert_eq!(reversed_history.etag(), history.etag());
    true
}

/// Reads a history by the fast path and by serde_json, which must give the same.
fn read_history(object: &[u8]) -> Option<ClassTable> {
    let by_fast_path = StoredHistory::open(object).ok()?.read(SECOND_MAX);
    let by_serde = StoredHistory::open(object).expect("it was opened before");
    match (by_fast_path, by_serde.read_slow_path(SECOND_MAX)) {
        (Ok(class), Ok(by_serde)) => {
            assert_eq!(bests(&class), bests(&by_serde));
            Some(class)
        }
        (Err(error), Err(by_serde)) => {
            assert_eq!(error.to_string(), by_serde.to_string());
            None
        }
        (by_fast_path, by_serde) => panic!(
            "only one way reads it: {:?} {:?}",
            by_fast_path.err(),
            by_serde.err()
        ),
    }
}

fn bests(class: &ClassTable) -> BTreeMap<(Second, RacerId), Output> {
    class
        .efforts(CLASS)
        .map(|effort| ((effort.second, effort.racer), effort.output))
        .collect()
}

fn merge(efforts: &[Effort]) -> (Table, History) {
    let table = Table::new(1);
    table.merge(efforts, 0);
    let history = History::build(&table, CLASS, &History::empty(0), 0);
    (table, history)
}

fn file_bytes(history: &History) -> Vec<u8> {
    history.chunks().collect::<Vec<_>>().concat()
}

/// Checks a cursor: the text of a valid one is canonical.
pub fn cursor(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let Ok(cursor) = text.parse::<Cursor>() else {
        return false;
    };
    assert_eq!(cursor.to_string(), text);
    if let Cursor::After(row) = cursor {
        let other = Cursor::Before(row);
        assert_ne!(other.to_string(), text);
        assert_eq!(other.to_string().parse(), Ok(other));
    }
    true
}

/// Compresses the object unless it is gzip. A fuzzer cannot find a valid checksum, so other bytes
/// are the content of the object.
fn gzip_unless_gzip(object: &[u8]) -> Vec<u8> {
    if object.starts_with(&GZIP_MAGIC) {
        object.to_owned()
    } else {
        gzip::gzip(object)
    }
}

#[cfg(test)]
mod tests;
