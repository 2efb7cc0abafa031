//! The API for machines, `/openapi.json`, and a page to try it, `/docs`, which needs nothing from elsewhere.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::domain::effort::INTEGER_MAX;
use crate::http::error::ApiError;
use crate::http::extract::params::Params;
use crate::http::respond::form;
use crate::http::respond::form::FormatParam;
use crate::http::routes::leaderboard::TiesParam;
use crate::http::routes::{events, firehose, history, racers};
use crate::http::state::AppState;
use crate::state::leaderboard::QUERY_RACERS_MAX;

/// What the explorer may do: be itself, and talk to this service. Its styles are partly written into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What no router has to say: what the document is about, and the paths that are routed class by class.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Alleycat",
        description = "The personal best output of every racer, at every second of every exercise class: taken in as \
                       an Amazon Data Firehose HTTP endpoint destination, given out as histories and leaderboards. \
                       Errors are problem details (RFC 9457) that say what would be right; but a request that is no \
                       HTTP, or whose target or headers are too long, is answered 400, 414 or 431 without a body.",
        contact(),
    ),
    paths(history::file, explorer),
    components(schemas(FormatParam, TiesParam)), // parameters' own, which routers do not collect
    tags(
        (name = "Deliveries", description = "What Firehose, other events of AWS and the page send."),
        (name = "Leaderboards", description = "Who stands where."),
        (name = "Races", description = "Who is here now, and how it ended: what this instance took in of late."),
        (name = "Racers", description = "How one racer did."),
        (name = "Classes", description = "What every class holds."),
        (name = "Histories", description = "Whole datasets, and parts of them."),
        (name = "Erasing", description = "What should not stand. Needs an admin key."),
        (name = "Health", description = "For whoever starts, stops and routes to the service."),
        (name = "Documentation", description = "What you read."),
    ),
    modifiers(&AdminKey)
)]
struct Document;

/// How an admin key is sent, and a query key.
struct AdminKey;

impl Modify for AdminKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme =
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("adminKey", scheme.clone());
        components.add_security_scheme("queryKey", scheme); // where the service was started with any
    }
}

/// The last second that is taken where `--max-second` says nothing: the committed document is that service's.
const SECOND_MAX: u32 = 600;

/// The OpenAPI document as text, for people and for version control.
pub(crate) fn document_text() -> String {
    document(SECOND_MAX)
        .to_pretty_json()
        .expect("the document has string keys")
        + "\n"
}

/// The OpenAPI document of a service that takes seconds up to that one.
pub(crate) fn document(second_max: u32) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    for part in [
        crate::http::router::open(),
        crate::http::router::queries(),
        crate::http::router::histories(),
        firehose::routes(),
        events::routes(),
    ] {
        document.merge(part.into_openapi());
    }
    let operations = document.paths.paths.values_mut().flat_map(|item| {
        let reads = item
            .get
            .iter_mut()
            .chain(&mut item.post)
            .map(|operation| (false, operation));
        reads.chain(item.delete.iter_mut().map(|operation| (true, operation)))
    });
    let parameters = operations.flat_map(|(deletes, operation)| {
        operation
            .parameters
            .iter_mut()
            .flatten()
            .map(move |parameter| (deletes, parameter))
    });
    for (deletes, parameter) in parameters {
        let RefOr::T(parameter) = parameter else {
            continue;
        };
        if let Some(schema) = narrower(&parameter.name, deletes, second_max) {
            parameter.schema =
                Some(serde_json::from_value(schema).expect("it is written as a schema"));
        }
        // One that need not be there is none the less never null.
        if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
            && let SchemaType::Array(types) = &object.schema_type
            && let [one, Type::Null] | [Type::Null, one] = &types[..]
        {
            object.schema_type = SchemaType::Type(one.clone());
        }
    }
    give_examples(&mut document);
    document
}

/// Gives every answer an example that has none: a problem's by its status, JSON's made of its fields' examples.
fn give_examples(document: &mut utoipa::openapi::OpenApi) {
    let shapes = serde_json::to_value(&document.components).expect("the document has string keys");
    for (path, item) in &mut document.paths.paths {
        for operation in item
            .get
            .iter_mut()
            .chain(&mut item.post)
            .chain(&mut item.delete)
        {
            let needs_key = operation.security.is_some();
            let is_laid_out =
                operation
                    .parameters
                    .iter()
                    .flatten()
                    .any(|parameter| match parameter {
                        RefOr::T(parameter) => parameter.name == "pretty",
                        RefOr::Ref(_) => false,
                    });
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else {
                    continue;
                };
                let description = response.description.clone();
                for (kind, content) in &mut response.content {
                    let RefOr::T(content) = content else { continue };
                    if content.example.is_some() || !content.examples.is_empty() {
                        continue;
                    }
                    content.example = match (&**kind, &content.schema) {
                        ("application/problem+json", _) => status
                            .parse()
                            .ok()
                            .map(|status| {
                                ApiError::new(
                                    status,
                                    usual_detail(
                                        status,
                                        path,
                                        needs_key,
                                        is_laid_out,
                                        &description,
                                    ),
                                )
                            })
                            .and_then(|problem| serde_json::to_value(problem).ok()),
                        ("application/json", Some(schema)) => serde_json::to_value(schema)
                            .ok()
                            .and_then(|schema| example(&schema, &shapes)),
                        _ => None,
                    };
                }
            }
        }
    }
}

/// What a problem of that status usually says at that path.
fn usual_detail(
    status: StatusCode,
    path: &str,
    needs_key: bool,
    is_laid_out: bool,
    otherwise: &str,
) -> String {
    match status {
        StatusCode::BAD_REQUEST if is_laid_out => {
            "pretty is \"x\"; it must be true or false, or have no value".to_owned()
        }
        StatusCode::UNAUTHORIZED => "Authorization must be Bearer and an admin key".to_owned(),
        StatusCode::NOT_FOUND if needs_key => {
            let path = path.replace("{classId}", "1").replace("{racerId}", "17"); // as their own examples are
            format!("{path} needs an admin key, and the service has none: --admin-key")
        }
        StatusCode::NOT_FOUND if path.contains("{classId}") => {
            "there is no class 9; /classes lists them".to_owned()
        }
        StatusCode::NOT_FOUND if path.contains("{racerId}") => {
            "racer 17 has no effort in any class".to_owned()
        }
        StatusCode::SERVICE_UNAVAILABLE => "the service is starting or stopping".to_owned(),
        _ => otherwise.to_owned(),
    }
}

/// An example of that schema: its own, or one made of its fields'. `None` where a field has none that needs one.
fn example(schema: &Value, shapes: &Value) -> Option<Value> {
    if let Some(example) = schema
        .get("example")
        .or_else(|| schema.get("examples")?.get(0))
    {
        return Some(example.clone());
    }
    if let Some(name) = schema
        .get("$ref")
        .and_then(|to| to.as_str()?.rsplit('/').next())
    {
        return example(shapes.get("schemas")?.get(name)?, shapes);
    }
    if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
        let parts = all
            .iter()
            .map(|part| example(part, shapes)?.as_object().cloned());
        return parts
            .collect::<Option<Vec<_>>>()
            .map(|parts| Value::Object(parts.into_iter().flatten().collect()));
    }
    let is = |kind: &str| match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|other| other == kind),
        other => other.is_some_and(|other| other == kind),
    };
    if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
        let required = schema.get("required").and_then(Value::as_array);
        let needed = |name: &String| {
            required.is_some_and(|required| required.iter().any(|other| other == name))
        };
        let mut object = serde_json::Map::new();
        for (name, field) in fields {
            match example(field, shapes) {
                Some(value) => _ = object.insert(name.clone(), value),
                None if needed(name) => return None,
                None => {}
            }
        }
        return Some(Value::Object(object));
    }
    match schema.get("items") {
        Some(items) => example(items, shapes).map(|item| json!([item])),
        None if is("null") => Some(Value::Null),
        None => is("boolean").then_some(Value::Bool(true)),
    }
}

/// What a parameter takes, where a Rust type cannot say it.
fn narrower(parameter: &str, deletes: bool, second_max: u32) -> Option<Value> {
    let integer = |max: u64| json!({ "type": "integer", "minimum": 0, "maximum": max });
    let racers = |max: usize| json!({ "type": "array", "items": integer(INTEGER_MAX), "minItems": 1, "maxItems": max });
    Some(match parameter {
        "second" if deletes => integer(second_max.into()),
        "second" => {
            json!({ "oneOf": [integer(second_max.into()), { "type": "string", "enum": ["last"] }] })
        }
        "from" | "to" => integer(second_max.into()),
        "racers" => racers(QUERY_RACERS_MAX),
        "compare" => racers(racers::COMPARED_MAX),
        "pretty" => json!({ "type": "string", "enum": ["", "true", "false", "1", "0"] }),
        _ => return None,
    })
}

/// This document
///
/// OpenAPI 3.1.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Documentation",
    params(("pretty" = Option<bool>, Query, description = "Lay the JSON out for people.")),
    responses(
        (status = 200, description = "The document.", body = Object, content_type = "application/json",
            example = json!({ "openapi": "3.1.0", "info": { "title": "Alleycat" }, "paths": {} })),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = ApiError,
            content_type = "application/problem+json"),
    )
)]
pub(crate) async fn openapi(
    State(app): State<AppState>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let pretty = params.pretty()?;
    params.end()?;
    Ok(form::json(&*app.document, pretty))
}

/// A page to try all this
#[utoipa::path(
    get, path = "/docs", tag = "Documentation",
    responses((status = 303, description = "The page is at `/docs/`.", headers(("Location" = String))))
)]
pub(crate) fn explorer() -> Router<AppState> {
    let explorer: Router<AppState> = SwaggerUi::new("/docs")
        .config(Config::from("/openapi.json"))
        .into();
    explorer.layer(from_fn(async |request: Request, next: Next| {
        let path = request.uri().path().to_owned();
        let mut response = next.run(request).await;
        if response.status() == StatusCode::NOT_FOUND {
            return ApiError::not_found(format!(
                "the explorer has no file {path}; it is at /docs/"
            ))
            .into_response();
        }
        response.headers_mut().insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        );
        response
    }))
}
