//! The history of 40,000 racers over 300 seconds: built, rebuilt after one improvement, read back.

use std::sync::LazyLock;

use alleycat::domain::effort::{ClassId, Effort, Output, RacerId, Second};
use alleycat::state::table::Table;
use alleycat::storage::history_file::{History, StoredHistory};
use divan::Bencher;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::load::{self, Numbers};

const RACERS: u64 = 40_000;
const SECONDS: u32 = 300;
const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

static TABLE: LazyLock<Table> = LazyLock::new(|| table(Numbers::Doubles));
static TABLE_WHOLE: LazyLock<Table> = LazyLock::new(|| table(Numbers::Whole));

fn table(numbers: Numbers) -> Table {
    let mut random = StdRng::seed_from_u64(1);
    let table = Table::new(1);
    for second in (0..SECONDS).map(Second) {
        let efforts = load::second_of_all(CLASS, RACERS, second, &mut random, numbers);
        table.merge(&efforts, 0);
    }
    table
}

fn built(table: &Table) -> History {
    History::build(table, CLASS, &History::empty(0), 0)
}

#[divan::bench(sample_count = 5)]
fn first_build(bencher: Bencher<'_, '_>) {
    let table = LazyLock::force(&TABLE);
    bencher.bench(|| built(table));
}

#[divan::bench(sample_count = 5)]
fn first_build_whole(bencher: Bencher<'_, '_>) {
    let table = LazyLock::force(&TABLE_WHOLE);
    bencher.bench(|| built(table));
}

#[divan::bench(sample_count = 50)]
fn rebuild_after_one_improvement(bencher: Bencher<'_, '_>) {
    let mut history = built(&TABLE);
    let mut improvement = 0;
    bencher.bench_local(|| {
        improvement += 1;
        let output = Output::new(1000.0 + f64::from(improvement)).expect("in bounds");
        let second = Second(improvement % SECONDS);
        let effort = Effort {
            class: CLASS,
            second,
            racer: RacerId(1),
            output,
            race: None,
            time: 0,
        };
        TABLE.merge(&[effort], 0);
        history = History::build(&TABLE, CLASS, &history, 0);
    });
}

#[divan::bench(sample_count = 5)]
fn read_back(bencher: Bencher<'_, '_>) {
    bench_reading(bencher, &TABLE);
}

#[divan::bench(sample_count = 5)]
fn read_back_whole(bencher: Bencher<'_, '_>) {
    bench_reading(bencher, &TABLE_WHOLE);
}

fn bench_reading(bencher: Bencher<'_, '_>, table: &Table) {
    let file = built(table).chunks().collect::<Vec<_>>().concat();
    let read = || StoredHistory::open(&file).and_then(|stored| stored.read(Second(SECONDS)));
    bencher.bench(|| read().expect("our own file"));
}
