//! Recovery: reads everything in the store and merges it.
//!
//! The order matters: list the journal, then get the snapshots, then get the segments. If a segment
//! is gone by then, it was deleted because a snapshot covers it, which may be newer than the one that
//! was read. So the snapshots that changed are read again. Nothing else is read twice, and what other
//! instances write meanwhile is left to replication. So a start makes progress beside any ingest.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use futures_util::stream;

use crate::domain::erasure::ErasureVersion;
use crate::ledger::Inner;
use crate::ledger::journal_index::segment_ids;
use crate::ledger::replication::{FetchedSegment, SEGMENT_READS_MAX};
use crate::ledger::snapshot::{SnapshotTarget, class_beyond_options};
use crate::ledger::start_retries::StartRetries;
use crate::ledger::unreadable::{
    ApplyError, DAMAGED_OBJECT_READS_MAX, UnreadableCause, UnreadableObject,
};
use crate::observability;
use crate::storage::{ListEntry, ListScope, ObjectKey, SegmentId, StoreError};

/// Segments between two log lines of progress.
const PROGRESS_SEGMENTS: usize = 100;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The store failed.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// The store must be opened again. This can also happen after the start.
    #[error("the store is not trusted any more: {0}; a restart recovers everything")]
    Broken(StoreError),
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
    /// A newer program wrote the object.
    #[error("{key} cannot be used: {problem}")]
    Newer {
        /// The object.
        key: ObjectKey,
        /// The versions.
        problem: String,
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
            UnreadableCause::Newer(problem) => Self::Newer { key, problem },
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
    /// Merges everything in the store. An object that cannot be read stops the start, unless it is
    /// a damaged segment: that is logged, and replication retries it.
    pub(super) async fn recover(&self) -> Result<(), RecoveryError> {
        let began = self.clock.uptime();
        self.raise_race_floors();
        self.retry(|| self.refresh_erasures(None)).await?;
        let listing_began = self.clock.uptime();
        let journal = self.retry_list(ListScope::Journal).await?;
        let mut listed: BTreeSet<SegmentId> = segment_ids(&journal).collect();
        self.erasure_state.request_snapshot_reload();
        while self.erasure_state.take_snapshot_reload() {
            self.recover_snapshots().await?;
            self.recover_segments(&mut listed).await?;
            // A snapshot that the next round finds changed may cover a segment of this one.
            self.journal.lock().begin_listing();
        }
        self.note_poll(listing_began);
        self.note_root_listing(began); // before the erasures were read
        // Recovery sets no time of the last change: it is unknown.
        self.table.clear_updated_at();
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

    /// Loads the stored snapshots that are not merged yet, or have changed since.
    async fn recover_snapshots(&self) -> Result<(), RecoveryError> {
        let mut targets = Vec::new();
        for ListEntry { key, etag } in self.retry_list(ListScope::Root).await? {
            let Some(target) = SnapshotTarget::of_key(&key) else {
                continue;
            };
            if let Some(class) = target.class().filter(|&class| !self.table.has(class)) {
                let problem = class_beyond_options(class, self.options.bounds.classes);
                return Err(RecoveryError::BeyondOptions { key, problem });
            }
            if self.snapshots.lock().must_load(target, &etag) {
                targets.push(target);
            }
        }
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let mut loads = stream::iter(targets)
            .map(|target| async move {
                let exists = self.retry(move || self.recover_snapshot(target)).await?;
                Ok::<_, RecoveryError>((target, exists))
            })
            .buffer_unordered(workers);
        while let Some(loaded) = loads.next().await {
            let (target, exists) = loaded?;
            let key = target.key();
            if exists {
                tracing::info!(%key, "snapshot loaded");
            } else {
                tracing::warn!(%key, "snapshot was deleted during the start");
            }
        }
        Ok(())
    }

    /// Loads a listed snapshot. Returns whether it exists. It is an error of the store if it stays
    /// listed without existing: the class would be empty.
    async fn recover_snapshot(&self, target: SnapshotTarget) -> Result<bool, ApplyError> {
        if self.load_snapshot(target, None).await? {
            return Ok(true);
        }
        let key = target.key();
        let root = self.store.list(ListScope::Root).await?;
        if root.iter().any(|listed| listed.key == key) {
            return Err(StoreError::new("get", key, "it is listed, but not found").into());
        }
        Ok(false)
    }

    /// Reads and merges the listed segments that are not merged yet. Removes skipped segments from
    /// `listed`: missing and damaged ones.
    async fn recover_segments(
        &self,
        listed: &mut BTreeSet<SegmentId>,
    ) -> Result<(), RecoveryError> {
        let unread: Vec<SegmentId> = {
            let journal = self.journal.lock();
            let unread = listed.iter().copied();
            unread.filter(|&id| journal.must_merge(id)).collect()
        };
        let count = unread.len();
        let mut recovered = stream::iter(unread)
            .map(|id| async move { (id, self.retry(move || self.recover_segment(id)).await) })
            .buffer_unordered(SEGMENT_READS_MAX);
        let mut read = 0;
        while let Some((id, outcome)) = recovered.next().await {
            match outcome {
                Ok(true) => {}
                Ok(false) => {
                    tracing::info!(key = %ObjectKey::Segment(id), "segment is not there any more; reading the snapshots that changed");
                    listed.remove(&id);
                    self.erasure_state.request_snapshot_reload();
                }
                Err(RecoveryError::Unreadable { key, problem }) => {
                    listed.remove(&id);
                    metrics::counter!(observability::SEGMENTS_PASSED_OVER_TOTAL).increment(1);
                    let cause = UnreadableCause::Damaged(problem);
                    self.note_unreadable(UnreadableObject { key, cause });
                    let now = self.clock.uptime();
                    self.unread.lock().note_damaged(id, now);
                }
                Err(error) => return Err(error),
            }
            read += 1;
            if read % PROGRESS_SEGMENTS == 0 {
                tracing::info!("read {read} of {count} segments");
            }
        }
        Ok(())
    }

    /// Reads and merges a segment. Returns whether it exists.
    async fn recover_segment(&self, id: SegmentId) -> Result<bool, ApplyError> {
        match self.read_segment(id).await? {
            FetchedSegment::Found(contents) => {
                self.apply_segment(id, contents, None).await?;
                Ok(true)
            }
            FetchedSegment::NotFound => Ok(false),
        }
    }

    async fn retry_list(&self, scope: ListScope) -> Result<Vec<ListEntry>, RecoveryError> {
        self.retry(|| async move { Ok(self.store.list(scope).await?) })
            .await
    }

    /// Tries until it succeeds, or as long as a start waits for a store that fails. An object that looks
    /// damaged is read [`DAMAGED_OBJECT_READS_MAX`] times.
    async fn retry<T, F: Future<Output = Result<T, ApplyError>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, RecoveryError> {
        let mut retries = StartRetries::new(&*self.clock);
        let mut damaged_reads = 0;
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(ApplyError::Store(error)) if retries.may_go_on() => {
                    tracing::warn!(%error, "store failed during recovery; retrying");
                }
                Err(ApplyError::Unreadable(object))
                    if object.is_damaged() && damaged_reads + 1 < DAMAGED_OBJECT_READS_MAX =>
                {
                    damaged_reads += 1;
                    tracing::warn!(%object, "stored object looks damaged; reading it again");
                }
                Err(error) => return Err(error.into()),
            }
            retries.pause().await;
        }
    }
}
