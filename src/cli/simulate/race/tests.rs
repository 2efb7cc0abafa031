use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use super::*;
use crate::domain::effort::{CADENCE_MAX, OUTPUT_MAX, Output, RESISTANCE_MAX};

const START_MS: u64 = 1_619_185_620_265;

fn setup(faults: f64) -> RaceSetup {
    RaceSetup {
        classes: ClassId::all(2).collect(),
        racers: 10,
        seconds: 60,
        faults,
        whole_numbers: false,
    }
}

fn race(setup: &RaceSetup, seed: u64) -> Vec<Arrival> {
    let mut rng = StdRng::seed_from_u64(seed);
    let racers = Racer::draw(10, &mut rng);
    SimulatedRace::new(setup, &racers, START_MS, rng).collect()
}

fn objects(arrivals: &[Arrival]) -> Vec<Value> {
    arrivals
        .iter()
        .map(|arrival| serde_json::from_slice(&arrival.data).expect("JSON"))
        .collect()
}

#[test]
fn equal_seeds_and_start_times_give_equal_records() {
    assert_eq!(race(&setup(0.1), 7), race(&setup(0.1), 7));
    assert_ne!(race(&setup(0.1), 7), race(&setup(0.1), 8));
}

#[test]
fn every_starter_has_one_real_record_at_every_second() {
    let records = objects(&race(&setup(0.0), 1));
    assert_eq!(records.len() as u64, setup(0.0).records());
    let mut seen = BTreeMap::<_, u32>::new();
    for record in &records {
        let keys: Vec<_> = record
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        let mut real = [
            "uuid",
            "event",
            "deviceTimestamp",
            "second",
            "raceId",
            "name",
            "racerId",
            "classId",
            "cadence",
            "resistance",
        ];
        real.sort_unstable(); // serde_json's own map is sorted
        assert_eq!(keys, real);
        assert_eq!(record["raceId"], START_MS);
        let (cadence, resistance) = (record["cadence"].as_f64(), record["resistance"].as_f64());
        assert!(cadence.is_some_and(|cadence| (0.0..=CADENCE_MAX).contains(&cadence)));
        assert!(resistance.is_some_and(|it| (0.0..=RESISTANCE_MAX).contains(&it)));
        let key = [&record["classId"], &record["racerId"], &record["second"]].map(Value::as_u64);
        *seen.entry(key).or_default() += 1;
    }
    assert_eq!(seen.len(), records.len());
    assert!(seen.keys().all(|[class, racer, second]| {
        (Some(1)..=Some(2)).contains(class)
            && (Some(1)..=Some(10)).contains(racer)
            && (Some(1)..=Some(60)).contains(second)
    }));
    assert!(
        records
            .iter()
            .all(|record| (record["racerId"] == 1) == (record["name"] == "Hubert"))
    );
}

#[test]
fn only_the_last_record_of_a_racer_is_final() {
    for record in objects(&race(&setup(0.0), 2)) {
        assert_eq!(
            record["event"] == "final",
            record["second"] == 60,
            "{record}"
        );
    }
}

#[test]
fn outputs_rise_from_minimum_to_maximum() {
    let racers = Racer::draw(10, &mut StdRng::seed_from_u64(3));
    let mut outputs = BTreeMap::<u64, Vec<(u64, f64)>>::new();
    for record in objects(&race(
        &RaceSetup {
            classes: ClassId::all(1).collect(),
            ..setup(0.0)
        },
        3,
    )) {
        let racer = &racers[record["racerId"].as_u64().expect("an id") as usize - 1];
        let (cadence, resistance) = (record["cadence"].as_f64(), record["resistance"].as_f64());
        let (cadence, resistance) = (
            cadence.expect("a cadence"),
            resistance.expect("a resistance"),
        );
        let range = |trend: Trend| trend.min as f64..=trend.max as f64;
        assert!(range(racer.cadence).contains(&cadence));
        assert!(range(racer.resistance).contains(&resistance));
        let output = Output::of(cadence, resistance).expect("an output").get();
        assert!(output < OUTPUT_MAX);
        let second = record["second"].as_u64().expect("a second");
        outputs
            .entry(racer.id.0)
            .or_default()
            .push((second, output));
    }
    assert_eq!(outputs.len(), 10);
    for mut outputs in outputs.into_values() {
        outputs.sort_by_key(|(second, _)| *second);
        let mean = |part: &[(u64, f64)]| {
            part.iter().map(|(_, output)| output).sum::<f64>() / part.len() as f64
        };
        assert!(mean(&outputs[..20]) < mean(&outputs[20..40]));
        assert!(mean(&outputs[20..40]) < mean(&outputs[40..]));
    }
}

#[test]
fn cadence_and_resistance_are_doubles_or_the_same_rounded() {
    let whole = RaceSetup {
        whole_numbers: true,
        ..setup(0.0)
    };
    let (doubles, whole) = (objects(&race(&setup(0.0), 3)), objects(&race(&whole, 3)));
    let mut digits_max = 0;
    for (mut double, whole) in doubles.into_iter().zip(whole) {
        for key in ["cadence", "resistance"] {
            let digits = double[key].to_string().trim_start_matches("0.").len();
            digits_max = digits_max.max(digits - 1); // without the point
            let value = double[key].as_f64().expect("a number");
            double[key] = Value::from(value.round() as u64);
        }
        assert_eq!(double, whole);
    }
    assert!((16..=17).contains(&digits_max), "{digits_max}");
}

#[test]
fn records_arrive_in_order_within_their_second() {
    let arrivals = race(&setup(0.0), 4);
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.at_ms));
    for (arrival, record) in arrivals.iter().zip(objects(&arrivals)) {
        assert_eq!(record["second"], arrival.at_ms / 1000);
        let device_ms = record["deviceTimestamp"].as_u64().expect("a time");
        let true_ms = START_MS + arrival.at_ms / 1000 * 1000;
        assert!(device_ms.abs_diff(true_ms) <= SKEW_MS as u64 + 5);
    }
}

#[test]
fn starters_are_drawn_from_all_racers_and_once_per_class() {
    let mut rng = StdRng::seed_from_u64(5);
    let racers = Racer::draw(40_000, &mut rng);
    let setup = RaceSetup {
        racers: 1000,
        seconds: 1,
        ..setup(0.0)
    };
    let mut starters: Vec<_> =
        objects(&SimulatedRace::new(&setup, &racers, START_MS, rng).collect::<Vec<_>>())
            .iter()
            .map(|record| (record["classId"].as_u64(), record["racerId"].as_u64()))
            .collect();
    assert!(starters.iter().any(|(_, racer)| *racer > Some(30_000)));
    starters.sort_unstable();
    starters.dedup();
    assert_eq!(starters.len(), 2000);
}

#[test]
fn faults_have_the_given_share_and_their_form() {
    let setup = RaceSetup {
        seconds: 600,
        ..setup(0.2)
    };
    let arrivals = race(&setup, 6);
    let mut counts = BTreeMap::<_, usize>::new();
    for Arrival { data, fault, .. } in &arrivals {
        let object = serde_json::from_slice::<Value>(data).ok();
        let Some(fault) = fault else {
            assert!(object.is_some());
            continue;
        };
        *counts.entry(fault).or_default() += 1;
        match fault {
            Fault::Garbage | Fault::CutShort => assert!(object.is_none()),
            Fault::MissingField => assert_eq!(
                object.and_then(|it| it.as_object().map(|it| it.len())),
                Some(9)
            ),
            Fault::Impossible => assert!(object.is_some_and(|it| it["cadence"] == 9999)),
            Fault::Glitch => {
                assert!(object.is_some_and(|it| it["cadence"] == 300 && it["resistance"] == 100));
            }
            Fault::Clock => {
                assert!(object.is_some_and(
                    |it| it["deviceTimestamp"].as_u64() > Some(START_MS + FAULTY_CLOCK_MS)
                ));
            }
        }
    }
    assert_eq!(counts.len(), Fault::ALL.len());
    let share = counts.values().sum::<usize>() as f64 / arrivals.len() as f64;
    assert!((0.18..0.22).contains(&share), "{share}");
}

#[test]
fn names_repeat_only_with_an_initial() {
    assert_eq!(name(0), "Hubert");
    assert_eq!(name(NAMES.len()), "Hubert A.");
    assert_eq!(name(NAMES.len() * 27), "Hubert A.");
}

#[test]
fn uuids_are_of_version_4() {
    for record in objects(&race(&setup(0.0), 9)) {
        let uuid: Uuid = record["uuid"]
            .as_str()
            .expect("text")
            .parse()
            .expect("a UUID");
        assert_eq!(uuid.get_version_num(), 4);
    }
}
