//! Tests of races: positions, finishes, pending rows, expiry, erasures, bounds.

use proptest::prelude::*;

use super::*;
use crate::domain::effort::Effort;
use crate::domain::race_row::EXPIRY_STEP_MS;
use crate::state::leaderboard::{LeaderboardQuery, RaceBoard, query};

const CLASS: ClassId = ClassId::new(1).unwrap();

/// Time of the rows, unless a test gives one.
const AT: u64 = 1_000_000;

fn row(race: u64, racer: u64, second: u32, output: f64) -> RaceRow {
    let effort = Effort {
        race: Some(RaceId(race)),
        time: AT,
        ..Effort::of(1, second, racer, output)
    };
    RaceRow::new(&effort, false, 0).unwrap()
}

fn at(at_ms: u64, row: RaceRow) -> RaceRow {
    RaceRow { at_ms, ..row }
}

fn as_final(row: RaceRow) -> RaceRow {
    RaceRow {
        is_final: true,
        ..row
    }
}

fn standings(races: &Races, race: u64) -> Vec<(usize, u64, u32)> {
    let (_, rows) = races.positions(CLASS, RaceId(race)).unwrap();
    let board = RaceBoard::new(rows.iter().map(|row| (row.racer, row.output, row.second)));
    let page = query(&board, &LeaderboardQuery::default()).unwrap();
    let rows = page.standings.iter();
    rows.map(|row| (row.rank, row.racer.0, row.second.unwrap().0))
        .collect()
}

fn race_ids(races: &Races) -> Vec<u64> {
    let mut ids: Vec<_> = races.summaries(CLASS).iter().map(|it| it.race.0).collect();
    ids.sort_unstable();
    ids
}

/// Returns everything that instances must agree on.
fn state(races: &Races) -> (Vec<Vec<RaceRow>>, Vec<RaceRow>) {
    let copy = races.copy(CLASS, &HashMap::new());
    let rows = copy.races.into_iter().map(|(_, _, rows)| rows.unwrap());
    (rows.collect(), races.finishes(CLASS).1)
}

#[test]
fn racers_rank_by_the_output_at_their_latest_second_in_any_order() {
    let rows = [
        row(7, 1, 3, 90.0),
        row(7, 1, 1, 300.0),
        row(7, 2, 2, 100.0),
        row(7, 3, 3, 90.0),
        row(7, 4, 1, 80.0),
        row(7, 2, 2, 95.0), // the same second again with a lower output
    ];
    let mut other_way = rows;
    other_way.reverse();
    for rows in [rows, other_way] {
        for at_once in [1, 2, rows.len()] {
            let races = Races::new(1);
            for delivery in rows.chunks(at_once).chain(rows.chunks(at_once)) {
                races.merge_pending(delivery.iter());
            }
            assert_eq!(
                standings(&races, 7),
                [(1, 2, 2), (2, 1, 3), (2, 3, 3), (4, 4, 1)]
            );
            assert_eq!(races.summaries(CLASS)[0].racers, 4);
        }
    }
}

#[test]
fn race_is_finished_once_its_last_second_is_final() {
    let races = Races::new(1);
    let is_finished = || races.summaries(CLASS)[0].is_finished;
    races.merge(&[as_final(row(7, 1, 10, 90.0)), row(7, 2, 12, 90.0)]);
    assert!(!is_finished(), "racer 1 left early");
    races.merge(&[as_final(row(7, 2, 13, 90.0))]);
    assert!(is_finished());
    races.merge(&[row(7, 3, 12, 90.0)]);
    assert!(is_finished(), "a late record changes nothing");
    races.merge(&[row(7, 3, 14, 90.0)]);
    assert!(!is_finished());
}

#[test]
fn race_starts_at_the_least_time_minus_second() {
    let races = Races::new(1);
    races.merge(&[
        row(7, 1, 5, 90.0),
        at(AT + 100_000, row(7, 2, 900, 90.0)),
        row(8, 1, 5, 90.0),
    ]);
    let started: Vec<_> = races
        .summaries(CLASS)
        .iter()
        .map(|it| (it.race.0, it.started_ms))
        .collect();
    assert_eq!(started, [(8, AT - 5_000), (7, AT + 100_000 - 900_000)]);
}

#[test]
fn pending_row_stays_pending_until_a_row_as_far_is_durable() {
    let races = Races::new(1);
    let (first, second) = (row(7, 1, 1, 90.0), row(7, 1, 2, 80.0));
    races.merge_pending([first].iter());
    assert_eq!(races.pending_rows(9), [first]);
    races.merge_pending([second, first].iter());
    races.merge(&[first]); // its segment is durable now, but the racer is further
    assert_eq!(races.pending_rows(9), [second]);
    assert_eq!(standings(&races, 7), [(1, 1, 2)]);
    races.merge(&[second]);
    assert!(!races.has_pending());
    races.merge_pending([second, first].iter());
    assert!(!races.has_pending(), "it is durable already");
}

/// A snapshot covers what was durable when it was built. A pending row in it would be covered before
/// its segment is merged.
#[test]
fn pending_rows_are_in_no_copy_and_change_only_what_readers_see() {
    let races = Races::new(1);
    races.merge(&[row(7, 2, 1, 90.0)]);
    let (durable, shown) = (
        races.copy(CLASS, &HashMap::new()),
        races.shown_version(CLASS),
    );
    races.merge_pending([row(7, 1, 1, 90.0), row(8, 1, 1, 90.0)].iter());
    let copy = races.copy(CLASS, &HashMap::new());
    assert_eq!((copy.version, copy.races), (durable.version, durable.races));
    assert!(races.shown_version(CLASS) > shown);
    assert_eq!(races.rows_of(CLASS, RacerId(1)), []);
    let merged = races.merge(&[row(7, 1, 1, 90.0)]);
    assert!(merged[0].1.races_changed, "it became durable");
    assert!(merged[0].1.version > durable.version);
}

#[test]
fn final_is_compared_with_durable_rows_only() {
    let races = Races::new(1);
    let last = as_final(row(7, 1, 9, 90.0));
    let further = row(7, 1, 10, 95.0);
    races.merge_pending([further].iter());
    assert!(races.must_journal(&last), "the further row is not durable");
    races.merge(&[last]);
    assert!(!races.must_journal(&last));
    assert_eq!(standings(&races, 7), [(1, 1, 10)]);
    let worse = as_final(row(7, 1, 9, 80.0));
    assert!(!races.must_journal(&worse));
    let elsewhere = as_final(row(8, 1, 9, 80.0));
    assert!(races.must_journal(&elsewhere), "another race");
}

#[test]
fn final_without_a_time_that_comes_twice_is_journaled_once() {
    let races = Races::new(1);
    let received = |at_ms| RaceRow {
        has_effort_time: false,
        ..at(at_ms, as_final(row(7, 1, 9, 90.0)))
    };
    races.merge(&[received(AT)]);
    assert!(!races.must_journal(&received(AT + 7_200_000)));
}

#[test]
fn final_of_an_expired_race_counts_as_a_finish() {
    let races = Races::new(1);
    races.raise_floor(CLASS, AT + 1);
    let last = as_final(row(7, 1, 9, 90.0));
    assert!(races.must_journal(&last));
    let merges = races.merge(&[last]);
    assert!(merges[0].1.finishes_changed && !merges[0].1.races_changed);
    assert_eq!(race_ids(&races), [0; 0]);
    assert_eq!(races.finishes(CLASS).1, [last]);
    assert!(!races.must_journal(&last));
}

#[test]
fn expired_rows_leave_and_do_not_come_back() {
    let races = Races::new(1);
    let (early, late) = (row(7, 1, 9, 90.0), at(AT + 10, row(7, 2, 8, 90.0)));
    races.merge(&[early, late]);
    races.raise_floor(CLASS, AT + 5);
    assert_eq!(standings(&races, 7), [(1, 2, 8)]);
    races.raise_floor(CLASS, AT); // never lower
    races.merge(&[early]);
    races.merge_pending([early].iter());
    assert_eq!(standings(&races, 7), [(1, 2, 8)]);
    assert!(!races.has_pending());
    races.raise_floor(CLASS, AT + 11);
    assert_eq!(race_ids(&races), [0; 0]);
    assert_eq!(races.rows(CLASS), 0);
}

#[test]
fn floor_rises_when_a_class_has_too_many_rows() {
    let races = Races::new(1);
    let time_ms = |racer| racer / 1000 * EXPIRY_STEP_MS;
    let rows = 0..CLASS_RACE_ROWS_MAX as u64;
    let rows = rows.map(|racer| at(time_ms(racer), row(7, racer, 1, 90.0)));
    let rows: Vec<RaceRow> = rows.collect();
    races.merge(&rows);
    let left = races.rows(CLASS);
    assert!(left <= CLASS_RACE_ROWS_MAX * 15 / 16, "{left}");
    assert!(left > CLASS_RACE_ROWS_MAX * 14 / 16, "{left}");
    let floor_ms = races.floor_ms(CLASS);
    assert_eq!(floor_ms % EXPIRY_STEP_MS, 0);
    assert_eq!(races.shared_floor_ms(CLASS), floor_ms);
    assert_eq!(races.pending_floors(), [CLASS]);
    races.merge_shared_floor(CLASS, floor_ms); // its segment is durable
    assert_eq!(races.pending_floors(), []);
}

#[test]
fn floor_by_time_is_not_shared() {
    let races = Races::new(1);
    races.raise_floor(CLASS, AT);
    assert_eq!(
        (races.floor_ms(CLASS), races.shared_floor_ms(CLASS)),
        (AT, 0)
    );
    assert_eq!(races.pending_floors(), []);
}

#[test]
fn erased_racer_leaves_races_and_finishes_of_that_class() {
    let races = Races::new(2);
    let elsewhere = RaceRow {
        class: ClassId::new(2).unwrap(),
        ..row(7, 1, 9, 90.0)
    };
    races.merge(&[
        as_final(row(7, 1, 9, 90.0)),
        row(7, 2, 4, 90.0),
        row(8, 1, 9, 90.0),
        elsewhere,
    ]);
    let before = races.shown_version(CLASS);
    races.erase(CLASS, RacerId(1), |row| row.second > Second(600));
    assert_eq!(races.shown_version(CLASS), before, "nothing was erased");
    races.erase(CLASS, RacerId(1), |_| true);
    assert!(races.shown_version(CLASS) > before);
    assert_eq!(standings(&races, 7), [(1, 2, 4)]);
    assert_eq!(race_ids(&races), [7]);
    assert_eq!(races.finishes(CLASS).1, []);
    assert_eq!(races.summaries(elsewhere.class).len(), 1);
}

#[test]
fn copy_leaves_out_the_rows_of_unchanged_races() {
    let races = Races::new(1);
    races.merge(&[row(7, 1, 9, 90.0), row(8, 1, 9, 90.0)]);
    let first = races.copy(CLASS, &HashMap::new());
    let known = first.races.iter().map(|&(id, version, _)| (id, version));
    let known = known.collect();
    races.merge(&[row(8, 2, 9, 90.0)]);
    let second = races.copy(CLASS, &known);
    let copied: Vec<_> = second
        .races
        .iter()
        .map(|(id, _, rows)| (id.0, rows.is_some()))
        .collect();
    assert_eq!(copied, [(7, false), (8, true)]);
}

fn any_row() -> impl Strategy<Value = RaceRow> {
    let numbers = (1u64..3, 1u64..3, 0u32..4, 1u8..4, 1u64..6);
    (numbers, any::<bool>(), any::<bool>()).prop_map(
        |((race, racer, second, output, at_ms), is_final, has_effort_time)| RaceRow {
            at_ms: at_ms * EXPIRY_STEP_MS / 2, // also two in a step
            is_final,
            has_effort_time,
            ..row(race, racer, second, f64::from(output))
        },
    )
}

proptest! {
    /// The state of a lattice depends on what was merged, and on neither order nor repetition. That
    /// holds beside floors as well.
    #[test]
    fn state_does_not_depend_on_the_order_of_merges_and_floors(
        rows in prop::collection::vec(any_row(), 0..12),
        floors in prop::collection::vec((0usize..12, 0u64..6), 0..3),
        seed in any::<u64>(),
    ) {
        let in_order = Races::new(1);
        for (index, row) in rows.iter().enumerate() {
            in_order.merge(&[*row]);
            for &(_, floor_ms) in floors.iter().filter(|(at, _)| *at == index) {
                in_order.raise_floor(CLASS, floor_ms * EXPIRY_STEP_MS);
            }
        }
        let highest = floors.iter().map(|&(_, floor_ms)| floor_ms).max().unwrap_or(0);
        in_order.raise_floor(CLASS, highest * EXPIRY_STEP_MS);
        let otherwise = Races::new(1);
        otherwise.raise_floor(CLASS, highest * EXPIRY_STEP_MS);
        let mut shuffled = rows.clone();
        shuffled.sort_by_key(|row| {
            let number = row.at_ms * 31 + u64::from(row.second.0) * 7 + row.racer.0;
            number.wrapping_mul(seed | 1).rotate_left(17)
        });
        otherwise.merge_pending(shuffled.iter().filter(|row| !row.is_final));
        otherwise.merge(&shuffled);
        otherwise.merge(&rows);
        prop_assert_eq!(state(&in_order), state(&otherwise));
        prop_assert!(!otherwise.has_pending());
    }

    /// A copy that is merged elsewhere gives the same state: what is left out there is dominated.
    #[test]
    fn copies_hold_the_state(rows in prop::collection::vec(any_row(), 0..12), floor_ms in 0u64..6) {
        let races = Races::new(1);
        races.merge(&rows);
        let floor_ms = floor_ms * EXPIRY_STEP_MS;
        races.raise_floor(CLASS, floor_ms);
        let (copied, finishes) = state(&races);
        let other = Races::new(1);
        other.raise_floor(CLASS, floor_ms);
        other.merge(&finishes);
        other.merge(&copied.concat());
        prop_assert_eq!(state(&other), (copied, finishes));
    }
}
