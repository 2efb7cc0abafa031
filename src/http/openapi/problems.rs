//! Error responses that many operations share, each described once.
//!
//! `#[derive(IntoResponses)]` would need enums whose variants nothing constructs.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::http::error::ApiError;

type Responses = BTreeMap<String, RefOr<Response>>;

/// Describes errors: those of other types, and its own.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident: $($base:ident)* {
        $($status:ident, $description:literal, $detail:literal;)*
    })*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> Responses {
                let mut responses = Responses::new();
                $(responses.extend($base::responses());)*
                $(responses.extend([problem(StatusCode::$status, $description, $detail)]);)*
                responses
            }
        }
    )*};
}

errors! {
    /// Errors of every path that waits for recovery.
    AvailabilityErrors: {
        SERVICE_UNAVAILABLE, "The service is starting, stopping or overloaded.",
            "the service is starting or stopping";
    }
    /// Errors of a list.
    ListErrors: AvailabilityErrors {
        BAD_REQUEST, "A parameter is invalid, missing or unknown; the detail names it.",
            "limit is \"x\"; it must be an integer from 1 to 1000";
    }
    /// The error of a missing class, racer or race.
    NotFoundErrors: {
        NOT_FOUND, "The class does not exist, or it has no such racer or race.",
            "there is no class 9; /classes lists them";
    }
    /// Errors of a path that names a class, a racer or a race.
    ItemErrors: ListErrors NotFoundErrors {}
    /// Errors of an erasure.
    EraseErrors: ListErrors {
        NOT_FOUND, "The class does not exist, or the service has no admin key.",
            "there is no class 9; /classes lists them";
        SERVICE_UNAVAILABLE, "The erasure may not be durable; retry it.", "not durable within 60 s";
        INSUFFICIENT_STORAGE, "There are too many erasures already.", "too many erasures";
    }
    /// Errors of a conditional request.
    ConditionalErrors: {
        PRECONDITION_FAILED, "`If-Match` names other versions.",
            "If-Match names other versions than this one";
    }
    /// Errors of a class's file, which accepts any query.
    FileErrors: AvailabilityErrors NotFoundErrors ConditionalErrors {}
}

/// Returns the response of an operation that needs a key.
pub(super) fn unauthorized(detail: &str) -> (String, RefOr<Response>) {
    let description = "The key is missing or wrong.";
    problem(StatusCode::UNAUTHORIZED, description, detail)
}

fn problem(status: StatusCode, description: &str, detail: &str) -> (String, RefOr<Response>) {
    let content = ContentBuilder::new()
        .schema(Some(RefOr::Ref(Ref::from_schema_name(ApiError::name()))))
        .example(serde_json::to_value(ApiError::new(status, detail)).ok())
        .build();
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content);
    (status.as_str().to_owned(), response.into())
}
