//! Leaderboards over HTTP: every combination of options against a naive model, and paging during
//! rides.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::StatusCode;
use serde_json::{Value, json};

use support::{Service, record};

/// Number of racer ids.
const RACERS: u64 = 12;
/// An id of no racer.
const NOBODY: u64 = 99;

/// A row: rank, racer, output in halves, and `newRecord` of the what-if racer.
type Row = (u64, u64, u64, Option<bool>);

/// Computes the rows of a board naively. Outputs are in halves, so that they compare as integers.
fn standings(bests: &BTreeMap<u64, u64>, ties: &str, what_if: Option<(u64, u64)>) -> Vec<Row> {
    let mut bests = bests.clone();
    let mut record = None;
    if let Some((racer, output)) = what_if {
        let beats = bests.get(&racer).is_none_or(|&best| output > best);
        if beats {
            bests.insert(racer, output);
        }
        record = Some((racer, beats));
    }
    let mut rows: Vec<_> = bests.into_iter().collect();
    rows.sort_by_key(|&(racer, output)| (std::cmp::Reverse(output), racer));
    let above = |output: u64| {
        rows.iter()
            .map(move |row| row.1)
            .filter(move |&other| other > output)
    };
    let rank = |position: usize, output: u64| match ties {
        "dense" => above(output).collect::<BTreeSet<_>>().len(),
        "ordinal" => position,
        _ => above(output).count(),
    };
    let rows = rows.iter().enumerate().map(|(position, &(racer, output))| {
        let new = record
            .filter(|record| record.0 == racer)
            .map(|record| record.1);
        (rank(position, output) as u64 + 1, racer, output, new)
    });
    rows.collect()
}

fn rows_of(page: &Value) -> Vec<Row> {
    let row = |row: &Value| {
        let number = |name: &str| row[name].as_u64().unwrap();
        (
            number("rank"),
            number("racerId"),
            (row["output"].as_f64().unwrap() * 2.0) as u64,
            row["newRecord"].as_bool(),
        )
    };
    page["standings"]
        .as_array()
        .unwrap()
        .iter()
        .map(row)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_option_combinations_match_naive_model() {
    let service = Service::start(&["--classes", "1"]).await;
    let mut chance = StdRng::seed_from_u64(8);
    let mut seconds = BTreeMap::<u64, BTreeMap<u64, u64>>::new();
    let rides: Vec<(u64, u64, u64)> = (0..60)
        .map(|_| {
            (
                chance.random_range(0..3) * 4,
                chance.random_range(0..RACERS),
                chance.random_range(0..5),
            )
        })
        .collect();
    for &(second, racer, halves) in &rides {
        let best = seconds
            .entry(second)
            .or_default()
            .entry(racer)
            .or_insert(halves);
        *best = halves.max(*best);
    }
    let records: Vec<Value> = rides
        .iter()
        .map(|&(second, racer, halves)| record(1, second, racer, halves as f64 / 2.0))
        .collect();
    service.deliver(&records).await;
    let mut all_time = BTreeMap::<u64, u64>::new();
    for (&racer, &halves) in seconds.values().flatten() {
        let best = all_time.entry(racer).or_insert(halves);
        *best = halves.max(*best);
    }
    let (&last, at_last) = seconds.last_key_value().unwrap();
    let nowhere = BTreeMap::new();
    let boards = [
        ("".to_owned(), &all_time),
        ("&second=4".to_owned(), &seconds[&4]),
        ("&second=last".to_owned(), at_last),
        (format!("&second={last}"), at_last),
        ("&second=5".to_owned(), &nowhere),
    ];
    let mut requests = 0;
    for (second, bests) in &boards {
        for ties in ["competition", "dense", "ordinal"] {
            for what_if in [
                None,
                Some((3, 4)),
                Some((3, 0)),
                Some((NOBODY, 2)),
                Some((5, 9)),
            ] {
                let all = standings(bests, ties, what_if);
                let what_if = what_if.map_or(String::new(), |(racer, output)| {
                    format!("&racerId={racer}&output={}", output as f64 / 2.0)
                });
                for picked in [None, Some(vec![NOBODY, 3, 5, 4, 0, 11, 3])] {
                    let list: Vec<Row> = all
                        .iter()
                        .filter(|row| picked.as_ref().is_none_or(|picked| picked.contains(&row.1)))
                        .copied()
                        .collect();
                    let ids = picked.as_ref().map(|picked| {
                        picked
                            .iter()
                            .map(u64::to_string)
                            .collect::<Vec<_>>()
                            .join(",")
                    });
                    let racers = ids.map_or(String::new(), |ids| format!("&racers={ids}"));
                    for limit in [1, 2, 3, 5, 50] {
                        let base = format!(
                            "/classes/1/leaderboard?ties={ties}&limit={limit}{second}{what_if}{racers}"
                        );
                        // Pages forward from the start, then back from the end.
                        let mut walked = Vec::new();
                        let mut page = service.json(&base).await;
                        loop {
                            assert_eq!(page["total"], all.len(), "{base}");
                            let rows = rows_of(&page);
                            assert!(page["next"].is_null() || rows.len() == limit, "{base}");
                            walked.extend(rows);
                            let Some(next) = page["next"].as_str() else {
                                break;
                            };
                            page = service.json(&format!("{base}&cursor={next}")).await;
                            requests += 1;
                        }
                        assert_eq!(walked, list, "{base}");
                        let mut back = rows_of(&page);
                        while let Some(previous) = page["previous"].as_str() {
                            page = service.json(&format!("{base}&cursor={previous}")).await;
                            let rows = rows_of(&page);
                            assert!(page["previous"].is_null() || rows.len() == limit, "{base}");
                            back.splice(0..0, rows);
                            requests += 1;
                        }
                        assert_eq!(back, list, "{base}");
                        for around in [0, 3, 5, 11, NOBODY] {
                            let path = format!("{base}&around={around}");
                            let Some(pivot) = all.iter().position(|row| row.1 == around) else {
                                assert_eq!(
                                    service.get(&path).await.status(),
                                    StatusCode::NOT_FOUND,
                                    "{path}"
                                );
                                continue;
                            };
                            let before =
                                all[..pivot].iter().filter(|row| list.contains(row)).count();
                            let start = before
                                .saturating_sub(limit / 2)
                                .min(list.len().saturating_sub(limit));
                            let page = service.json(&path).await;
                            assert_eq!(
                                rows_of(&page),
                                list[start..list.len().min(start + limit)],
                                "{path}"
                            );
                            requests += 1;
                        }
                        let path = format!("{base}&offset=2");
                        let expected = list.iter().skip(2).take(limit).copied().collect::<Vec<_>>();
                        assert_eq!(rows_of(&service.json(&path).await), expected, "{path}");
                    }
                }
            }
        }
    }
    assert!(requests > 5000, "{requests}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_during_rides_shows_unchanged_racers_once() {
    let service = Service::start(&["--classes", "1", "--commit-interval", "1ms"]).await;
    let mut chance = StdRng::seed_from_u64(9);
    for second in ["second=3", "second=last", "pretty=false"] {
        // Even ids keep their outputs, many of them tied. Odd ids improve, and new ones join.
        let first: Vec<Value> = (0..80)
            .map(|racer| record(1, 3, racer, (racer / 2 % 7) as f64 * 10.0))
            .collect();
        service.deliver(&first).await;
        let mut seen = [Vec::new(), Vec::new()];
        let start = service
            .json(&format!("/classes/1/leaderboard?limit=7&{second}"))
            .await;
        let total = start["total"].as_u64().unwrap();
        let end = service
            .json(&format!(
                "/classes/1/leaderboard?limit=7&{second}&offset={}",
                total - 7
            ))
            .await;
        let mut pages = [Some(start), Some(end)];
        while pages.iter().any(Option::is_some) {
            for (way, name) in ["next", "previous"].into_iter().enumerate() {
                let Some(page) = pages[way].take() else {
                    continue;
                };
                seen[way].extend(rows_of(&page).iter().map(|row| row.1));
                let rides = (0..10).map(|_| {
                    let racer = chance.random_range(0..90_u64) * 2 + 1;
                    record(
                        1,
                        3,
                        racer,
                        f64::from(chance.random_range(0..140_u32)) / 2.0,
                    )
                });
                let rides: Vec<Value> = rides.collect();
                // One page is read during the delivery, the other after it is visible.
                let delivering = service.deliver(&rides);
                if let Some(cursor) = page[name].as_str() {
                    let path = format!("/classes/1/leaderboard?limit=7&{second}&cursor={cursor}");
                    let ((), next) = tokio::join!(delivering, service.json(&path));
                    pages[way] = Some(next);
                } else {
                    delivering.await;
                }
            }
        }
        for seen in seen {
            for racer in (0..80).step_by(2) {
                assert_eq!(
                    seen.iter().filter(|&&other| other == racer).count(),
                    1,
                    "{second}: racer {racer}"
                );
            }
        }
    }
    assert_eq!(
        service.json("/classes/1/leaderboard?racers=0").await["standings"][0]["output"],
        json!(0)
    );
    service.stop().await;
}

/// Delivers a race with ties, in which racer 4 fell back, and the same outputs at second 60 of class 2.
async fn service_with_race() -> Service {
    let service = Service::start(&["--classes", "2"]).await;
    let of_race = |second, racer, output| {
        let mut record = record(1, second, racer, output);
        record["raceId"] = 7.into();
        record
    };
    let outputs = [(1, 30.0), (2, 20.0), (3, 20.0), (4, 10.0), (5, 5.0)];
    let mut records = vec![of_race(1, 4, 90.0)];
    records.extend(outputs.map(|(racer, output)| of_race(60, racer, output)));
    records.extend(outputs.map(|(racer, output)| record(2, 60, racer, output)));
    service.deliver(&records).await;
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn race_board_takes_the_options_of_a_class_board() {
    let service = service_with_race().await;
    let mut cursors = Vec::new();
    let options = [
        "",
        "&limit=2",
        "&limit=2&offset=1",
        "&offset=9",
        "&limit=3&around=4",
        "&limit=1&around=5",
        "&ties=dense",
        "&ties=ordinal",
        "&racers=5,3,2,99",
        "&racers=5&racers=3&ties=dense&limit=1",
        "&racers=1,2,4&around=3&limit=2",
        "&output=20&limit=3",
        "&output=15&ties=dense&limit=1",
        "&output=0",
    ];
    let mut options: Vec<String> = options.map(str::to_owned).to_vec();
    while let Some(option) = options.pop() {
        let of_race = format!("/classes/1/races/7/leaderboard?pretty=false{option}");
        let of_class = format!("/classes/2/leaderboard?second=60{option}");
        let (race, class) = (service.json(&of_race).await, service.json(&of_class).await);
        let mut standings = race["standings"].clone();
        for row in standings.as_array_mut().unwrap() {
            assert_eq!(row["second"], 60, "{option}");
            row.as_object_mut().unwrap().remove("second");
        }
        assert_eq!(standings, class["standings"], "{option}");
        for field in ["total", "at", "next", "previous"] {
            assert_eq!(race[field], class[field], "{option}: {field}");
        }
        for cursor in [&race["next"], &race["previous"]] {
            if let Some(cursor) = cursor.as_str()
                && !option.contains("cursor")
            {
                cursors.push(cursor.to_owned());
                options.push(format!("&limit=2&cursor={cursor}"));
            }
        }
    }
    assert!(cursors.len() > 8, "{cursors:?}");
    let csv = "/classes/1/races/7/leaderboard?format=csv&racers=3,4&ties=dense";
    assert_eq!(
        service.get(csv).await.text().await.unwrap(),
        "rank,racerId,name,output,second,groupRank\r\n2,3,,20,60,1\r\n3,4,,10,60,2\r\n"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_without_racer_gives_its_place() {
    let service = service_with_race().await;
    let page = async |query: &str| {
        let page = service
            .json(&format!("/classes/2/leaderboard?limit=3&{query}"))
            .await;
        let racers = rows_of(&page).iter().map(|row| row.1).collect::<Vec<_>>();
        (page["at"].clone(), racers, page["total"].clone())
    };
    let place = |rank: u64, percentile: f64| json!({ "rank": rank, "percentile": percentile });
    for (query, rank, percentile, racers) in [
        ("output=40", 1, 100.0, [1, 2, 3]),
        ("output=20", 2, 40.0, [1, 2, 3]),
        ("output=15&second=60", 4, 40.0, [3, 4, 5]),
        ("output=15&ties=dense", 3, 40.0, [3, 4, 5]),
        ("output=15&ties=ordinal", 4, 40.0, [3, 4, 5]),
        ("output=0", 6, 0.0, [3, 4, 5]),
    ] {
        let (at, seen, total) = page(query).await;
        assert_eq!(at["rank"], place(rank, percentile)["rank"], "{query}");
        assert_eq!(at["percentile"].as_f64(), Some(percentile), "{query}");
        assert_eq!(seen, racers, "{query}");
        assert_eq!(total, 5, "{query}");
    }
    let (at, seen, _) = page("second=61&output=7").await;
    assert_eq!(at, json!({ "rank": 1, "percentile": null }));
    assert_eq!(seen, [0; 0]);
    assert!(page("offset=1").await.0.is_null());
    // The place is around the same rows after the cursor of its page.
    let first = service
        .json("/classes/2/leaderboard?limit=2&output=15")
        .await;
    let next = first["next"].as_str().unwrap();
    let next = service
        .json(&format!("/classes/2/leaderboard?limit=2&cursor={next}"))
        .await;
    assert_eq!(rows_of(&next)[0].1, 5);
    for (path, words) in [
        (
            "/classes/2/leaderboard?output=9&around=4",
            "around is 4 and output is 9",
        ),
        (
            "/classes/2/leaderboard?output=9&offset=0",
            "offset is 0 and output is 9",
        ),
        (
            "/classes/2/leaderboard?output=9&racers=4",
            "racers is given",
        ),
        (
            "/classes/1/races/7/leaderboard?output=9&around=4",
            "around is 4 and output is 9",
        ),
        (
            "/classes/1/races/7/leaderboard?output=9&racers=4",
            "racers is given",
        ),
        ("/classes/2/leaderboard?racerId=9", "give output as well"),
    ] {
        let response = service.get(path).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
        let text = response.text().await.unwrap();
        assert!(text.contains(words), "{path}: {text}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn named_racers_have_ranks_among_themselves() {
    let service = service_with_race().await;
    let ranks = async |query: &str| -> Vec<(u64, u64, u64)> {
        let page = service
            .json(&format!("/classes/2/leaderboard?{query}"))
            .await;
        let rows = page["standings"].as_array().unwrap().iter();
        let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
        rows.map(|row| {
            (
                number(row, "racerId"),
                number(row, "rank"),
                number(row, "groupRank"),
            )
        })
        .collect()
    };
    assert_eq!(
        ranks("racers=5,2,3").await,
        [(2, 2, 1), (3, 2, 1), (5, 5, 3)]
    );
    assert_eq!(
        ranks("racers=5,2,3&ties=dense").await,
        [(2, 2, 1), (3, 2, 1), (5, 4, 2)]
    );
    assert_eq!(
        ranks("racers=5&racers=2&racers=3&ties=ordinal&offset=1").await,
        [(3, 3, 2), (5, 5, 3)]
    );
    // A what-if racer counts where it stands.
    assert_eq!(
        ranks("racers=5,2&racerId=5&output=25").await,
        [(5, 2, 1), (2, 3, 2)]
    );
    assert_eq!(
        ranks("racers=2,4&racerId=5&output=25").await,
        [(2, 3, 1), (4, 5, 2)]
    );
    service.stop().await;
}
