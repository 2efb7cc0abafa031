//! Pace curves of 40,000 racers and 300 seconds: at first, cached, and after an improvement.

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use alleycat::domain::effort::{ClassId, Effort, Output, RacerId, Second};
use alleycat::state::pace::{PaceCache, PaceTarget, Percentile};
use alleycat::state::table::Table;
use divan::Bencher;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::load;

const RACERS: u64 = 40_000;
const SECONDS: u32 = 300;
const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut random = StdRng::seed_from_u64(1);
    let table = Table::new(1);
    for second in (0..SECONDS).map(Second) {
        let efforts =
            load::second_of_all(CLASS, RACERS, second, &mut random, load::Numbers::Doubles);
        table.merge(&efforts, 0);
    }
    table
});

fn targets() -> Vec<PaceTarget> {
    let percentiles = [99.0, 90.0, 50.0].map(|it| Percentile::new(it).expect("0 to 100"));
    let ranks = [1, 10].map(|it| NonZeroUsize::new(it).expect("not 0"));
    let percentiles = percentiles.map(PaceTarget::Percentile).into_iter();
    percentiles.chain(ranks.map(PaceTarget::Rank)).collect()
}

fn curves(cache: &PaceCache) -> usize {
    cache.curves(&TABLE, CLASS, &targets()).curves.len()
}

#[divan::bench(sample_count = 10)]
fn first_use(bencher: Bencher<'_, '_>) {
    LazyLock::force(&TABLE);
    bencher.bench_local(|| curves(&PaceCache::new(1)));
}

#[divan::bench]
fn cached(bencher: Bencher<'_, '_>) {
    let cache = PaceCache::new(1);
    curves(&cache);
    bencher.bench_local(|| curves(&cache));
}

#[divan::bench]
fn after_one_improvement(bencher: Bencher<'_, '_>) {
    let cache = PaceCache::new(1);
    curves(&cache);
    let mut improvement: u32 = 0;
    bencher.bench_local(|| {
        improvement += 1;
        let effort = Effort {
            class: CLASS,
            second: Second(improvement % SECONDS),
            racer: RacerId(u64::from(improvement) % RACERS + 1),
            output: Output::new(1000.0 + f64::from(improvement)).expect("finite"),
            race: None,
            time: 0,
        };
        TABLE.merge(&[effort], 0);
        curves(&cache)
    });
}
