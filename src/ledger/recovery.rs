//! Recovery: reads everything in the store and merges it.
//!
//! The order matters: list the journal, then get the snapshots, then get the segments. If a segment
//! is gone by then, it was deleted because a snapshot covers it. That snapshot may be newer than the
//! one that was read. So recovery restarts.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::domain::erasure::ErasureVersion;
use crate::ledger::Inner;
use crate::ledger::journal_index::segment_ids;
use crate::ledger::replication::{FETCHES_MAX, FetchedSegment};
use crate::ledger::snapshot::{SnapshotTarget, class_beyond_options};
use crate::ledger::unreadable::{ApplyError, UnreadableCause, UnreadableObject};
use crate::storage::{ListEntry, ListScope, ObjectKey, StoreError};

/// Maximum number of retries while the store fails. After that the start fails.
const RETRIES_MAX: u32 = 5;

/// Back-off before the first retry. It doubles with each one.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// Segments between two log lines of progress.
const PROGRESS_SEGMENTS: usize = 100;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The store failed.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// An object cannot be read.
    #[error(
        "{key} cannot be used: {problem}. If it is damaged, move it to quarantine/{key} and start again; data that \
         only this object held is then missing until the deliveries of that time are replayed"
    )]
    Unreadable {
        /// The object.
        key: ObjectKey,
        /// The problem with it.
        problem: String,
    },
    /// `erasures.gz` cannot be read.
    #[error(
        "{key} cannot be used: {problem}. Restore the newest version of erasures.gz that can be read: then nothing is \
         lost. If no version can be read, write {{\"format\":1,\"version\":V,\"erasures\":[]}} to it (gzip), where V is at least \
         the highest erasure version that an object requires, and repeat the erasures"
    )]
    ErasuresUnreadable {
        /// The object.
        key: ObjectKey,
        /// The problem with it.
        problem: String,
    },
    /// `erasures.gz` is older than an object requires.
    #[error(
        "{key} requires erasure version {required}, but erasures.gz is at version {known}; {key} is not damaged. Restore \
         the newest version of erasures.gz: then nothing is lost. If no version can be read, write \
         {{\"format\":1,\"version\":V,\"erasures\":[]}} to it (gzip), where V is at least {required}, and repeat the \
         erasures"
    )]
    ErasuresOutdated {
        /// The object that requires the version.
        key: ObjectKey,
        /// The required version.
        required: ErasureVersion,
        /// The version of `erasures.gz`.
        known: ErasureVersion,
    },
    /// An object has a class or a second that the options exclude. It is not damaged.
    #[error("{key} cannot be used: {problem}")]
    BeyondOptions {
        /// The object.
        key: ObjectKey,
        /// The class or the second, and the option to raise.
        problem: String,
    },
}

impl From<UnreadableObject> for RecoveryError {
    fn from(UnreadableObject { key, cause }: UnreadableObject) -> Self {
        match cause {
            UnreadableCause::Damaged(problem) => Self::Unreadable { key, problem },
            UnreadableCause::ErasuresUnreadable(problem) => {
                Self::ErasuresUnreadable { key, problem }
            }
            UnreadableCause::ErasuresOutdated { required, known } => Self::ErasuresOutdated {
                key,
                required,
                known,
            },
            UnreadableCause::BeyondOptions(problem) => Self::BeyondOptions { key, problem },
        }
    }
}

impl From<ApplyError> for RecoveryError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Store(error) => error.into(),
            ApplyError::Unreadable(object) => object.into(),
        }
    }
}

impl Inner {
    /// Merges everything in the store. An object that cannot be read stops the start.
    pub(super) async fn recover(&self) -> Result<(), RecoveryError> {
        let began = self.clock.uptime();
        let mut retries = 0;
        loop {
            let round_began = self.clock.uptime();
            match self.recover_once().await {
                Ok(true) => {
                    self.note_listing(round_began);
                    break;
                }
                Ok(false) => tracing::info!("store changed during recovery; restarting"),
                Err(RecoveryError::Store(error)) if retries < RETRIES_MAX => {
                    tracing::warn!(%error, "store failed during recovery; retrying");
                    self.clock.sleep(FIRST_BACKOFF * 2u32.pow(retries)).await;
                    retries += 1;
                }
                Err(error) => return Err(error),
            }
        }
        // Recovered efforts are no change: the time of the last one is unknown.
        self.table.clear_updated_at();
        // Clears the reload requests: all snapshots have just been read.
        self.erasure_state.take_snapshot_reload();
        let efforts: u64 = self
            .table
            .classes()
            .map(|class| self.table.summary(class).efforts)
            .sum();
        let took = self.clock.uptime().saturating_sub(began);
        tracing::info!(
            efforts,
            seconds = took.as_secs_f64(),
            store = self.store.location(),
            "recovery complete"
        );
        Ok(())
    }

    /// Reads and merges the store once. Returns whether the round is valid: no listed segment was
    /// deleted and the erasure version did not change.
    async fn recover_once(&self) -> Result<bool, RecoveryError> {
        self.refresh_erasures(None).await?;
        let erasure_version = self.erasures().version();
        let journal = self.store.list(ListScope::Journal).await?;
        let root = self.store.list(ListScope::Root).await?;
        self.recover_snapshots(root).await?;
        if !self.recover_segments(&journal).await? {
            return Ok(false);
        }
        // Erasures that were applied in this round invalidated what it had read before.
        Ok(self.erasures().version() == erasure_version)
    }

    async fn recover_snapshots(&self, root: Vec<ListEntry>) -> Result<(), RecoveryError> {
        let mut targets = Vec::new();
        for listed in root {
            targets.push(match listed.key {
                ObjectKey::History(class) if !self.table.has(class) => {
                    return Err(RecoveryError::BeyondOptions {
                        key: listed.key,
                        problem: class_beyond_options(class, self.options.bounds.classes),
                    });
                }
                ObjectKey::History(class) => SnapshotTarget::Class(class),
                ObjectKey::Racers => SnapshotTarget::RacerNames,
                _ => continue,
            });
        }
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let mut loads = stream::iter(targets)
            .map(|target| async move { self.load_snapshot(target, None).await.map(|()| target) })
            .buffer_unordered(workers);
        while let Some(loaded) = loads.next().await {
            let key = loaded?.key();
            tracing::info!(%key, "snapshot loaded");
        }
        Ok(())
    }

    /// Returns `false` if a listed segment has been deleted.
    async fn recover_segments(&self, journal: &[ListEntry]) -> Result<bool, RecoveryError> {
        let count = journal.len();
        let mut fetched = stream::iter(segment_ids(journal))
            .map(|id| async move { (id, self.fetch_segment(id).await) })
            .buffered(FETCHES_MAX);
        let mut read = 0;
        while let Some((id, outcome)) = fetched.next().await {
            let FetchedSegment::Found {
                slices,
                erasure_version,
            } = outcome?
            else {
                return Ok(false);
            };
            self.apply_segment(id, slices, erasure_version, None)
                .await?;
            read += 1;
            if read % PROGRESS_SEGMENTS == 0 {
                tracing::info!("read {read} of {count} segments");
            }
        }
        Ok(true)
    }
}
