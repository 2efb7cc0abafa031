//! What must hold of whatever bytes come, as claims that panic where they are broken: `fuzz/` has a target for each,
//! and the tests here hold them for the corpora under `fuzz/corpus/` and for mutations of what is in there.
//!
//! Each says whether it took the bytes for what they should be. Nothing of the service uses it: it is built for the
//! tests, and for `fuzz/`.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::domain::effort::{Bounds, ClassId, Effort, OUTPUT_MAX, Output, RacerId, Second};
use crate::domain::json_scan;
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::ingest::envelope::{self, DecodedRecords, Envelope, GZIP_MAGIC};
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

/// What is gunzipped at most, in bytes.
const PLAIN_BYTES_MAX: usize = 1 << 20;

/// The last second that is merged: a start refuses what is beyond `--max-second`, and columns cost memory.
const SECOND_MAX: Second = Second(10_000);

/// The longest that a rejection may be, in bytes: it says what is wrong, and never repeats a record.
const MESSAGE_BYTES_MAX: usize = 200;

/// A record's data. What the scanner reads is what serde reads; what is taken is within its bounds; a rejection is
/// short.
pub fn telemetry(data: &[u8]) -> bool {
    let (all, result) = taken(|each| record::decode(data, &BOUNDS, RECEIPT_MS, each));
    for (effort, ..) in &all {
        assert!(
            effort.class.index() < BOUNDS.classes.into() && effort.second.0 <= BOUNDS.second_max
        );
        assert!(
            (0.0..=OUTPUT_MAX).contains(&effort.output.get())
                && effort.output.get().is_sign_positive()
        );
        assert!(effort.time <= RECEIPT_MS);
    }
    match &result {
        Ok(count) => assert_eq!(*count, all.len()),
        Err(rejection) => assert!(rejection.message.len() <= MESSAGE_BYTES_MAX, "{rejection}"),
    }
    let is_taken = !all.is_empty();
    let by_serde =
        |text: &str| taken(|each| record::decode_by_serde(text, &BOUNDS, RECEIPT_MS, each));
    match std::str::from_utf8(data) {
        Ok(text) => assert_eq!((all, result), by_serde(text)),
        Err(error) => {
            let valid =
                std::str::from_utf8(&data[..error.valid_up_to()]).expect("valid up to there");
            assert_eq!(all, by_serde(valid).0);
            assert_eq!(
                result.expect_err("it is not UTF-8").reason,
                RejectionReason::Utf8
            );
        }
    }
    is_taken
}

/// What a record's efforts came with: the name, and whether it is the last of a race.
type Taken = (Effort, Option<String>, bool);

fn taken(
    decode: impl FnOnce(&mut dyn FnMut(Telemetry<'_>)) -> Result<usize, Rejection>,
) -> (Vec<Taken>, Result<usize, Rejection>) {
    let mut all = Vec::new();
    let result = decode(&mut |Telemetry {
                                  effort,
                                  name,
                                  is_final,
                              }| {
        all.push((effort, name.map(|name| name.into_owned()), is_final));
    });
    (all, result)
}

/// A delivery's body, perhaps gzip. An envelope that is read has the records that serde_json finds in it, and each
/// record stands for itself.
pub fn delivery(body: &[u8]) -> bool {
    let plain;
    let body = if body.starts_with(&GZIP_MAGIC) {
        let Ok(gunzipped) = envelope::gunzip(body, PLAIN_BYTES_MAX) else {
            return false;
        };
        assert!(gunzipped.len() <= PLAIN_BYTES_MAX);
        plain = gunzipped;
        assert_eq!(
            envelope::gunzip(&gzip(&plain), plain.len()).expect("gzip"),
            plain
        );
        &plain
    } else {
        body
    };
    let Ok(envelope) = Envelope::parse(body) else {
        return false;
    };
    // What is not looked at may hold a number that no double reaches, or half of a character.
    let Ok(read) =
        serde_json::from_slice::<serde_json::Value>(json_scan::without_byte_order_mark(body))
    else {
        return true;
    };
    let records = read["records"].as_array().expect("a delivery has records");
    assert_eq!(envelope.len(), records.len());
    assert_eq!(envelope.request_id.as_deref(), read["requestId"].as_str());

    let mut whole = envelope.decode(&BOUNDS, RECEIPT_MS, PLAIN_BYTES_MAX);
    assert_eq!(whole.records(), records.len());
    let efforts = std::mem::take(&mut whole.efforts);
    let mut gone_by = 0;
    for (place, record) in records.iter().enumerate() {
        let text = record["data"].as_str().expect("a record has data");
        let data = base64_simd::STANDARD.decode_to_vec(text);
        assert_eq!(
            envelope.record(place),
            data.as_deref().unwrap_or(text.as_bytes())
        );
        let rejected = whole
            .rejected
            .iter()
            .find(|it| it.record == place)
            .map(|it| &it.rejection);
        let data = match data {
            Ok(data) if !data.starts_with(&GZIP_MAGIC) => data,
            // Broken, or over the limit that all records have together.
            Ok(_)
                if rejected.is_some_and(|it| {
                    matches!(it.reason, RejectionReason::Gzip | RejectionReason::TooLarge)
                }) =>
            {
                continue;
            }
            Ok(data) => envelope::gunzip(&data, PLAIN_BYTES_MAX).expect("it was gunzipped before"),
            Err(_) => {
                assert_eq!(rejected.map(|it| it.reason), Some(RejectionReason::Base64));
                continue;
            }
        };
        let alone = DecodedRecords::of([&*data], &BOUNDS, RECEIPT_MS);
        assert_eq!(rejected, alone.rejected.first().map(|it| &it.rejection));
        let ends = gone_by + alone.efforts.len();
        assert_eq!(
            efforts.get(gone_by..ends),
            Some(&*alone.efforts),
            "record {place}"
        );
        gone_by = ends;
    }
    assert_eq!(gone_by, efforts.len());
    let origins = whole.origins();
    assert!((0..efforts.len()).all(|effort| origins.of(effort) < records.len()));
    true
}

/// A segment of the journal. One that reads is written such that it reads the same.
pub fn segment(object: &[u8]) -> bool {
    journal_segment::claim_that_a_segment_reads_back(&gzipped(object))
}

/// A class's history in the store. The scanner reads what serde reads; and what reads gives a table whose history reads
/// as the same table, with the same bytes and ETags, whatever order its efforts are merged in.
pub fn snapshot(object: &[u8]) -> bool {
    let object = gzipped(object);
    let Ok(stored) = StoredHistory::open(&object) else {
        return false;
    };
    let by_serde = StoredHistory::open(&object)
        .expect("it was opened before")
        .read_by_serde(SECOND_MAX);
    let class = match (stored.read(SECOND_MAX), by_serde) {
        (Ok(class), Ok(other)) => {
            assert_eq!(bests(&class), bests(&other));
            class
        }
        (Err(error), Err(other)) => {
            assert_eq!(error.to_string(), other.to_string());
            return false;
        }
        (one, other) => panic!(
            "one way it reads, the other not: {:?} {:?}",
            one.err(),
            other.err()
        ),
    };
    let best = bests(&class);
    let mut efforts: Vec<_> = class.efforts(CLASS).collect();
    let (table, history) = merged(&efforts);
    assert_eq!(table.summary(CLASS).efforts, best.len() as u64);
    let file = history.chunks().collect::<Vec<_>>().concat();
    let again = StoredHistory::open(&file)
        .expect("ours")
        .read(SECOND_MAX)
        .expect("ours");
    assert_eq!(bests(&again), best);
    efforts.reverse();
    let (other, turned) = merged(&efforts);
    assert_eq!(
        table.summary(CLASS).state_hash,
        other.summary(CLASS).state_hash
    );
    assert_eq!(
        (file, history.etag()),
        (turned.chunks().collect::<Vec<_>>().concat(), turned.etag())
    );
    true
}

fn bests(class: &ClassTable) -> BTreeMap<(Second, RacerId), Output> {
    class
        .efforts(CLASS)
        .map(|effort| ((effort.second, effort.racer), effort.output))
        .collect()
}

fn merged(efforts: &[Effort]) -> (Table, History) {
    let table = Table::new(1);
    table.merge(efforts, 0);
    let history = History::build(&table, CLASS, &History::empty(0), 0);
    (table, history)
}

/// A cursor's text. One that is taken is written the same.
pub fn cursor(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let Ok(cursor) = text.parse::<Cursor>() else {
        return false;
    };
    assert_eq!(cursor.to_string(), text);
    if let Cursor::After(output, racer) = cursor {
        let other = Cursor::Before(output, racer);
        assert_ne!(other.to_string(), text);
        assert_eq!(other.to_string().parse(), Ok(other));
    }
    true
}

/// An object of gzip. No fuzzer finds a checksum, so what does not begin as gzip is what is to be in there.
fn gzipped(object: &[u8]) -> Vec<u8> {
    if object.starts_with(&GZIP_MAGIC) {
        object.to_owned()
    } else {
        gzip(object)
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Mutations of a corpus that are tried; `ALLEYCAT_TEST_MUTATIONS` has another number in its place.
    const MUTATIONS: usize = 3000;

    /// What stands in for something, or between: what the formats are made of, and what lies at their edges.
    const WORDS: [&str; 25] = [
        "\u{feff}",
        "\"classId\":",
        "\"second\":",
        "\"racerId\":",
        "\"output\":",
        "\"name\":",
        "\"data\":",
        "\"records\":",
        "null",
        "true",
        "{}",
        "[]",
        "{",
        "}",
        ",",
        "\n",
        "\\u0041",
        "\\ud800",
        "1.0",
        "1e0",
        "-0",
        "9007199254740992",
        "1e400",
        "\0",
        "5e-324",
    ];

    /// Prints what broke a claim.
    struct Tried<'b>(&'b str, &'b [u8]);

    impl Drop for Tried<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!(
                    "{} broke at {:?}",
                    self.0,
                    self.1.escape_ascii().to_string()
                );
            }
        }
    }

    fn holds(target: &str, claim: fn(&[u8]) -> bool) {
        let try_out = |bytes: &[u8]| {
            let _tried = Tried(target, bytes);
            claim(bytes)
        };
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(target);
        let mut corpus: Vec<_> = std::fs::read_dir(corpus)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        corpus.sort_unstable();
        let corpus: Vec<Vec<u8>> = corpus
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect();
        let taken = corpus.iter().filter(|bytes| try_out(bytes)).count();
        assert!(
            taken >= 3 && taken < corpus.len(),
            "{taken} of {} are of the kind",
            corpus.len()
        );

        let mutations = std::env::var("ALLEYCAT_TEST_MUTATIONS")
            .map_or(MUTATIONS, |number| number.parse().unwrap());
        let mut rng = StdRng::seed_from_u64(1);
        let mut taken = 0;
        for _ in 0..mutations {
            let mut bytes = corpus.choose(&mut rng).unwrap().clone();
            for _ in 0..rng.random_range(1..4) {
                mutate(&mut bytes, &corpus, &mut rng);
            }
            taken += usize::from(try_out(&bytes));
        }
        assert!(
            taken > mutations / 100,
            "{taken} of {mutations} mutations are of the kind: they try too little"
        );
    }

    fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut StdRng) {
        let place = rng.random_range(0..=bytes.len());
        let end = (place + rng.random_range(0..20)).min(bytes.len());
        match rng.random_range(0..7) {
            0 if place < bytes.len() => bytes[place] ^= 1 << rng.random_range(0..8),
            1 if place < bytes.len() && bytes[place].is_ascii_digit() => {
                bytes[place] = rng.random_range(b'0'..=b'9');
            }
            2 => drop(bytes.drain(place..end)),
            3 => {
                let again = bytes[place..end].to_vec();
                drop(bytes.splice(place..place, again));
            }
            4 => bytes.truncate(place),
            5 => {
                let other = corpus.choose(rng).unwrap();
                bytes.truncate(place);
                bytes.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
            }
            _ => drop(bytes.splice(
                place..end.min(place + 2),
                WORDS.choose(rng).unwrap().bytes(),
            )),
        }
    }

    #[test]
    fn whatever_comes_as_telemetry_the_scanner_reads_it_as_serde_does() {
        holds("telemetry", telemetry);
    }

    #[test]
    fn whatever_comes_as_a_delivery_each_record_stands_for_itself() {
        holds("delivery", delivery);
    }

    #[test]
    fn whatever_reads_as_a_segment_is_written_such_that_it_reads_the_same() {
        holds("segment", segment);
    }

    #[test]
    fn whatever_reads_as_a_history_is_written_such_that_it_reads_the_same() {
        holds("snapshot", snapshot);
    }

    #[test]
    fn whatever_is_taken_as_a_cursor_is_written_the_same() {
        holds("cursor", cursor);
    }
}
