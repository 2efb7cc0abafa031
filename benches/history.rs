//! The history of 40,000 racers over 300 seconds: built, built again after one improvement, read back.

use std::sync::LazyLock;

use alleycat::effort::{ClassId, Effort, Output, RacerId, Second};
use alleycat::history::{History, StoredHistory};
use alleycat::table::Table;
use divan::Bencher;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const RACERS: u64 = 40_000;
const SECONDS: u32 = 300;
const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut random = StdRng::seed_from_u64(1);
    let table = Table::new(1);
    for second in 0..SECONDS {
        let ride = |racer| {
            let bits = random.next_u64();
            let output = Output::of((40 + bits % 120) as f64, (bits >> 32) as f64 % 101.0).expect("in bounds");
            effort(second, racer, output)
        };
        table.merge(&(1..=RACERS).map(ride).collect::<Vec<_>>(), 0);
    }
    table
});

fn effort(second: u32, racer: u64, output: Output) -> Effort {
    Effort { class: CLASS, second: Second(second), racer: RacerId(racer), output, race: None, time: 0 }
}

fn built() -> History {
    History::build(&TABLE, CLASS, &History::empty(0), 0)
}

fn main() {
    let history = built();
    println!("{} bytes of text, {} of gzip", history.text_len(), history.len());
    divan::main();
}

#[divan::bench(sample_count = 5)]
fn first_build(bencher: Bencher<'_, '_>) {
    bencher.bench(built);
}

#[divan::bench(sample_count = 50)]
fn rebuild_after_one_improvement(bencher: Bencher<'_, '_>) {
    let mut history = built();
    let mut improvement = 0;
    bencher.bench_local(|| {
        improvement += 1;
        let output = Output::new(1000.0 + f64::from(improvement)).expect("in bounds");
        TABLE.merge(&[effort(improvement % SECONDS, 1, output)], 0);
        history = History::build(&TABLE, CLASS, &history, 0);
    });
}

#[divan::bench(sample_count = 5)]
fn read(bencher: Bencher<'_, '_>) {
    let file = built().chunks().concat();
    bencher.bench(|| {
        let mut efforts = 0;
        let stored = StoredHistory::open(&file).expect("our own file");
        stored.read(CLASS, |lot| efforts += lot.len()).expect("our own file");
        efforts
    });
}
