//! The load of the benchmarks: telemetry as Firehose delivers it, the same bytes in every run.
//!
//! All racers of the classes ride one race at once. In every second each sends one record, in a
//! random order. Cadence and resistance are random doubles, with as many digits as the values between
//! two that riders interpolate, or whole numbers.

use std::io::Write;

use alleycat::domain::effort::{ClassId, Effort, Output, RacerId, Second};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Start of the race, in milliseconds since 1970. It is long ago, so no record is from a server's
/// future.
const START_MS: u64 = 1_619_185_620_265;

/// The form of cadence and resistance. The same random numbers give the same records otherwise.
#[derive(Clone, Copy)]
pub enum Numbers {
    /// Doubles of up to 17 digits, as riders send them.
    Doubles,
    /// The doubles, rounded.
    Whole,
}

/// An endless sequence of a race's records.
pub struct Race {
    random: StdRng,
    numbers: Numbers,
    /// Riders still to send in this second; refilled from `riders` for the next.
    left: Vec<(ClassId, RacerId)>,
    riders: Vec<(ClassId, RacerId)>,
    second: Second,
}

/// One record before serialization.
pub struct Ride {
    pub class: ClassId,
    pub second: Second,
    pub racer: RacerId,
    pub cadence: f64,
    pub resistance: f64,
}

impl Race {
    /// Creates a race of racers 1 to `racers` of each class, from second `first` on.
    pub fn new(classes: &[ClassId], racers: u64, first: Second, numbers: Numbers) -> Self {
        let riders = classes
            .iter()
            .flat_map(|&class| (1..=racers).map(move |racer| (class, RacerId(racer))));
        Self {
            random: StdRng::seed_from_u64(racers),
            numbers,
            left: Vec::new(),
            riders: riders.collect(),
            second: first,
        }
    }

    /// Returns a delivery of the next `records` records, in Firehose's form.
    pub fn delivery(&mut self, records: usize) -> Vec<u8> {
        let mut body =
            format!(r#"{{"requestId":"bench","timestamp":{START_MS},"records":["#).into_bytes();
        for place in 0..records {
            let comma = if place == 0 { "" } else { "," };
            let data =
                base64_simd::STANDARD.encode_to_string(self.next_ride().record(&mut self.random));
            write!(body, r#"{comma}{{"data":"{data}"}}"#).expect("a write to memory");
        }
        body.extend_from_slice(b"]}");
        body
    }

    fn next_ride(&mut self) -> Ride {
        if self.left.is_empty() {
            self.left.clone_from(&self.riders);
            self.second.0 += 1;
        }
        let place = self.random.random_range(0..self.left.len());
        let (class, racer) = self.left.swap_remove(place);
        let second = Second(self.second.0 - 1);
        Ride::draw(class, second, racer, &mut self.random, self.numbers)
    }
}

impl Ride {
    /// Draws the racer's ride at the second.
    pub fn draw(
        class: ClassId,
        second: Second,
        racer: RacerId,
        random: &mut StdRng,
        numbers: Numbers,
    ) -> Self {
        let mut draw = |range| {
            let double: f64 = random.random_range(range);
            match numbers {
                Numbers::Doubles => double,
                Numbers::Whole => double.round(),
            }
        };
        Self {
            class,
            second,
            racer,
            cadence: draw(40.0..=159.0),
            resistance: draw(0.0..=100.0),
        }
    }

    /// Returns the effort of the record.
    pub fn effort(&self) -> Effort {
        let output = Output::of(self.cadence, self.resistance).expect("within the bounds");
        let Self {
            class,
            second,
            racer,
            ..
        } = *self;
        Effort {
            class,
            second,
            racer,
            output,
            race: None,
            time: 0,
        }
    }

    /// Serializes the record: some 230 bytes, or 200 with whole numbers.
    fn record(&self, random: &mut StdRng) -> Vec<u8> {
        let Self {
            class,
            second,
            racer,
            cadence,
            resistance,
        } = self;
        let (high, low): (u32, u64) = (random.random(), random.random());
        let (a, b, c, d) = (low >> 48, high & 0xfff, low & 0xfff, low & 0xffff_ffff_ffff);
        let device_ms = START_MS + u64::from(second.0) * 1000;
        let name = name(*racer);
        let head =
            format!(r#"{{"uuid":"{high:08x}-{a:04x}-4{b:03x}-8{c:03x}-{d:012x}","event":"update""#);
        let race =
            format!(r#""deviceTimestamp":{device_ms},"second":{second},"raceId":{START_MS}"#);
        let rider = format!(r#""name":"{name}","racerId":{racer},"classId":{class}"#);
        format!(r#"{head},{race},{rider},"cadence":{cadence},"resistance":{resistance}}}"#)
            .into_bytes()
    }
}

/// Returns a racer's name.
pub fn name(racer: RacerId) -> String {
    const NAMES: [&str; 8] = [
        "Hubert", "Nia", "Lars", "Arjun", "Bruno", "Zoë", "Jonas", "Mei",
    ];
    let initial = char::from(b'A' + (racer.0 / 8 % 26) as u8);
    format!("{} {initial}.", NAMES[(racer.0 % 8) as usize])
}

/// Returns every racer's effort at one second.
pub fn second_of_all(
    class: ClassId,
    racers: u64,
    second: Second,
    random: &mut StdRng,
    numbers: Numbers,
) -> Vec<Effort> {
    (1..=racers)
        .map(|racer| Ride::draw(class, second, RacerId(racer), random, numbers).effort())
        .collect()
}
