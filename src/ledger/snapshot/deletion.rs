//! Deleting segments that snapshots cover.

use std::time::Duration;

use crate::ledger::{Inner, REPLICATION_LAG_MAX};
use crate::storage::{ObjectKey, SegmentId, StoreError};

/// Maximum number of concurrent deletions of segments.
const DELETIONS_MAX: usize = 8;

/// First pause after a pass that failed. It doubles with each one that follows.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);

/// Maximum pause.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

impl Inner {
    /// Deletes covered segments. Never returns.
    pub(in crate::ledger) async fn run_deletions(&self) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            self.clock.sleep(self.check_interval()).await;
            match self.delete_covered_segments().await {
                Ok(()) => backoff = FIRST_BACKOFF,
                Err(error) => {
                    let segments = self.journal.lock().len();
                    tracing::warn!(%error, segments, "cannot delete covered segments; trying again later");
                    self.clock.sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// Deletes the segments whose grace is over, while the last listing shows the snapshots that
    /// cover them. Stops once a whole chunk fails. Returns the first error.
    async fn delete_covered_segments(&self) -> Result<(), StoreError> {
        let deletable = {
            let snapshots = self.snapshots.lock();
            self.journal.lock().deletable(
                self.clock.uptime(),
                |target, version| snapshots.covers(target, version),
                |target| snapshots.is_cover_listed(target),
            )
        };
        let mut first_error = None;
        for ids in deletable.chunks(DELETIONS_MAX) {
            // Again before each chunk: a pass may take minutes, and the store may fall back.
            let ids = self.still_deletable(ids);
            let deletions = ids.iter().map(|&id| self.delete_segment(id));
            let outcomes = futures_util::future::join_all(deletions).await;
            let mut errors = outcomes.into_iter().filter_map(Result::err);
            let Some(error) = errors.next() else {
                continue;
            };
            let all_failed = errors.count() + 1 == ids.len();
            first_error.get_or_insert(error);
            if all_failed {
                break;
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    fn still_deletable(&self, ids: &[SegmentId]) -> Vec<SegmentId> {
        if self.root_listing_age() > REPLICATION_LAG_MAX {
            return Vec::new(); // what the store holds now is not known
        }
        let snapshots = self.snapshots.lock();
        let journal = self.journal.lock();
        let ids = ids.iter().copied().filter(|&id| {
            journal.is_still_deletable(id, |target, version| snapshots.holds(target, version))
        });
        ids.collect()
    }

    async fn delete_segment(&self, id: SegmentId) -> Result<(), StoreError> {
        self.store.delete(&ObjectKey::Segment(id)).await?;
        self.journal.lock().remove(id);
        Ok(())
    }
}
