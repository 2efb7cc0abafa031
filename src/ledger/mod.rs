//! The ledger: makes what deliveries bring durable, in the store and then in the table, and keeps both in step.
//!
//! One writer takes all that waits, keeps what beats the table, writes it as a journal segment, merges it, and only
//! then answers. So readers never see what a crash could take back; a retry that races its first try is journaled again
//! rather than acknowledged early; and a delivery that improves nothing costs no write. Beside the writer, `follow`
//! takes in what other instances wrote, and `snapshot` folds the journal into the published histories.
//!
//! [`Ledger`] is a cheap handle: a clone shares everything.

pub mod clock;
pub mod commit_loop;
pub mod erasure;
pub mod history_cache;
pub mod journal_index;
pub mod recovery;
pub mod replication;
pub mod snapshot;
pub mod stats;

use crate::state::recent_bests;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use crate::domain::effort::{Bounds, ClassId, Effort, RacerId};
use crate::domain::erasure::Erasures;
use crate::domain::racer_names::{RacerName, RacerNames};
use crate::domain::rejection::RejectionReason;
use crate::ledger::clock::Clock;
use crate::state::races::{RaceUpdate, Races};
use crate::state::table::Table;
use crate::storage::history_file::History;
use crate::storage::{ObjectKey, SegmentId, Store};

pub use crate::ledger::erasure::{EraseError, Erased};
pub use crate::ledger::recovery::RecoveryError;
pub use crate::ledger::stats::{ClassGauges, Gauges, Memory};
pub use crate::state::recent_bests::{BestsWindow, RecentBestsSubscription};
pub use crate::storage::codec::journal_segment::Quarantined;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use crate::storage::codec::journal_segment::claim_that_a_segment_reads_back;

/// Deliveries that may wait for the writer. Each also counts against the limit of what is under way, so this only keeps
/// the wait short: at a commit of 100 ms and a hundred deliveries each it is a second.
const QUEUE_MAX: usize = 1024;

/// How long ago the last complete listing may have begun before deliveries are refused. An erasure's time lies 30 s
/// ahead of its writing, which takes 10 s at most, so an instance that has not heard of it accepts no ride after that
/// time.
const BEHIND_MAX: Duration = Duration::from_secs(15);

/// So many efforts of a delivery are looked at before others have their turn on the thread: some 0.2 ms.
const EFFORTS_A_TURN: usize = 2048;

/// The most that work takes in virtual time before it is done, and after: little, for a snapshot is the rarer the
/// longer it takes, and yet others come between, and a suspension.
const WORK_IN_PLACE_MAX: Duration = Duration::from_millis(100);

/// How the ledger works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which classes and seconds there are.
    pub bounds: Bounds,
    /// The most racers of a class.
    pub racers_max: usize,
    /// The least time from one commit to the next.
    pub commit_interval: Duration,
    /// The least time from one snapshot of a class to the next.
    pub snapshot_interval: Duration,
    /// The time from one look at what others wrote to the next.
    pub sync_interval: Duration,
}

/// What a delivery brings.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// Efforts, whether they beat anything or not.
    pub efforts: Vec<Effort>,
    /// RacerNames that are news.
    pub names: Vec<(RacerId, RacerName)>,
    /// Records to quarantine.
    pub quarantined: Vec<Quarantined>,
    /// The room that it takes up. Held for as long as anything of it is kept here, even where whoever brought it has
    /// gone: only so is a limit on what is under way one on memory.
    pub room: Option<Arc<OwnedSemaphorePermit>>,
    /// What the efforts say of races.
    pub heard: Vec<RaceUpdate>,
}

/// What became of a delivery whose every effort is durable.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommitResult {
    /// How many efforts were improvements.
    pub improvements: usize,
    /// Efforts that are not taken: their places in the submission, and why. Their records are yet to be quarantined.
    pub refused: Vec<(usize, RejectionReason)>,
}

/// Why a delivery is not acknowledged. In every case the sender should try again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// It is still starting, or already stopping.
    #[error("the service is starting or stopping")]
    NotReady,
    /// It has not heard of the other instances for too long.
    #[error("replication lag: no successful listing for {} s", BEHIND_MAX.as_secs())]
    ReplicationLag,
    /// Too many deliveries wait.
    #[error("commit queue is full")]
    QueueFull,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
}

/// A handle on the ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
    queue: mpsc::Sender<CommitRequest>,
    adopt: mpsc::Sender<commit_loop::WriterMessage>,
}

/// A delivery on its way to the writer.
#[derive(Debug)]
struct CommitRequest {
    submission: WriteBatch,
    answer: oneshot::Sender<Result<CommitResult, CommitError>>,
    waiting: Waiting,
}

/// Marks a delivery as waiting for its commit, until dropped.
#[derive(Debug)]
struct Waiting {
    inner: Arc<Inner>,
    since: (Duration, u64),
}

impl Waiting {
    fn begin(inner: &Arc<Inner>) -> Self {
        let since = (
            inner.clock.uptime(),
            inner.arrivals.fetch_add(1, Ordering::Relaxed),
        );
        lock(&inner.waiting).insert(since);
        Self {
            inner: inner.clone(),
            since,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.inner.waiting).remove(&self.since);
    }
}

/// What runs the ledger; until it does, nothing is taken.
#[derive(Debug)]
pub struct Worker {
    inner: Arc<Inner>,
    queue: mpsc::Receiver<CommitRequest>,
    adopt: mpsc::Sender<commit_loop::WriterMessage>,
    adoptions: mpsc::Receiver<commit_loop::WriterMessage>,
}

struct Inner {
    options: Options,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    table: Arc<Table>,
    names: RacerNames,
    races: Races,
    fresh: Arc<recent_bests::RecentBests>,
    published: Vec<history_cache::HistoryCache>,
    /// What is gone. Changed only in the writer's turn, after it is gone from the table.
    erasures: watch::Sender<Arc<Erasures>>,
    erasing: erasure::Erasing,
    segments: Mutex<journal_index::Segments>,
    snapshots: Mutex<snapshot::Snapshots>,
    /// When the last complete listing began, in nanoseconds of uptime.
    listed: AtomicU64,
    /// Since when each delivery waits that has not been answered, with a number that makes it unique.
    waiting: Mutex<BTreeSet<(Duration, u64)>>,
    arrivals: AtomicU64,
    serving: AtomicBool,
    /// What cannot be read while following, for people; unready while there is something.
    unreadable: Mutex<BTreeMap<ObjectKey, String>>,
    process: u128,
    counter: AtomicU64,
    chance: Mutex<StdRng>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("store", &self.store.location())
            .finish_non_exhaustive()
    }
}

impl Ledger {
    /// A ledger over that store, and the worker that must run it. `seed` is where its chance comes from: it must differ
    /// between any two processes.
    pub fn new(
        options: Options,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        seed: [u8; 32],
    ) -> (Self, Worker) {
        let mut chance = StdRng::from_seed(seed);
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let (adopt, adoptions) = mpsc::channel(1);
        let classes = options.bounds.classes;
        let inner = Arc::new(Inner {
            store,
            clock,
            table: Arc::new(Table::new(classes)),
            names: RacerNames::default(),
            races: Races::new(classes),
            fresh: Arc::new(recent_bests::RecentBests::new(classes)),
            published: ClassId::all(classes)
                .map(|_| history_cache::HistoryCache::default())
                .collect(),
            erasures: watch::Sender::default(),
            erasing: erasure::Erasing::default(),
            segments: Mutex::default(),
            snapshots: Mutex::new(snapshot::Snapshots::new(classes)),
            listed: AtomicU64::new(0),
            waiting: Mutex::default(),
            arrivals: AtomicU64::new(0),
            serving: AtomicBool::new(false),
            unreadable: Mutex::default(),
            process: chance.random(),
            counter: AtomicU64::new(0),
            chance: Mutex::new(chance),
            options,
        });
        (
            Self {
                inner: inner.clone(),
                queue: sender,
                adopt: adopt.clone(),
            },
            Worker {
                inner,
                queue,
                adopt,
                adoptions,
            },
        )
    }

    /// Makes a delivery durable and visible, then returns. After an error, some of it may be or become durable.
    pub async fn commit(&self, mut submission: WriteBatch) -> Result<CommitResult, CommitError> {
        self.accepts()?;
        let heard = std::mem::take(&mut submission.heard);
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting::begin(&self.inner);
        self.queue
            .try_send(CommitRequest {
                submission,
                answer,
                waiting,
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => CommitError::QueueFull,
                mpsc::error::TrySendError::Closed(_) => CommitError::NotReady,
            })?;
        let committed = answered.await.unwrap_or(Err(CommitError::NotReady))?;
        self.inner.tell_races(heard, &committed).await;
        Ok(committed)
    }

    /// Whether deliveries are taken at this moment.
    pub fn accepts(&self) -> Result<(), CommitError> {
        if !self.inner.serving.load(Ordering::Acquire) {
            return Err(CommitError::NotReady);
        }
        if self
            .inner
            .clock
            .uptime()
            .saturating_sub(self.inner.listed())
            > BEHIND_MAX
        {
            return Err(CommitError::ReplicationLag);
        }
        Ok(())
    }

    /// Whether the service should be sent traffic; else why not.
    pub fn ready(&self) -> Result<(), String> {
        self.accepts().map_err(|error| error.to_string())?;
        match lock(&self.inner.unreadable).first_key_value() {
            Some((key, problem)) => Err(format!("{key} cannot be read: {problem}")),
            None => Ok(()),
        }
    }

    /// The bounds of input.
    pub fn bounds(&self) -> &Bounds {
        &self.inner.options.bounds
    }

    /// The wall clock, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.wall_ms()
    }

    /// Everything that is durable.
    pub fn table(&self) -> &Table {
        &self.inner.table
    }

    /// The racers' names.
    pub fn names(&self) -> &RacerNames {
        &self.inner.names
    }

    /// The recent races, as this instance's deliveries tell of them.
    pub fn races(&self) -> &Races {
        &self.inner.races
    }

    /// Gathers the class's new personal bests from now on, until it is dropped.
    pub fn subscribe_recent_bests(&self, class: ClassId) -> RecentBestsSubscription {
        RecentBestsSubscription::new(self.inner.fresh.clone(), class)
    }

    /// What was erased, as far as this instance knows.
    pub fn erasures(&self) -> Arc<Erasures> {
        self.inner.erasures()
    }

    /// The class's history, a second behind at most while it is quick to build.
    pub async fn history(&self, class: ClassId) -> History {
        self.inner.history(class).await
    }

    /// What is held of histories that have newer ones, of all classes, in bytes.
    pub fn outdated_bytes(&self) -> u64 {
        self.inner
            .published
            .iter()
            .map(history_cache::HistoryCache::outdated_bytes)
            .sum()
    }

    /// The length of the class's history, in bytes: as last published, or else as last read from the store. Where
    /// neither has anything yet, it is published now.
    pub async fn history_bytes(&self, class: ClassId) -> u64 {
        match self.inner.published[class.index()].bytes() {
            Some(bytes) => bytes,
            None => self.history(class).await.len(),
        }
    }
}

impl Worker {
    /// Recovers what the store holds, then serves until `shutdown` resolves; then makes what waits durable, takes a
    /// last snapshot, and returns. Dropping the future is a crash.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RecoveryError> {
        let Self {
            inner,
            queue,
            adopt,
            adoptions,
        } = self;
        tokio::pin!(shutdown);
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            recovered = inner.recover() => recovered?,
        }
        inner.serving.store(true, Ordering::Release);
        let (stop, stopping) = oneshot::channel::<()>();
        let writing = async {
            inner.write(queue, adoptions, shutdown).await;
            drop(stop);
        };
        let rest = async {
            tokio::select! {
                biased;
                _ = stopping => {}
                () = inner.replicate(&adopt) => {}
                () = inner.take_snapshots(&adopt) => {}
            }
        };
        tokio::join!(writing, rest);
        inner.take_last_snapshot().await;
        Ok(())
    }
}

impl Inner {
    /// Tells the races of what is durable; what was not taken, or is erased, is not heard.
    async fn tell_races(&self, mut heard: Vec<RaceUpdate>, committed: &CommitResult) {
        let refused: HashSet<usize> = committed.refused.iter().map(|&(place, _)| place).collect();
        let before = self.erasures();
        heard.retain(|it| !refused.contains(&it.index) && !before.cover(&it.effort, 0));
        for (turn, heard) in heard.chunks(EFFORTS_A_TURN).enumerate() {
            if turn > 0 {
                tokio::task::yield_now().await;
            }
            self.races.apply(heard, self.clock.wall_ms());
        }
        let erasures = self.erasures();
        if erasures.version() != before.version() {
            // They were forgotten before they were heard of.
            for heard in heard.iter().filter(|it| erasures.cover(&it.effort, 0)) {
                let Effort {
                    racer,
                    class,
                    second,
                    output,
                    ..
                } = heard.effort;
                self.races.erase(racer, Some(class), |at, best| {
                    (at, best) == (second, output)
                });
            }
        }
    }

    fn erasures(&self) -> Arc<Erasures> {
        self.erasures.borrow().clone()
    }

    fn next_id(&self) -> SegmentId {
        SegmentId {
            time_ms: self.clock.wall_ms(),
            process: self.process,
            counter: self.counter.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn note_listed(&self, began: Duration) {
        self.listed.store(
            u64::try_from(began.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Release,
        );
    }

    fn listed(&self) -> Duration {
        Duration::from_nanos(self.listed.load(Ordering::Acquire))
    }

    /// A random share of that time.
    fn jitter(&self, most: Duration) -> Duration {
        most.mul_f64(lock(&self.chance).random::<f64>())
    }

    /// Runs long work on a thread that may be blocked. On a runtime of one thread, as the simulation's, it runs in
    /// place, so that a schedule depends on its seed alone, and takes a while of the instance's time.
    async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match tokio::runtime::Handle::current().runtime_flavor() {
            tokio::runtime::RuntimeFlavor::CurrentThread => {
                self.clock.sleep(self.jitter(WORK_IN_PLACE_MAX)).await; // as elsewhere, others go on meanwhile
                let done = work();
                self.clock.sleep(self.jitter(WORK_IN_PLACE_MAX)).await;
                done
            }
            _ => match tokio::task::spawn_blocking(work).await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => std::future::pending().await, // the runtime is going away, and this task with it
                },
            },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
