//! Query parameters. One struct per path reads the parameters and describes them in the OpenAPI
//! document.
//!
//! An invalid parameter is a 400 that names it, its value and what it must be. So is an unknown one:
//! most are typing errors, and an ignored filter would return a wrong page.
//!
//! `axum` and `axum-extra` have extractors of this kind, but their errors name neither the value nor
//! the alternatives, and they read `racers=1,2` as one value.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::http::error::{ApiError, shown};
use crate::http::state::AppState;

/// Extracts the query parameters.
pub(crate) struct QueryParams<T>(pub(crate) T);

/// The value of one query parameter, if the query has it.
#[derive(Clone, Copy)]
pub(crate) struct Param<T>(pub(crate) Option<T>);

impl<T> Default for Param<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// A type that query parameters can have.
pub(crate) trait ParamValue: Sized {
    /// Whether the parameter may be repeated; its values then form one list.
    const IS_LIST: bool = false;

    /// Completes the sentence "it must be …".
    fn expected() -> String;

    /// Parses the decoded text. Several values of a list are joined by commas.
    fn parse(text: &str) -> Option<Self>;

    /// Returns the schema for the OpenAPI document.
    fn schema() -> Schema;
}

/// The parameters of a path that accepts none.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParams {}

thread_local! {
    /// [`ParamValue`] needs `--max-second`, but `Deserialize` and `ToSchema` take no argument. So it
    /// is passed in a thread-local.
    static SECOND_MAX: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// Returns the greatest second that a query may name.
pub(super) fn second_max() -> u32 {
    SECOND_MAX.get()
}

/// Sets the greatest second that this thread deserializes or describes. Call it before each, without
/// an await between.
pub(crate) fn set_second_max(second_max: u32) {
    SECOND_MAX.set(second_max);
}

impl<T: DeserializeOwned> FromRequestParts<AppState> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, ApiError> {
        set_second_max(app.ledger.bounds().second_max);
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let mut values = BTreeMap::<_, Vec<Cow<'_, str>>>::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        values.entry(name).or_default().push(value);
    }
    let parameters = values.iter().map(|(name, values)| {
        let values = values.iter().map(|value| &**value);
        (&**name, SeqDeserializer::<_, QueryError>::new(values))
    });
    serde_path_to_error::deserialize(MapDeserializer::new(parameters)).map_err(|error| {
        let name = error.path().to_string();
        let value = values.get(&*name).map(|values| values.join(","));
        let value = shown(&value.unwrap_or_default());
        ApiError::bad_request(match error.into_inner() {
            QueryError::Invalid(detail) => format!("{name} is {value}; {detail}"),
            QueryError::Unknown([]) => {
                format!("{} is {value}; this path takes no parameters", shown(&name))
            }
            QueryError::Unknown(known) => {
                let (name, known) = (shown(&name), known.join(", "));
                format!("{name} is {value}; unknown parameter; this path takes {known}")
            }
        })
    })
}

impl<'de, T: ParamValue> Deserialize<'de> for Param<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let is_repeated = texts.len() > 1 && !T::IS_LIST;
        match T::parse(&texts.join(",")) {
            Some(value) if !is_repeated => Ok(Self(Some(value))),
            _ => {
                let once = if is_repeated { ", given once" } else { "" };
                let expected = T::expected();
                let detail = format_args!("it must be {expected}{once}");
                Err(de::Error::custom(detail))
            }
        }
    }
}

impl<T: ParamValue> PartialSchema for Param<T> {
    fn schema() -> RefOr<Schema> {
        T::schema().into()
    }
}

impl<T: ParamValue> ToSchema for Param<T> {}

#[derive(Debug)]
enum QueryError {
    /// The text says what the parameter must be.
    Invalid(String),
    /// The path has only these parameters.
    Unknown(&'static [&'static str]),
}

impl de::Error for QueryError {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::Invalid(message.to_string())
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::Unknown(known)
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for QueryError {}
