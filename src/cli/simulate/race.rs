//! What riders send in a race: the pure part of the simulation, without clock, pacing or network.
//!
//! Equal riders, start time and random numbers give equal records, byte for byte.

use std::fmt;
use std::vec;

use bytes::Bytes;
use rand::{Rng, RngExt};
use serde::Serialize;

use crate::domain::effort::{ClassId, RacerId};

/// How far a rider's cadence and resistance may stray from the trend, up and down.
const NOISE: i64 = 3;

/// How much later than its second a record arrives at most, in milliseconds. Less than a second, so that what belongs
/// to a second arrives before what belongs to the next.
const ARRIVAL_JITTER_MS: u64 = 900;

/// How far a rider's clock is off at most, in milliseconds.
const SKEW_MS: i64 = 250;

/// How far the clock of a record with [`Fault::Clock`] is ahead, in milliseconds: far over what a service believes.
const FAULTY_CLOCK_MS: u64 = 3_600_000;

/// The longest run of [`Fault::Garbage`], in bytes: about a record.
const GARBAGE_BYTES_MAX: usize = 200;

const NAMES: [&str; 36] = [
    "Hubert", "Ada", "Mateo", "Ingrid", "Kofi", "Yuki", "Priya", "Lars", "Amara", "Diego", "Noor",
    "Elif", "Tomás", "Freya", "Malik", "Chiara", "Arjun", "Saoirse", "Jonas", "Mei", "Omar",
    "Zofia", "Luca", "Nia", "Henrik", "Leila", "Pavel", "Rosa", "Tariq", "Greta", "Emeka", "Sofia",
    "Anders", "Hana", "Bruno", "Wanjiru",
];

/// Someone who rides: a name, and what they are able to do, which lasts over all their races.
#[derive(Clone, Debug, PartialEq)]
pub struct Rider {
    id: RacerId,
    name: String,
    cadence: Trend,
    resistance: Trend,
    skew_ms: i64,
}

/// From where to where a value goes over a race.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Trend {
    min: i64,
    max: i64,
}

impl Trend {
    fn draw(
        rng: &mut impl Rng,
        min: std::ops::RangeInclusive<i64>,
        span: std::ops::RangeInclusive<i64>,
    ) -> Self {
        let min = rng.random_range(min);
        Self {
            min,
            max: min + rng.random_range(span),
        }
    }

    /// The value at that share of the way, some noise off, never out of the trend.
    fn at(self, way: f64, rng: &mut impl Rng) -> i64 {
        let trend = self.min as f64 + (self.max - self.min) as f64 * way;
        (trend.round() as i64 + rng.random_range(-NOISE..=NOISE)).clamp(self.min, self.max)
    }
}

impl Rider {
    /// Riders 1 to `count`, their abilities drawn; the first is Hubert.
    pub fn draw(count: u32, rng: &mut impl Rng) -> Vec<Self> {
        (1..=count)
            .map(|number| Self {
                id: RacerId(number.into()),
                name: name(number as usize - 1),
                cadence: Trend::draw(rng, 50..=85, 15..=40),
                resistance: Trend::draw(rng, 20..=45, 10..=40),
                skew_ms: rng.random_range(-SKEW_MS..=SKEW_MS),
            })
            .collect()
    }
}

/// First names in turn, then again with an initial: Hubert, …, Hubert A., …
fn name(index: usize) -> String {
    let first = NAMES[index % NAMES.len()];
    match index / NAMES.len() {
        0 => first.to_owned(),
        round => format!("{first} {}.", char::from(b'A' + ((round - 1) % 26) as u8)),
    }
}

/// What all races of a simulation have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The classes that race, at the same time.
    pub classes: Vec<ClassId>,
    /// How many riders start in each class.
    pub racers: usize,
    /// How long a race lasts.
    pub seconds: u32,
    /// The share of records that carry a fault, 0 to 1.
    pub faults: f64,
}

impl Setup {
    /// How many records one race has.
    pub fn records(&self) -> u64 {
        self.classes.len() as u64 * self.racers as u64 * u64::from(self.seconds)
    }
}

/// A record as it arrives at the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, in milliseconds since the race's start.
    pub at_ms: u64,
    /// The record's data: a JSON object, or what a fault left of it.
    pub data: Bytes,
    /// What is wrong with it.
    pub fault: Option<Fault>,
}

/// What may be wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Random bytes.
    Garbage,
    /// JSON that is cut short.
    CutShort,
    /// A needed field is missing.
    MissingField,
    /// A cadence no one can ride; out of bounds, so a service rejects it.
    Impossible,
    /// The greatest cadence and resistance within the bounds: a glitch that is taken, stands, and wants erasing.
    Glitch,
    /// A clock that is an hour ahead; the record itself is good.
    Clock,
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::Garbage,
        Self::CutShort,
        Self::MissingField,
        Self::Impossible,
        Self::Glitch,
        Self::Clock,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Garbage => "garbage",
            Self::CutShort => "cut short",
            Self::MissingField => "missing field",
            Self::Impossible => "impossible cadence",
            Self::Glitch => "glitch within bounds",
            Self::Clock => "clock an hour ahead",
        })
    }
}

/// One race in all classes: the records of every starter at every second from 1, in the order of their arrival.
#[derive(Debug)]
pub struct Race<R> {
    starters: Vec<Starter>,
    start_ms: u64,
    seconds: u32,
    faults: f64,
    rng: R,
    second: u32,
    waiting: vec::IntoIter<Arrival>,
}

/// A rider in a race, with the form of the day.
#[derive(Debug)]
struct Starter {
    class: ClassId,
    rider: Rider,
    /// Early (under 1) or late (over 1) on the way from minimum to maximum.
    pace: f64,
    /// How much of that way is ridden by the end.
    reach: f64,
}

impl<R: Rng> Race<R> {
    /// A race that starts at `start_ms` (milliseconds since 1970, also its id). In each class `setup.racers` of these
    /// riders start, drawn where there are more, all where there are fewer.
    pub fn new(setup: &Setup, riders: &[Rider], start_ms: u64, mut rng: R) -> Self {
        let count = setup.racers.min(riders.len());
        let mut starters = Vec::with_capacity(setup.classes.len() * count);
        for &class in &setup.classes {
            for index in rand::seq::index::sample(&mut rng, riders.len(), count) {
                let (pace, reach) = (rng.random_range(0.7..1.4), rng.random_range(0.85..=1.0));
                starters.push(Starter {
                    class,
                    rider: riders[index].clone(),
                    pace,
                    reach,
                });
            }
        }
        let (seconds, faults) = (setup.seconds, setup.faults);
        Self {
            starters,
            start_ms,
            seconds,
            faults,
            rng,
            second: 0,
            waiting: Vec::new().into_iter(),
        }
    }

    fn records_of(&mut self, second: u32) -> Vec<Arrival> {
        let way = f64::from(second - 1) / f64::from(self.seconds.saturating_sub(1).max(1));
        let event = if second == self.seconds {
            "final"
        } else {
            "update"
        };
        let due_ms = u64::from(second) * 1000;
        let mut arrivals = Vec::with_capacity(self.starters.len());
        for Starter {
            class,
            rider,
            pace,
            reach,
        } in &self.starters
        {
            let rng = &mut self.rng;
            let way = way.powf(*pace) * reach;
            let device_ms = (self.start_ms + due_ms)
                .saturating_add_signed(rider.skew_ms + rng.random_range(-5..=5));
            let record = Record {
                uuid: Uuid(rng.random()),
                event,
                device_timestamp: device_ms,
                second: Some(second),
                race_id: self.start_ms,
                name: &rider.name,
                racer_id: Some(rider.id),
                class_id: class.get(),
                cadence: Some(rider.cadence.at(way, rng)),
                resistance: rider.resistance.at(way, rng),
            };
            let at_ms = due_ms + rng.random_range(0..ARRIVAL_JITTER_MS);
            let fault = rng
                .random_bool(self.faults)
                .then(|| Fault::ALL[rng.random_range(0..Fault::ALL.len())]);
            let data = match fault {
                None => record.data(),
                Some(fault) => record.spoilt(fault, rng),
            };
            arrivals.push(Arrival {
                at_ms,
                data: data.into(),
                fault,
            });
        }
        arrivals.sort_by_key(|arrival| arrival.at_ms);
        arrivals
    }
}

impl<R: Rng> Iterator for Race<R> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            if let Some(arrival) = self.waiting.next() {
                return Some(arrival);
            }
            if self.second == self.seconds {
                return None;
            }
            self.second += 1;
            self.waiting = self.records_of(self.second).into_iter();
        }
    }
}

/// A telemetry record, its fields in the order in which the riders' devices write them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    uuid: Uuid,
    event: &'static str,
    device_timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<u32>,
    race_id: u64,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    racer_id: Option<RacerId>,
    class_id: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    cadence: Option<i64>,
    resistance: i64,
}

impl Record<'_> {
    fn data(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record of strings and integers is always JSON")
    }

    fn spoilt(mut self, fault: Fault, rng: &mut impl Rng) -> Vec<u8> {
        match fault {
            Fault::Garbage => {
                let mut bytes = vec![0; rng.random_range(1..=GARBAGE_BYTES_MAX)];
                rng.fill(&mut bytes[..]);
                bytes[0] |= 0x80; // so that it is never JSON by chance
                return bytes;
            }
            Fault::CutShort => {
                let mut data = self.data();
                data.truncate(rng.random_range(1..data.len()));
                return data;
            }
            Fault::MissingField => match rng.random_range(0..3) {
                0 => self.second = None,
                1 => self.racer_id = None,
                _ => self.cadence = None,
            },
            Fault::Impossible => self.cadence = Some(9999),
            Fault::Glitch => (self.cadence, self.resistance) = (Some(300), 100),
            Fault::Clock => self.device_timestamp += FAULTY_CLOCK_MS,
        }
        self.data()
    }
}

/// A random UUID (version 4), written as such.
struct Uuid(u128);

impl Serialize for Uuid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bits = self.0 & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        serializer.collect_str(&format_args!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            bits >> 96,
            bits >> 80 & 0xffff,
            bits >> 64 & 0xffff,
            bits >> 48 & 0xffff,
            bits & 0xffff_ffff_ffff
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use serde_json::Value;

    use super::*;
    use crate::domain::effort::{CADENCE_MAX, OUTPUT_MAX, Output, RESISTANCE_MAX};

    const START_MS: u64 = 1_619_185_620_265;

    fn setup(faults: f64) -> Setup {
        Setup {
            classes: ClassId::all(2).collect(),
            racers: 10,
            seconds: 60,
            faults,
        }
    }

    fn race(setup: &Setup, seed: u64) -> Vec<Arrival> {
        let mut rng = StdRng::seed_from_u64(seed);
        let riders = Rider::draw(10, &mut rng);
        Race::new(setup, &riders, START_MS, rng).collect()
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
    fn every_starter_has_one_record_at_every_second_in_the_form_of_a_real_one() {
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
            let (cadence, resistance) = (record["cadence"].as_u64(), record["resistance"].as_u64());
            assert!(cadence.is_some_and(|cadence| cadence as f64 <= CADENCE_MAX));
            assert!(resistance.is_some_and(|resistance| resistance as f64 <= RESISTANCE_MAX));
            let key =
                [&record["classId"], &record["racerId"], &record["second"]].map(Value::as_u64);
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
    fn the_last_record_of_a_racer_is_final_and_no_other() {
        for record in objects(&race(&setup(0.0), 2)) {
            assert_eq!(
                record["event"] == "final",
                record["second"] == 60,
                "{record}"
            );
        }
    }

    #[test]
    fn a_racer_trends_from_the_minimum_to_the_maximum() {
        let riders = Rider::draw(10, &mut StdRng::seed_from_u64(3));
        let mut outputs = BTreeMap::<u64, Vec<(u64, f64)>>::new();
        for record in objects(&race(
            &Setup {
                classes: ClassId::all(1).collect(),
                ..setup(0.0)
            },
            3,
        )) {
            let rider = &riders[record["racerId"].as_u64().expect("an id") as usize - 1];
            let (cadence, resistance) = (record["cadence"].as_i64(), record["resistance"].as_i64());
            let (cadence, resistance) = (
                cadence.expect("a cadence"),
                resistance.expect("a resistance"),
            );
            assert!((rider.cadence.min..=rider.cadence.max).contains(&cadence));
            assert!((rider.resistance.min..=rider.resistance.max).contains(&resistance));
            let output = Output::of(cadence as f64, resistance as f64)
                .expect("an output")
                .get();
            assert!(output < OUTPUT_MAX);
            let second = record["second"].as_u64().expect("a second");
            outputs
                .entry(rider.id.0)
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
    fn records_arrive_in_order_each_within_its_second() {
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
    fn more_riders_than_starters_are_drawn_and_no_one_starts_twice_in_a_class() {
        let mut rng = StdRng::seed_from_u64(5);
        let riders = Rider::draw(40_000, &mut rng);
        let setup = Setup {
            racers: 1000,
            seconds: 1,
            ..setup(0.0)
        };
        let mut starters: Vec<_> =
            objects(&Race::new(&setup, &riders, START_MS, rng).collect::<Vec<_>>())
                .iter()
                .map(|record| (record["classId"].as_u64(), record["racerId"].as_u64()))
                .collect();
        assert!(starters.iter().any(|(_, racer)| *racer > Some(30_000)));
        starters.sort_unstable();
        starters.dedup();
        assert_eq!(starters.len(), 2000);
    }

    #[test]
    fn the_share_of_faults_is_about_what_was_asked_and_each_is_what_it_says() {
        let setup = Setup {
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
                Fault::Glitch => assert!(
                    object.is_some_and(|it| it["cadence"] == 300 && it["resistance"] == 100)
                ),
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
    fn a_uuid_is_written_as_one_of_version_4() {
        let text = serde_json::to_string(&Uuid(u128::MAX)).expect("a string");
        assert_eq!(text, r#""ffffffff-ffff-4fff-bfff-ffffffffffff""#);
    }
}
