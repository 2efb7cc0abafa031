//! The cost of a delivery of 22,000 records without HTTP: 10,000 racers in each of 6 classes, all
//! known.

use std::io::Write;
use std::sync::LazyLock;

use alleycat::domain::effort::{Bounds, ClassId, Effort, Output, Second};
use alleycat::domain::racer_names::{RacerName, RacerNames};
use alleycat::gzip;
use alleycat::ingest::decoded_records::DecodedRecords;
use alleycat::ingest::envelope::Envelope;
use alleycat::state::table::{Newcomers, Table};
use divan::Bencher;
use divan::counter::ItemsCount;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::load::{Numbers, Race};

const CLASSES: u16 = 6;
const RACERS: u64 = 10_000;
const RECORDS: usize = 22_000;
const BOUNDS: Bounds = Bounds {
    classes: CLASSES,
    second_max: 600,
};
const BODY_BYTES_MAX: usize = 100 << 20;

/// Deliveries, and a table and names that already hold their contents.
struct Warm {
    bodies: Vec<Vec<u8>>,
    table: Table,
    names: RacerNames,
}

static WARM: LazyLock<Warm> = LazyLock::new(|| warm(Numbers::Doubles));
static WARM_WHOLE: LazyLock<Warm> = LazyLock::new(|| warm(Numbers::Whole));

fn warm(numbers: Numbers) -> Warm {
    let classes: Vec<_> = ClassId::all(CLASSES).collect();
    let mut race = Race::new(&classes, RACERS, Second(0), numbers);
    let bodies: Vec<_> = (0..16).map(|_| race.delivery(RECORDS)).collect();
    let warm = Warm {
        bodies,
        table: Table::new(CLASSES),
        names: RacerNames::default(),
    };
    for body in &warm.bodies {
        let DecodedRecords { efforts, names, .. } = decoded(body, &warm.names);
        warm.table.merge(&efforts, 0);
        for (racer, RacerName { at_ms, text }) in names {
            warm.names.merge(racer, &RacerName { at_ms, text });
        }
    }
    warm
}

fn decoded(body: &[u8], names: &RacerNames) -> DecodedRecords {
    let envelope = Envelope::parse(body).expect("our own body");
    let mut decoded = envelope.decode(&BOUNDS, u64::MAX, BODY_BYTES_MAX);
    names.retain_newer(&mut decoded.names);
    decoded
}

/// Runs the bodies through `work`, one after another.
fn each_body<T>(
    bencher: Bencher<'_, '_>,
    warm: &'static Warm,
    mut work: impl FnMut(&'static [u8]) -> T,
) {
    let mut bodies = warm.bodies.iter().cycle();
    bencher
        .counter(ItemsCount::new(RECORDS))
        .bench_local(|| work(bodies.next().expect("they have no end")));
}

#[divan::bench]
fn envelope(bencher: Bencher<'_, '_>) {
    each_body(bencher, &WARM, |body| {
        Envelope::parse(body).expect("our own body")
    });
}

#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    each_body(bencher, &WARM, |body| decoded(body, &WARM.names));
}

#[divan::bench(sample_count = 200)]
fn decode_and_merge(bencher: Bencher<'_, '_>) {
    bench_decode_and_merge(bencher, &WARM);
}

#[divan::bench(sample_count = 200)]
fn decode_and_merge_whole(bencher: Bencher<'_, '_>) {
    bench_decode_and_merge(bencher, &WARM_WHOLE);
}

fn bench_decode_and_merge(bencher: Bencher<'_, '_>, warm: &'static Warm) {
    each_body(bencher, warm, |body| {
        let decoded = decoded(body, &warm.names);
        let comparison =
            warm.table
                .compare(&decoded.efforts, usize::MAX, &mut Newcomers::default());
        assert!(comparison.improving.is_empty(), "the table is warm");
        comparison
    });
}

#[divan::bench]
fn compare(bencher: Bencher<'_, '_>) {
    let efforts: Vec<_> = WARM
        .bodies
        .iter()
        .map(|body| decoded(body, &WARM.names).efforts)
        .collect();
    let mut efforts = efforts.iter().cycle();
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let efforts = efforts.next().expect("they have no end");
        WARM.table
            .compare(efforts, usize::MAX, &mut Newcomers::default())
    });
}

#[divan::bench]
fn merge_improvements(bencher: Bencher<'_, '_>) {
    let efforts: Vec<_> = WARM
        .bodies
        .iter()
        .map(|body| decoded(body, &WARM.names).efforts)
        .collect();
    let table = Table::new(CLASSES);
    efforts
        .iter()
        .for_each(|efforts| drop(table.merge(efforts, 0)));
    let mut round = 0;
    let raised = || {
        round += 1;
        let raise = |effort: &Effort| Effort {
            output: Output::new(effort.output.get() + f64::from(round) * 1000.0).expect("finite"),
            ..*effort
        };
        efforts[round as usize % efforts.len()]
            .iter()
            .map(raise)
            .collect::<Vec<_>>()
    };
    let merging = bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(raised);
    merging.bench_local_values(|efforts| table.merge(&efforts, 0));
}

#[divan::bench]
fn gunzip(bencher: Bencher<'_, '_>) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(&WARM.bodies[0])
        .expect("a write to memory");
    let body = encoder.finish().expect("a write to memory");
    let bencher = bencher.counter(ItemsCount::new(RECORDS));
    bencher.bench_local(|| gzip::gunzip(&body, BODY_BYTES_MAX).expect("our own body"));
}
