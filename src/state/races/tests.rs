//! Tests of races: positions, finishes, bounds, erasures.

use super::*;

const CLASS: ClassId = ClassId::new(1).unwrap();

fn effort(race: u64, racer: u64, second: u32, output: f64) -> Effort {
    Effort {
        race: Some(RaceId(race)),
        time: 1_000_000,
        ..Effort::of(1, second, racer, output)
    }
}

fn apply(races: &Races, efforts: &[Effort], finals: &[usize]) {
    races.apply(&race_updates(efforts, finals), 2_000_000);
}

fn rows(races: &Races, race: u64) -> Vec<(usize, u64, u32)> {
    let (_, rows) = races.standings(CLASS, RaceId(race)).unwrap();
    rows.iter()
        .map(|row| (row.rank, row.racer.0, row.second.0))
        .collect()
}

#[test]
fn racers_rank_by_the_output_at_their_latest_second_in_any_order() {
    let efforts = [
        effort(7, 1, 3, 90.0),
        effort(7, 1, 1, 300.0),
        effort(7, 2, 2, 100.0),
        effort(7, 3, 3, 90.0),
        effort(7, 4, 1, 80.0),
        effort(7, 2, 2, 95.0), // the same second again with a lower output
    ];
    let mut other_way = efforts;
    other_way.reverse();
    for efforts in [efforts, other_way] {
        for at_once in [1, 2, efforts.len()] {
            let races = Races::new(1);
            for delivery in efforts.chunks(at_once).chain(efforts.chunks(at_once)) {
                apply(&races, delivery, &[]);
            }
            assert_eq!(
                rows(&races, 7),
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
    apply(
        &races,
        &[effort(7, 1, 10, 90.0), effort(7, 2, 12, 90.0)],
        &[0],
    );
    assert!(!is_finished(), "racer 1 left early");
    apply(&races, &[effort(7, 2, 13, 90.0)], &[0]);
    assert!(is_finished());
    apply(&races, &[effort(7, 3, 12, 90.0)], &[]);
    assert!(is_finished(), "a late record changes nothing");
    apply(&races, &[effort(7, 3, 14, 90.0)], &[]);
    assert!(!is_finished());
}

#[test]
fn race_start_comes_from_the_first_applied_effort() {
    let races = Races::new(1);
    let unknown = Effort {
        time: 0,
        ..effort(8, 1, 5, 90.0)
    };
    apply(
        &races,
        &[effort(7, 1, 5, 90.0), unknown, effort(7, 2, 900, 90.0)],
        &[],
    );
    let started: Vec<_> = races
        .summaries(CLASS)
        .iter()
        .map(|it| (it.race.0, it.started_ms))
        .collect();
    assert_eq!(started, [(8, 1_995_000), (7, 995_000)]);
}

#[test]
fn least_recently_updated_race_is_evicted() {
    let races = Races::new(1);
    for race in 0..CLASS_RACES_MAX as u64 {
        apply(&races, &[effort(race, 1, 1, 90.0)], &[]);
    }
    apply(
        &races,
        &[effort(0, 1, 1, 90.0), effort(99, 1, 1, 90.0)],
        &[],
    );
    let mut left: Vec<_> = races.summaries(CLASS).iter().map(|it| it.race.0).collect();
    left.sort_unstable();
    assert_eq!(left, [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99]);
}

#[test]
fn racers_are_bounded_and_known_ones_are_still_updated() {
    let races = Races::new(1);
    let many = |race| {
        (0..CLASS_RACE_RACERS_MAX as u64)
            .map(|racer| effort(race, racer, 1, 90.0))
            .collect::<Vec<_>>()
    };
    apply(&races, &many(1)[..10], &[]);
    apply(&races, &many(2), &[]);
    assert_eq!(
        races
            .summaries(CLASS)
            .iter()
            .map(|it| it.race.0)
            .collect::<Vec<_>>(),
        [2]
    );
    apply(
        &races,
        &[
            effort(2, CLASS_RACE_RACERS_MAX as u64, 2, 90.0),
            effort(2, 5, 2, 95.0),
        ],
        &[],
    );
    let summary = races.summaries(CLASS)[0];
    assert_eq!(summary.racers, CLASS_RACE_RACERS_MAX);
    assert_eq!(rows(&races, 2)[0], (1, 5, 2));
    apply(&races, &[effort(3, 1, 1, 90.0)], &[]);
    assert_eq!(
        races
            .summaries(CLASS)
            .iter()
            .map(|it| it.race.0)
            .collect::<Vec<_>>(),
        [3]
    );
}

#[test]
fn erased_racer_leaves_only_the_races_of_that_class() {
    let races = Races::new(2);
    let elsewhere = Effort {
        class: ClassId::new(2).unwrap(),
        ..effort(7, 1, 9, 90.0)
    };
    apply(
        &races,
        &[
            effort(7, 1, 9, 90.0),
            effort(7, 2, 4, 90.0),
            effort(8, 1, 9, 90.0),
            elsewhere,
        ],
        &[],
    );
    let before = races.version(CLASS);
    races.erase(RacerId(1), Some(CLASS), |second, _| second > Second(600));
    assert_eq!(races.version(CLASS), before, "nothing was erased");
    races.erase(RacerId(1), Some(CLASS), |_, _| true);
    assert!(races.version(CLASS) > before);
    assert_eq!(rows(&races, 7), [(1, 2, 4)]);
    let left: Vec<_> = races
        .summaries(CLASS)
        .iter()
        .map(|it| (it.race.0, it.last_second.0))
        .collect();
    assert_eq!(left, [(7, 4)]);
    assert_eq!(races.summaries(elsewhere.class).len(), 1);
    races.erase(RacerId(1), None, |_, _| true);
    assert_eq!(races.summaries(elsewhere.class), []);
}

#[test]
fn efforts_without_a_race_are_ignored() {
    let races = Races::new(1);
    apply(
        &races,
        &[Effort {
            race: None,
            ..effort(0, 1, 1, 90.0)
        }],
        &[0],
    );
    assert_eq!(races.summaries(CLASS), []);
}

#[test]
fn repeated_update_changes_nothing() {
    let races = Races::new(1);
    let efforts = [effort(7, 1, 9, 90.0)];
    apply(&races, &efforts, &[0]);
    let before = races.summaries(CLASS);
    apply(&races, &efforts, &[0]);
    assert_eq!(races.summaries(CLASS), before);
}
