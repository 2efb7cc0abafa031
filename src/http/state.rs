//! The state that all handlers share.

use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use utoipa::openapi::OpenApi;

use crate::config::Config;
use crate::http::auth::RequestKeys;
use crate::http::error::ApiError;
use crate::http::openapi;
use crate::http::routes::{events, history, live};
use crate::ingest::admission::IngestAdmission;
use crate::ingest::bucket_allowlist::BucketAllowlist;
use crate::ingest::import_object::ObjectImporter;
use crate::ingest::pipeline::IngestPipeline;
use crate::ledger::Ledger;
use crate::memory_budget::MemoryBudget;
use crate::state::pace::PaceCache;

/// Queries over fewer outputs run in place: sorting this many takes about 1 ms.
pub(crate) const IN_PLACE_OUTPUTS_MAX: usize = 10_000;

/// Maximum time a query waits for a worker; after that it gets 503. Few clients wait longer.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// The state of handlers. A clone costs a reference count: every request makes several.
pub(crate) type AppState = Arc<SharedState>;

/// The state that all handlers share.
pub(crate) struct SharedState {
    pub(crate) ledger: Ledger,
    pub(crate) config: Arc<Config>,
    pub(crate) keys: RequestKeys,
    pub(crate) admission: Arc<IngestAdmission>,
    pub(crate) pipeline: IngestPipeline,
    pub(crate) importer: ObjectImporter,
    /// Concurrency limit of events.
    pub(crate) events: Arc<Semaphore>,
    /// Workers of boards, one a core: reading leaves the other threads to the ledger.
    pub(crate) workers: WorkerPool,
    /// Workers of parts of histories and of curves, one for two cores. These may take a second and
    /// are computed for every request; boards, whose order is computed once, must not wait for them.
    pub(crate) heavy_workers: WorkerPool,
    /// Memory budget of parts of histories.
    pub(crate) history_budget: MemoryBudget,
    pub(crate) live: live::Live,
    pub(crate) pace: PaceCache,
    pub(crate) document: OpenApi,
    pub(crate) stopping: Stopping,
}

/// The time at which the service began to stop, once it does.
pub(crate) type Stopping = watch::Receiver<Option<Instant>>;

/// A racer's name, if known.
pub(crate) type Name = Option<SmolStr>;

impl SharedState {
    /// Creates the state.
    pub(crate) fn new(
        ledger: Ledger,
        config: Arc<Config>,
        keys: RequestKeys,
        stopping: Stopping,
    ) -> AppState {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (workers, heavy_workers) = (WorkerPool::new(cores), WorkerPool::new(cores.div_ceil(2)));
        let deliveries_bytes_max = config.limits.deliveries_bytes_max;
        let admission = IngestAdmission::new(deliveries_bytes_max, config.max_body_bytes());
        let admission = Arc::new(admission);
        let pipeline = IngestPipeline::new(ledger.clone());
        let buckets = BucketAllowlist::new(&config.notification_buckets);
        let importer = ObjectImporter::new(pipeline.clone(), admission.clone(), buckets);
        let live = live::Live::new(&ledger, config.limits.subscribers_max);
        let pace = PaceCache::new(ledger.bounds().classes);
        let document = openapi::document(ledger.bounds().second_max);
        Arc::new(Self {
            ledger,
            config,
            keys,
            admission,
            pipeline,
            importer,
            events: events::concurrency_limit(),
            workers,
            heavy_workers,
            history_budget: history::history_budget(),
            live,
            pace,
            document,
            stopping,
        })
    }

    /// Returns that long after the service began to stop.
    pub(crate) async fn has_been_stopping(&self, time: Duration) {
        let stopped_at = stopped(self.stopping.clone()).await;
        tokio::time::sleep_until(stopped_at + time).await;
    }
}

/// Returns when the service began to stop, once it does.
pub(crate) async fn stopped(mut stopping: Stopping) -> Instant {
    let stopped_at = stopping.wait_for(Option::is_some).await; // an error: the service is gone
    stopped_at
        .ok()
        .and_then(|at| *at)
        .unwrap_or_else(Instant::now)
}

/// Runs queries on blocking threads, up to a concurrency limit.
pub(crate) struct WorkerPool(pub(super) Arc<Semaphore>);

impl WorkerPool {
    fn new(concurrency: usize) -> Self {
        Self(Arc::new(Semaphore::new(concurrency)))
    }

    /// Runs `work` over that many outputs: in place if they are few, else on a worker.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        outputs: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if outputs < IN_PLACE_OUTPUTS_MAX {
            return Ok(work());
        }
        let permit = tokio::time::timeout(QUEUE_TIMEOUT, self.0.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| ApiError::unavailable("query workers are busy"))?;
        let permit = permit.expect("the semaphore is never closed");
        // The work goes on when its client disconnects, and keeps its permit.
        let work = move || {
            let _permit = permit;
            work()
        };
        joined(tokio::task::spawn_blocking(work)).await
    }
}

/// Returns the result of a task, or resumes its panic.
pub(crate) async fn joined<T>(task: JoinHandle<T>) -> Result<T, ApiError> {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(result) => Ok(result),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(ApiError::unavailable("the service is stopping")),
    }
}
