//! Leaderboards of 40,000 racers: pages, also right after an improvement.

use std::sync::LazyLock;

use alleycat::domain::effort::{ClassId, Effort, Output, RacerId, Second};
use alleycat::state::leaderboard::{LeaderboardQuery, PageSelector, WhatIf, query};
use alleycat::state::table::Table;
use divan::Bencher;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::load;

const RACERS: u64 = 40_000;
const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");

/// Second 0 never changes; second 1 does.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut random = StdRng::seed_from_u64(1);
    let table = Table::new(1);
    for second in (0..2).map(Second) {
        let efforts =
            load::second_of_all(CLASS, RACERS, second, &mut random, load::Numbers::Doubles);
        table.merge(&efforts, 0);
    }
    table
});

fn page(leaderboard_query: &LeaderboardQuery) -> usize {
    page_of(Second(0), leaderboard_query)
}

fn page_of(second: Second, leaderboard_query: &LeaderboardQuery) -> usize {
    query(&TABLE.board(CLASS, second), leaderboard_query)
        .expect("the racer stands")
        .standings
        .len()
}

#[divan::bench]
fn first_page(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| page(&LeaderboardQuery::default()));
}

#[divan::bench]
fn around(bencher: Bencher<'_, '_>) {
    let mut racer = 0;
    bencher.bench_local(|| {
        racer = racer * 7919 % RACERS + 1;
        page(&LeaderboardQuery {
            page: PageSelector::Around(RacerId(racer)),
            ..LeaderboardQuery::default()
        })
    });
}

#[divan::bench]
fn what_if(bencher: Bencher<'_, '_>) {
    let mut racer = 0;
    bencher.bench_local(|| {
        racer = racer * 7919 % RACERS + 1;
        let (racer, output) = (RacerId(racer), Output::new(150.25).expect("finite"));
        page(&LeaderboardQuery {
            what_if: Some(WhatIf { racer, output }),
            page: PageSelector::Around(racer),
            ..LeaderboardQuery::default()
        })
    });
}

#[divan::bench]
fn page_after_one_improvement(bencher: Bencher<'_, '_>) {
    let mut improvement: u32 = 0;
    bencher.bench_local(|| {
        improvement += 1;
        let output = Output::new(1000.0 + f64::from(improvement)).expect("finite");
        let racer = RacerId(u64::from(improvement) % RACERS + 1);
        TABLE.merge(
            &[Effort {
                class: CLASS,
                second: Second(1),
                racer,
                output,
                race: None,
                time: 0,
            }],
            0,
        );
        page_of(Second(1), &LeaderboardQuery::default())
    });
}
