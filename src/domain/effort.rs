//! The words of the domain: what a class, a second, a racer, an output and an effort are.
//!
//! A value of these types is valid by construction; past the decoder nothing is checked again. Nothing of ours is
//! imported here.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize, Serializer};

/// The greatest integer that every JSON reader keeps exact: 2^53 - 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The greatest cadence a telemetry record may carry, in revolutions a minute.
pub const CADENCE_MAX: f64 = 300.0;

/// The greatest resistance a telemetry record may carry, in percent.
pub const RESISTANCE_MAX: f64 = 100.0;

/// The greatest output that the bounds of cadence and resistance allow.
pub const OUTPUT_MAX: f64 = (CADENCE_MAX + 35.0) * (RESISTANCE_MAX + 65.0) / 100.0;

/// An exercise class, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassId(NonZeroU16);

impl ClassId {
    /// The class of that number; `None` for 0.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The class's number, from 1.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The class's place in a list of all classes, from 0.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    /// Classes 1 to `count`.
    pub fn all(count: u16) -> impl DoubleEndedIterator<Item = Self> {
        (1..=count).filter_map(Self::new)
    }
}

impl fmt::Display for ClassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A second of a race, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Second(pub u32);

impl Second {
    /// The second's place in a class's list of columns.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A racer, 0 to 2^53 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RacerId(pub u64);

impl fmt::Display for RacerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A race, 0 to 2^53 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RaceId(pub u64);

/// A racer's performance at a second: finite, not negative, never -0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output(f64);

impl Output {
    /// The output, or `None` when it is not finite or is negative. -0 becomes 0, so that equal outputs have equal bits.
    pub fn new(output: f64) -> Option<Self> {
        (output.is_finite() && output >= 0.0).then_some(Self(output + 0.0))
    }

    /// What a racer puts out at that cadence and resistance, bit for bit what the same expression gives in JavaScript.
    pub fn of(cadence: f64, resistance: f64) -> Option<Self> {
        Self::new(((cadence + 35.0) * (resistance + 65.0)) / 100.0)
    }

    /// The output as a double.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Eq for Output {}

impl Ord for Output {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0) // equal to the numeric order: no NaN, no -0
    }
}

impl PartialOrd for Output {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ryu_js::Buffer::new().format_finite(self.0))
    }
}

impl Serialize for Output {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_number(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Output {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let output = f64::deserialize(deserializer)?;
        Self::new(output)
            .ok_or_else(|| serde::de::Error::custom("an output must be finite and not negative"))
    }
}

/// Writes a finite double as JSON.stringify does. For `#[serde(serialize_with)]` on doubles that are no [`Output`].
pub fn serialize_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // serde_json and JavaScript agree but for whole numbers and the far ends; only those ends pay for an allocation.
    let number = *number;
    let size = number.abs();
    if number.trunc() == number && size <= INTEGER_MAX as f64 {
        serializer.serialize_i64(number as i64)
    } else if (1e-5..1e15).contains(&size) {
        serializer.serialize_f64(number)
    } else {
        let text = ryu_js::Buffer::new().format_finite(number).to_owned();
        let raw =
            serde_json::value::RawValue::from_string(text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// When an effort was ridden: milliseconds since 1970, never after its receipt; 0 when that is not known.
pub type EffortTimeMs = u64;

/// One racer's output at one second of one class, with the race and the time it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// The class it was ridden in.
    pub class: ClassId,
    /// The second of the race.
    pub second: Second,
    /// Who rode.
    pub racer: RacerId,
    /// How well.
    pub output: Output,
    /// The race, where the record named one.
    pub race: Option<RaceId>,
    /// When.
    pub time: EffortTimeMs,
}

/// How far input may go. Bounds apply to input only, never to what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Classes are 1 to this.
    pub classes: u16,
    /// Seconds are 0 to this.
    pub second_max: u32,
}
