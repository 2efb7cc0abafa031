//! Property tests of queries against a naive model.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::state::leaderboard::ranked_view::RankKey;

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

fn arbitrary_cursor() -> impl Strategy<Value = Cursor> {
    prop_oneof![
        Just(Cursor::First),
        (arbitrary_output(), arbitrary_racer())
            .prop_map(|(output, racer)| Cursor::After(output, racer)),
        (arbitrary_output(), arbitrary_racer())
            .prop_map(|(output, racer)| Cursor::Before(output, racer)),
        Just(Cursor::Last),
    ]
}

fn arbitrary_query() -> impl Strategy<Value = LeaderboardQuery> {
    let ties = select(vec![Ties::Competition, Ties::Dense, Ties::Ordinal]);
    let page = prop_oneof![
        (0..16_usize).prop_map(PageSelector::Offset),
        arbitrary_cursor().prop_map(PageSelector::Cursor),
        arbitrary_racer().prop_map(PageSelector::Around),
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

/// Returns all rows, and those that a query selects, computed naively.
fn naive_rows(
    bests: &BTreeMap<RacerId, (Output, Second)>,
    query: &LeaderboardQuery,
) -> (Vec<Standing>, Vec<Standing>) {
    let row = |(&racer, &(output, second)): (&RacerId, &(Output, Second))| {
        standing_of(racer, output, Some(second))
    };
    let mut rows: Vec<Standing> = bests.iter().map(row).collect();
    if let Some(WhatIf { racer, output }) = query.what_if {
        let old = bests.get(&racer).map(|best| best.0);
        if old.is_none_or(|old| output > old) {
            rows.retain(|row| row.racer != racer);
            rows.push(Standing {
                new_record: Some(true),
                ..standing_of(racer, output, None)
            });
        } else {
            rows.iter_mut()
                .filter(|row| row.racer == racer)
                .for_each(|row| row.new_record = Some(false));
        }
    }
    rows.sort_by_key(|row| (Reverse(row.output), row.racer));
    let outputs: Vec<Output> = rows.iter().map(|row| row.output).collect();
    for (position, row) in rows.iter_mut().enumerate() {
        let above = outputs.iter().filter(|&&output| output > row.output);
        row.rank = 1 + match query.ties {
            Ties::Competition => above.count(),
            Ties::Dense => above.collect::<BTreeSet<_>>().len(),
            Ties::Ordinal => position,
        };
    }
    let mut selected = rows.clone();
    selected.retain(|row| {
        query
            .racers
            .as_ref()
            .is_none_or(|racers| racers.contains(&row.racer))
    });
    (rows, selected)
}

fn standing_of(racer: RacerId, output: Output, second: Option<Second>) -> Standing {
    Standing {
        rank: 0,
        racer,
        output,
        second,
        new_record: None,
    }
}

fn key(row: &Standing) -> RankKey {
    (Reverse(row.output), row.racer)
}

/// Answers a query naively. Of the neighbor pages it only returns whether they exist.
fn naive(
    bests: &BTreeMap<RacerId, (Output, Second)>,
    query: &LeaderboardQuery,
) -> Result<(usize, Vec<Standing>, bool, bool), RacerNotFound> {
    let (all, rows) = naive_rows(bests, query);
    let rows_max = query.limit.0;
    let positions = 0..rows.len();
    let page: Vec<usize> = match query.page {
        PageSelector::Offset(offset) => positions.skip(offset).take(rows_max).collect(),
        PageSelector::Cursor(Cursor::First) => positions.take(rows_max).collect(),
        PageSelector::Cursor(Cursor::After(output, racer)) => positions
            .filter(|&position| key(&rows[position]) > (Reverse(output), racer))
            .take(rows_max)
            .collect(),
        PageSelector::Cursor(Cursor::Before(output, racer)) => {
            let before = positions
                .rev()
                .filter(|&position| key(&rows[position]) < (Reverse(output), racer));
            before
                .take(rows_max)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect()
        }
        PageSelector::Cursor(Cursor::Last) => positions
            .skip(rows.len().saturating_sub(rows_max))
            .collect(),
        PageSelector::Around(racer) => {
            let pivot = all
                .iter()
                .find(|row| row.racer == racer)
                .ok_or(RacerNotFound(racer))?;
            let middle = rows.iter().filter(|&row| key(row) < key(pivot)).count();
            // Of all fullest pages, the one with half of the limit before the middle.
            let full = rows_max.min(rows.len());
            let start =
                (0..=rows.len() - full).min_by_key(|start| middle.abs_diff(start + rows_max / 2));
            positions
                .skip(start.expect("one page at least"))
                .take(full)
                .collect()
        }
    };
    let (previous, next) = match (page.first(), page.last()) {
        (Some(&first), Some(&last)) => (first > 0, last + 1 < rows.len()),
        _ if matches!(query.page, PageSelector::Cursor(Cursor::Before(..))) => {
            (false, !rows.is_empty())
        }
        _ => (!rows.is_empty(), false),
    };
    Ok((
        all.len(),
        page.iter().map(|&position| rows[position]).collect(),
        previous,
        next,
    ))
}

proptest! {
    #[test]
    fn every_page_equals_the_naive_model(
        efforts in prop::collection::vec(arbitrary_effort(), 0..40),
        second in prop::option::of((0..SECONDS).prop_map(Second)),
        request in arbitrary_query(),
    ) {
        let table = Table::new(1);
        table.merge(&efforts, 0);
        let board = second.map_or_else(|| table.overall_board(CLASS), |second| table.board(CLASS, second));
        let answer = query(&board, &request).map(|answer| {
            (answer.total, answer.standings, answer.previous.is_some(), answer.next.is_some())
        });
        prop_assert_eq!(answer, naive(&bests(&efforts, second), &request));
    }

    #[test]
    fn cursors_visit_every_row_once_both_ways(
        efforts in prop::collection::vec(arbitrary_effort(), 0..40),
        request in arbitrary_query(),
    ) {
        let table = Table::new(1);
        table.merge(&efforts, 0);
        let board = table.overall_board(CLASS);
        let rows = naive_rows(&bests(&efforts, None), &request).1;
        let Ok(from) = query(&board, &request) else { return Ok(()) };

        // From any page, the pages before it, the page and the pages after it are all rows.
        let page = |cursor| {
            query(&board, &LeaderboardQuery { page: PageSelector::Cursor(cursor), ..request.clone() }).expect("no racer to be around")
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
