//! Tests of ranks, pages and what-ifs.

mod properties;

use super::*;
use crate::domain::effort::{ClassId, Effort, INTEGER_MAX};
use crate::state::table::Table;

const CLASS: ClassId = ClassId::new(1).expect("1 is a class");

fn output(output: f64) -> Output {
    Output::new(output).expect("a finite output that is not negative")
}

fn effort(second: u32, racer: u64, watts: f64) -> Effort {
    Effort::of(1, second, racer, watts)
}

fn table(efforts: &[(u64, f64)]) -> Table {
    let table = Table::new(1);
    table.merge(
        &efforts
            .iter()
            .map(|&(racer, watts)| effort(60, racer, watts))
            .collect::<Vec<_>>(),
        0,
    );
    table
}

fn board(efforts: &[(u64, f64)]) -> Board {
    table(efforts).board(CLASS, Second(60))
}

fn limit(rows: usize) -> PageLimit {
    PageLimit::new(rows).expect("a limit in bounds")
}

fn page_of(board: &Board, rows: usize, page: PageSelector) -> Leaderboard {
    query(
        board,
        &LeaderboardQuery {
            limit: limit(rows),
            page,
            ..LeaderboardQuery::default()
        },
    )
    .expect("the racer stands")
}

fn around(racer: u64) -> PageSelector {
    PageSelector::Around(RacerId(racer))
}

/// Selects the page of a cursor, which must exist.
fn follow(cursor: Option<Cursor>) -> PageSelector {
    PageSelector::Cursor(cursor.expect("a page on that side"))
}

fn cursor_row(watts: f64, racer: u64) -> CursorRow {
    CursorRow {
        output: output(watts),
        racer: RacerId(racer),
        time_ms: None,
    }
}

fn ranks(leaderboard: &Leaderboard) -> Vec<(usize, u64)> {
    leaderboard
        .standings
        .iter()
        .map(|standing| (standing.rank, standing.racer.0))
        .collect()
}

fn racers(leaderboard: &Leaderboard) -> Vec<u64> {
    leaderboard
        .standings
        .iter()
        .map(|standing| standing.racer.0)
        .collect()
}

/// Four racers, two of them tied.
const TIED: [(u64, f64); 4] = [(4, 10.0), (3, 20.0), (2, 20.0), (1, 30.0)];

#[test]
fn ties_are_ranked_three_ways() {
    let ranked = |ties| {
        ranks(
            &query(
                &board(&TIED),
                &LeaderboardQuery {
                    ties,
                    ..LeaderboardQuery::default()
                },
            )
            .expect("no racer to be around"),
        )
    };
    assert_eq!(ranked(Ties::Competition), [(1, 1), (2, 2), (2, 3), (4, 4)]);
    assert_eq!(ranked(Ties::Dense), [(1, 1), (2, 2), (2, 3), (3, 4)]);
    assert_eq!(ranked(Ties::Ordinal), [(1, 1), (2, 2), (3, 3), (4, 4)]);
}

#[test]
fn previous_page_has_the_same_ranks() {
    let board = board(&TIED);
    let first = page_of(&board, 2, PageSelector::default());
    let second = page_of(&board, 2, follow(first.next));
    assert_eq!(ranks(&second), [(2, 3), (4, 4)]);
    assert_eq!(second.next, None);
    assert_eq!(page_of(&board, 2, follow(second.previous)), first);
    assert_eq!(first.previous, None);
}

#[test]
fn page_before_an_odd_offset_is_short_and_repeats_no_row() {
    let board = board(&TIED);
    let page = page_of(&board, 2, PageSelector::Offset(1));
    assert_eq!(racers(&page), [2, 3]);
    let before = page_of(&board, 2, follow(page.previous));
    assert_eq!(ranks(&before), [(1, 1)]);
    assert_eq!(before.previous, None);
    assert_eq!(page_of(&board, 2, follow(before.next)), page);
}

#[test]
fn offset_beyond_the_end_gives_an_empty_page_with_a_previous_one() {
    let board = board(&TIED);
    for offset in [4, 5, usize::MAX] {
        let page = page_of(&board, 3, PageSelector::Offset(offset));
        assert_eq!(page.total, 4);
        assert!(page.standings.is_empty());
        assert_eq!(page.next, None);
        assert_eq!(
            racers(&page_of(&board, 3, follow(page.previous))),
            [2, 3, 4]
        );
    }
}

#[test]
fn page_around_the_first_or_last_racer_is_full() {
    let board = board(&[(1, 50.0), (2, 40.0), (3, 30.0), (4, 20.0), (5, 10.0)]);
    let page = |racer, rows| page_of(&board, rows, around(racer));
    assert_eq!(racers(&page(1, 3)), [1, 2, 3]);
    assert_eq!(racers(&page(2, 3)), [1, 2, 3]);
    assert_eq!(racers(&page(3, 3)), [2, 3, 4]);
    assert_eq!(racers(&page(4, 3)), [3, 4, 5]);
    assert_eq!(racers(&page(5, 3)), [3, 4, 5]);
    assert_eq!(racers(&page(5, 1)), [5]);
    assert_eq!(racers(&page(5, 9)), [1, 2, 3, 4, 5]);
    assert_eq!(page(1, 3).previous, None);
    assert_eq!(page(5, 3).next, None);
    assert_eq!(page(5, 9).previous, None);
    assert_eq!(page(5, 9).next, None);
    assert_eq!(racers(&page_of(&board, 2, follow(page(3, 3).next))), [5]);
    assert_eq!(
        racers(&page_of(&board, 2, follow(page(3, 3).previous))),
        [1]
    );
}

#[test]
fn page_around_a_racer_without_an_effort_is_not_found() {
    let query = |what_if| {
        let page = around(9);
        query(
            &board(&TIED),
            &LeaderboardQuery {
                page,
                what_if,
                limit: limit(3),
                ..LeaderboardQuery::default()
            },
        )
        .map(|page| ranks(&page))
    };
    let what_if = |racer, watts| {
        Some(WhatIf {
            racer: RacerId(racer),
            output: output(watts),
        })
    };
    assert_eq!(query(None), Err(RacerNotFound(RacerId(9))));
    assert_eq!(query(what_if(8, 10.0)), Err(RacerNotFound(RacerId(9))));
    assert_eq!(query(what_if(9, 10.0)), Ok(vec![(2, 3), (4, 4), (4, 9)]));
}

#[test]
fn equal_outputs_are_ordered_by_id_in_any_insertion_order() {
    for ids in [[1, 2, 3, 10], [10, 3, 2, 1], [3, 10, 1, 2]] {
        let board = board(&ids.map(|id| (id, 7.0)));
        assert_eq!(
            ranks(&page_of(&board, 9, PageSelector::default())),
            [(1, 1), (1, 2), (1, 3), (1, 10)]
        );
        assert_eq!(
            racers(&page_of(
                &board,
                2,
                PageSelector::Cursor(Cursor::After(cursor_row(7.0, 1)))
            )),
            [2, 3]
        );
    }
}

#[test]
fn output_0_ranks_like_any_other() {
    let board = board(&[(1, 0.0), (2, -0.0), (3, 1.0)]);
    assert_eq!(
        ranks(&page_of(&board, 9, PageSelector::default())),
        [(1, 3), (2, 1), (2, 2)]
    );
    let page = page_of(&board, 2, PageSelector::Cursor(Cursor::Last));
    assert_eq!(racers(&page), [1, 2]);
    assert_eq!(page.next, None);
    let what_if = Some(WhatIf {
        racer: RacerId(9),
        output: output(0.0),
    });
    let page = query(
        &board,
        &LeaderboardQuery {
            what_if,
            ..LeaderboardQuery::default()
        },
    )
    .expect("no racer to be around");
    assert_eq!(page.standings[3], standing(2, 9, 0.0, None, Some(true)));
    assert_eq!(
        rank_info(&board, RacerId(1)),
        Some(RankInfo {
            rank: 2,
            total: 3,
            percentile: 0.0
        })
    );
}

fn standing(
    rank: usize,
    racer: u64,
    watts: f64,
    second: Option<u32>,
    new_record: Option<bool>,
) -> Standing {
    Standing {
        rank,
        racer: RacerId(racer),
        output: output(watts),
        second: second.map(Second),
        finish: None,
        new_record,
        group_rank: None,
    }
}

#[test]
fn single_racer_is_on_every_page() {
    let board = board(&[(5, 1.0)]);
    let expected = Leaderboard {
        total: 1,
        place: None,
        standings: vec![standing(1, 5, 1.0, Some(60), None)],
        next: None,
        previous: None,
    };
    for page in [
        PageSelector::default(),
        around(5),
        PageSelector::Cursor(Cursor::First),
        PageSelector::Cursor(Cursor::Last),
    ] {
        assert_eq!(page_of(&board, 1, page), expected);
        assert_eq!(page_of(&board, 50, page), expected);
    }
    assert_eq!(
        rank_info(&board, RacerId(5)),
        Some(RankInfo {
            rank: 1,
            total: 1,
            percentile: 0.0
        })
    );
}

#[test]
fn empty_board_has_no_neighbor_pages() {
    for page in [
        PageSelector::Offset(0),
        PageSelector::Offset(9),
        PageSelector::Cursor(Cursor::First),
        PageSelector::Cursor(Cursor::Last),
    ] {
        let empty = Leaderboard {
            total: 0,
            place: None,
            standings: vec![],
            next: None,
            previous: None,
        };
        assert_eq!(page_of(&board(&[]), 1, page), empty);
    }
    assert_eq!(rank_info(&board(&[]), RacerId(1)), None);
}

#[test]
fn what_if_counts_only_if_it_beats_the_best() {
    let rows = |racer, watts| {
        let what_if = Some(WhatIf {
            racer: RacerId(racer),
            output: output(watts),
        });
        query(
            &board(&TIED),
            &LeaderboardQuery {
                what_if,
                ..LeaderboardQuery::default()
            },
        )
        .expect("no racer to be around")
    };
    assert_eq!(
        rows(3, 20.0).standings[2],
        standing(2, 3, 20.0, Some(60), Some(false))
    );
    assert_eq!(
        rows(3, 30.0).standings[1],
        standing(1, 3, 30.0, None, Some(true))
    );
    assert_eq!(ranks(&rows(3, 30.0)), [(1, 1), (1, 3), (3, 2), (4, 4)]);
    assert_eq!(rows(3, 30.0).total, 4);
    assert_eq!(rows(9, 15.0).total, 5);
    assert_eq!(
        ranks(&rows(9, 15.0)),
        [(1, 1), (2, 2), (2, 3), (4, 9), (5, 4)]
    );
}

#[test]
fn all_time_rows_have_their_second() {
    let table = Table::new(1);
    table.merge(
        &[
            effort(1, 7, 5.0),
            effort(4, 7, 9.0),
            effort(3, 7, 9.0),
            effort(2, 8, 6.0),
        ],
        0,
    );
    let page = page_of(&table.overall_board(CLASS), 9, PageSelector::default());
    assert_eq!(
        page.standings,
        [
            standing(1, 7, 9.0, Some(3), None),
            standing(2, 8, 6.0, Some(2), None)
        ]
    );
}

#[test]
fn page_around_an_unselected_racer_is_around_its_position() {
    let board = board(&[(1, 50.0), (2, 40.0), (3, 30.0), (4, 20.0), (5, 10.0)]);
    let racers = Some([5, 4, 2, 1, 99, 5].map(RacerId).to_vec());
    let page = query(
        &board,
        &LeaderboardQuery {
            racers,
            page: around(3),
            limit: limit(2),
            ..LeaderboardQuery::default()
        },
    );
    assert_eq!(ranks(&page.expect("racer 3 stands")), [(2, 2), (4, 4)]);
}

#[test]
fn cursors_visit_every_racer_once_while_the_board_changes() {
    let table = table(&[
        (1, 60.0),
        (2, 50.0),
        (3, 50.0),
        (4, 50.0),
        (5, 20.0),
        (6, 10.0),
    ]);
    let page = |page| page_of(&table.board(CLASS, Second(60)), 2, page);
    let down = page(PageSelector::default());
    let up = page(PageSelector::Cursor(Cursor::Last));
    assert_eq!(racers(&down), [1, 2]);
    assert_eq!(racers(&up), [5, 6]);
    // 6 overtakes all, 7 joins the tie, and 2, which the next page follows, is erased.
    table.merge(&[effort(60, 6, 70.0), effort(60, 7, 50.0)], 0);
    table.erase(CLASS, RacerId(2), Second(0)..=Second(60), None, 0);
    let (down, up) = (page(follow(down.next)), page(follow(up.previous)));
    assert_eq!(ranks(&down), [(3, 3), (3, 4)]);
    assert_eq!(ranks(&up), [(3, 4), (3, 7)]);
    let (down, up) = (page(follow(down.next)), page(follow(up.previous)));
    assert_eq!(racers(&down), [7, 5]);
    assert_eq!(racers(&up), [1, 3]);
    assert_eq!(down.next, None);
    assert_eq!(racers(&page(follow(up.previous))), [6]);
}

#[test]
fn empty_page_leads_back_to_its_end_of_the_board() {
    let board = board(&TIED);
    let above = page_of(
        &board,
        3,
        PageSelector::Cursor(Cursor::Before(cursor_row(90.0, 1))),
    );
    assert!(above.standings.is_empty());
    assert_eq!(above.previous, None);
    assert_eq!(racers(&page_of(&board, 3, follow(above.next))), [1, 2, 3]);
    let below = page_of(
        &board,
        3,
        PageSelector::Cursor(Cursor::After(cursor_row(0.0, 1))),
    );
    assert!(below.standings.is_empty());
    assert_eq!(below.next, None);
    assert_eq!(
        racers(&page_of(&board, 3, follow(below.previous))),
        [2, 3, 4]
    );
}

#[test]
fn cursor_of_another_board_is_a_position_on_this_one() {
    let board = board(&TIED);
    let page = |cursor| racers(&page_of(&board, 9, PageSelector::Cursor(cursor)));
    assert_eq!(page(Cursor::After(cursor_row(25.0, 99))), [2, 3, 4]);
    assert_eq!(page(Cursor::Before(cursor_row(25.0, 99))), [1]);
    assert_eq!(page(Cursor::After(cursor_row(f64::MAX, 0))), [1, 2, 3, 4]);
    assert_eq!(page(Cursor::After(cursor_row(0.0, INTEGER_MAX))), [0; 0]);
}

#[test]
fn limit_is_1_to_1000() {
    let limits = [0, 1, 1000, 1001].map(|rows| PageLimit::new(rows).map(PageLimit::get));
    assert_eq!(limits, [None, Some(1), Some(1000), None]);
    assert_eq!(LeaderboardQuery::default().limit, limit(50));
}
