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
use std::fmt;
use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::http::error::{ApiError, shown};
use crate::http::state::AppState;

/// Extracts the query parameters.
pub(crate) struct QueryParams<T>(pub(crate) T);

/// The value of one query parameter.
#[derive(Clone, Copy)]
pub(crate) struct Param<T>(pub(crate) T);

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

/// A decoded name and value.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let mut pairs: Vec<Pair<'_>> = form_urlencoded::parse(query.as_bytes()).collect();
    // Stable: the values of a repeated parameter keep their order.
    pairs.sort_by(|(name, _), (other, _)| name.cmp(other));
    let parameters = pairs.chunk_by(|(name, _), (other, _)| name == other);
    let entries = parameters.map(|values| (&*values[0].0, ParamDeserializer(values)));
    T::deserialize(MapDeserializer::new(entries)).map_err(|error| {
        ApiError::bad_request(match error {
            QueryError::Invalid(detail) => detail,
            QueryError::Unknown { name, known } => {
                let value = pairs.iter().find(|(other, _)| *other == name);
                let value = value.map_or("", |(_, value)| value);
                let known = match known {
                    [] => "this path takes no parameters".to_owned(),
                    known => format!("unknown parameter; this path takes {}", known.join(", ")),
                };
                format!("{} is {}; {known}", shown(&name), shown(value))
            }
        })
    })
}

impl<'de, T: ParamValue> Deserialize<'de> for Param<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParamVisitor(PhantomData))
    }
}

impl<T: ParamValue> PartialSchema for Param<T> {
    fn schema() -> RefOr<Schema> {
        T::schema().into()
    }
}

impl<T: ParamValue> ToSchema for Param<T> {}

/// Reads one value, or the values of a repeated parameter.
struct ParamVisitor<T>(PhantomData<T>);

impl<'de, T: ParamValue> Visitor<'de> for ParamVisitor<T> {
    type Value = Param<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&T::expected())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Param<T>, E> {
        T::parse(text).map(Param).ok_or_else(|| {
            let expected = T::expected();
            E::custom(format_args!("is {}; it must be {expected}", shown(text)))
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Param<T>, A::Error> {
        let mut texts = Vec::<String>::new();
        while let Some(text) = values.next_element()? {
            texts.push(text);
        }
        match &texts[..] {
            [first, second, ..] if !T::IS_LIST => Err(de::Error::custom(format_args!(
                "is given more than once, as {} and {}; it must be {}",
                shown(first),
                shown(second),
                T::expected(),
            ))),
            _ => self.visit_str(&texts.join(",")),
        }
    }
}

/// Deserializes a parameter from the pairs of its name.
struct ParamDeserializer<'a>(&'a [Pair<'a>]);

impl<'de> Deserializer<'de> for ParamDeserializer<'_> {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        if let [(_, value)] = self.0 {
            return visitor.visit_str(value);
        }
        let values = self.0.iter().map(|(_, value)| &**value);
        visitor.visit_seq(SeqDeserializer::new(values))
    }

    /// Every field of a parameter struct must be an `Option`.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        let name = &self.0[0].0;
        let value = visitor.visit_some(ParamDeserializer(self.0));
        value.map_err(|error| QueryError::Invalid(format!("{name} {error}")))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, QueryError> for ParamDeserializer<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[derive(Debug)]
enum QueryError {
    /// A parameter is invalid; the text says why.
    Invalid(String),
    Unknown {
        name: String,
        known: &'static [&'static str],
    },
}

impl de::Error for QueryError {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::Invalid(message.to_string())
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::Unknown {
            name: name.to_owned(),
            known,
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(detail) => f.write_str(detail),
            Self::Unknown { name, .. } => write!(f, "there is no parameter {}", shown(name)),
        }
    }
}

impl std::error::Error for QueryError {}
