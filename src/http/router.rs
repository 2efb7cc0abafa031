//! The table of all paths, and the layers around them.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get};
use futures_util::FutureExt;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use utoipa::openapi::Paths;
use utoipa_axum::router::{UtoipaMethodRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::config::CorsOrigins;
use crate::http::auth::require_key;
use crate::http::delivery;
use crate::http::error::{ApiError, shown};
use crate::http::openapi;
use crate::http::page_budget::{self, limit_pages};
use crate::http::request_metrics::{RequestMetrics, count_request};
use crate::http::routes::{
    assets, classes, erasures, events, firehose, health, history, leaderboard, live, pace, racers,
    races, rides, root,
};
use crate::http::state::AppState;

/// A path, with what a request to it needs.
pub(crate) struct Endpoint {
    /// The path, as in the OpenAPI document.
    pub(super) path: &'static str,
    /// The key that its requests need.
    pub(crate) key: RequiredKey,
    /// Its handler, with its OpenAPI operation.
    pub(crate) handler: UtoipaMethodRouter<AppState>,
}

/// The key that a request must carry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequiredKey {
    /// None.
    Open,
    /// An access key, if any is configured.
    Access,
    /// A query key, if any is configured. 503 before recovery and while the service stops.
    Query,
    /// An admin key; 404 without one in the configuration, and if the service only reads. Otherwise
    /// as for queries.
    Admin,
}

/// Returns every path with its key and its handler. `/metrics` is not here: it has its own listener.
#[rustfmt::skip]
pub(crate) fn endpoints() -> Vec<Endpoint> {
    use RequiredKey::{Access, Admin, Open, Query};
    let row = |path, key, handler| Endpoint { path, key, handler };
    vec![
        row("/",                                              Open,   routes!(root::root)),
        row("/healthz",                                       Open,   routes!(health::healthz)),
        row("/readyz",                                        Open,   routes!(health::readyz)),
        row("/openapi.json",                                  Open,   routes!(openapi::openapi)),
        row("/docs",                                          Open,   routes!(openapi::explorer)),
        row("/docs/",                                         Open,   undocumented(get(openapi::explorer_file))),
        row("/docs/{*file}",                                  Open,   undocumented(get(openapi::explorer_file))),
        row("/assets/{file}",                                 Open,   undocumented(get(assets::file))),
        row("/rides",                                         Open,   routes!(rides::rides).map(|it| it.fallback(wrong_method))),
        row("/firehose",                                      Access, routes!(firehose::deliver).map(|it| it.fallback(firehose::wrong_method))),
        row("/firehose/",                                     Open,   undocumented(any(firehose::unknown_path))),
        row("/firehose/{*rest}",                              Open,   undocumented(any(firehose::unknown_path))),
        row("/events",                                        Access, routes!(events::events).map(|it| it.fallback(wrong_method))),
        row("/classes",                                       Query,  routes!(classes::classes)),
        row("/classes/{classId}/leaderboard",                 Query,  routes!(leaderboard::leaderboard)),
        row("/classes/{classId}/pace",                        Query,  routes!(pace::pace)),
        row("/classes/{classId}/history",                     Query,  routes!(history::history)),
        row("/class-{classId}.gz",                            Query,  routes!(history::file)),
        row("/classes/{classId}/races",                       Query,  routes!(races::races)),
        row("/classes/{classId}/races/{raceId}/leaderboard",  Query,  routes!(races::race_leaderboard)),
        row("/classes/{classId}/live",                        Query,  routes!(live::live)),
        row("/classes/{classId}/racers/{racerId}",            Query,  routes!(racers::racer_in_class)),
        row("/classes/{classId}/racers/{racerId}",            Admin,  routes!(erasures::erase_in_class)),
        row("/racers",                                        Query,  routes!(racers::search)),
        row("/racers/{racerId}",                              Query,  routes!(racers::racer)),
        row("/racers/{racerId}",                              Admin,  routes!(erasures::erase_everywhere)),
        row("/erasures",                                      Admin,  routes!(erasures::erasures)),
    ]
}

fn undocumented(handler: MethodRouter<AppState>) -> UtoipaMethodRouter<AppState> {
    (Vec::new(), Paths::new(), handler)
}

/// Returns the router of the service.
pub(crate) fn router(app: AppState) -> Router {
    let limit_pages = from_fn_with_state(page_budget::new(), limit_pages);
    let routes = |kind: fn(&Endpoint) -> bool| {
        let endpoints = endpoints().into_iter().filter(kind);
        endpoints.fold(Router::new(), |router, endpoint| {
            let (paths, key) = (endpoint.paths(&app), endpoint.key);
            let is_page = endpoint.is_page();
            let (_, _, mut handler) = endpoint.handler;
            if is_page {
                handler = handler.route_layer(limit_pages.clone());
            }
            if key != RequiredKey::Open {
                let state = (app.clone(), key);
                handler = handler.route_layer(from_fn_with_state(state, require_key));
            }
            let add = |router: Router<_>, path: &String| router.route(path, handler.clone());
            paths.iter().fold(router, add)
        })
    };
    let count = from_fn_with_state(RequestMetrics::default(), count_request);
    let catch_panics = from_fn(catch_panics);
    let with_cors = routes(|it| !it.takes_efforts())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        // CORS also wraps the fallbacks, so that pages of other origins can read errors. One call
        // for all layers, because each call adds a clone to every request.
        .layer((
            count.clone(),
            cors(&app.config.cors_origins),
            catch_panics.clone(),
        ));
    // Without CORS: browsers do not let pages of other origins send JSON here.
    let without_cors = routes(Endpoint::takes_efforts).layer((count, catch_panics));
    with_cors.merge(without_cors).with_state(app)
}

impl Endpoint {
    /// Returns the paths to register. `/class-{classId}.gz` becomes one path per class: the router has
    /// no parameter within a path segment.
    fn paths(&self, app: &AppState) -> Vec<String> {
        match self.path {
            "/class-{classId}.gz" => {
                let classes = app.ledger.table().classes();
                classes.map(|class| format!("/class-{class}.gz")).collect()
            }
            path => vec![path.to_owned()],
        }
    }

    /// Returns whether responses are built whole, and count against the memory budget of pages.
    /// Histories have limits of their own.
    fn is_page(&self) -> bool {
        let is_history = ["/classes/{classId}/history", "/class-{classId}.gz"].contains(&self.path);
        !self.takes_efforts() && !is_history
    }

    /// Returns whether the path takes efforts or events.
    fn takes_efforts(&self) -> bool {
        ["/events", "/rides"].contains(&self.path) || self.path.starts_with("/firehose")
    }
}

/// Returns a layer that lets pages of these origins read. With several, a response has the
/// request's origin and `Vary: Origin`.
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
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_RANGE,
            header::RANGE,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers(Any)
        .max_age(Duration::from_secs(7200)) // the longest that browsers cache a preflight
}

/// Middleware: responds 500 when a handler panics.
pub(super) async fn catch_panics(request: Request, next: Next) -> Response {
    let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    response.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<&str>().copied();
        let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let panic = message.unwrap_or("unknown");
        tracing::error!(panic, "request handler panicked");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal server error").into_response()
    })
}

async fn unknown_path(State(app): State<AppState>, request: Request) -> ApiError {
    let path = shown(request.uri().path());
    delivery::drain(&app, request).await;
    ApiError::not_found(format!("there is nothing at {path}; / lists the paths"))
}

async fn wrong_method(State(app): State<AppState>, request: Request) -> ApiError {
    let (path, method) = (
        shown(request.uri().path()),
        shown(request.method().as_str()),
    );
    delivery::drain(&app, request).await;
    let detail = format!("{path} does not accept {method}");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
