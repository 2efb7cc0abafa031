//! The table of all paths, and the layers around them.

use std::any::Any;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{Route, get};
use tower::util::MapResponseLayer;
use tower::{Layer, Service};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::CorsOrigins;
use crate::http::auth::require_query_key;
use crate::http::error::ApiError;
use crate::http::limits::page_budget::{self, limit_pages};
use crate::http::middleware::request_metrics::{RequestMetrics, count_request};
use crate::http::openapi;
use crate::http::routes::{
    assets, classes, erasures, events, firehose, health, history, leaderboard, live, racers, races,
    rides, root,
};
use crate::http::state::AppState;

/// Every path of the service.
pub(crate) fn router(app: AppState) -> Router {
    let mut histories = Router::from(histories());
    // One route a class: the router knows no parameter within a segment.
    for class in app.ledger.table().classes() {
        let file = async move |State(app): State<AppState>, request: Request| {
            history::file(class, &app, request).await
        };
        histories = histories.route(&format!("/class-{class}.gz"), get(file));
    }
    let count = from_fn_with_state(RequestMetrics::default(), count_request);
    let limit_pages = from_fn_with_state(page_budget::new(), limit_pages);
    let queries = Router::from(queries())
        .route_layer(limit_pages.clone())
        .merge(histories)
        .route_layer(from_fn_with_state(app.clone(), require_query_key));
    let reads = Router::from(open())
        .route_layer(limit_pages)
        .merge(openapi::explorer())
        .merge(assets::routes())
        .merge(queries)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        // The layers come after the fallbacks, or they would not hold for them: a page may read its errors, too. And
        // they come at once, for whatever has layers is cloned with all of them for every request.
        .layer((
            count.clone(),
            cors(&app.config.cors_origins),
            catch_panics(),
        ));
    // Not for pages of other origins.
    let events = Router::from(events::routes()).layer((count.clone(), catch_panics()));
    let deliveries = Router::from(firehose::routes()).layer(count);
    reads.merge(events).merge(deliveries).with_state(app)
}

/// Answers what panics.
fn catch_panics() -> impl Layer<
    Route,
    Service = impl Service<Request, Response = Response, Error = Infallible, Future: Send>
              + Clone
              + Send
              + Sync,
> + Clone {
    let body = MapResponseLayer::new(|response: axum::http::Response<_>| response.map(Body::new));
    (body, CatchPanicLayer::custom(panicked))
}

/// What answers whatever the state of the service.
pub(crate) fn open() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(root::root))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(openapi::openapi))
        .routes(routes!(rides::rides))
}

/// Histories, which have memory limits of their own.
pub(crate) fn histories() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(history::history))
}

/// What answers from the table, once it is whole.
pub(crate) fn queries() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(classes::classes))
        .routes(routes!(leaderboard::leaderboard))
        .routes(routes!(races::races))
        .routes(routes!(races::race_leaderboard))
        .routes(routes!(live::live))
        .routes(routes!(racers::curve, erasures::erase_in_class))
        .routes(routes!(racers::racer, erasures::erase_everywhere))
        .routes(routes!(erasures::erasures))
        .routes(routes!(racers::search))
}

/// Lets pages of these origins read. With several, a response has the request's origin and `Vary: Origin`.
fn cors(origins: &CorsOrigins) -> CorsLayer {
    let header_value = |origin: &String| {
        HeaderValue::from_str(origin).expect("an origin has only characters of a header")
    };
    let allow_origin = match origins {
        CorsOrigins::Any => AllowOrigin::any(),
        CorsOrigins::List(origins) => match &origins[..] {
            // The same header for every request, so that responses need not vary.
            [origin] => AllowOrigin::exact(header_value(origin)),
            origins => AllowOrigin::list(origins.iter().map(header_value)),
        },
    };
    CorsLayer::new()
        .allow_origin(allow_origin)
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
        .max_age(Duration::from_secs(7200)) // browsers keep it no longer
}

#[expect(clippy::needless_pass_by_value, reason = "the layer gives it away")]
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = message.unwrap_or("unknown"), "a query failed");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal server error").into_response()
}

pub(crate) async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::not_found(format!(
        "there is nothing at {}; / lists what there is",
        uri.path()
    ))
}

pub(crate) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}", uri.path()),
    )
}
