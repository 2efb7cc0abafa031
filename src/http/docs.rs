//! The API for machines, `/openapi.json`, and a page to try it, `/docs`, which needs nothing from elsewhere.

use std::sync::OnceLock;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use utoipa::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::leaderboard::TiesParam;
use super::params::Params;
use super::problem::Problem;
use super::{App, FormatParam, firehose, form, history};

/// What the explorer may do: be itself, and talk to this service. Its styles are partly written into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What no router has to say: what the document is about, and the paths that are routed class by class.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Alleycat",
        description = "The personal best output of every racer, at every second of every exercise class: taken in as an \
                       Amazon Data Firehose HTTP endpoint destination, given out as histories and leaderboards.",
        contact(),
    ),
    paths(history::file, explorer),
    components(schemas(FormatParam, TiesParam)), // parameters' own, which routers do not collect
    tags(
        (name = "Deliveries", description = "What Firehose sends."),
        (name = "Leaderboards", description = "Who stands where."),
        (name = "Racers", description = "How one racer did."),
        (name = "Classes", description = "What every class holds."),
        (name = "Histories", description = "Whole datasets, and parts of them."),
        (name = "Health", description = "For whoever starts, stops and routes to the service."),
        (name = "Documentation", description = "What you read."),
    )
)]
struct Document;

/// The OpenAPI document as text, for people and for version control.
pub(crate) fn document_text() -> String {
    document().to_pretty_json().expect("the document has string keys") + "\n"
}

fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    for part in [super::open(), super::queries(), firehose::routes()] {
        document.merge(part.into_openapi());
    }
    document
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
pub(super) async fn openapi(mut params: Params) -> Result<Response, Problem> {
    static DOCUMENT: OnceLock<utoipa::openapi::OpenApi> = OnceLock::new();
    let pretty = params.pretty()?;
    params.end()?;
    Ok(form::json(DOCUMENT.get_or_init(document), pretty))
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
