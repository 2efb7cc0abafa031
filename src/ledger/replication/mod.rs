//! Replication: this instance finds and merges what other instances wrote.
//!
//! Three loops. A poll wakes the other two, and waits for neither:
//!
//! - `poll` lists the journal every sync interval, and the root in every fifth poll, where it finds new
//!   erasures and snapshots. The replication lag is the time since its last success.
//! - `segments` reads the listed segments that are not merged yet.
//! - The catch-up loop reads snapshots again where segments may have been missed.

mod missed;
mod poll;
mod segments;
mod unread;

use crate::ledger::Inner;
use crate::ledger::snapshot::SnapshotTarget;
use crate::ledger::unreadable::ApplyError;
use crate::ledger::writer_message::WriterSender;
use crate::observability;
use crate::storage::{ListScope, StoreError};

pub(super) use missed::MissedWrites;
pub(super) use segments::{FetchedSegment, SEGMENT_READS_MAX, decode_segment};
pub(super) use unread::UnreadSegments;

impl Inner {
    /// Runs the three loops. Never returns.
    pub(super) async fn replicate(&self, writer: &WriterSender) {
        tokio::join!(
            self.run_polls(writer),
            self.run_segment_reads(writer),
            self.run_catch_up(writer),
        );
    }

    /// After each poll, reads snapshots again if that was requested, writes exposed efforts to the
    /// journal, and compares the snapshots that it owned and that something else has replaced.
    async fn run_catch_up(&self, writer: &WriterSender) {
        loop {
            self.polled.catch_up.notified().await;
            if let Err(error) = self.catch_up(writer).await {
                report_failure(&error);
            }
        }
    }

    async fn catch_up(&self, writer: &WriterSender) -> Result<(), StoreError> {
        let tried_segments = self.tried_segments();
        let mut reloaded = Ok(true);
        if self.erasure_state.take_snapshot_reload() {
            reloaded = self.reload_changed_snapshots(writer).await;
        }
        if let Some(number) = tried_segments
            && !matches!(reloaded, Ok(false))
        {
            self.note_caught_up(number);
        }
        reloaded.inspect_err(|_| self.erasure_state.request_snapshot_reload())?;
        self.rejournal_exposed_efforts(writer).await?;
        self.compare_snapshots(writer).await
    }

    /// Loads the snapshots that must be compared with memory, and no others. Those that cannot be read
    /// now are tried after the next poll.
    async fn compare_snapshots(&self, writer: &WriterSender) -> Result<(), StoreError> {
        for target in self.snapshot_targets() {
            if !self.snapshots.lock().must_compare(target) || !self.is_read_due(&target.key()) {
                continue;
            }
            let Some(_lock) = self.snapshot_locks.try_lock(target) else {
                continue;
            };
            self.reload_snapshot(target, writer).await?;
        }
        Ok(())
    }

    /// Loads a snapshot. One that cannot be read is noted, and is no error.
    async fn reload_snapshot(
        &self,
        target: SnapshotTarget,
        writer: &WriterSender,
    ) -> Result<(), StoreError> {
        match self.load_snapshot(target, Some(writer)).await {
            Ok(_) => {}
            Err(ApplyError::Store(error)) => return Err(error),
            Err(ApplyError::Unreadable(object)) => self.note_unreadable_snapshot(target, object),
        }
        Ok(())
    }

    /// Loads the snapshots that changed since this instance merged or wrote them. Also retries
    /// unreadable snapshots that are due; one that stays unreadable does not stop the others.
    /// Returns false if some are being written now: the next call tries them.
    async fn reload_changed_snapshots(&self, writer: &WriterSender) -> Result<bool, StoreError> {
        let mut all_tried = true;
        let root = self.store.list(ListScope::Root).await?;
        for target in self.snapshot_targets() {
            let listed = root.iter().find(|listed| listed.key == target.key());
            let must_load =
                listed.is_some_and(|listed| self.snapshots.lock().must_load(target, &listed.etag));
            let is_unreadable = self.unreadable.lock().contains_key(&target.key());
            if !must_load && !is_unreadable {
                continue;
            }
            if !self.is_read_due(&target.key()) {
                self.erasure_state.request_snapshot_reload();
                continue;
            }
            let Some(_lock) = self.snapshot_locks.try_lock(target) else {
                self.erasure_state.request_snapshot_reload();
                all_tried = false;
                continue;
            };
            self.reload_snapshot(target, writer).await?;
        }
        Ok(all_tried)
    }
}

fn report_failure(error: &StoreError) {
    metrics::counter!(observability::REPLICATION_ERRORS_TOTAL).increment(1);
    tracing::warn!(%error, "replication failed; retrying");
}

/// Wakes the loops that follow a poll.
#[derive(Debug, Default)]
pub(super) struct PollSignals {
    segments: tokio::sync::Notify,
    catch_up: tokio::sync::Notify,
}
