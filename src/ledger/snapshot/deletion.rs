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
    /// Deletes covered segments, forever.
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
    /// cover them. Stops at the first error.
    async fn delete_covered_segments(&self) -> Result<(), StoreError> {
        let now = self.clock.uptime();
        if now.saturating_sub(self.last_poll()) > REPLICATION_LAG_MAX {
            return Ok(()); // what the store holds now is not known
        }
        let deletable = {
            let snapshots = self.snapshots.lock();
            self.journal.lock().deletable(
                now,
                |target, version| snapshots.covers(target, version),
                |target| snapshots.is_cover_listed(target),
            )
        };
        for ids in deletable.chunks(DELETIONS_MAX) {
            let deletions = ids.iter().map(|&id| self.delete_segment(id));
            let outcomes = futures_util::future::join_all(deletions).await;
            outcomes.into_iter().collect::<Result<(), StoreError>>()?;
        }
        Ok(())
    }

    async fn delete_segment(&self, id: SegmentId) -> Result<(), StoreError> {
        self.store.delete(&ObjectKey::Segment(id)).await?;
        self.journal.lock().remove(id);
        Ok(())
    }
}
