//! The OpenAPI document, `/openapi.json`, and an explorer, `/docs`, which loads nothing from other hosts.
//! Their addresses are relative: a proxy may serve them below a path.

mod schemas;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Ref, RefOr, Required, Response as Described, SecurityRequirement,
};
use utoipa::{OpenApi, ToSchema};
use utoipa_swagger_ui::Config;

use crate::http::error::{ApiError, shown};
use crate::http::extract::query::{QueryParams, set_second_max};
use crate::http::respond::format::{self, JsonParams};
use crate::http::router::{Endpoint, RequiredKey, endpoints};
use crate::http::routes::live::NewBests;
use crate::http::state::AppState;

/// Content-Security-Policy of the explorer: its own files and this service. Its page has inline styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The document without the paths of the router.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Alleycat",
        description = "Personal best outputs of racers, for every second of every exercise class: ingested as an \
                       Amazon Data Firehose HTTP endpoint destination, served as histories and leaderboards. Errors \
                       are problem details (RFC 9457) that say how to mend the request, and under `/firehose` \
                       Firehose's own form; but an invalid HTTP request, or \
                       one whose target or headers are too long, gets 400, 414 or 431 without a body.",
        contact(),
        license(name = "MIT", identifier = "MIT"),
    ),
    // Relative to the document's own address: a proxy may serve it below a path.
    servers((url = ".", description = "The service that serves this document.")),
    components(schemas(ApiError, NewBests)),
)]
struct Document;

/// The default of `--max-second`. The committed document is generated with it.
const DEFAULT_SECOND_MAX: u32 = 600;

/// Returns the OpenAPI document as text, for people and for version control.
pub(crate) fn document_text() -> String {
    let document = document(DEFAULT_SECOND_MAX).to_pretty_json();
    document.expect("the document has string keys") + "\n"
}

/// Returns the OpenAPI document of a service with seconds up to `second_max`.
pub(crate) fn document(second_max: u32) -> utoipa::openapi::OpenApi {
    set_second_max(second_max);
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let access = ApiKeyValue::new("X-Amz-Firehose-Access-Key");
    components.add_security_scheme("accessKey", SecurityScheme::ApiKey(ApiKey::Header(access)));
    components.add_security_scheme("adminKey", SecurityScheme::Http(bearer.clone()));
    components.add_security_scheme("queryKey", SecurityScheme::Http(bearer));
    for Endpoint { key, handler, .. } in endpoints() {
        let (schemas, paths, _) = handler;
        components.schemas.extend(schemas);
        for (path, mut item) in paths.paths {
            for operation in operations(&mut item) {
                declare_key(operation, key);
                describe_errors(operation, &path, key);
                allow_missing_headers(operation);
            }
            match document.paths.paths.get_mut(&path) {
                Some(other) => other.merge_operations(item),
                None => _ = document.paths.paths.insert(path, item),
            }
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get, post, delete, ..
    } = item;
    get.iter_mut().chain(post).chain(delete)
}

/// Declares the key of an operation. Access and query keys are optional: without one in its
/// configuration, the service requires none.
fn declare_key(operation: &mut Operation, key: RequiredKey) {
    let key_of = |scheme: &str| SecurityRequirement::new(scheme, [""; 0]);
    operation.security = Some(match key {
        RequiredKey::Open => vec![],
        RequiredKey::Access => vec![SecurityRequirement::default(), key_of("accessKey")],
        RequiredKey::Query => vec![SecurityRequirement::default(), key_of("queryKey")],
        RequiredKey::Admin => vec![key_of("adminKey")],
    });
}

/// Adds the errors that many operations share, and a body to every error without one.
fn describe_errors(operation: &mut Operation, path: &str, key: RequiredKey) {
    let is_query = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(it) if it.parameter_in == ParameterIn::Query);
    let takes_query = operation.parameters.iter().flatten().any(is_query);
    let responses = &mut operation.responses.responses;
    for (status, description, applies) in [
        (
            400,
            "A parameter is invalid, missing or unknown; the detail names it.",
            takes_query,
        ),
        (
            401,
            "The key is missing or wrong.",
            key != RequiredKey::Open,
        ),
        (
            404,
            "The service has no admin key, or there is no such class.",
            key == RequiredKey::Admin,
        ),
        (
            404,
            "There is no such class, or it has no such racer or race.",
            path.contains('{'),
        ),
        (
            503,
            "The store failed, or the service is starting, stopping or overloaded.",
            key != RequiredKey::Open || operation.request_body.is_some(),
        ),
    ] {
        if applies {
            let error = || Described::new(description).into();
            responses.entry(status.to_string()).or_insert_with(error);
        }
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && let Some(status) = error_status(status)
            && response.content.is_empty()
        {
            let content = ContentBuilder::new();
            let (content_type, content) = if path == "/firehose" {
                let schema = Ref::from_schema_name("DeliveryResponse");
                ("application/json", content.schema(Some(schema)))
            } else {
                let example = ApiError::new(status, &*response.description);
                let schema = Ref::from_schema_name(ApiError::name());
                let content = content.schema(Some(schema));
                (
                    "application/problem+json",
                    content.example(serde_json::to_value(example).ok()),
                )
            };
            response
                .content
                .insert(content_type.to_owned(), content.build().into());
        }
    }
}

fn error_status(text: &str) -> Option<StatusCode> {
    let status: StatusCode = text.parse().ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

/// Makes every header of requests optional: the service needs none, and utoipa says otherwise.
fn allow_missing_headers(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && parameter.parameter_in == ParameterIn::Header
        {
            parameter.required = Required::False;
        }
    }
}

/// This document
///
/// OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Documentation", operation_id = "getOpenApi",
    params(JsonParams),
    responses(
        (status = 200, description = "The document.", body = Object,
            example = json!({ "openapi": "3.1.0" })),
    )
)]
pub(crate) async fn openapi(
    State(app): State<AppState>,
    QueryParams(query): QueryParams<JsonParams>,
) -> Response {
    format::json(&app.document, query.pretty)
}

/// The explorer
#[utoipa::path(
    get, path = "/docs", tag = "Documentation", operation_id = "getExplorer",
    responses((status = 303, description = "The explorer is at `/docs/`.", headers(("Location" = String))))
)]
pub(crate) async fn explorer() -> Redirect {
    Redirect::to("docs/")
}

/// Responds with a file of the explorer.
pub(crate) async fn explorer_file(uri: Uri) -> Result<Response, ApiError> {
    let path = uri.path().trim_start_matches("/docs/");
    let config = Arc::new(Config::from("../openapi.json"));
    let file = utoipa_swagger_ui::serve(path, config).ok().flatten();
    let file = file.ok_or_else(|| {
        let path = shown(uri.path());
        ApiError::not_found(format!("the explorer has no file {path}; it is at /docs/"))
    })?;
    let headers = [
        (header::CONTENT_TYPE, &*file.content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    Ok((headers, file.bytes).into_response())
}
