//! What a request names: the class and the racer in its path, and the parameters of its query.
//!
//! A parameter that cannot be taken is answered 400 with its name, its value and what it takes; so is one that the path
//! does not have, which is a slip of the pen more often than not.

use std::fmt::Display;
use std::ops::RangeInclusive;

use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;

use crate::domain::effort::{ClassId, INTEGER_MAX, RaceId, RacerId, Second};
use crate::http::error::{ApiError, shown};
use crate::http::state::AppState;

/// The class that a path names, which exists.
pub(crate) struct Class(pub(crate) ClassId);

/// The racer that a path names, who need not be known.
pub(crate) struct Racer(pub(crate) RacerId);

/// The race that a path names, which need not be known.
pub(crate) struct Race(pub(crate) RaceId);

impl FromRequestParts<AppState> for Class {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let text = segment(parts, "classId").await;
        let number =
            integer(&text, 1..=u64::from(u16::MAX)).and_then(|number| u16::try_from(number).ok());
        let class = number
            .and_then(ClassId::new)
            .filter(|&class| app.ledger.table().has(class));
        class.map(Self).ok_or_else(|| {
            ApiError::not_found(format!("there is no class {text}; /classes lists them"))
        })
    }
}

impl FromRequestParts<AppState> for Racer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let text = segment(parts, "racerId").await;
        racer(&text)
            .map(Self)
            .ok_or_else(|| ApiError::not_found(format!("there is no racer {text}")))
    }
}

impl FromRequestParts<AppState> for Race {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let text = segment(parts, "raceId").await;
        let race = integer(&text, 0..=INTEGER_MAX).map(|race| Self(RaceId(race)));
        race.ok_or_else(|| ApiError::not_found(format!("there is no race {text}")))
    }
}

async fn segment(parts: &mut Parts, name: &str) -> String {
    let Ok(segments) = RawPathParams::from_request_parts(parts, &()).await else {
        return String::new();
    };
    let value = segments
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, value)| value.to_owned());
    value.unwrap_or_default()
}

/// The parameters of a query, to be taken one by one; what is left in the end is a mistake.
pub(crate) struct Params {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let left = Query::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::bad_request(error.body_text()))?;
        Ok(Self {
            left: left.0,
            known: Vec::new(),
        })
    }
}

impl Params {
    /// Takes a parameter, if it is there. `takes` completes the sentence "it must be …".
    pub(crate) fn take<T>(
        &mut self,
        name: &'static str,
        takes: impl Display,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        self.known.push(name);
        let mut values = self
            .left
            .extract_if(.., |(other, _)| other == name)
            .map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => read(&value)
                .map(Some)
                .ok_or_else(|| ApiError::parameter(name, &value, format_args!("{takes}"))),
            (Some(first), Some(second)) => {
                let (first, second) = (shown(&first), shown(&second));
                let detail = format!(
                    "{name} is given more than once, as {first} and {second}; it must be {takes}"
                );
                Err(ApiError::bad_request(detail))
            }
        }
    }

    /// Takes an integer.
    pub(crate) fn integer(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, ApiError> {
        let takes = format!("an integer from {} to {}", range.start(), range.end());
        self.take(name, takes, |text| integer(text, range))
    }

    /// Takes a second of a race.
    pub(crate) fn second(
        &mut self,
        name: &'static str,
        second_max: u32,
    ) -> Result<Option<Second>, ApiError> {
        let second = self.integer(name, 0..=second_max.into())?;
        Ok(second
            .and_then(|second| u32::try_from(second).ok())
            .map(Second))
    }

    /// Takes a racer's id.
    pub(crate) fn racer(&mut self, name: &'static str) -> Result<Option<RacerId>, ApiError> {
        self.take(
            name,
            format_args!("a racer's id, an integer from 0 to {INTEGER_MAX}"),
            racer,
        )
    }

    /// Takes the ids of up to `racers_max` racers.
    pub(crate) fn racers(
        &mut self,
        name: &'static str,
        racers_max: usize,
    ) -> Result<Option<Vec<RacerId>>, ApiError> {
        self.take(
            name,
            format_args!("1 to {racers_max} racers' ids with commas between them"),
            |text| {
                // Counted before any is kept: a query is as long as a client likes.
                let few = text.split(',').take(racers_max + 1).count() <= racers_max;
                few.then(|| text.split(',').map(racer).collect()).flatten()
            },
        )
    }

    /// Takes `pretty`: whether JSON is to be laid out for people.
    pub(crate) fn pretty(&mut self) -> Result<bool, ApiError> {
        let pretty = self.take("pretty", "true or false, or have no value", read_pretty)?;
        Ok(pretty.unwrap_or(false))
    }

    /// Insists that there are no other parameters.
    pub(crate) fn end(self) -> Result<(), ApiError> {
        match self.left.first() {
            None => Ok(()),
            Some((name, value)) => {
                let there_are = match &self.known[..] {
                    [] => "this path takes no parameters".to_owned(),
                    known => format!("there is no such parameter here, but {}", known.join(", ")),
                };
                Err(ApiError::bad_request(format!(
                    "{} is {}; {there_are}",
                    shown(name),
                    shown(value)
                )))
            }
        }
    }
}

/// What a value of `pretty` says.
fn read_pretty(text: &str) -> Option<bool> {
    match text {
        "" | "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// An integer in decimal digits, without sign or leading zeros.
pub(crate) fn integer(text: &str, range: RangeInclusive<u64>) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    let integer = plain.then(|| text.parse().ok()).flatten()?;
    range.contains(&integer).then_some(integer)
}

fn racer(text: &str) -> Option<RacerId> {
    integer(text, 0..=INTEGER_MAX).map(RacerId)
}
