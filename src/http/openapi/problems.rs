//! Error responses that many operations share, each described once.
//!
//! `#[derive(IntoResponses)]` would need enums whose variants nothing constructs.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::http::error::ApiError;

type Responses = BTreeMap<String, RefOr<Response>>;

/// Errors of a list.
pub(crate) struct ListErrors;

/// Errors of a path that names a class, a racer or a race.
pub(crate) struct ItemErrors;

/// Errors of an erasure.
pub(crate) struct EraseErrors;

/// Errors of a conditional request.
pub(crate) struct ConditionalErrors;

/// Errors of a class's file, which accepts any query.
pub(crate) struct FileErrors;

impl IntoResponses for ListErrors {
    fn responses() -> Responses {
        Responses::from([
            problem(
                StatusCode::BAD_REQUEST,
                "A parameter is invalid, missing or unknown; the detail names it.",
                "limit is \"x\"; it must be an integer from 1 to 1000",
            ),
            problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "The service is starting, stopping or overloaded.",
                "the service is starting or stopping",
            ),
        ])
    }
}

impl IntoResponses for ItemErrors {
    fn responses() -> Responses {
        let mut responses = ListErrors::responses();
        responses.extend([problem(
            StatusCode::NOT_FOUND,
            "The class does not exist, or it has no such racer or race.",
            "there is no class 9; /classes lists them",
        )]);
        responses
    }
}

impl IntoResponses for EraseErrors {
    fn responses() -> Responses {
        let mut responses = ListErrors::responses();
        responses.extend([
            problem(
                StatusCode::NOT_FOUND,
                "The class does not exist, or the service has no admin key.",
                "there is no class 9; /classes lists them",
            ),
            problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "The erasure may not be durable; retry it.",
                "not durable within 60 s",
            ),
            problem(
                StatusCode::INSUFFICIENT_STORAGE,
                "There are too many erasures already.",
                "too many erasures",
            ),
        ]);
        responses
    }
}

impl IntoResponses for ConditionalErrors {
    fn responses() -> Responses {
        Responses::from([problem(
            StatusCode::PRECONDITION_FAILED,
            "`If-Match` names other versions.",
            "If-Match names other versions than this one",
        )])
    }
}

impl IntoResponses for FileErrors {
    fn responses() -> Responses {
        let mut responses = ItemErrors::responses();
        responses.remove(StatusCode::BAD_REQUEST.as_str());
        responses.extend(ConditionalErrors::responses());
        responses
    }
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
