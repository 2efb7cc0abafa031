//! The polls: two listings every sync interval, and the erasures.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ledger::Inner;
use crate::ledger::fallback::note_fallback;
use crate::ledger::journal_index::{ListingNumber, segment_ids};
use crate::ledger::replication::note_failed;
use crate::ledger::unreadable::ApplyError;
use crate::ledger::writer_message::WriterSender;
use crate::storage::{ListScope, ObjectKey, SegmentId, StoreError};

/// If the last listing is older, segments may have been written and deleted unseen, so the snapshots
/// are read again. This is half of [`DELETION_GRACE`](crate::ledger::journal_index::DELETION_GRACE).
const SEGMENTS_MISSED_AFTER: Duration = Duration::from_secs(30);

impl Inner {
    /// Polls every sync interval, forever. The interval counts from the start of a poll. A poll
    /// waits for nothing but two listings and new erasures, so others' writes are seen within two
    /// intervals.
    pub(super) async fn run_polls(&self, writer: &WriterSender) {
        loop {
            let began = self.clock.uptime();
            match self.poll_once(writer).await {
                Ok(()) => self.note_listing(began),
                Err(error) => note_failed(&error),
            }
            self.polled.segments.notify_one();
            self.polled.catch_up.notify_one();
            let due = began + self.options.sync_interval;
            self.clock
                .sleep(due.saturating_sub(self.clock.uptime()))
                .await;
        }
    }

    async fn poll_once(&self, writer: &WriterSender) -> Result<(), StoreError> {
        let since_listing = self.clock.uptime().saturating_sub(self.last_listing());
        let (number, indexed) = self.journal.lock().begin_listing();
        let etags = self.snapshot_etags();
        // In this order: the snapshot that covers a segment which is first listed now was put after
        // the listing of the root before.
        let root = self.store.list(ListScope::Root).await?;
        let journal = self.store.list(ListScope::Journal).await?;
        if since_listing > SEGMENTS_MISSED_AFTER {
            self.erasure_state.request_snapshot_reload();
        }
        self.note_listed_snapshots(&root, &etags);
        let erasures = root
            .iter()
            .find(|listed| listed.key == ObjectKey::Erasures)
            .map(|listed| &listed.etag);
        if let Err(error) = self.refresh_erasures_if_changed(erasures, writer).await {
            if let ApplyError::Unreadable(object) = &error {
                self.note_unreadable(object.clone());
            }
            return Err(error.into());
        }
        self.extend_late_erasures(writer).await?;
        self.note_listed_segments(&segment_ids(&journal).collect(), &indexed, number);
        Ok(())
    }

    /// Notes what the journal holds: what is gone since, and what is to be read. `indexed` are the
    /// segments that were indexed before the listing began.
    fn note_listed_segments(
        &self,
        listed: &BTreeSet<SegmentId>,
        indexed: &[SegmentId],
        number: ListingNumber,
    ) {
        for id in indexed.iter().filter(|id| !listed.contains(id)) {
            self.forget_vanished(*id);
        }
        let journal = self.journal.lock();
        let vanished = self
            .unread
            .lock()
            .note_listed(listed.iter().copied(), number, |id| journal.must_merge(id));
        drop(journal);
        for id in vanished {
            // Deleted before it was read, so a snapshot holds its contents.
            self.note_readable(&ObjectKey::Segment(id));
            self.erasure_state.request_snapshot_reload();
        }
    }

    /// Forgets a segment that is listed no more. If no snapshot can hold all of it, the store fell
    /// back, and memory is written again.
    fn forget_vanished(&self, id: SegmentId) {
        let mut snapshots = self.snapshots.lock();
        let lost = self.journal.lock().remove_vanished(
            id,
            |target| snapshots.changed_in(target),
            |target, version| snapshots.holds(target, version),
        );
        if let Some(first) = lost.first() {
            let (key, snapshot) = (ObjectKey::Segment(id), first.key());
            note_fallback(
                &key,
                format_args!("it is gone, and {snapshot} has not changed"),
            );
        }
        for target in lost {
            snapshots.write_again(target, self.clock.uptime());
        }
    }
}
