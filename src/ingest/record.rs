//! A record's bytes, told apart into efforts or a rejection that names what is wrong.
//!
//! Pure: the bounds and the time of receipt are passed in. A record may hold several JSON objects one after another;
//! those before a fault are given out, and the fault is the record's.

use crate::ingest::record_fast_path;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::effort::{
    Bounds, CADENCE_MAX, ClassId, Effort, EffortTimeMs, INTEGER_MAX, OUTPUT_MAX, Output,
    RESISTANCE_MAX, RaceId, RacerId, Second,
};
use crate::domain::rejection::{Rejection, RejectionReason};

/// A device's clock may be ahead of ours by this much, in milliseconds, before its time is not believed at all.
pub const CLOCK_AHEAD_MS_MAX: u64 = 5 * 60 * 1000;

/// The most objects in a record: four times what Firehose's largest record can hold. Each takes about as much memory as
/// its text, so a record that gunzips to many is bounded by it.
pub const OBJECTS_MAX: usize = 100_000;

/// One telemetry object: the effort and what came with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry<'d> {
    /// The effort, within the bounds.
    pub effort: Effort,
    /// The racer's name, as it came; `None` where what came is no text, which takes nothing from the effort.
    pub name: Option<Cow<'d, str>>,
    /// Whether it is the racer's last of that race.
    pub is_final: bool,
}

/// Gives every telemetry object in `data` to `each`, in order. Returns how many there were; 0 where there is nothing
/// but white space. After an error, those before the fault have been given out.
pub fn decode<'d>(
    data: &'d [u8],
    bounds: &Bounds,
    receipt_ms: u64,
    mut each: impl FnMut(Telemetry<'d>),
) -> Result<usize, Rejection> {
    let text = match std::str::from_utf8(data) {
        Ok(text) => text,
        Err(error) => {
            let valid =
                std::str::from_utf8(&data[..error.valid_up_to()]).expect("valid up to there");
            let fault = Rejection::new(
                RejectionReason::Utf8,
                format!("not UTF-8 at byte {}", error.valid_up_to()),
            );
            // The objects before the bad byte stand; a cut one is no fault of its own.
            let _ = decode_text(valid, bounds, receipt_ms, &mut each);
            return Err(fault);
        }
    };
    decode_text(text, bounds, receipt_ms, &mut each)
}

fn decode_text<'d>(
    text: &'d str,
    bounds: &Bounds,
    receipt_ms: u64,
    each: &mut impl FnMut(Telemetry<'d>),
) -> Result<usize, Rejection> {
    let mut count = 0;
    let mut scanner = record_fast_path::Scanner::new(text);
    while let Some(fields) = scanner.object() {
        if fields.has_integers_as_doubles() {
            return decode_by_serde(text, count, bounds, receipt_ms, each);
        }
        insist_on_room(count)?;
        each(fields.validate(bounds, receipt_ms)?);
        count += 1;
    }
    if scanner.is_at_end() {
        return Ok(count);
    }
    decode_by_serde(text, count, bounds, receipt_ms, each)
}

/// Decodes objects of every kind, from the start, for an error tells its place in the record; those of the first
/// `count` places have been given out.
fn decode_by_serde<'d>(
    text: &'d str,
    mut count: usize,
    bounds: &Bounds,
    receipt_ms: u64,
    each: &mut impl FnMut(Telemetry<'d>),
) -> Result<usize, Rejection> {
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Fields<'d>>();
    let mut begins = 0;
    let mut place = 0;
    while let Some(object) = objects.next() {
        let fields = object.map_err(|error| {
            Rejection::new(
                RejectionReason::Json,
                format!("not telemetry in JSON: {error}"),
            )
        })?;
        let ends = objects.byte_offset();
        let of_object = begins..ends;
        (begins, place) = (ends, place + 1);
        if place <= count {
            continue;
        }
        insist_on_room(count)?;
        let look_closer = fields.has_integers_as_doubles();
        let telemetry = fields.validate(bounds, receipt_ms)?;
        if look_closer {
            insist_on_plain_integers(&text[of_object])?;
        }
        each(telemetry);
        count += 1;
    }
    Ok(count)
}

fn insist_on_room(count: usize) -> Result<(), Rejection> {
    if count < OBJECTS_MAX {
        return Ok(());
    }
    Err(Rejection::new(
        RejectionReason::TooLarge,
        format!("a record has {OBJECTS_MAX} objects at most"),
    ))
}

/// As [`decode`], without the scanner: what it is held against.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn decode_by_serde_alone<'d>(
    text: &'d str,
    bounds: &Bounds,
    receipt_ms: u64,
    mut each: impl FnMut(Telemetry<'d>),
) -> Result<usize, Rejection> {
    decode_by_serde(text, 0, bounds, receipt_ms, &mut each)
}

/// The fields of one object as they came; a key given twice counts as given last.
#[derive(Default)]
pub(crate) struct Fields<'d> {
    pub(crate) class_id: Number,
    pub(crate) second: Number,
    pub(crate) racer_id: Number,
    pub(crate) cadence: Number,
    pub(crate) resistance: Number,
    pub(crate) output: Number,
    pub(crate) race_id: Number,
    pub(crate) device_timestamp: Number,
    pub(crate) name: Option<Cow<'d, str>>,
    pub(crate) event: Option<Cow<'d, str>>,
}

/// What stands where a number should.
#[derive(Clone, Copy, Default)]
pub(crate) enum Number {
    #[default]
    Absent,
    Integer(u64),
    Double(f64),
    Other,
}

/// The fields that are integers.
const INTEGERS: [&str; 5] = ["classId", "second", "racerId", "raceId", "deviceTimestamp"];

/// Rejects an object that has an integer in another form than `1` or `1.0`. A double no longer tells `1.0` from `1e0`,
/// nor from `1.00000000000000000001`, so the few objects that have one where an integer should be are read again.
fn insist_on_plain_integers(object: &str) -> Result<(), Rejection> {
    let fields: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(object)
        .map_err(|_| Rejection::new(RejectionReason::Json, "not telemetry in JSON"))?;
    let plain = |number: &str| {
        let digits = number.strip_suffix(".0").unwrap_or(number);
        digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let absent = |value: &str| value == "null";
    match INTEGERS.iter().find(|&&name| {
        fields
            .get(name)
            .is_some_and(|it| !absent(it.get()) && !plain(it.get()))
    }) {
        Some(name) => Err(Rejection::new(
            RejectionReason::OutOfBounds,
            format!("{name} must be an integer, as 1 or 1.0"),
        )),
        None => Ok(()),
    }
}

impl<'d> Fields<'d> {
    fn has_integers_as_doubles(&self) -> bool {
        let integers = [
            self.class_id,
            self.second,
            self.racer_id,
            self.race_id,
            self.device_timestamp,
        ];
        integers
            .iter()
            .any(|number| matches!(number, Number::Double(_)))
    }

    fn validate(self, bounds: &Bounds, receipt_ms: u64) -> Result<Telemetry<'d>, Rejection> {
        let class = self
            .class_id
            .integer("classId", 1, u64::from(bounds.classes))?;
        let class = u16::try_from(class)
            .ok()
            .and_then(ClassId::new)
            .expect("within its bounds, which are a u16's");
        let second = self
            .second
            .integer("second", 0, u64::from(bounds.second_max))?;
        let racer = self.racer_id.integer("racerId", 0, INTEGER_MAX)?;
        let output = match (self.cadence, self.resistance, self.output) {
            (Number::Absent, Number::Absent, output @ (Number::Integer(_) | Number::Double(_))) => {
                Output::new(output.double("output", OUTPUT_MAX)?)
            }
            (Number::Absent, Number::Absent, Number::Other) => {
                return Err(out_of_bounds("output", 0, OUTPUT_MAX));
            }
            (cadence, resistance, _) => {
                let cadence = cadence.double("cadence", CADENCE_MAX)?;
                Output::of(cadence, resistance.double("resistance", RESISTANCE_MAX)?)
            }
        };
        let race = self.race_id.optional_integer("raceId")?.map(RaceId);
        let time = effort_time(
            self.device_timestamp.optional_integer("deviceTimestamp")?,
            receipt_ms,
        );
        Ok(Telemetry {
            effort: Effort {
                class,
                second: Second(
                    u32::try_from(second).expect("within its bounds, which are a u32's"),
                ),
                racer: RacerId(racer),
                output: output.expect("finite and not negative within the bounds"),
                race,
                time,
            },
            name: self.name,
            is_final: self.event.is_some_and(|event| event == "final"),
        })
    }
}

/// When an effort counts as ridden, from what its device says and when it was received.
fn effort_time(device_ms: Option<u64>, receipt_ms: u64) -> EffortTimeMs {
    match device_ms {
        Some(device_ms) if device_ms <= receipt_ms.saturating_add(CLOCK_AHEAD_MS_MAX) => {
            device_ms.min(receipt_ms)
        }
        _ => 0,
    }
}

impl Number {
    fn optional_integer(self, field: &'static str) -> Result<Option<u64>, Rejection> {
        match self {
            Self::Absent => Ok(None),
            number => number.integer(field, 0, INTEGER_MAX).map(Some),
        }
    }

    fn integer(self, field: &'static str, min: u64, max: u64) -> Result<u64, Rejection> {
        let integer = match self {
            Self::Absent => return Err(missing(field)),
            Self::Integer(integer) => Some(integer),
            // `1.0`, in that form alone, is as good as `1`; a double that large and whole is within u64, and casting
            // keeps it.
            Self::Double(double)
                if double.fract() == 0.0 && (0.0..=INTEGER_MAX as f64).contains(&double) =>
            {
                Some(double as u64)
            }
            Self::Double(_) | Self::Other => None,
        };
        integer
            .filter(|integer| (min..=max).contains(integer))
            .ok_or_else(|| {
                Rejection::new(
                    RejectionReason::OutOfBounds,
                    format!("{field} must be an integer from {min} to {max}"),
                )
            })
    }

    fn double(self, field: &'static str, max: f64) -> Result<f64, Rejection> {
        let double = match self {
            Self::Absent => return Err(missing(field)),
            Self::Integer(integer) => integer as f64,
            Self::Double(double) => double,
            Self::Other => return Err(out_of_bounds(field, 0, max)),
        };
        if (0.0..=max).contains(&double) {
            Ok(double)
        } else {
            Err(out_of_bounds(field, 0, max))
        }
    }
}

fn missing(field: &'static str) -> Rejection {
    Rejection::new(RejectionReason::Missing, format!("{field} is missing"))
}

fn out_of_bounds(field: &'static str, min: u64, max: f64) -> Rejection {
    Rejection::new(
        RejectionReason::OutOfBounds,
        format!("{field} must be a number from {min} to {max}"),
    )
}

#[derive(Clone, Copy)]
pub(crate) enum Key {
    ClassId,
    Second,
    RacerId,
    Cadence,
    Resistance,
    Output,
    RaceId,
    DeviceTimestamp,
    Name,
    Event,
    Other,
}

impl Key {
    pub(crate) fn of(name: &str) -> Self {
        match name.as_bytes() {
            b"classId" => Self::ClassId,
            b"second" => Self::Second,
            b"racerId" => Self::RacerId,
            b"cadence" => Self::Cadence,
            b"resistance" => Self::Resistance,
            b"output" => Self::Output,
            b"raceId" => Self::RaceId,
            b"deviceTimestamp" => Self::DeviceTimestamp,
            b"name" => Self::Name,
            b"event" => Self::Event,
            _ => Self::Other,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ClassId => "classId",
            Self::Second => "second",
            Self::RacerId => "racerId",
            Self::Cadence => "cadence",
            Self::Resistance => "resistance",
            Self::Output => "output",
            Self::RaceId => "raceId",
            Self::DeviceTimestamp => "deviceTimestamp",
            Self::Name => "name",
            Self::Event => "event",
            Self::Other => "another field",
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(Key::of(key))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// What is no object is told without being repeated: serde's own errors quote it, and it may be a person's.
macro_rules! refuse_the_rest {
    () => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        refuse_the_rest!(visit_bool(bool), visit_u64(u64), visit_i64(i64), visit_f64(f64), visit_str(&str));
    };
    ($($visit:ident($kind:ty)),*) => {
        $(fn $visit<E: serde::de::Error>(self, _: $kind) -> Result<Self::Value, E> {
            Err(E::custom("expected an object"))
        })*
    };
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            refuse_the_rest!();
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(key) = map.next_key::<Key>()? {
                    // A value that cannot be read, such as 1e999, is told with its field.
                    let named = |error| A::Error::custom(format_args!("{}: {error}", key.name()));
                    match key {
                        Key::ClassId => fields.class_id = map.next_value().map_err(named)?,
                        Key::Second => fields.second = map.next_value().map_err(named)?,
                        Key::RacerId => fields.racer_id = map.next_value().map_err(named)?,
                        Key::Cadence => fields.cadence = map.next_value().map_err(named)?,
                        Key::Resistance => fields.resistance = map.next_value().map_err(named)?,
                        Key::Output => fields.output = map.next_value().map_err(named)?,
                        Key::RaceId => fields.race_id = map.next_value().map_err(named)?,
                        Key::DeviceTimestamp => {
                            fields.device_timestamp = map.next_value().map_err(named)?;
                        }
                        Key::Name => fields.name = text(map.next_value().map_err(named)?),
                        Key::Event => fields.event = text(map.next_value().map_err(named)?),
                        Key::Other => _ = map.next_value::<IgnoredAny>().map_err(named)?,
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_any(FieldsVisitor)
    }
}

/// The text that stands there. What is none is as good as nothing, and so is half a surrogate pair, which is JSON's and
/// JavaScript's but no text: neither field makes an effort what it is.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let plain = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if plain.contains('\\') {
        return serde_json::from_str(value.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(plain))
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl<'de> Visitor<'de> for NumberVisitor {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number::Absent)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
                Ok(Number::Other)
            }
            fn visit_u64<E>(self, integer: u64) -> Result<Number, E> {
                Ok(Number::Integer(integer))
            }
            fn visit_i64<E>(self, integer: i64) -> Result<Number, E> {
                Ok(Number::Double(integer as f64))
            }
            fn visit_f64<E>(self, double: f64) -> Result<Number, E> {
                Ok(Number::Double(double))
            }
            fn visit_str<E>(self, _: &str) -> Result<Number, E> {
                Ok(Number::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Number, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Number::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Number, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Number::Other)
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        classes: 6,
        second_max: 600,
    };
    const NOW_MS: u64 = 1_619_185_790_000;

    fn decode_all(data: &[u8]) -> (Vec<Telemetry<'_>>, Result<usize, Rejection>) {
        let mut all = Vec::new();
        let result = decode(data, &BOUNDS, NOW_MS, |telemetry| all.push(telemetry));
        (all, result)
    }

    fn one(data: &str) -> Result<Effort, Rejection> {
        let (all, result) = decode_all(data.as_bytes());
        result.map(|_| all[0].effort)
    }

    fn with(field: &str) -> Result<Effort, Rejection> {
        one(&format!(
            r#"{{"classId":1,"second":1,"racerId":1,"cadence":80,"resistance":78,{field}}}"#
        ))
    }

    #[test]
    fn the_records_of_a_real_event_give_the_outputs_that_javascript_gives() {
        let event: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/data/transformation-event.json"))
                .expect("JSON");
        let records = event["records"].as_array().expect("records");
        assert_eq!(records.len(), 5);
        for (place, record) in records.iter().enumerate() {
            let data = base64_simd::STANDARD
                .decode_to_vec(record["data"].as_str().expect("data"))
                .expect("base64");
            let (all, result) = decode_all(&data);
            assert_eq!(result, Ok(1));
            let effort = all[0].effort;
            assert_eq!(
                (effort.class.get(), effort.racer.0, effort.second.0),
                (1, 1, place as u32 + 1)
            );
            assert_eq!(effort.output.get(), 164.45);
            assert_eq!(effort.race, Some(RaceId(1_619_185_620_265)));
            assert_eq!(all[0].name.as_deref(), Some("Hubert"));
        }
    }

    #[test]
    fn a_key_given_twice_counts_as_given_last() {
        assert_eq!(with(r#""second":7"#).expect("valid").second, Second(7));
        assert_eq!(
            with(r#""cadence":"x","cadence":65"#)
                .expect("valid")
                .output
                .get(),
            143.0
        );
    }

    #[test]
    fn whole_numbers_may_be_written_as_doubles_and_nothing_else() {
        assert_eq!(with(r#""second":3.0"#).expect("valid").second, Second(3));
        assert_eq!(
            with(r#""second":0.0,"s\u0065cond":3.0,"x":1e0,"y":{"second":1e0}"#)
                .expect("valid")
                .second,
            Second(3)
        );
        let wrong = ["3.5", "\"3\"", "true", "[3]", "{}", "-1", "601", "null"];
        for wrong in wrong.into_iter().chain([
            "3e0",
            "30E-1",
            "-0",
            "-0.0",
            "3.00",
            "3.0000000000000000001",
        ]) {
            let rejection = with(&format!(r#""second":{wrong}"#)).expect_err(wrong);
            assert!(
                rejection.message.starts_with("second "),
                "{wrong}: {rejection}"
            );
        }
        for field in ["classId", "racerId", "raceId", "deviceTimestamp"] {
            assert!(with(&format!(r#""{field}":1.0"#)).is_ok(), "{field}");
            let rejection = with(&format!(r#""{field}":1e0"#)).expect_err(field);
            assert!(rejection.message.starts_with(field), "{rejection}");
        }
        // Those before it are given out, and it alone is looked at.
        let two = r#"{"classId":1,"second":1.0,"racerId":1,"output":1} {"classId":1,"second":2e0,"racerId":1,"output":1}"#;
        let (all, result) = decode_all(two.as_bytes());
        assert_eq!((all.len(), result.is_err()), (1, true));
        assert!(with(r#""racerId":9007199254740991"#).is_ok());
        assert!(with(r#""racerId":9007199254740992"#).is_err());
        assert!(with(r#""raceId":9007199254740992.0"#).is_err());
    }

    #[test]
    fn what_is_out_of_bounds_is_rejected_by_the_name_of_its_field() {
        for (field, wrong) in [
            ("classId", "0"),
            ("classId", "7"),
            ("cadence", "300.0000001"),
            ("cadence", "-0.1"),
            ("cadence", "1e999"),
            ("resistance", "100.5"),
            ("resistance", "\"78\""),
            ("raceId", "-1"),
            ("raceId", "\"a\""),
            ("deviceTimestamp", "1.5"),
        ] {
            let rejection = with(&format!(r#""{field}":{wrong}"#)).expect_err(wrong);
            assert!(
                rejection.message.contains(field),
                "{field} {wrong}: {rejection}"
            );
        }
    }

    #[test]
    fn an_effort_counts_whatever_stands_for_a_name_or_an_event() {
        for value in [
            "5",
            "true",
            "null",
            "[\"a\"]",
            "{\"a\":1}",
            r#""\ud800""#,
            r#""\udc00 Hubert""#,
        ] {
            let object = format!(
                r#"{{"classId":1,"second":1,"racerId":1,"output":150,"name":{value},"event":{value},"uuid":{value}}}"#
            );
            let (all, result) = decode_all(object.as_bytes());
            assert_eq!((result, all.len()), (Ok(1), 1), "{value}");
            assert_eq!((&all[0].name, all[0].is_final), (&None, false), "{value}");
        }
        let escaped = r#"{"classId":1,"second":1,"racerId":1,"output":150,"name":"Zo\u00eb \"Z\"","event":"fin\u0061l"}"#;
        let (all, _) = decode_all(escaped.as_bytes());
        assert_eq!(
            (all[0].name.as_deref(), all[0].is_final),
            (Some("Zo\u{eb} \"Z\""), true)
        );
        assert!(with("\"name\":\"two\nlines\"").is_err(), "that is not JSON");
    }

    #[test]
    fn an_output_is_taken_only_without_its_inputs() {
        let base = r#""classId":1,"second":1,"racerId":1"#;
        assert_eq!(
            one(&format!(r#"{{{base},"output":150.5}}"#))
                .expect("valid")
                .output
                .get(),
            150.5
        );
        assert_eq!(
            with(r#""output":9"#).expect("computed anew").output.get(),
            164.45
        );
        assert_eq!(
            with(r#""output":"x""#).expect("computed anew").output.get(),
            164.45
        );
        for (fields, field) in [
            (r#""output":552.76"#, "output"),
            (r#""output":"1""#, "output"),
            (r#""cadence":80,"output":1"#, "resistance"),
            (r#""resistance":80,"output":1"#, "cadence"),
            (r#""output":null"#, "cadence"),
        ] {
            let rejection = one(&format!("{{{base},{fields}}}")).expect_err(fields);
            assert!(
                rejection.message.starts_with(field),
                "{fields}: {rejection}"
            );
        }
    }

    #[test]
    fn a_time_is_never_after_the_receipt_and_0_when_it_cannot_be_believed() {
        let time = |ms: u64| {
            with(&format!(r#""deviceTimestamp":{ms}"#))
                .expect("valid")
                .time
        };
        assert_eq!(time(NOW_MS - 5), NOW_MS - 5);
        assert_eq!(time(NOW_MS + CLOCK_AHEAD_MS_MAX), NOW_MS);
        assert_eq!(time(NOW_MS + CLOCK_AHEAD_MS_MAX + 1), 0);
        assert_eq!(with(r#""uuid":1"#).expect("valid").time, 0);
    }

    #[test]
    fn objects_before_a_fault_are_given_out() {
        let good = r#"{"classId":1,"second":1,"racerId":1,"cadence":80,"resistance":78}"#;
        for (rest, reason) in [
            (&b"{\"classId\":"[..], RejectionReason::Json),
            (b"[1]", RejectionReason::Json),
            (b"\"secret\"", RejectionReason::Json),
            (b"{}", RejectionReason::Missing),
            (b"{\"uuid\":\"\xff\"}", RejectionReason::Utf8),
            (
                b"{\"classId\":9,\"second\":1,\"racerId\":1,\"cadence\":1,\"resistance\":1}",
                RejectionReason::OutOfBounds,
            ),
        ] {
            let data = [good.as_bytes(), b"\n", good.as_bytes(), rest].concat();
            let (all, result) = decode_all(&data);
            assert_eq!(all.len(), 2, "{}", String::from_utf8_lossy(rest));
            let rejection = result.expect_err("a fault");
            assert_eq!(rejection.reason, reason);
            assert!(!rejection.message.contains("secret"), "{rejection}");
        }
    }

    /// Text around what the scanner reads: fields as bikes send them, and all that is nearly so.
    fn nearly_telemetry() -> impl Strategy<Value = String> {
        let space =
            || prop::sample::select(vec!["", "", "", "", " ", "\n", "\t\r", "\u{c}", "\u{a0}"]);
        let key = prop_oneof![
            8 => prop::sample::select(vec![
                "classId", "second", "racerId", "cadence", "resistance", "output", "raceId", "deviceTimestamp", "name",
                "event",
            ])
            .prop_map(str::to_owned),
            1 => "\\PC{0,20}",
        ];
        let number = prop_oneof![
            "[0-9]{1,3}",
            "[0-9]{1,3}\\.[0-9]{0,3}",
            "[1-9][0-9]{12,20}",
            "[0-9]{1,9}\\.[0-9]{1,12}",
            "-?[0-9]{0,3}(\\.[0-9]{1,17})?([eE][+-]?[0-9]{1,3})?",
        ];
        let value = prop_oneof![
            8 => number,
            3 => "\"[a-zA-Zë☃ ]{0,20}\"",
            1 => "\"[\\x00-\\x7f]{0,12}\"",
            1 => prop::sample::select(vec!["null", "true", "{}", "[1]", "\"final\"", "\"\\u0061\"", "\"\\ud800\"", ""])
                .prop_map(str::to_owned),
        ];
        let field = (space(), key, space(), space(), value, space())
            .prop_map(|(a, key, b, c, value, d)| format!("{a}\"{key}\"{b}:{c}{value}{d}"));
        let base = r#""classId":1,"second":1,"racerId":1,"cadence":80,"resistance":78"#;
        let fields = prop::collection::vec(field, 0..5).prop_map(move |fields| {
            format!(
                "{{{}}}",
                [&[base.to_owned()][..], &fields].concat().join(",")
            )
        });
        let objects = prop::collection::vec((fields, space()).prop_map(|(a, b)| a + b), 0..4);
        // Cut short, now and then, or with one character too many.
        let fault = prop_oneof![3 => Just(None), 1 => (any::<prop::sample::Index>(), "[ -~]?").prop_map(Some)];
        (objects, fault).prop_map(|(objects, fault)| {
            let mut text: Vec<char> = objects.concat().chars().collect();
            if let Some((place, other)) = fault
                && !text.is_empty()
            {
                let place = place.index(text.len());
                text.splice(place..=place, other.chars());
            }
            text.into_iter().collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_the_scanner_reads_is_what_serde_reads(text in nearly_telemetry()) {
            let mut by_serde = Vec::new();
            let result = decode_by_serde_alone(&text, &BOUNDS, NOW_MS, |telemetry| by_serde.push(telemetry));
            prop_assert_eq!(decode_all(text.as_bytes()), (by_serde, result));
        }

        #[test]
        fn decimals_are_rounded_as_serde_rounds_them(whole in 0..=300_u32, places in "[0-9]{1,16}") {
            let text = format!("{whole}.{places}");
            let output = with(&format!(r#""cadence":{text},"resistance":0"#)).ok().map(|effort| effort.output.get());
            let cadence: f64 = text.parse().expect("a number");
            let expected = (cadence <= 300.0).then_some((cadence + 35.0) * 65.0 / 100.0);
            prop_assert_eq!(output, expected);
        }
    }

    #[test]
    fn a_bikes_telemetry_needs_no_serde() {
        let text = r#"{"uuid":"b340d30f-5a3c-4b7a-8c5e-2f6f2b1d3a4e","event":"update","deviceTimestamp":1619185789755,
            "second":1,"raceId":1619185620265,"name":"Zoë","racerId":1,"classId":1,"cadence":80.5,"resistance":78}"#;
        let mut scanner = record_fast_path::Scanner::new(text);
        assert!(scanner.object().is_some() && scanner.is_at_end());
    }

    #[test]
    fn a_record_has_so_many_objects_and_no_more() {
        let good = r#"{"classId":1,"second":1,"racerId":1,"output":1}"#;
        let nested = r#"{"classId":1,"second":1,"racerId":1,"output":1,"x":{}}"#;
        for object in [good, nested] {
            let full = object.repeat(OBJECTS_MAX);
            assert_eq!(decode_all(full.as_bytes()).1, Ok(OBJECTS_MAX));
            for more in [good, nested] {
                let over = format!("{full}{more}");
                let (all, result) = decode_all(over.as_bytes());
                assert_eq!(
                    (all.len(), result.expect_err("too many").reason),
                    (OBJECTS_MAX, RejectionReason::TooLarge)
                );
            }
        }
    }

    #[test]
    fn white_space_alone_is_nothing() {
        assert_eq!(decode_all(b" \n").1, Ok(0));
    }
}
