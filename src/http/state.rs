//! The state that all handlers share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinHandle};
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

/// A query that looks at fewer outputs than this is answered in place: sorting so many takes about a millisecond.
pub(crate) const IN_PLACE_OUTPUTS_MAX: usize = 10_000;

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
    pub(crate) ledger: Ledger,
    pub(crate) config: Arc<Config>,
    pub(crate) keys: RequestKeys,
    pub(crate) admission: Arc<IngestAdmission>,
    pub(crate) pipeline: IngestPipeline,
    pub(crate) importer: ObjectImporter,
    /// Concurrency limit of events.
    pub(crate) events: Arc<Semaphore>,
    /// As many as there are cores, so that readers leave the ledger its threads.
    pub(crate) turns: WorkerPool,
    /// For what may take a second and is done anew for everyone who asks, parts of histories and curves: fewer, and in
    /// the way of no board, whose order is made once.
    pub(crate) long_turns: WorkerPool,
    /// Memory budget of parts of histories.
    pub(crate) part_budget: MemoryBudget,
    pub(crate) live: live::Live,
    pub(crate) document: Arc<OpenApi>,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// A racer's name, where it is known.
pub(crate) type Name = Option<SmolStr>;

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
        let deliveries_bytes_max = config.limits.deliveries_bytes_max;
        let admission = IngestAdmission::new(deliveries_bytes_max, config.max_body_bytes());
        let admission = Arc::new(admission);
        let pipeline = IngestPipeline::new(ledger.clone());
        let buckets = BucketAllowlist::new(&config.notification_buckets);
        let importer = ObjectImporter::new(pipeline.clone(), admission.clone(), buckets);
        let live = live::Live::new(&ledger, config.limits.subscribers_max);
        let document = Arc::new(openapi::document(ledger.bounds().second_max));
        Self(Arc::new(Shared {
            ledger,
            config,
            keys,
            admission,
            pipeline,
            importer,
            events: events::concurrency_limit(),
            turns,
            long_turns,
            part_budget: history::part_budget(),
            live,
            document,
            stopping,
        }))
    }

    /// Returns once the service has been stopping for so long.
    pub(crate) async fn has_been_stopping(&self, limits: Duration) {
        let _ = self.stopping.clone().wait_for(|&stopping| stopping).await; // an error: it is gone altogether
        tokio::time::sleep(limits).await;
    }
}

/// WorkerPool of readers' work, so many at a time.
pub(crate) struct WorkerPool(pub(crate) Arc<Semaphore>);

impl WorkerPool {
    fn new(at_a_time: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_a_time)))
    }

    /// Does work over that many outputs: at once where they are few, else in its turn.
    pub(crate) async fn work<T: Send + 'static>(
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
pub(crate) async fn joined<T>(task: JoinHandle<T>) -> Result<T, ApiError> {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(done) => Ok(done),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(ApiError::unavailable("the service is stopping")),
    }
}
