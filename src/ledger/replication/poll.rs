//! The polls: a listing of the journal every sync interval, one of the root now and then, and the
//! erasures.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ledger::Inner;
use crate::ledger::fallback::report_fallback;
use crate::ledger::journal_index::{ListingNumber, segment_ids};
use crate::ledger::replication::report_failure;
use crate::ledger::unreadable::ApplyError;
use crate::ledger::writer_message::WriterSender;
use crate::storage::{ListEntry, ListScope, ObjectKey, SegmentId, StoreError};

/// The root is listed in every such poll: every 10 s by default. It shows snapshots, which change
/// twice a minute, and erasures, which their instance announces in the journal.
const POLLS_PER_ROOT_LISTING: u32 = 5;

/// The root is listed in the last poll before its listing is older than this. Then at least 4 s are left
/// for a retry until [`REPLICATION_LAG_MAX`](crate::ledger::REPLICATION_LAG_MAX).
const ROOT_LISTING_AGE_MAX: Duration = Duration::from_secs(11);

/// Age of the last successful poll from which the snapshots are read again: segments may have been
/// written and deleted unseen. This is half of
/// [`DELETION_GRACE`](crate::ledger::journal_index::DELETION_GRACE).
const SEGMENTS_MISSED_AFTER: Duration = Duration::from_secs(30);

impl Inner {
    /// Polls every sync interval. Never returns. The interval counts from the start of a poll. A poll
    /// waits for one or two listings, and for `erasures.gz` if erasures changed, are late or were
    /// lost. It never waits for a commit of efforts, a segment or a snapshot. So others' writes are
    /// usually seen within two intervals.
    pub(super) async fn run_polls(&self, writer: &WriterSender) {
        let mut polls_since_root = POLLS_PER_ROOT_LISTING; // the first one lists it
        loop {
            let began = self.clock.uptime();
            let lists_root = polls_since_root >= POLLS_PER_ROOT_LISTING
                || self.root_listing_age() + self.options.sync_interval > ROOT_LISTING_AGE_MAX;
            match self.poll_once(lists_root, writer).await {
                Ok(()) => {
                    self.note_poll(began);
                    if lists_root {
                        self.note_root_listing(began);
                        polls_since_root = 0;
                    }
                }
                Err(error) => report_failure(&error),
            }
            polls_since_root += 1;
            self.polled.segments.notify_one();
            self.polled.catch_up.notify_one();
            let due = began + self.options.sync_interval;
            self.clock
                .sleep(due.saturating_sub(self.clock.uptime()))
                .await;
        }
    }

    async fn poll_once(&self, lists_root: bool, writer: &WriterSender) -> Result<(), StoreError> {
        let began = self.clock.uptime();
        let since_poll = began.saturating_sub(self.last_poll());
        let (number, indexed) = self.journal.lock().begin_listing();
        // Root before journal. A segment that is listed for the first time was put after the last
        // listing of the journal. A snapshot that covers it was put after that, so it is no change
        // that an earlier listing of the root showed: `remove_missing` sees it. It was put 60 s before
        // the segment was deleted, so a listing of the root has shown it by then, unless it is old.
        let etags = self.snapshot_etags();
        let root = match lists_root {
            true => Some(self.store.list(ListScope::Root).await?),
            false => None,
        };
        let journal = self.store.list(ListScope::Journal).await?;
        let has_missed = since_poll > SEGMENTS_MISSED_AFTER;
        if has_missed {
            self.erasure_state.request_snapshot_reload();
        }
        if let Some(root) = root {
            self.note_listed_snapshots(&root, &etags);
            self.refresh_listed_erasures(&root, writer).await?;
        }
        self.extend_late_erasures(writer).await?;
        let root_age = match lists_root {
            true => self.clock.uptime().saturating_sub(began),
            false => self.root_listing_age(),
        };
        let listed = segment_ids(&journal).collect();
        if root_age <= SEGMENTS_MISSED_AFTER {
            self.forget_missing(&listed, &indexed);
        }
        self.note_listed_segments(&listed, number);
        self.note_missed(number, has_missed);
        Ok(())
    }

    async fn refresh_listed_erasures(
        &self,
        root: &[ListEntry],
        writer: &WriterSender,
    ) -> Result<(), StoreError> {
        let listed = root.iter().find(|it| it.key == ObjectKey::Erasures);
        let etag = listed.map(|listed| &listed.etag);
        let refreshed = self.refresh_erasures_if_changed(etag, writer).await;
        if let Err(ApplyError::Unreadable(object)) = &refreshed {
            self.note_unreadable(object.clone());
        }
        Ok(refreshed?)
    }

    /// Queues new segments for reading.
    fn note_listed_segments(&self, listed: &BTreeSet<SegmentId>, number: ListingNumber) {
        let journal = self.journal.lock();
        let missing = self.unread.lock().note_listed(
            listed.iter().copied(),
            number,
            self.clock.uptime(),
            |id| journal.must_merge(id),
        );
        drop(journal);
        for id in missing {
            // Deleted before it was merged here. Normally a snapshot covers it.
            self.note_readable(&ObjectKey::Segment(id));
            self.erasure_state.request_snapshot_reload();
        }
    }

    /// Removes the segments that are no longer listed from the index. `indexed` are those that were
    /// indexed before the listing began.
    fn forget_missing(&self, listed: &BTreeSet<SegmentId>, indexed: &[SegmentId]) {
        for &id in indexed.iter().filter(|id| !listed.contains(id)) {
            self.forget_segment(id);
        }
    }

    /// Removes a segment that is no longer listed. If no snapshot covers a part of it, the store lost
    /// data, and the snapshots of those parts are written again.
    fn forget_segment(&self, id: SegmentId) {
        let mut snapshots = self.snapshots.lock();
        let lost = self.journal.lock().remove_missing(
            id,
            |target| snapshots.changed_in(target),
            |target, part, erasure_version| {
                !snapshots.holds(target, part.version)
                    && !self.have_races_expired(target, part.rows_until_ms)
                    // Another instance may have found that all of it is erased.
                    && self.concerning_erasure_version(target) <= erasure_version
            },
        );
        if let Some(first) = lost.first() {
            let (key, snapshot) = (ObjectKey::Segment(id), first.key());
            report_fallback(
                &key,
                format_args!("it is gone, and {snapshot} has not changed"),
            );
        }
        for target in lost {
            snapshots.write_again(target, self.clock.uptime());
        }
    }
}
