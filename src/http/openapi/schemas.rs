//! The schemas of the ids and numbers of the domain.

use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::effort::{ClassId, Output, RaceId, RacerId, Second};

/// Describes a type as a JSON number from 0 on, with an example.
macro_rules! schemas {
    ($($type:ty: $kind:ident, $example:literal;)*) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let schema = ObjectBuilder::new().schema_type(Type::$kind);
                schema.minimum(Some(0)).examples([json!($example)]).into()
            }
        }

        impl ToSchema for $type {}
    )*};
}

schemas! {
    ClassId: Integer, 1;
    Output: Number, 187.25;
    RaceId: Integer, 1619185620265_u64;
    RacerId: Integer, 17;
    Second: Integer, 60;
}
