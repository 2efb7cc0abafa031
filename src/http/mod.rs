//! The service over HTTP: the router, and what its handlers share.

pub(crate) mod body;
pub(crate) mod error;
pub(crate) mod extract;
pub(crate) mod limits;
pub(crate) mod middleware;
pub(crate) mod openapi;
pub(crate) mod respond;
pub(crate) mod routes;

use crate::http::limits::{answers, long, room};
pub(crate) use crate::http::middleware::metrics;
use crate::http::routes::{
    assets, classes, erasures, events, firehose, health, history, leaderboard, live, racers, races,
    rides, root,
};
use std::any::Any;
use std::convert::Infallible;
use std::ops::{ControlFlow, Deref};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{Route, get};
use smol_str::SmolStr;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinHandle};
use tower::util::MapResponseLayer;
use tower::{Layer, Service};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer, Vary};
use utoipa::openapi::OpenApi;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::Config;
use crate::ingest::bucket_allowlist::Buckets;
use crate::keys::Keys;
use crate::ledger::{CommitError, Ledger};

use crate::http::error::ApiError;
pub(crate) use crate::http::limits::pace::{Pace, Paced};
use crate::http::middleware::around::around;

/// A query that looks at fewer outputs than this is answered in place: sorting so many takes about a millisecond.
const IN_PLACE_OUTPUTS_MAX: usize = 10_000;

/// Who has waited so long for a turn is told to come again: few would still be waiting for the answer.
const TURN_WITHIN: Duration = Duration::from_secs(10);

/// What handlers work on. A clone shares everything, and costs a count: every request makes several.
#[derive(Clone)]
pub(crate) struct AppState(Arc<Shared>);

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What all clones of an [`AppState`] share.
pub(crate) struct Shared {
    ledger: Ledger,
    config: Arc<Config>,
    keys: RequestKeys,
    gate: firehose::IngestAdmission,
    events: events::Turn,
    buckets: Arc<Buckets>,
    /// As many as there are cores, so that readers leave the ledger its threads.
    turns: WorkerPool,
    /// For what may take a second and is done anew for everyone who asks, parts of histories and curves: fewer, and in
    /// the way of no board, whose order is made once.
    long_turns: WorkerPool,
    room: room::MemoryBudget,
    live: live::Live,
    document: Arc<OpenApi>,
    stopping: watch::Receiver<bool>,
}

/// The keys that requests must carry.
#[derive(Clone)]
pub(crate) struct RequestKeys {
    /// A delivery's.
    pub(crate) access: Keys,
    /// For erasing.
    pub(crate) admin: Keys,
    /// For reading.
    pub(crate) query: Keys,
}

impl RequestKeys {
    /// Those of the configuration, with what its files hold.
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            access: Keys::new(&config.access_keys, config.access_key_file.as_deref())?,
            admin: Keys::new(&config.admin_keys, config.admin_key_file.as_deref())?,
            query: Keys::new(&config.query_keys, config.query_key_file.as_deref())?,
        })
    }
}

/// A racer's name, where it is known.
type Name = Option<SmolStr>;

impl AppState {
    /// An app over that ledger. `stopping` turns true when the service stops.
    pub(crate) fn new(
        ledger: Ledger,
        config: Arc<Config>,
        keys: RequestKeys,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (turns, long_turns) = (WorkerPool::new(cores), WorkerPool::new(cores.div_ceil(2)));
        let gate = firehose::IngestAdmission::new(
            config.limits.deliveries_bytes_max,
            config.max_body_bytes(),
        );
        let (events, room) = (events::Turn::default(), history::room());
        let (live, buckets) = (
            live::Live::new(&ledger, config.limits.listeners_max),
            Arc::new(Buckets::new(&config.notification_buckets)),
        );
        let document = Arc::new(openapi::document(ledger.bounds().second_max));
        Self(Arc::new(Shared {
            ledger,
            config,
            keys,
            gate,
            events,
            buckets,
            turns,
            long_turns,
            room,
            live,
            document,
            stopping,
        }))
    }

    /// Returns once the service has been stopping for so long.
    async fn has_been_stopping(&self, limits: Duration) {
        let _ = self.stopping.clone().wait_for(|&stopping| stopping).await; // an error: it is gone altogether
        tokio::time::sleep(limits).await;
    }
}

/// WorkerPool of readers' work, so many at a time.
struct WorkerPool(Arc<Semaphore>);

impl WorkerPool {
    fn new(at_a_time: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_a_time)))
    }

    /// Does work over that many outputs: at once where they are few, else in its turn.
    async fn work<T: Send + 'static>(
        &self,
        outputs: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if outputs < IN_PLACE_OUTPUTS_MAX {
            return Ok(work());
        }
        let turn = tokio::time::timeout(TURN_WITHIN, self.0.clone().acquire_owned()).await;
        let turn =
            turn.map_err(|_| ApiError::unavailable("too many long queries are under way"))?;
        let turn = turn.expect("the semaphore is never closed");
        // Whoever asked may be gone before it ends, and its turn lasts as long as it does.
        let work = move || {
            let _turn = turn;
            work()
        };
        joined(tokio::task::spawn_blocking(work)).await
    }
}

/// What comes of a task, its panic included.
async fn joined<T>(task: JoinHandle<T>) -> Result<T, ApiError> {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(done) => Ok(done),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(ApiError::unavailable("the service is stopping")),
    }
}

/// Locks what is whole after every change, and so is good after a panic, too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every path of the service.
pub(crate) fn router(app: AppState) -> Router {
    let mut queries = Router::from(queries());
    // Each by itself: the router takes no names within a segment.
    for class in app.ledger.table().classes() {
        let file = async move |State(app): State<AppState>, request: Request| {
            history::file(class, &app, request).await
        };
        queries = queries.route(&format!("/class-{class}.gz"), get(file));
    }
    let (long, answers) = (long::Long::default(), answers::Answers::default());
    let counted = metrics::Requests::default();
    let count = around(move |request: &Request| counted.count(request));
    let reads = Router::from(open())
        .merge(openapi::explorer())
        .merge(assets::routes())
        .merge(queries.route_layer(around({
            let app = app.clone();
            move |request: &Request| may_read(&app, request)
        })))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        // The layers come after the fallbacks, or they would not hold for them: a page may read its errors, too. And
        // they come at once, for whatever has layers is cloned with all of them for every request.
        .layer((
            count.clone(),
            cors(&app.config.cors_origin),
            around(move |request: &Request| long.hold(request)),
            around(move |request: &Request| answers.hold(request)),
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
fn open() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(root::root))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(openapi::openapi))
        .routes(routes!(rides::rides))
}

/// What answers from the table, once it is whole.
fn queries() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(classes::classes))
        .routes(routes!(leaderboard::leaderboard))
        .routes(routes!(history::history))
        .routes(routes!(races::races))
        .routes(routes!(races::race_leaderboard))
        .routes(routes!(live::live))
        .routes(routes!(racers::curve, erasures::erase_in_class))
        .routes(routes!(racers::racer, erasures::erase_everywhere))
        .routes(routes!(erasures::erasures))
        .routes(routes!(racers::search))
}

/// Lets pages of that origin read.
fn cors(origin: &str) -> CorsLayer {
    let origin =
        HeaderValue::from_str(origin).expect("the configuration holds an origin that can be sent");
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
        .max_age(Duration::from_secs(7200)) // browsers keep it no longer
}

/// Where there are query keys, nobody reads without one. An admin key opens as much: it goes in the same header. And
/// nothing is read before the store is: a part of the state would be a wrong answer.
fn may_read(
    app: &AppState,
    request: &Request,
) -> ControlFlow<Response, impl FnOnce(Response) -> Response + use<>> {
    let RequestKeys { query, admin, .. } = &app.keys;
    // Erasing asks for a key of its own.
    let is_erasing = request.method() == Method::DELETE || request.uri().path() == "/erasures";
    let key_needed = query.are_needed() && !is_erasing;
    if key_needed
        && !erasures::bearer(request.headers())
            .is_some_and(|key| query.accept(key) | admin.accept(key))
    {
        return ControlFlow::Break(erasures::unauthorized(
            "Authorization must be Bearer and a query key",
        ));
    }
    if let Err(error @ CommitError::NotReady) = app.ledger.accepts() {
        return ControlFlow::Break(ApiError::unavailable(error.to_string()).into_response());
    }
    ControlFlow::Continue(move |mut response: Response| {
        // What only some may read is kept by no cache that others share.
        let headers = response.headers_mut();
        if key_needed
            && let Some(cached) = headers
                .get(header::CACHE_CONTROL)
                .and_then(|cached| cached.to_str().ok())
            && let Ok(private) = HeaderValue::from_str(&cached.replace("public", "private"))
        {
            headers.insert(header::CACHE_CONTROL, private);
        }
        response
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the layer gives it away")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = message.unwrap_or("unknown"), "a query failed");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal server error").into_response()
}

async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::not_found(format!(
        "there is nothing at {}; / lists what there is",
        uri.path()
    ))
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}", uri.path()),
    )
}

/// The form of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "tells what `Form` takes")]
struct ListParams {
    /// `json` or `csv`; without it, what `Accept` asks for.
    #[param(inline)]
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use clap::Parser;
    use tower::ServiceExt;

    use super::*;
    use crate::ledger::clock::SystemClock;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        config: Config,
    }

    /// An app that nothing runs, as before the store is read.
    async fn app() -> AppState {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::storage::open(&format!("file:{}", folder.path().display()))
            .await
            .unwrap();
        let config = Arc::new(Options::parse_from(["alleycat"]).config);
        let (ledger, _worker) = Ledger::new(config.ledger(), store, Arc::new(SystemClock), [0; 32]);
        let keys = RequestKeys::of(&config).unwrap();
        AppState::new(ledger, config, keys, tokio::sync::watch::channel(false).1)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_work_of_a_reader_who_is_gone_keeps_its_turn_to_its_end() {
        let app = app().await;
        let turns = app.turns.0.available_permits();
        let mut ends = Vec::new();
        for _ in 0..turns {
            let (begun, begins) = tokio::sync::oneshot::channel();
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let reader = tokio::spawn({
                let app = app.clone();
                async move {
                    let work = move || _ = (begun.send(()), ended.recv());
                    app.turns.work(IN_PLACE_OUTPUTS_MAX, work).await.unwrap();
                }
            });
            begins.await.unwrap();
            reader.abort();
            assert!(reader.await.unwrap_err().is_cancelled());
            ends.push(end);
        }
        assert_eq!(app.turns.0.available_permits(), 0);
        drop(ends);
        assert_eq!(app.turns.work(IN_PLACE_OUTPUTS_MAX, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_part_of_the_state_is_no_answer() {
        let router = router(app().await);
        let get = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap()
        };
        for path in [
            "/classes",
            "/classes/1/leaderboard",
            "/classes/1/history",
            "/class-1.gz",
            "/racers/1",
            "/readyz",
        ] {
            assert_eq!(
                get(path).await.status(),
                StatusCode::SERVICE_UNAVAILABLE,
                "{path}"
            );
        }
        assert_eq!(get("/classes").await.headers()[header::RETRY_AFTER], "1");
        for path in ["/", "/healthz", "/openapi.json", "/docs/"] {
            assert_eq!(get(path).await.status(), StatusCode::OK, "{path}");
        }
    }

    #[tokio::test]
    async fn a_query_that_panics_is_answered() {
        async fn fails() {
            panic!("on purpose");
        }
        let panics: Router = Router::new().route("/", get(fails));
        let panics = panics.layer(CatchPanicLayer::custom(panicked));
        let answer = panics
            .oneshot(Request::get("/").body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            answer.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }
}
