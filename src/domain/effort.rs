//! The types of the domain: class, second, racer, race, output and effort, with the output formula.
//!
//! A value of these types is valid by construction. After the decoder nothing is validated again.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize, Serializer};

/// Maximum integer that every JSON reader keeps exact: 2^53 - 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Maximum cadence of a telemetry record, in revolutions per minute.
pub const CADENCE_MAX: f64 = 300.0;

/// Maximum resistance of a telemetry record, in percent.
pub const RESISTANCE_MAX: f64 = 100.0;

/// Maximum output: the formula at maximum cadence and maximum resistance.
pub const OUTPUT_MAX: f64 = (CADENCE_MAX + 35.0) * (RESISTANCE_MAX + 65.0) / 100.0;

/// An exercise class, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassId(NonZeroU16);

impl ClassId {
    /// Returns the class with this number. Returns `None` for 0.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Returns the class's number, from 1.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// Returns the class's index in a list of all classes, from 0.
    pub const fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    /// Returns the classes 1 to `count`, in order.
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
    /// Returns the second's index in a class's list of columns.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A racer's id, from 0 to [`INTEGER_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RacerId(pub u64);

impl fmt::Display for RacerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A race's id, from 0 to [`INTEGER_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RaceId(pub u64);

/// A racer's performance at a second. It is finite, not negative, and never -0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Output(f64);

impl Output {
    /// Returns `None` if the number is negative or not finite. -0 becomes 0, so that equal outputs
    /// have equal bits.
    pub fn new(output: f64) -> Option<Self> {
        (output.is_finite() && output >= 0.0).then_some(Self(output + 0.0))
    }

    /// Computes the output from cadence and resistance. The result is bit for bit that of the same
    /// expression in JavaScript.
    pub fn of(cadence: f64, resistance: f64) -> Option<Self> {
        Self::new(((cadence + 35.0) * (resistance + 65.0)) / 100.0)
    }

    /// Returns the output as a double.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Eq for Output {}

impl Ord for Output {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0) // the numeric order, since there is no NaN and no -0
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

/// Writes a finite double as JSON.stringify does. For `#[serde(serialize_with)]` on doubles of
/// other types than [`Output`].
pub fn serialize_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // serde_json and JavaScript differ only in whole numbers, and in very small and very large
    // ones. Only the very small and the very large ones need an allocation.
    let number = *number;
    let (size, whole) = (number.abs(), number as i64);
    if whole as f64 == number && size <= INTEGER_MAX as f64 {
        serializer.serialize_i64(whole)
    } else if (1e-5..1e15).contains(&size) {
        serializer.serialize_f64(number)
    } else {
        let text = ryu_js::Buffer::new().format_finite(number).to_owned();
        let raw =
            serde_json::value::RawValue::from_string(text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Writes a double as [`serialize_number`] does, or null.
pub fn serialize_optional_number<S: Serializer>(
    number: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => serialize_number(number, serializer),
        None => serializer.serialize_none(),
    }
}

/// The time at which an effort was ridden, in ms since 1970. It is never after the receipt, and 0
/// if unknown.
pub type EffortTimeMs = u64;

/// One racer's output at one second of one class, with its race and time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// The class in which it was ridden.
    pub class: ClassId,
    /// The second of the race.
    pub second: Second,
    /// The racer who rode it.
    pub racer: RacerId,
    /// The output at that second.
    pub output: Output,
    /// The race, if the record names one.
    pub race: Option<RaceId>,
    /// The time at which it was ridden, or 0.
    pub time: EffortTimeMs,
}

#[cfg(test)]
impl Effort {
    /// Returns an effort without race and time.
    ///
    /// # Panics
    /// The class is 0, or the output is invalid.
    pub(crate) fn of(class: u16, second: u32, racer: u64, output: f64) -> Self {
        Self {
            class: ClassId::new(class).expect("classes count from 1"),
            second: Second(second),
            racer: RacerId(racer),
            output: Output::new(output).expect("finite and not negative"),
            race: None,
            time: 0,
        }
    }
}

/// The bounds of input. They never apply to stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum class number.
    pub classes: u16,
    /// Maximum second of a race.
    pub second_max: u32,
}
