//! The service over HTTP: the router, and what its handlers share.

mod accept;
mod assets;
mod classes;
mod firehose;
mod form;
mod guide;
mod health;
mod leaderboard;
mod params;
mod problem;

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer, Vary};
use utoipa::openapi::OpenApi;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::Config;
use crate::ledger::{CommitError, Ledger};

use problem::Problem;

/// A board of this many racers or more is ordered on a thread of its own: sorting so many takes about a millisecond.
const ORDERED_IN_PLACE_RACERS_MAX: usize = 10_000;

/// What handlers work on. A clone shares everything.
#[derive(Clone, FromRef)]
pub(crate) struct App {
    ledger: Ledger,
    config: Arc<Config>,
    gate: firehose::Gate,
    working: Arc<Semaphore>,
}

/// A racer's name, where it is known.
type Name = Option<Arc<str>>;

impl App {
    /// An app over that ledger.
    pub(crate) fn new(ledger: Ledger, config: Arc<Config>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { ledger, config, gate: firehose::Gate::default(), working: Arc::new(Semaphore::new(cores)) }
    }

    /// Does a reader's work over that many racers: at once where they are few, else on a thread that may be blocked. Of
    /// those there are as many at a time as there are cores, so that readers leave the ledger its threads.
    async fn work<T: Send + 'static>(&self, racers: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
        if racers < ORDERED_IN_PLACE_RACERS_MAX {
            return work();
        }
        let _working = self.working.acquire().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// Every path of the service.
pub(crate) fn router(app: App) -> Router {
    let (open, _) = open().split_for_parts();
    let (queries, _) = queries().split_for_parts();
    // A fallback is layered only if it is there before the layers: a page of another origin is to read errors, too.
    let reads = open
        .merge(queries.route_layer(from_fn_with_state(app.clone(), recovered)))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors(&app.config.cors_origin));
    let (deliveries, _) = firehose::routes().split_for_parts();
    reads.merge(deliveries).with_state(app)
}

/// What answers whatever the state of the service.
fn open() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(guide::root))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .merge(assets::routes())
}

/// What answers from the table, once it is whole.
fn queries() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(classes::classes)).routes(routes!(leaderboard::leaderboard))
}

/// The OpenAPI 3.1 document of all paths.
pub(crate) fn document() -> OpenApi {
    let mut document = open().into_openapi();
    document.merge(queries().into_openapi());
    document.merge(firehose::routes().into_openapi());
    document
}

/// Lets pages of that origin read.
fn cors(origin: &str) -> CorsLayer {
    let origin = HeaderValue::from_str(origin).expect("the configuration holds an origin that can be sent");
    CorsLayer::new()
        // One constant, or `*`: the answer does not depend on who asks, so nothing needs to vary with it.
        .allow_origin(AllowOrigin::exact(origin))
        .vary(Vary::list([]))
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::CACHE_CONTROL,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_RANGE,
            header::RANGE,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([
            header::ACCEPT_RANGES,
            header::ALLOW,
            header::CONTENT_ENCODING,
            header::CONTENT_LENGTH,
            header::CONTENT_RANGE,
            header::ETAG,
            header::RETRY_AFTER,
        ])
        .max_age(std::time::Duration::from_secs(7200)) // browsers keep it no longer
}

/// A part of the state would be a wrong answer: none is given before the store is read.
async fn recovered(State(app): State<App>, request: Request, next: Next) -> Response {
    match app.ledger.accepts() {
        Err(error @ CommitError::NotServing) => Problem::unavailable(error.to_string()).into_response(),
        _ => next.run(request).await,
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = message.unwrap_or("unknown"), "a query failed");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an error of the service's own").into_response()
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}; / lists what there is", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

/// The form of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "tells what `Form` takes")]
struct ListParams {
    /// `json` or `csv`; without it, what `Accept` asks for.
    format: Option<FormatParam>,
    /// Lay the JSON out for people.
    pretty: Option<bool>,
}

/// A form of an answer.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "tells what `Form` is called on the wire")]
enum FormatParam {
    Json,
    Csv,
}
