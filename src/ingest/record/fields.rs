//! The fields of one telemetry object: read in any form of JSON, then validated against the bounds.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::effort::{
    Bounds, CADENCE_MAX, ClassId, Effort, EffortTimeMs, INTEGER_MAX, OUTPUT_MAX, Output,
    RESISTANCE_MAX, RaceId, RacerId, Second,
};
use crate::domain::json_number::JsonNumber;
use crate::domain::rejection::{Rejection, RejectionReason};
use crate::ingest::record::{CLOCK_AHEAD_MS_MAX, Telemetry};

/// The fields of one object, not yet validated. The last value of a repeated key counts.
#[derive(Default)]
pub(crate) struct RecordFields<'d> {
    pub(crate) class_id: NumberField,
    pub(crate) second: NumberField,
    pub(crate) racer_id: NumberField,
    pub(crate) cadence: NumberField,
    pub(crate) resistance: NumberField,
    pub(crate) output: NumberField,
    pub(crate) race_id: NumberField,
    pub(crate) device_timestamp: NumberField,
    pub(crate) name: Option<Cow<'d, str>>,
    pub(crate) event: Option<Cow<'d, str>>,
}

/// The value of a field that must be a number.
#[derive(Clone, Copy, Default)]
pub(crate) enum NumberField {
    /// The key is missing, or its value is `null`.
    #[default]
    Absent,
    Number(JsonNumber),
    /// Another JSON value, or a number beyond all doubles.
    Other,
}

/// The key of a field.
#[derive(Clone, Copy, serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
pub(crate) enum FieldName {
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
    #[serde(other)]
    Other,
}

impl<'d> RecordFields<'d> {
    /// Reads the object at the beginning of `text`. Returns its fields and its length in bytes.
    ///
    /// The error never repeats the text, which may be personal.
    pub(crate) fn parse(text: &'d str) -> Result<(Self, usize), String> {
        // So serde_json meets no other type of value, which its error would repeat.
        if !text.starts_with('{') {
            return Err("expected a JSON object".to_owned());
        }
        let mut objects = serde_json::Deserializer::from_str(text).into_iter();
        let fields = objects.next().expect("the text is not empty");
        let fields = fields.map_err(|error| format!("invalid JSON: {error}"))?;
        Ok((fields, objects.byte_offset()))
    }

    /// Returns the telemetry, if all of its fields are within the bounds.
    pub(crate) fn validate(
        self,
        bounds: &Bounds,
        receipt_ms: u64,
    ) -> Result<Telemetry<'d>, Rejection> {
        let class = self
            .class_id
            .integer("classId", 1, u64::from(bounds.classes))?;
        let class = u16::try_from(class)
            .ok()
            .and_then(ClassId::new)
            .expect("the bounds of a class fit into a u16");
        let second = self
            .second
            .integer("second", 0, u64::from(bounds.second_max))?;
        let racer = self.racer_id.integer("racerId", 0, INTEGER_MAX)?;
        let output = self.output()?;
        let race = self.race_id.optional_integer("raceId")?.map(RaceId);
        let device_ms = self.device_timestamp.optional_integer("deviceTimestamp")?;
        Ok(Telemetry {
            effort: Effort {
                class,
                second: Second(u32::try_from(second).expect("second_max is a u32")),
                racer: RacerId(racer),
                output,
                race,
                time: effort_time(device_ms, receipt_ms),
            },
            name: self.name,
            is_final: self.event.is_some_and(|event| event == "final"),
        })
    }

    /// Computes the output from cadence and resistance. Without both it returns the field `output`.
    fn output(&self) -> Result<Output, Rejection> {
        use NumberField::Absent;
        let output = match (self.cadence, self.resistance, self.output) {
            (Absent, Absent, output @ (NumberField::Number(_) | NumberField::Other)) => {
                Output::new(output.double("output", OUTPUT_MAX)?)
            }
            (cadence, resistance, _) => {
                let cadence = cadence.double("cadence", CADENCE_MAX)?;
                Output::of(cadence, resistance.double("resistance", RESISTANCE_MAX)?)
            }
        };
        Ok(output.expect("finite and not negative within the bounds"))
    }
}

/// Returns the time of an effort from the device's time and the receipt time.
fn effort_time(device_ms: Option<u64>, receipt_ms: u64) -> EffortTimeMs {
    match device_ms {
        Some(device_ms) if device_ms <= receipt_ms.saturating_add(CLOCK_AHEAD_MS_MAX) => {
            device_ms.min(receipt_ms)
        }
        _ => 0,
    }
}

impl NumberField {
    fn of(value: &RawValue) -> Self {
        match value.get() {
            "null" => Self::Absent,
            text => JsonNumber::parse(text).map_or(Self::Other, Self::Number),
        }
    }

    fn optional_integer(self, field: &'static str) -> Result<Option<u64>, Rejection> {
        match self {
            Self::Absent => Ok(None),
            number => number.integer(field, 0, INTEGER_MAX).map(Some),
        }
    }

    fn integer(self, field: &'static str, min: u64, max: u64) -> Result<u64, Rejection> {
        let integer = match self {
            Self::Absent => return Err(missing(field)),
            Self::Number(number) => number.integer(),
            Self::Other => None,
        };
        integer
            .filter(|integer| (min..=max).contains(integer))
            .ok_or_else(|| {
                let message = format!("{field} must be an integer from {min} to {max}");
                Rejection::new(RejectionReason::OutOfBounds, message)
            })
    }

    fn double(self, field: &'static str, max: f64) -> Result<f64, Rejection> {
        let double = match self {
            Self::Absent => return Err(missing(field)),
            Self::Number(number) => Some(number.double()),
            Self::Other => None,
        };
        double
            .filter(|double| (0.0..=max).contains(double))
            .ok_or_else(|| {
                let message = format!("{field} must be a number from 0 to {max}");
                Rejection::new(RejectionReason::OutOfBounds, message)
            })
    }
}

fn missing(field: &'static str) -> Rejection {
    Rejection::new(RejectionReason::Missing, format!("{field} is missing"))
}

/// Returns the text of a string.
///
/// Any other value counts as absent. So does half of a surrogate pair, which JSON and JavaScript
/// allow and UTF-8 does not: an effort is valid without name and event.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let content = value.get().strip_prefix('"')?.strip_suffix('"')?;
    if content.contains('\\') {
        return serde_json::from_str(value.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(content))
}

impl<'de> Deserialize<'de> for RecordFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = RecordFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            // Any key may hold any value here: a derived struct would reject a repeated key, and a
            // wrong type although a later value replaces it.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = RecordFields::default();
                while let Some(name) = map.next_key()? {
                    if matches!(name, FieldName::Other) {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let value: &RawValue = map.next_value()?;
                    match name {
                        FieldName::ClassId => fields.class_id = NumberField::of(value),
                        FieldName::Second => fields.second = NumberField::of(value),
                        FieldName::RacerId => fields.racer_id = NumberField::of(value),
                        FieldName::Cadence => fields.cadence = NumberField::of(value),
                        FieldName::Resistance => fields.resistance = NumberField::of(value),
                        FieldName::Output => fields.output = NumberField::of(value),
                        FieldName::RaceId => fields.race_id = NumberField::of(value),
                        FieldName::DeviceTimestamp => {
                            fields.device_timestamp = NumberField::of(value);
                        }
                        FieldName::Name => fields.name = text(value),
                        FieldName::Event => fields.event = text(value),
                        FieldName::Other => {}
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
