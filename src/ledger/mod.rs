//! The ledger makes deliveries durable in the store, and visible in the table, in that order.
//!
//! One writer task collects waiting batches, keeps the efforts that beat the table, writes them as
//! a journal segment, merges them, and only then responds. Three properties follow:
//!
//! - Readers never see an effort that a crash could remove. The one exception: a racer's latest
//!   position in a race, which the next second replaces.
//! - A retry that races its first try is journaled again rather than acknowledged early.
//! - A batch that improves nothing costs no write.
//!
//! Beside the writer, `replication` applies what other instances wrote, and `snapshot` folds
//! the journal into the stored histories.
//!
//! [`Ledger`] is a cheap handle: clones share all state.

mod check_object;
pub mod clock;
mod commit_loop;
mod erasure;
mod fallback;
mod hedged_put;
mod history_cache;
mod journal_index;
mod merge;
mod offload;
mod race_floors;
mod recovery;
mod replication;
mod snapshot;
pub(crate) mod start_retries;
mod stats;
mod unreadable;
mod write_batch;
mod writer_message;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::effort::{Bounds, ClassId, Effort};
use crate::domain::erasure::Erasures;
use crate::domain::racer_names::RacerNames;
use crate::ledger::clock::Clock;
use crate::ledger::commit_loop::PendingCommit;
use crate::ledger::erasure::ErasureState;
use crate::ledger::history_cache::HistoryCache;
use crate::ledger::journal_index::JournalIndex;
use crate::ledger::replication::{MissedWrites, PollSignals, UnreadSegments};
use crate::ledger::snapshot::{RaceParts, SnapshotLocks, SnapshotStates};
use crate::ledger::unreadable::KnownUnreadable;
use crate::ledger::write_batch::CommitRequest;
use crate::ledger::writer_message::{WriterMessage, WriterSender};
use crate::state::races::Races;
use crate::state::table::Table;
use crate::storage::history_file::History;
use crate::storage::{ObjectKey, SegmentId, Store};

pub(crate) use crate::ledger::check_object::{check_erasure_version, check_object};
pub use crate::ledger::erasure::{EraseError, Erased};
pub use crate::ledger::recovery::RecoveryError;
pub(crate) use crate::ledger::stats::{ClassGauges, LedgerGauges};
pub use crate::ledger::write_batch::{BatchRow, CommitError, CommitResult, WriteBatch};
pub use crate::storage::codec::quarantine::Quarantined;

/// Maximum number of batches in the commit queue. Each also counts against the memory budget, so
/// this only bounds the wait: at a commit of 100 ms with a hundred batches each, it is a second.
const COMMIT_QUEUE_MAX: usize = 1024;

/// Maximum age of the last listing of the root, which shows `erasures.gz`. Beyond it the instance
/// accepts no deliveries. An erasure's `until` lies 30 s after its put began, and the put takes 10 s
/// at most. So an instance that does not know the erasure accepts no ride after `until`.
const REPLICATION_LAG_MAX: Duration = Duration::from_secs(15);

/// Efforts of a batch that are processed before the task yields the thread: some 0.2 ms.
const YIELD_EFFORTS: usize = 2048;

/// The options of the ledger.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The classes and seconds that exist.
    pub bounds: Bounds,
    /// Maximum number of racers in a class.
    pub racers_max: usize,
    /// Minimum time between commits.
    pub commit_interval: Duration,
    /// Minimum time between snapshots of a class.
    pub snapshot_interval: Duration,
    /// Time between polls for the writes of other instances.
    pub sync_interval: Duration,
    /// Time for which the rows of races are kept.
    pub races_kept: Duration,
    /// Whether this instance only reads: no snapshots, deletions, journaling or erasures.
    pub read_only: bool,
}

/// A handle on the ledger. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
    commits: mpsc::Sender<CommitRequest>,
    writer: WriterSender,
}

/// The tasks of the ledger. Until they run, the ledger accepts nothing.
#[derive(Debug)]
pub struct LedgerWorker {
    inner: Arc<Inner>,
    commits: mpsc::Receiver<CommitRequest>,
    writer: WriterSender,
    messages: mpsc::Receiver<WriterMessage>,
}

/// Receives slices of efforts whose merge changed the table.
type MergeObserver = Box<dyn Fn(&[Effort]) + Send + Sync>;

struct Inner {
    options: LedgerOptions,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    table: Arc<Table>,
    names: RacerNames,
    races: Races,
    race_parts: Vec<Mutex<RaceParts>>,
    merge_observers: RwLock<Vec<MergeObserver>>,
    history_caches: Vec<HistoryCache>,
    /// The known erasures. Only the writer changes them, after it applied them to the table.
    erasures: watch::Sender<Arc<Erasures>>,
    erasure_state: ErasureState,
    journal: Mutex<JournalIndex>,
    unread: Mutex<UnreadSegments>,
    missed: Mutex<MissedWrites>,
    polled: PollSignals,
    snapshots: Mutex<SnapshotStates>,
    snapshot_locks: SnapshotLocks,
    /// Uptime at which the last successful poll began, in nanoseconds.
    last_poll: AtomicU64,
    /// The same of the last poll that listed the root. All erasures of before are applied.
    last_root_listing: AtomicU64,
    /// Arrival of every delivery without a response, with a number that makes it unique.
    unanswered: Mutex<BTreeSet<(Duration, u64)>>,
    next_arrival: AtomicU64,
    serving: AtomicBool,
    /// Objects that replication cannot read.
    unreadable: Mutex<BTreeMap<ObjectKey, KnownUnreadable>>,
    process_id: u128,
    next_counter: AtomicU64,
    rng: Mutex<StdRng>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("store", &self.store.location())
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// Returns a ledger over the store, and the worker that must run it. `seed` must differ between
    /// any two processes: object keys and random delays come from it.
    pub fn new(
        options: LedgerOptions,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        seed: [u8; 32],
    ) -> (Self, LedgerWorker) {
        let mut rng = StdRng::from_seed(seed);
        let (commits, commits_receiver) = mpsc::channel(COMMIT_QUEUE_MAX);
        let (writer, messages) = mpsc::channel(1);
        let classes = options.bounds.classes;
        let inner = Arc::new(Inner {
            store,
            clock,
            table: Arc::new(Table::new(classes)),
            names: RacerNames::default(),
            races: Races::new(classes),
            race_parts: ClassId::all(classes).map(|_| Mutex::default()).collect(),
            merge_observers: RwLock::default(),
            history_caches: ClassId::all(classes)
                .map(|_| HistoryCache::default())
                .collect(),
            erasures: watch::Sender::default(),
            erasure_state: ErasureState::default(),
            journal: Mutex::default(),
            unread: Mutex::default(),
            missed: Mutex::default(),
            polled: PollSignals::default(),
            snapshots: Mutex::new(SnapshotStates::new(classes)),
            snapshot_locks: SnapshotLocks::new(classes),
            last_poll: AtomicU64::new(0),
            last_root_listing: AtomicU64::new(0),
            unanswered: Mutex::default(),
            next_arrival: AtomicU64::new(0),
            serving: AtomicBool::new(false),
            unreadable: Mutex::default(),
            process_id: rng.random(),
            next_counter: AtomicU64::new(0),
            rng: Mutex::new(rng),
            options,
        });
        (
            Self {
                inner: inner.clone(),
                commits,
                writer: writer.clone(),
            },
            LedgerWorker {
                inner,
                commits: commits_receiver,
                writer,
                messages,
            },
        )
    }

    /// Returns whether this instance only reads.
    pub(crate) fn is_read_only(&self) -> bool {
        self.inner.options.read_only
    }

    /// Returns an error while the ledger accepts no deliveries.
    pub fn accepts(&self) -> Result<(), CommitError> {
        if !self.inner.serving.load(Ordering::Acquire) {
            return Err(CommitError::NotReady);
        }
        if self.inner.root_listing_age() > REPLICATION_LAG_MAX {
            return Err(CommitError::ReplicationLag);
        }
        Ok(())
    }

    /// Returns the reason why the service should get no traffic, if there is one.
    pub fn ready(&self) -> Result<(), String> {
        self.accepts().map_err(|error| error.to_string())?;
        if self.inner.is_catching_up() {
            return Err("the service is reading what it may have missed".to_owned());
        }
        self.inner.unreadable_problem().map_or(Ok(()), Err)
    }

    /// Returns the bounds of input.
    pub(crate) fn bounds(&self) -> &Bounds {
        &self.inner.options.bounds
    }

    /// Returns the wall clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.wall_ms()
    }

    /// Returns the table, which holds durable efforts only.
    pub fn table(&self) -> &Table {
        &self.inner.table
    }

    /// Returns the racers' names.
    pub fn names(&self) -> &RacerNames {
        &self.inner.names
    }

    /// Returns the recent races and the best finishes. Positions in a race may be pending: they are
    /// durable soon.
    pub fn races(&self) -> &Races {
        &self.inner.races
    }

    /// Calls `observer` with every slice of efforts whose merge changes the table from now on. It
    /// runs in the writer, so it must return quickly and must not wait.
    pub(crate) fn observe_merges(&self, observer: impl Fn(&[Effort]) + Send + Sync + 'static) {
        self.inner.merge_observers.write().push(Box::new(observer));
    }

    /// Returns the erasures that this instance knows.
    pub fn erasures(&self) -> Arc<Erasures> {
        self.inner.erasures()
    }

    /// Returns the class's history, at most a second stale while it is quick to build.
    pub(crate) async fn history(&self, class: ClassId) -> History {
        self.inner.history(class).await
    }

    /// Returns the bytes that stale histories of all classes hold.
    pub(crate) fn stale_history_bytes(&self) -> u64 {
        let caches = self.inner.history_caches.iter();
        caches.map(HistoryCache::stale_bytes).sum()
    }

    /// Returns the length of the class's history in bytes, from the cache, or else as last read
    /// from the store. If neither is known, the history is built now.
    pub(crate) async fn history_bytes(&self, class: ClassId) -> u64 {
        match self.inner.history_caches[class.index()].bytes() {
            Some(bytes) => bytes,
            None => self.history(class).await.len(),
        }
    }
}

impl LedgerWorker {
    /// Recovers the store's contents, then serves until `shutdown` resolves. Then it commits what
    /// is queued, writes the final snapshots, and returns. Dropping the future is a crash.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RecoveryError> {
        let Self {
            inner,
            commits,
            writer,
            messages,
        } = self;
        tokio::pin!(shutdown);
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            recovered = inner.recover() => recovered?,
        }
        inner.serving.store(true, Ordering::Release);
        let is_writer = !inner.options.read_only;
        let (stop, stopped) = oneshot::channel::<()>();
        let commit_loop = async {
            inner.run_commit_loop(commits, messages, shutdown).await;
            drop(stop);
        };
        let background = async {
            tokio::select! {
                biased;
                _ = stopped => {}
                () = inner.replicate(&writer) => {}
                () = inner.run_snapshots(&writer), if is_writer => {}
                () = inner.run_deletions(), if is_writer => {}
            }
        };
        tokio::select! {
            biased;
            error = inner.store.broken() => return Err(RecoveryError::Broken(error)),
            ((), ()) = async { tokio::join!(commit_loop, background) } => {}
        }
        if is_writer {
            // Positions of the last deliveries: their callers show them after the last commit.
            inner.commit_pending(PendingCommit::default()).await;
            inner.write_final_snapshots().await;
        }
        Ok(())
    }
}

impl Inner {
    fn erasures(&self) -> Arc<Erasures> {
        self.erasures.borrow().clone()
    }

    fn next_segment_id(&self) -> SegmentId {
        SegmentId {
            time_ms: self.clock.wall_ms(),
            process: self.process_id,
            counter: self.next_counter.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn note_poll(&self, began: Duration) {
        self.last_poll.store(nanos(began), Ordering::Release);
    }

    fn last_poll(&self) -> Duration {
        Duration::from_nanos(self.last_poll.load(Ordering::Acquire))
    }

    /// Notes that the erasures of before `began` are applied.
    fn note_root_listing(&self, began: Duration) {
        self.last_root_listing
            .store(nanos(began), Ordering::Release);
    }

    /// Returns the age of the last listing of the root. An erasure that was put earlier is known.
    fn root_listing_age(&self) -> Duration {
        let began = self.last_root_listing.load(Ordering::Acquire);
        let now = self.clock.uptime();
        now.saturating_sub(Duration::from_nanos(began))
    }

    /// Returns a random share of the duration.
    fn jitter(&self, max: Duration) -> Duration {
        max.mul_f64(self.rng.lock().random::<f64>())
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
