//! The types that query parameters of several paths have.

use std::ops::RangeInclusive;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type,
};

use crate::domain::effort::{INTEGER_MAX, Output, RacerId, Second};
use crate::http::error::ApiError;
use crate::http::extract::query::{Param, ParamValue, second_max};
use crate::state::leaderboard::{PageLimit, QUERY_RACERS_MAX};

// `IntoParams` accepts no generic types.
pub(crate) type LimitParam = Param<PageLimit>;
pub(crate) type OffsetParam = Param<Offset>;
pub(crate) type OutputParam = Param<Output>;
pub(crate) type PrettyParam = Param<bool>;
pub(crate) type RacerParam = Param<RacerId>;
pub(crate) type RacersParam = Param<List<RacerId, QUERY_RACERS_MAX>>;
pub(crate) type SecondParam = Param<Second>;
pub(crate) type SecondOrLastParam = Param<SecondOrLast>;

/// A parameter that is an integer.
pub(crate) trait IntegerParam: Sized {
    /// The value without the parameter, if it is always the same.
    const DEFAULT: Option<u64> = None;

    /// The kind of integer, for errors.
    const KIND: &'static str = "an integer";

    /// Returns the integers that it may be.
    fn range() -> RangeInclusive<u64>;

    /// Converts an integer of the range.
    fn from_integer(integer: u64) -> Option<Self>;
}

/// A number of rows to skip.
#[derive(Clone, Copy, Default)]
pub(crate) struct Offset(pub(crate) usize);

/// A second of a race, or the last one that anyone in the class reached.
#[derive(Clone, Copy)]
pub(crate) enum SecondOrLast {
    Second(Second),
    Last,
}

/// A list of 1 to `MAX` values.
pub(crate) struct List<T, const MAX: usize>(pub(crate) Vec<T>);

/// A type whose values a [`List`] may have.
pub(crate) trait ListItem: ParamValue {
    /// The plural noun of the values, for errors.
    const PLURAL: &'static str;
}

impl ListItem for RacerId {
    const PLURAL: &'static str = "racers' ids";
}

/// Parses decimal digits without a sign or leading zeros.
pub(crate) fn integer(text: &str, range: RangeInclusive<u64>) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    let integer = is_plain.then(|| text.parse().ok()).flatten()?;
    range.contains(&integer).then_some(integer)
}

/// Requires that a range of seconds does not end before it begins.
pub(crate) fn check_order(from: Second, to: Second) -> Result<(), ApiError> {
    if from <= to {
        return Ok(());
    }
    let detail = format!("from is {from} and to is {to}; from must not be after to");
    Err(ApiError::bad_request(detail))
}

/// Returns the schema of a text that is one of `values`.
pub(crate) fn text_schema<const N: usize>(values: [&str; N]) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(values))
}

/// Returns the schema of a number from 0.
pub(crate) fn number_schema() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Double)))
        .minimum(Some(0))
}

/// Implements [`ParamValue`] for a type with a few values, each with its text.
macro_rules! choices {
    ($type:ty, $expected:literal, { $($text:literal => $value:expr),* $(,)? }) => {
        impl $crate::http::extract::query::ParamValue for $type {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some($value),)*
                    _ => None,
                }
            }

            fn schema() -> utoipa::openapi::schema::Schema {
                $crate::http::extract::values::text_schema([$($text),*]).into()
            }
        }
    };
}
pub(crate) use choices;

impl<T: IntegerParam> ParamValue for T {
    fn expected() -> String {
        let range = T::range();
        format!("{} from {} to {}", T::KIND, range.start(), range.end())
    }

    fn parse(text: &str) -> Option<Self> {
        T::from_integer(integer(text, T::range())?)
    }

    fn schema() -> Schema {
        let bound = |&bound: &u64| usize::try_from(bound).unwrap_or(usize::MAX);
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(bound(T::range().start())))
            .maximum(Some(bound(T::range().end())))
            .default(T::DEFAULT.map(Into::into))
            .into()
    }
}

impl IntegerParam for RacerId {
    const KIND: &'static str = "a racer's id, an integer";

    fn range() -> RangeInclusive<u64> {
        0..=INTEGER_MAX
    }

    fn from_integer(integer: u64) -> Option<Self> {
        Some(Self(integer))
    }
}

impl IntegerParam for Second {
    fn range() -> RangeInclusive<u64> {
        0..=second_max().into()
    }

    fn from_integer(integer: u64) -> Option<Self> {
        u32::try_from(integer).ok().map(Self)
    }
}

impl IntegerParam for PageLimit {
    const DEFAULT: Option<u64> = Some(Self::DEFAULT.get() as u64);

    fn range() -> RangeInclusive<u64> {
        1..=Self::MAX as u64
    }

    fn from_integer(integer: u64) -> Option<Self> {
        Self::new(usize::try_from(integer).ok()?)
    }
}

// No default: generated clients send defaults, and an offset excludes the other choices of a page.
impl IntegerParam for Offset {
    fn range() -> RangeInclusive<u64> {
        0..=INTEGER_MAX
    }

    fn from_integer(integer: u64) -> Option<Self> {
        Some(Self(usize::try_from(integer).unwrap_or(usize::MAX)))
    }
}

impl<T: ListItem, const MAX: usize> ParamValue for List<T, MAX> {
    const IS_LIST: bool = true;

    fn expected() -> String {
        format!("1 to {MAX} {} with commas between them", T::PLURAL)
    }

    fn parse(text: &str) -> Option<Self> {
        // Counted before any value is stored: a query may be 64 KiB long.
        let is_short = text.split(',').take(MAX + 1).count() <= MAX;
        let values = is_short.then(|| text.split(',').map(T::parse).collect());
        values.flatten().map(Self)
    }

    fn schema() -> Schema {
        ArrayBuilder::new()
            .items(RefOr::T(T::schema()))
            .min_items(Some(1))
            .max_items(Some(MAX))
            .into()
    }
}

impl ParamValue for SecondOrLast {
    fn expected() -> String {
        format!("{}, or last", Second::expected())
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "last" => Some(Self::Last),
            _ => Second::parse(text).map(Self::Second),
        }
    }

    fn schema() -> Schema {
        OneOfBuilder::new()
            .item(Second::schema())
            .item(text_schema(["last"]))
            .into()
    }
}

impl ParamValue for Output {
    fn expected() -> String {
        "a number, 0 or more".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        Self::new(text.parse().ok()?)
    }

    fn schema() -> Schema {
        number_schema().into()
    }
}

choices!(bool, "true or false, or have no value", {
    "" => true, "true" => true, "false" => false, "1" => true, "0" => false,
});
