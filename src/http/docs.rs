//! The API for machines, `/openapi.json`, and a page to try it, `/docs`, which needs nothing from elsewhere.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Value, json};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::leaderboard::TiesParam;
use super::params::Params;
use super::problem::Problem;
use super::{App, FormatParam, firehose, form, history, racers};
use crate::effort::INTEGER_MAX;
use crate::leaderboard::RACERS_MAX;

/// What the explorer may do: be itself, and talk to this service. Its styles are partly written into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What no router has to say: what the document is about, and the paths that are routed class by class.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Alleycat",
        description = "The personal best output of every racer, at every second of every exercise class: taken in as \
                       an Amazon Data Firehose HTTP endpoint destination, given out as histories and leaderboards.",
        contact(),
    ),
    paths(history::file, explorer),
    components(schemas(FormatParam, TiesParam)), // parameters' own, which routers do not collect
    tags(
        (name = "Deliveries", description = "What Firehose sends, and the page."),
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

/// How the admin key is sent.
struct AdminKey;

impl Modify for AdminKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("adminKey", scheme);
    }
}

/// The last second that is taken where `--max-second` says nothing: the committed document is that service's.
const SECOND_MAX: u32 = 600;

/// The OpenAPI document as text, for people and for version control.
pub(crate) fn document_text() -> String {
    document(SECOND_MAX).to_pretty_json().expect("the document has string keys") + "\n"
}

/// The OpenAPI document of a service that takes seconds up to that one.
pub(super) fn document(second_max: u32) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    for part in [super::open(), super::queries(), firehose::routes()] {
        document.merge(part.into_openapi());
    }
    let operations = document.paths.paths.values_mut().flat_map(|item| {
        let reads = item.get.iter_mut().chain(&mut item.post).map(|operation| (false, operation));
        reads.chain(item.delete.iter_mut().map(|operation| (true, operation)))
    });
    let parameters = operations.flat_map(|(deletes, operation)| {
        operation.parameters.iter_mut().flatten().map(move |parameter| (deletes, parameter))
    });
    for (deletes, parameter) in parameters {
        let RefOr::T(parameter) = parameter else { continue };
        if let Some(schema) = narrower(&parameter.name, deletes, second_max) {
            parameter.schema = Some(serde_json::from_value(schema).expect("it is written as a schema"));
        }
        // One that need not be there is none the less never null.
        if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
            && let SchemaType::Array(types) = &object.schema_type
            && let [one, Type::Null] | [Type::Null, one] = &types[..]
        {
            object.schema_type = SchemaType::Type(one.clone());
        }
    }
    document
}

/// What a parameter takes, where a Rust type cannot say it.
fn narrower(parameter: &str, deletes: bool, second_max: u32) -> Option<Value> {
    let integer = |max: u64| json!({ "type": "integer", "minimum": 0, "maximum": max });
    let racers = |max: usize| json!({ "type": "array", "items": integer(INTEGER_MAX), "minItems": 1, "maxItems": max });
    Some(match parameter {
        "second" if deletes => integer(second_max.into()),
        "second" => json!({ "oneOf": [integer(second_max.into()), { "type": "string", "enum": ["last"] }] }),
        "from" | "to" => integer(second_max.into()),
        "racers" => racers(RACERS_MAX),
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
        (status = 200, description = "The document.", body = Object, content_type = "application/json"),
        (status = 400, description = "A parameter cannot be taken; the detail names it.", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn openapi(State(app): State<App>, mut params: Params) -> Result<Response, Problem> {
    let pretty = params.pretty()?;
    params.end()?;
    Ok(form::json(&*app.document, pretty))
}

/// A page to try all this
#[utoipa::path(
    get, path = "/docs", tag = "Documentation",
    responses((status = 303, description = "The page is at `/docs/`.", headers(("Location" = String))))
)]
pub(super) fn explorer() -> Router<App> {
    let explorer: Router<App> = SwaggerUi::new("/docs").config(Config::from("/openapi.json")).into();
    explorer.layer(axum::middleware::map_response(async |mut response: Response| {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        response
    }))
}
