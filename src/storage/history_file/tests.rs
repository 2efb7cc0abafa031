//! Tests of history files: bytes, round trips, reuse of parts, ETags.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::bufread::GzDecoder;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::*;
use crate::domain::effort::{Effort, INTEGER_MAX, Output, RacerId, Second};

const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

fn effort(second: u32, racer: u64, output: f64) -> Effort {
    Effort::of(1, second, racer, output)
}

fn table_of(efforts: &[Effort]) -> Table {
    let table = Table::new(1);
    for effort in efforts {
        table.merge(&[*effort], 0);
    }
    table
}

fn built(table: &Table) -> History {
    History::build(table, CLASS, &History::empty(0), 0)
}

fn file(history: &History) -> Vec<u8> {
    history.chunks().collect::<Vec<_>>().concat()
}

/// Decompresses one member and asserts that nothing follows it.
fn gunzip(file: &[u8]) -> String {
    let mut decoder = GzDecoder::new(file);
    let mut text = String::new();
    decoder.read_to_string(&mut text).expect("a gzip member");
    assert_eq!(decoder.into_inner(), b"", "bytes after the member");
    text
}

/// Writes the dataset's text in the obvious way.
fn naive(efforts: &[Effort]) -> String {
    let mut seconds: BTreeMap<u32, BTreeMap<u64, f64>> = BTreeMap::new();
    for effort in efforts {
        let best = seconds
            .entry(effort.second.0)
            .or_default()
            .entry(effort.racer.0)
            .or_insert(0.0);
        *best = best.max(effort.output.get());
    }
    let second = |(second, racers): (_, BTreeMap<_, _>)| {
        let racer = |(id, best)| format!("\"{id}\":{}", ryu_js::Buffer::new().format(best));
        format!(
            "\"{second}\":{{{}}}",
            racers.into_iter().map(racer).collect::<Vec<_>>().join(",")
        )
    };
    format!(
        "{{{}}}",
        seconds
            .into_iter()
            .map(second)
            .collect::<Vec<_>>()
            .join(",")
    )
}

fn read(file: &[u8]) -> Vec<Effort> {
    let stored = StoredHistory::open(file).expect("a gzip header");
    stored
        .read(Second(600))
        .expect("a history")
        .efforts(CLASS)
        .collect()
}

fn outputs() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::sample::select(vec![
            0.0,
            5e-324,
            0.1 + 0.2,
            1e-7,
            1e-6,
            552.75,
            1e21,
            f64::MAX
        ]),
        (0u32..=300, 0u32..=100)
            .prop_map(|(c, r)| Output::of(c.into(), r.into()).expect("in bounds").get()),
        (0..f64::INFINITY.to_bits()).prop_map(f64::from_bits),
    ]
}

fn efforts() -> impl Strategy<Value = Vec<Effort>> {
    let racers = prop_oneof![0u64..20, Just(INTEGER_MAX), 0..=INTEGER_MAX];
    prop::collection::vec((0u32..12, racers, outputs()), 0..120).prop_map(|efforts| {
        efforts
            .into_iter()
            .map(|(s, r, o)| effort(s, r, o))
            .collect()
    })
}

proptest! {
    #[test]
    fn file_is_one_gzip_member_of_the_naive_text(efforts in efforts()) {
        let history = built(&table_of(&efforts));
        let file = file(&history);
        let text = naive(&efforts);
        prop_assert_eq!(&gunzip(&file), &text);
        prop_assert_eq!(history.text().collect::<Vec<_>>().concat(), text.as_bytes());
        prop_assert_eq!(history.len(), file.len() as u64);
        prop_assert_eq!(history.text_len(), text.len() as u64);
    }

    #[test]
    fn file_reads_back_as_the_same_state_bit_for_bit(efforts in efforts()) {
        let table = table_of(&efforts);
        let history = built(&table);
        let again = Table::new(1);
        again.merge(&read(&file(&history)), 0);
        prop_assert_eq!(again.summary(CLASS).state_hash, table.summary(CLASS).state_hash);
        prop_assert_eq!(again.summary(CLASS).efforts, table.summary(CLASS).efforts);
        prop_assert_eq!(file(&built(&again)), file(&history));
    }

    #[test]
    fn file_does_not_depend_on_the_order_of_merges_and_builds(
        (efforts, permuted) in
            efforts().prop_flat_map(|efforts| (Just(efforts.clone()), Just(efforts).prop_shuffle())),
        cut in 0usize..120,
    ) {
        let at_once = built(&table_of(&efforts));
        let table = table_of(&permuted[..cut.min(permuted.len())]);
        let first = built(&table);
        table.merge(&permuted, 0);
        let second = History::build(&table, CLASS, &first, 0);
        prop_assert_eq!(file(&second), file(&at_once));
        prop_assert_eq!(second.etag(), at_once.etag());
        prop_assert_eq!(second.text_etag(), at_once.text_etag());
    }
}

#[test]
fn improvement_rebuilds_one_part_and_copies_no_other() {
    let efforts: Vec<_> = (0..30)
        .flat_map(|second| (0..50).map(move |racer| effort(second, racer, 100.0)))
        .collect();
    let table = table_of(&efforts);
    let before = built(&table);
    table.merge(&[effort(7, 3, 100.5), effort(8, 3, 99.0)], 0);
    let after = History::build(&table, CLASS, &before, 0);
    let pairs = before.chunks().zip(after.chunks()).enumerate();
    let rebuilt: Vec<_> = pairs
        .filter(|(_, (a, b))| a.as_ptr() != b.as_ptr())
        .map(|(index, _)| index)
        .collect();
    assert_eq!(rebuilt, [0, 8, 31], "the head, second 7, the checksum");
    assert_ne!(before.etag(), after.etag());
    assert_ne!(before.text_etag(), after.text_etag());
}

#[test]
fn stale_parts_are_counted_until_their_last_piece_is_dropped() {
    let table = table_of(&[effort(0, 1, 1.0), effort(1, 1, 1.0)]);
    let before = built(&table);
    assert_eq!(before.stale_bytes(), 0);
    table.merge(&[effort(1, 1, 2.0)], 0);
    let after = History::build(&table, CLASS, &before, 0);
    let part = before.0.part(Second(1)).expect("ridden").bytes.len() as u64;
    assert_eq!(after.stale_bytes(), part);
    let piece = before.chunks().nth(2).expect("second 1").slice(1..2);
    drop(before);
    assert_eq!(after.stale_bytes(), part);
    drop(piece);
    assert_eq!(after.stale_bytes(), 0);
}

#[test]
fn built_at_is_the_version_before_the_build() {
    let table = table_of(&[effort(0, 1, 1.0), effort(1, 1, 1.0)]);
    assert_eq!(built(&table).built_at(), table.version(CLASS));
    assert_eq!(History::empty(0).built_at(), 0);
}

#[test]
fn erased_second_disappears_and_returns_unchanged() {
    let table = table_of(&[effort(0, 1, 1.0), effort(1, 1, 2.0), effort(2, 2, 3.0)]);
    let before = built(&table);
    table.erase(CLASS, RacerId(1), Second(0)..=Second(9), None, 0);
    let erased = History::build(&table, CLASS, &before, 1);
    assert_eq!(gunzip(&file(&erased)), r#"{"2":{"2":3}}"#);
    table.merge(&[effort(0, 1, 1.0), effort(1, 1, 2.0)], 0);
    assert_eq!(
        file(&History::build(&table, CLASS, &erased, 0)),
        file(&before)
    );
}

#[test]
fn erasure_version_changes_the_header_and_the_etag_but_not_the_text() {
    let table = table_of(&[effort(0, 1, 1.0)]);
    let before = built(&table);
    let after = History::build(&table, CLASS, &before, 0x0102_0304_0506_0708);
    let stored = |history: &History| {
        StoredHistory::open(&file(history))
            .expect("a header")
            .erasure_version()
    };
    assert_eq!(stored(&before), 0);
    assert_eq!(stored(&after), 0x0102_0304_0506_0708);
    assert_eq!(after.erasure_version(), 0x0102_0304_0506_0708);
    assert_ne!(before.etag(), after.etag());
    assert_eq!(before.text_etag(), after.text_etag());
    assert_eq!(gunzip(&file(&before)), gunzip(&file(&after)));
}

#[test]
fn history_without_efforts_is_an_empty_object() {
    let history = built(&Table::new(1));
    assert!(history.is_empty());
    assert_eq!(gunzip(&file(&history)), "{}");
    assert_eq!(history.text().collect::<Vec<_>>().concat(), b"{}");
    assert_eq!(history.etag(), History::empty(0).etag());
    assert_eq!(read(&file(&history)), []);
}

/// A change of these bytes changes the meaning of ETags: raise `ENCODER_VERSION` with it.
#[test]
fn equal_states_give_the_golden_bytes() {
    let small = built(&table_of(&[
        effort(0, 17, 187.25),
        effort(0, 9, 150.0),
        effort(60, 17, 0.1 + 0.2),
    ]));
    let bytes: String = file(&small)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        bytes,
        "1f8b08040000000000ff0c004143080000000000000000000001\
         00feff7b523250b2aa56b254b2323435d051323457b232b430d73332ad05000000ffff000100feff2c52323350b2aa56\
         323457b232d03336400526b500000000ffff010100feff7d188924573b000000"
    );

    // Long enough for several deflate blocks and for matches at the far end of the window.
    let table = Table::new(1);
    let mut random: u32 = 1;
    for second in 0..3 {
        let ride = |racer: u64| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes' generator
            let output = Output::of((random >> 24).into(), (random >> 16 & 63).into())
                .expect("in bounds")
                .get();
            effort(second, racer * racer, output)
        };
        table.merge(&(0..20_000).map(ride).collect::<Vec<_>>(), 0);
    }
    let large = History::build(&table, CLASS, &History::empty(0), 7);
    assert_eq!(large.text_len(), 1_056_126);
    assert_eq!(large.len(), 457_254);
    assert_eq!(
        format!("{:032x}", xxh3_128(&file(&large))),
        "d17a5cf2d64595e1880572608bdf9af4"
    );
    assert_eq!(large.etag(), "\"7a41423e5d0de4012bcafefb7ef2c97c\"");
    assert_eq!(large.text_etag(), "\"d8d2ec9388c3f76d23d0528f049b1737\"");
}
