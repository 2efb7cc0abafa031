//! The ids in a path.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use utoipa::IntoParams;

use crate::domain::effort::{ClassId, INTEGER_MAX, RaceId, RacerId};
use crate::http::error::{ApiError, shown};
use crate::http::extract::values::integer;
use crate::http::state::AppState;

/// A class that exists.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ClassPath {
    /// The exercise class.
    #[param(rename = "classId")]
    pub(crate) class: ClassId,
}

/// A racer, who may be unknown.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct RacerPath {
    /// The racer.
    #[param(rename = "racerId")]
    pub(crate) racer: RacerId,
}

/// A race, which may be unknown.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct RacePath {
    /// The race.
    #[param(rename = "raceId")]
    pub(crate) race: RaceId,
}

impl FromRequestParts<AppState> for ClassPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        let text = match class_of_file(parts.uri.path()) {
            Some(text) => text.to_owned(),
            None => segment(parts, "classId").await,
        };
        let number = integer(&text, 1..=u64::from(u16::MAX));
        let class = number.and_then(|number| ClassId::new(u16::try_from(number).ok()?));
        match class.filter(|&class| app.ledger.table().has(class)) {
            Some(class) => Ok(Self { class }),
            None => Err(ApiError::not_found(format!(
                "there is no class {}; /classes lists them",
                shown_id(&text)
            ))),
        }
    }
}

impl FromRequestParts<AppState> for RacerPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let racer = RacerId(id(parts, "racerId", "racer").await?);
        Ok(Self { racer })
    }
}

impl FromRequestParts<AppState> for RacePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        let race = RaceId(id(parts, "raceId", "race").await?);
        Ok(Self { race })
    }
}

async fn id(parts: &mut Parts, name: &str, kind: &str) -> Result<u64, ApiError> {
    let text = segment(parts, name).await;
    let missing = || ApiError::not_found(format!("there is no {kind} {}", shown_id(&text)));
    integer(&text, 0..=INTEGER_MAX).ok_or_else(missing)
}

/// Returns an id from a path for an error: a number as it is, any other text in quotes and cut.
fn shown_id(text: &str) -> String {
    let is_number = text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && !text.is_empty() {
        text.to_owned()
    } else {
        shown(text)
    }
}

/// Returns the id in `/class-{classId}.gz`: the router knows no parameter within a segment.
fn class_of_file(path: &str) -> Option<&str> {
    path.strip_prefix("/class-")?.strip_suffix(".gz")
}

/// Returns the segment of that name as text; empty where it is not UTF-8.
async fn segment(parts: &mut Parts, name: &str) -> String {
    let Ok(segments) = RawPathParams::from_request_parts(parts, &()).await else {
        return String::new();
    };
    let value = segments.iter().find(|(other, _)| *other == name);
    value.map_or_else(String::new, |(_, value)| value.to_owned())
}
