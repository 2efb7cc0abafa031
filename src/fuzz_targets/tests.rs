//! Checks the properties on the corpora and on mutations of them.

use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;

/// Number of mutations of a corpus. `ALLEYCAT_TEST_MUTATIONS` replaces it.
const MUTATIONS: usize = 3000;

/// Texts that mutations insert: parts of the formats, and edge cases.
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

/// Prints the input that broke a property.
struct PrintOnPanic<'b>(&'b str, &'b [u8]);

impl Drop for PrintOnPanic<'_> {
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

/// Checks a property on the corpus of `target`, and on mutations of it.
fn check(target: &str, property: fn(&[u8]) -> bool) {
    let is_valid = |bytes: &[u8]| {
        let _print = PrintOnPanic(target, bytes);
        property(bytes)
    };
    let corpus = read_corpus(target);
    let valid = corpus.iter().filter(|bytes| is_valid(bytes)).count();
    assert!(valid >= 3, "{valid} of {} are valid", corpus.len());
    assert!(valid < corpus.len(), "none of {valid} is invalid");

    let mutations = std::env::var("ALLEYCAT_TEST_MUTATIONS")
        .map_or(MUTATIONS, |number| number.parse().unwrap());
    let mut rng = StdRng::seed_from_u64(1);
    let mut valid = 0;
    for _ in 0..mutations {
        let mut bytes = corpus.choose(&mut rng).unwrap().clone();
        for _ in 0..rng.random_range(1..4) {
            mutate(&mut bytes, &corpus, &mut rng);
        }
        valid += usize::from(is_valid(&bytes));
    }
    assert!(
        valid > mutations / 100,
        "only {valid} of {mutations} mutations are valid, so they check too little"
    );
}

fn read_corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    let read = |path| std::fs::read(path).unwrap();
    paths.into_iter().map(read).collect()
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut StdRng) {
    let position = rng.random_range(0..=bytes.len());
    let end = (position + rng.random_range(0..20)).min(bytes.len());
    match rng.random_range(0..7) {
        0 if position < bytes.len() => bytes[position] ^= 1 << rng.random_range(0..8),
        1 if position < bytes.len() && bytes[position].is_ascii_digit() => {
            bytes[position] = rng.random_range(b'0'..=b'9');
        }
        2 => drop(bytes.drain(position..end)),
        3 => {
            let again = bytes[position..end].to_vec();
            drop(bytes.splice(position..position, again));
        }
        4 => bytes.truncate(position),
        5 => {
            let other = corpus.choose(rng).unwrap();
            bytes.truncate(position);
            bytes.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
        }
        _ => drop(bytes.splice(
            position..end.min(position + 2),
            WORDS.choose(rng).unwrap().bytes(),
        )),
    }
}

#[test]
fn record_reads_as_by_serde() {
    check("record", record);
}

#[test]
fn records_of_a_delivery_decode_as_alone() {
    check("delivery", delivery);
}

#[test]
fn segment_reads_back() {
    check("segment", segment);
}

#[test]
fn history_reads_back() {
    check("snapshot", snapshot);
}

#[test]
fn cursor_reads_back() {
    check("cursor", cursor);
}
