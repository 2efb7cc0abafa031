//! Property tests of queries against a naive model.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::effort::RaceId;

const RACERS: u64 = 12;
const SECONDS: u32 = 3;

fn arbitrary_output() -> impl Strategy<Value = Output> {
    select(vec![0.0, 0.5, 1.0, 1.5, 2.0]).prop_map(output)
}

fn arbitrary_racer() -> impl Strategy<Value = RacerId> {
    (0..RACERS + 2).prop_map(RacerId)
}

fn arbitrary_effort() -> impl Strategy<Value = Effort> {
    (0..SECONDS, 0..RACERS, arbitrary_output()).prop_map(|(second, racer, output)| Effort {
        output,
        ..effort(second, racer, 0.0)
    })
}

fn arbitrary_time() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(0..3_u64)
}

/// A board with rows of one kind, and the same rows as a list.
#[derive(Debug)]
enum Rows {
    Class(Vec<Effort>, Option<Second>),
    Race(Vec<Effort>),
    Finishes(Vec<Standing>),
}

impl Rows {
    /// Whether equal outputs are ordered by time.
    fn have_times(&self) -> bool {
        matches!(self, Self::Finishes(_))
    }

    fn query(&self, request: &LeaderboardQuery) -> Result<Leaderboard, RacerNotFound> {
        match self {
            Self::Class(efforts, second) => {
                let table = Table::new(1);
                table.merge(efforts, 0);
                let board = second.map_or_else(
                    || table.overall_board(CLASS),
                    |second| table.board(CLASS, second),
                );
                query(&board, request)
            }
            Self::Race(_) => {
                let rows = self.list().into_iter();
                let rows =
                    rows.map(|row| (row.racer, row.output, row.second.expect("of an effort")));
                query(&RaceBoard::new(rows), request)
            }
            Self::Finishes(rows) => {
                let rows = rows
                    .iter()
                    .map(|row| (row.racer, row.output, row.finish.expect("of a finish")));
                query(&FinishBoard::new(rows), request)
            }
        }
    }

    /// Returns the rows without ranks, in any order.
    fn list(&self) -> Vec<Standing> {
        let of_efforts = |efforts: &[Effort], second| {
            let bests = bests(efforts, second).into_iter();
            let row = |(racer, (output, second)): (RacerId, _)| Standing {
                second: Some(second),
                ..standing_of(racer, output)
            };
            bests.map(row).collect()
        };
        match self {
            Self::Class(efforts, second) => of_efforts(efforts, *second),
            Self::Race(efforts) => of_efforts(efforts, None),
            Self::Finishes(rows) => rows.clone(),
        }
    }
}

fn arbitrary_rows() -> impl Strategy<Value = Rows> {
    let efforts = || prop::collection::vec(arbitrary_effort(), 0..40);
    let second = prop::option::of((0..SECONDS).prop_map(Second));
    let finish = (arbitrary_output(), arbitrary_time());
    let finishes = prop::collection::btree_map(0..RACERS, finish, 0..RACERS as usize);
    let finishes = finishes.prop_map(|finishes| {
        let row = |(racer, (output, at_ms))| Standing {
            finish: Some(Finish {
                race: RaceId(racer + 100),
                at_ms,
            }),
            ..standing_of(RacerId(racer), output)
        };
        Rows::Finishes(finishes.into_iter().map(row).collect())
    });
    prop_oneof![
        (efforts(), second).prop_map(|(efforts, second)| Rows::Class(efforts, second)),
        efforts().prop_map(Rows::Race),
        finishes,
    ]
}

fn arbitrary_cursor() -> impl Strategy<Value = Cursor> {
    let row = || {
        (arbitrary_output(), arbitrary_racer(), arbitrary_time()).prop_map(
            |(output, racer, time_ms)| CursorRow {
                output,
                racer,
                time_ms,
            },
        )
    };
    prop_oneof![
        Just(Cursor::First),
        row().prop_map(Cursor::After),
        row().prop_map(Cursor::Before),
        Just(Cursor::Last),
    ]
}

fn arbitrary_query() -> impl Strategy<Value = LeaderboardQuery> {
    let ties = select(vec![Ties::Competition, Ties::Dense, Ties::Ordinal]);
    let page = prop_oneof![
        (0..16_usize).prop_map(PageSelector::Offset),
        arbitrary_cursor().prop_map(PageSelector::Cursor),
        arbitrary_racer().prop_map(PageSelector::Around),
        (0..10_u32).prop_map(|quarters| PageSelector::At(output(f64::from(quarters) / 4.0))),
    ];
    let racers = prop::option::of(prop::collection::vec(arbitrary_racer(), 0..12));
    let what_if = prop::option::of((arbitrary_racer(), arbitrary_output()));
    (ties, 1..9_usize, page, racers, what_if).prop_map(|(ties, rows, page, racers, what_if)| {
        let what_if = what_if.map(|(racer, output)| WhatIf { racer, output });
        LeaderboardQuery {
            ties,
            limit: limit(rows),
            page,
            racers,
            what_if,
        }
    })
}

/// Returns each racer's best among the efforts, computed naively.
fn bests(efforts: &[Effort], second: Option<Second>) -> BTreeMap<RacerId, (Output, Second)> {
    let mut bests = BTreeMap::new();
    for effort in efforts
        .iter()
        .filter(|effort| second.is_none_or(|second| second == effort.second))
    {
        let best = bests
            .entry(effort.racer)
            .or_insert((effort.output, effort.second));
        if (effort.output, Reverse(effort.second)) > (best.0, Reverse(best.1)) {
            *best = (effort.output, effort.second);
        }
    }
    bests
}

/// A row's place in the order: output, time (unknown last), racer.
type Key = (Reverse<Output>, (bool, u64), RacerId);

fn key_of(rows: &Rows, output: Output, time_ms: Option<u64>, racer: RacerId) -> Key {
    let time = if rows.have_times() {
        (time_ms.is_none(), time_ms.unwrap_or(0))
    } else {
        (false, 0)
    };
    (Reverse(output), time, racer)
}

fn key(rows: &Rows, row: &Standing) -> Key {
    let time_ms = row.finish.and_then(|finish| finish.at_ms);
    key_of(rows, row.output, time_ms, row.racer)
}

/// Returns the ranks of rows in order, computed naively.
fn naive_ranks(rows: &[Standing], ties: Ties) -> Vec<usize> {
    let rank = |(position, row): (usize, &Standing)| {
        1 + match ties {
            Ties::Ordinal => position,
            _ => naive_above(rows, ties, row.output),
        }
    };
    rows.iter().enumerate().map(rank).collect()
}

fn naive_above(rows: &[Standing], ties: Ties, output: Output) -> usize {
    let outputs = rows.iter().map(|row| row.output);
    let above = outputs.filter(|&other| other > output);
    match ties {
        Ties::Dense => above.collect::<BTreeSet<_>>().len(),
        _ => above.count(),
    }
}

/// Returns all rows, and those that a query selects, computed naively.
fn naive_rows(board: &Rows, query: &LeaderboardQuery) -> (Vec<Standing>, Vec<Standing>) {
    let mut rows = board.list();
    if let Some(WhatIf { racer, output }) = query.what_if {
        let old = rows.iter().find(|row| row.racer == racer);
        if old.is_none_or(|old| output > old.output) {
            rows.retain(|row| row.racer != racer);
            rows.push(Standing {
                new_record: Some(true),
                ..standing_of(racer, output)
            });
        } else {
            rows.iter_mut()
                .filter(|row| row.racer == racer)
                .for_each(|row| row.new_record = Some(false));
        }
    }
    rows.sort_by_key(|row| key(board, row));
    let ranks = naive_ranks(&rows, query.ties);
    rows.iter_mut()
        .zip(ranks)
        .for_each(|(row, rank)| row.rank = rank);
    let Some(racers) = &query.racers else {
        return (rows.clone(), rows);
    };
    let mut selected = rows.clone();
    selected.retain(|row| racers.contains(&row.racer));
    let ranks = naive_ranks(&selected, query.ties);
    selected
        .iter_mut()
        .zip(ranks)
        .for_each(|(row, rank)| row.group_rank = Some(rank));
    (rows, selected)
}

fn standing_of(racer: RacerId, output: Output) -> Standing {
    Standing {
        rank: 0,
        racer,
        output,
        second: None,
        finish: None,
        new_record: None,
        group_rank: None,
    }
}

/// A page, and whether there are neighbor pages before and after it.
type NaivePage = (usize, Option<Place>, Vec<Standing>, bool, bool);

/// Answers a query naively.
fn naive(board: &Rows, query: &LeaderboardQuery) -> Result<NaivePage, RacerNotFound> {
    let (all, rows) = naive_rows(board, query);
    let rows_max = query.limit.0;
    let positions = 0..rows.len();
    let key = |row: &Standing| key(board, row);
    let key_at = |row: CursorRow| key_of(board, row.output, row.time_ms, row.racer);
    // Of all fullest pages, the one with half of the limit before the middle.
    let middle_page = |middle: usize| -> Vec<usize> {
        let full = rows_max.min(rows.len());
        let start =
            (0..=rows.len() - full).min_by_key(|start| middle.abs_diff(start + rows_max / 2));
        let start = start.expect("one page at least");
        (start..start + full).collect()
    };
    let page: Vec<usize> = match query.page {
        PageSelector::Offset(offset) => positions.skip(offset).take(rows_max).collect(),
        PageSelector::Cursor(Cursor::First) => positions.take(rows_max).collect(),
        PageSelector::Cursor(Cursor::After(row)) => positions
            .filter(|&position| key(&rows[position]) > key_at(row))
            .take(rows_max)
            .collect(),
        PageSelector::Cursor(Cursor::Before(row)) => {
            let before = positions
                .filter(|&position| key(&rows[position]) < key_at(row))
                .collect::<Vec<_>>();
            before[before.len().saturating_sub(rows_max)..].to_vec()
        }
        PageSelector::Cursor(Cursor::Last) => positions
            .skip(rows.len().saturating_sub(rows_max))
            .collect(),
        PageSelector::Around(racer) => {
            let pivot = all
                .iter()
                .find(|row| row.racer == racer)
                .ok_or(RacerNotFound(racer))?;
            middle_page(rows.iter().filter(|&row| key(row) < key(pivot)).count())
        }
        PageSelector::At(output) => {
            middle_page(rows.iter().filter(|row| row.output > output).count())
        }
    };
    let place = match query.page {
        PageSelector::At(output) => Some(naive_place(&all, query.ties, output)),
        _ => None,
    };
    let (previous, next) = match (page.first(), page.last()) {
        (Some(&first), Some(&last)) => (first > 0, last + 1 < rows.len()),
        _ if matches!(query.page, PageSelector::Cursor(Cursor::Before(..))) => {
            (false, !rows.is_empty())
        }
        _ => (!rows.is_empty(), false),
    };
    let page = page.iter().map(|&position| rows[position]).collect();
    Ok((all.len(), place, page, previous, next))
}

fn naive_place(rows: &[Standing], ties: Ties, output: Output) -> Place {
    let below = rows.iter().filter(|row| row.output < output).count();
    Place {
        rank: 1 + naive_above(rows, ties, output),
        percentile: (!rows.is_empty()).then(|| 100.0 * below as f64 / rows.len() as f64),
    }
}

proptest! {
    #[test]
    fn every_page_equals_the_naive_model(board in arbitrary_rows(), request in arbitrary_query()) {
        let answer = board.query(&request).map(|answer| {
            let (previous, next) = (answer.previous.is_some(), answer.next.is_some());
            (answer.total, answer.place, answer.standings, previous, next)
        });
        prop_assert_eq!(answer, naive(&board, &request));
    }

    #[test]
    fn cursors_visit_every_row_once_both_ways(
        board in arbitrary_rows(),
        request in arbitrary_query(),
    ) {
        let rows = naive_rows(&board, &request).1;
        let Ok(from) = board.query(&request) else { return Ok(()) };

        // From any page, the pages before it, the page and the pages after it are all rows.
        let page = |cursor: Cursor| {
            let cursor = cursor.to_string().parse().expect("a text of a cursor");
            let request = LeaderboardQuery { page: PageSelector::Cursor(cursor), ..request.clone() };
            board.query(&request).expect("no racer to be around")
        };
        let mut walked = from.standings.clone();
        let mut next = from.next;
        while let Some(cursor) = next {
            let page = page(cursor);
            prop_assert!(!page.standings.is_empty());
            prop_assert!(page.next.is_none() || page.standings.len() == request.limit.0);
            walked.extend(page.standings);
            next = page.next;
        }
        let mut previous = from.previous;
        while let Some(cursor) = previous {
            let page = page(cursor);
            prop_assert!(!page.standings.is_empty());
            prop_assert!(page.previous.is_none() || page.standings.len() == request.limit.0);
            walked.splice(0..0, page.standings);
            previous = page.previous;
        }
        prop_assert_eq!(walked, rows);
    }

    #[test]
    fn racer_with_unchanged_output_is_visited_once_while_the_board_changes(
        efforts in prop::collection::vec(arbitrary_effort(), 0..40),
        rows in 1..4_usize,
        changes in prop::collection::vec((any::<bool>(), arbitrary_effort()), 0..20),
    ) {
        let table = Table::new(1);
        table.merge(&efforts, 0);
        let outputs = || table.overall_board(CLASS).by_id().collect::<HashMap<RacerId, Output>>();
        let mut unchanged = outputs();
        let mut visited: [Vec<RacerId>; 2] = Default::default();
        let mut walkers = [Some(Cursor::First), Some(Cursor::Last)];
        let mut changes = changes.iter();
        while walkers != [None, None] {
            for (way, walker) in walkers.iter_mut().enumerate() {
                let Some(cursor) = *walker else { continue };
                let page = page_of(&table.overall_board(CLASS), rows, PageSelector::Cursor(cursor));
                visited[way].extend(page.standings.iter().map(|standing| standing.racer));
                *walker = [page.next, page.previous][way];
                let Some(&(rides, effort)) = changes.next() else { continue };
                if rides {
                    table.merge(&[effort], 0);
                } else {
                    table.erase(CLASS, effort.racer, Second(0)..=effort.second, Some(effort.output), 0);
                }
                let now = outputs();
                unchanged.retain(|racer, output| now.get(racer) == Some(output));
            }
        }
        for visited in visited {
            for racer in unchanged.keys() {
                prop_assert_eq!(visited.iter().filter(|other| *other == racer).count(), 1);
            }
        }
    }

    #[test]
    fn rank_info_equals_the_naive_model_with_or_without_an_order(
        efforts in prop::collection::vec(arbitrary_effort(), 0..40),
        ordered in any::<bool>(),
    ) {
        let table = Table::new(1);
        table.merge(&efforts, 0);
        let board = table.overall_board(CLASS);
        if ordered {
            board.order();
        }
        let bests = bests(&efforts, None);
        for racer in (0..=RACERS).map(RacerId) {
            let expected = bests.get(&racer).map(|&(output, _)| {
                let count = |holds: fn(&Output, &Output) -> bool| {
                    bests.values().filter(|(other, _)| holds(other, &output)).count()
                };
                let percentile = 100.0 * count(Output::lt) as f64 / bests.len() as f64;
                RankInfo { rank: 1 + count(Output::gt), total: bests.len(), percentile }
            });
            prop_assert_eq!(rank_info(&board, racer), expected);
        }
    }
}
