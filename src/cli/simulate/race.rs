//! The records of a race: the pure part of the simulation, without clock, pacing or network.
//!
//! Equal racers, start times and random numbers give equal records, byte for byte.

use std::fmt;
use std::vec;

use bytes::Bytes;
use rand::{Rng, RngExt};
use serde::Serialize;
use uuid::Uuid;

use crate::domain::effort::{ClassId, RacerId, serialize_number, serialize_optional_number};

/// Maximum distance of a racer's cadence and resistance from their trend, up and down.
const NOISE: f64 = 3.0;

/// Maximum time from a second to the arrival of its record, in milliseconds.
///
/// Less than a second, so that all records of one second arrive before those of the next.
const ARRIVAL_JITTER_MS: u64 = 900;

/// Maximum error of a racer's clock, in milliseconds.
const SKEW_MS: i64 = 250;

/// Error of the clock under [`Fault::Clock`], in milliseconds: far over the 5 minutes ahead that a
/// service accepts.
const FAULTY_CLOCK_MS: u64 = 3_600_000;

/// Maximum size of [`Fault::Garbage`], in bytes: about a record.
const GARBAGE_BYTES_MAX: usize = 200;

const NAMES: [&str; 36] = [
    "Hubert", "Ada", "Mateo", "Ingrid", "Kofi", "Yuki", "Priya", "Lars", "Amara", "Diego", "Noor",
    "Elif", "Tomás", "Freya", "Malik", "Chiara", "Arjun", "Saoirse", "Jonas", "Mei", "Omar",
    "Zofia", "Luca", "Nia", "Henrik", "Leila", "Pavel", "Rosa", "Tariq", "Greta", "Emeka", "Sofia",
    "Anders", "Hana", "Bruno", "Wanjiru",
];

/// A simulated racer: a name, and abilities that last over all races.
#[derive(Clone, Debug, PartialEq)]
pub struct Racer {
    id: RacerId,
    name: String,
    cadence: Trend,
    resistance: Trend,
    skew_ms: i64,
}

/// The range in which a value rises over a race.
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

    /// Returns the value at that share of the way, with noise, within the range.
    fn at(self, way: f64, rng: &mut impl Rng) -> f64 {
        let (min, max) = (self.min as f64, self.max as f64);
        let trend = min + (max - min) * way;
        (trend + rng.random_range(-NOISE..=NOISE)).clamp(min, max)
    }
}

impl Racer {
    /// Returns racers 1 to `count` with random abilities. The first is Hubert.
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

/// Returns a first name, from the second round of the list on with an initial: Hubert A.
fn name(index: usize) -> String {
    let first = NAMES[index % NAMES.len()];
    match index / NAMES.len() {
        0 => first.to_owned(),
        round => format!("{first} {}.", char::from(b'A' + ((round - 1) % 26) as u8)),
    }
}

/// The properties that all races of a simulation share.
#[derive(Clone, Debug, PartialEq)]
pub struct RaceSetup {
    /// The classes that race, at the same time.
    pub classes: Vec<ClassId>,
    /// Number of racers in each class.
    pub racers: usize,
    /// Length of a race, in seconds.
    pub seconds: u32,
    /// Share of records with a fault, 0 to 1.
    pub faults: f64,
    /// Whether cadences and resistances are rounded.
    pub whole_numbers: bool,
}

impl RaceSetup {
    /// Returns the number of records of one race.
    pub fn records(&self) -> u64 {
        self.classes.len() as u64 * self.racers as u64 * u64::from(self.seconds)
    }
}

/// A record as it arrives at the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Time since the race's start, in milliseconds.
    pub at_ms: u64,
    /// The record's data: a JSON object, unless a fault broke it.
    pub data: Bytes,
    /// The record's fault, if it has one.
    pub fault: Option<Fault>,
}

/// A fault of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Random bytes.
    Garbage,
    /// JSON that is cut short.
    CutShort,
    /// A required field is missing.
    MissingField,
    /// A cadence out of bounds, which a service rejects.
    Impossible,
    /// The maximum cadence and resistance within the bounds: a glitch that is accepted, and stands
    /// until it is erased.
    Glitch,
    /// A clock that is an hour ahead; the record itself is valid.
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

/// One race in all classes: an iterator over the records of every starter at every second from 1,
/// by arrival.
#[derive(Debug)]
pub struct SimulatedRace<R> {
    starters: Vec<Starter>,
    start_ms: u64,
    seconds: u32,
    faults: f64,
    whole_numbers: bool,
    rng: R,
    second: u32,
    waiting: vec::IntoIter<Arrival>,
}

/// A racer in one race, with the form of the day.
#[derive(Debug)]
struct Starter {
    class: ClassId,
    racer: Racer,
    /// How early the way from minimum to maximum is made: over 0 early, under 0 late.
    pace: f64,
    /// Share of that way at the end of the race.
    reach: f64,
}

impl<R: Rng> SimulatedRace<R> {
    /// Returns a race that starts at `start_ms` (milliseconds since 1970, also its id).
    ///
    /// In each class `setup.racers` racers start: a random choice of `racers`, or all of them if
    /// there are fewer.
    pub fn new(setup: &RaceSetup, racers: &[Racer], start_ms: u64, mut rng: R) -> Self {
        let count = setup.racers.min(racers.len());
        let mut starters = Vec::with_capacity(setup.classes.len() * count);
        for &class in &setup.classes {
            for index in rand::seq::index::sample(&mut rng, racers.len(), count) {
                let (pace, reach) = (rng.random_range(-0.5..0.5), rng.random_range(0.85..=1.0));
                starters.push(Starter {
                    class,
                    racer: racers[index].clone(),
                    pace,
                    reach,
                });
            }
        }
        Self {
            starters,
            start_ms,
            seconds: setup.seconds,
            faults: setup.faults,
            whole_numbers: setup.whole_numbers,
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
        let is_whole = self.whole_numbers;
        let number = |double: f64| if is_whole { double.round() } else { double };
        let due_ms = u64::from(second) * 1000;
        let mut arrivals = Vec::with_capacity(self.starters.len());
        for Starter {
            class,
            racer,
            pace,
            reach,
        } in &self.starters
        {
            let rng = &mut self.rng;
            // Sums and products are equal on every machine; powers are not.
            let way = way * (1.0 + pace * (1.0 - way)) * reach;
            let device_ms = (self.start_ms + due_ms)
                .saturating_add_signed(racer.skew_ms + rng.random_range(-5..=5));
            let record = TelemetryRecord {
                uuid: random_uuid(rng),
                event,
                device_timestamp: device_ms,
                second: Some(second),
                race_id: self.start_ms,
                name: &racer.name,
                racer_id: Some(racer.id),
                class_id: class.get(),
                cadence: Some(number(racer.cadence.at(way, rng))),
                resistance: number(racer.resistance.at(way, rng)),
            };
            let at_ms = due_ms + rng.random_range(0..ARRIVAL_JITTER_MS);
            let fault = rng
                .random_bool(self.faults)
                .then(|| Fault::ALL[rng.random_range(0..Fault::ALL.len())]);
            let data = match fault {
                None => record.data(),
                Some(fault) => record.with_fault(fault, rng),
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

impl<R: Rng> Iterator for SimulatedRace<R> {
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

/// A telemetry record. The fields are in the order in which racers' devices write them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TelemetryRecord<'a> {
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
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_optional_number"
    )]
    cadence: Option<f64>,
    #[serde(serialize_with = "serialize_number")]
    resistance: f64,
}

impl TelemetryRecord<'_> {
    fn data(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record of strings and numbers is always JSON")
    }

    fn with_fault(mut self, fault: Fault, rng: &mut impl Rng) -> Vec<u8> {
        match fault {
            Fault::Garbage => {
                let mut bytes = vec![0; rng.random_range(1..=GARBAGE_BYTES_MAX)];
                rng.fill(&mut bytes[..]);
                bytes[0] |= 0x80; // never JSON by chance
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
            Fault::Impossible => self.cadence = Some(9999.0),
            Fault::Glitch => (self.cadence, self.resistance) = (Some(300.0), 100.0),
            Fault::Clock => self.device_timestamp += FAULTY_CLOCK_MS,
        }
        self.data()
    }
}

fn random_uuid(rng: &mut impl Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random::<u128>().to_be_bytes()).into_uuid()
}

#[cfg(test)]
mod tests;
