//! The ETags of snapshots in listings. They show which instance wrote a snapshot, and whether the
//! store fell back.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crate::ledger::Inner;
use crate::ledger::fallback::report_fallback;
use crate::ledger::journal_index::ListingNumber;
use crate::ledger::snapshot::state::{KnownBefore, SnapshotStates, SnapshotTarget};
use crate::storage::{ETag, ListEntry};

/// Number of a snapshot's ETags that are remembered: eight hours at the default interval.
const ETAGS_MAX: usize = 1000;

/// The ETags of a snapshot, as listings and this instance's puts show them.
#[derive(Clone, Debug, Default)]
pub(super) struct ListedSnapshot {
    /// The current one. `None` if there is no such object.
    etag: Option<ETag>,
    /// It and those before, newest last. A snapshot only grows, so none comes twice, unless the
    /// store fell back, or races expired.
    history: VecDeque<ETag>,
    /// The last listing that showed another ETag than the one before.
    changed_in: ListingNumber,
}

/// The change of a snapshot between two listings.
enum ListedChange {
    Unchanged,
    /// It has an ETag that it never had before.
    Replaced,
    /// It has an ETag that it had earlier.
    FellBack,
    Missing,
}

impl ListedSnapshot {
    pub(super) fn etag(&self) -> Option<&ETag> {
        self.etag.as_ref()
    }

    /// Notes the ETag of a body that this instance has put. What it covers is known, so it is no
    /// change that could explain a deletion. `before` is the state before the put. Returns false if
    /// listings have shown meanwhile what replaced the body: its response was late.
    pub(super) fn note_put(&mut self, etag: &ETag, before: &KnownBefore) -> bool {
        let known = [Some(etag), before.merged.as_ref(), before.listed.as_ref()];
        if known.contains(&self.etag()) {
            self.compare(Some(etag), self.changed_in);
            return true;
        }
        let newest = self.history.len().saturating_sub(1);
        self.history.insert(newest, etag.clone());
        false
    }

    fn compare(&mut self, etag: Option<&ETag>, number: ListingNumber) -> ListedChange {
        if self.etag.as_ref() == etag {
            return ListedChange::Unchanged;
        }
        self.etag = etag.cloned();
        self.changed_in = number;
        let Some(etag) = etag else {
            return ListedChange::Missing;
        };
        if let Some(index) = self.history.iter().position(|earlier| earlier == etag) {
            // The newest body is written again, and equal bodies have equal ETags.
            if index + 1 < self.history.len() {
                self.history.pop_back();
            }
            return ListedChange::FellBack;
        }
        if self.history.len() == ETAGS_MAX {
            self.history.pop_front();
        }
        self.history.push_back(etag.clone());
        ListedChange::Replaced
    }
}

impl SnapshotStates {
    /// Returns the last listing that showed another snapshot than the one before.
    pub(in crate::ledger) fn changed_in(&self, target: SnapshotTarget) -> ListingNumber {
        self.get(target).listed.changed_in
    }
}

impl Inner {
    pub(in crate::ledger) fn snapshot_etags(&self) -> Vec<(SnapshotTarget, Option<ETag>)> {
        let snapshots = self.snapshots.lock();
        self.snapshot_targets()
            .into_iter()
            .map(|target| (target, snapshots.etag(target)))
            .collect()
    }

    /// Notes a listing of the root. `etags` are those from before it began: a snapshot that this
    /// instance has read or put since is left to the next listing.
    pub(in crate::ledger) fn note_listed_snapshots(
        &self,
        root: &[ListEntry],
        etags: &[(SnapshotTarget, Option<ETag>)],
    ) {
        for (target, etag) in etags {
            let listed = root.iter().find(|listed| listed.key == target.key());
            let mut snapshots = self.snapshots.lock();
            if snapshots.etag(*target) == *etag {
                self.note_listed(&mut snapshots, *target, listed.map(|listed| &listed.etag));
            }
        }
    }

    /// Notes a snapshot that is listed, or was read.
    ///
    /// The last writer of a snapshot owns it, so another ETag means another owner, unless a put of
    /// this instance has had no answer: it may be that. Or the store fell back to a version that this
    /// instance does not know: the body tells. If a snapshot is missing or has an earlier ETag, the
    /// store lost what was written since. The journal may lack it as well, so it is written again.
    /// Races expire, so `races-N.gz` may get an earlier ETag again. Then its body is read and compared.
    pub(super) fn note_listed(
        &self,
        snapshots: &mut SnapshotStates,
        target: SnapshotTarget,
        etag: Option<&ETag>,
    ) {
        let key = target.key();
        let number = self.journal.lock().listing();
        let state = snapshots.get_mut(target);
        match state.listed.compare(etag, number) {
            ListedChange::Unchanged => return,
            ListedChange::Replaced => {
                // A starting instance owns every snapshot, whatever it reads.
                if state.unconfirmed_puts.is_empty() && self.serving.load(Ordering::Acquire) {
                    // Only the former owner compares. The body may be large.
                    if state.is_owner && state.stored_up_to > 0 && !self.options.read_only {
                        state.must_compare = true;
                        state.must_reload = true;
                    }
                    self.release_snapshot(snapshots, target);
                }
            }
            ListedChange::FellBack if matches!(target, SnapshotTarget::Races(_)) => {
                self.compare_races_again(snapshots, target);
            }
            ListedChange::FellBack => {
                // While the snapshot is written again, a listing may show that put before its response
                // comes. Equal bodies have equal ETags.
                if state.write_again_since.is_none() {
                    report_fallback(&key, "it is an earlier version again");
                }
                snapshots.write_again(target, self.clock.uptime());
            }
            ListedChange::Missing => {
                report_fallback(&key, "it is missing");
                snapshots.write_again(target, self.clock.uptime());
                self.note_readable(&key);
            }
        }
        self.note_replaced(&key);
    }

    /// Notes races that are as they were earlier: all that was written since has expired, or the store
    /// fell back. What the journal shows may not be in them.
    fn compare_races_again(&self, snapshots: &mut SnapshotStates, target: SnapshotTarget) {
        let oldest = self.journal.lock().oldest_version(target);
        let stored_up_to = match oldest {
            Some(version) => version.saturating_sub(1),
            None => self.state_version(target),
        };
        let is_serving = self.serving.load(Ordering::Acquire);
        let state = snapshots.get_mut(target);
        if is_serving && !self.options.read_only {
            state.stored_up_to = state.stored_up_to.max(stored_up_to);
            state.must_compare = true;
            state.must_reload = true;
        }
        if is_serving && state.unconfirmed_puts.is_empty() {
            self.release_snapshot(snapshots, target);
        }
    }

    /// Notes that another instance has written the snapshot.
    pub(super) fn release_snapshot(&self, snapshots: &mut SnapshotStates, target: SnapshotTarget) {
        snapshots.release(target, self.jitter(self.options.snapshot_interval));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_puts_are_no_change_and_earlier_tags_a_fallback() {
        let tag = |text: &str| ETag(text.to_owned());
        let mut listed = ListedSnapshot::default();
        assert!(listed.note_put(&tag("a"), &KnownBefore::default()));
        assert!(matches!(
            listed.compare(Some(&tag("\"a\"")), 1),
            ListedChange::Unchanged
        ));
        let before = KnownBefore {
            listed: Some(tag("a")),
            ..KnownBefore::default()
        };
        assert!(listed.note_put(&tag("b"), &before));
        assert_eq!(listed.changed_in, 0);
        let change = listed.compare(Some(&tag("c")), 2);
        assert!(matches!(change, ListedChange::Replaced));
        assert_eq!(listed.changed_in, 2);
        let change = listed.compare(Some(&tag("a")), 3);
        assert!(matches!(change, ListedChange::FellBack));
        // Written again, it is no fallback.
        let change = listed.compare(Some(&tag("c")), 4);
        assert!(matches!(change, ListedChange::Replaced));
        let change = listed.compare(Some(&tag("b")), 5);
        assert!(matches!(change, ListedChange::FellBack));
        assert!(matches!(listed.compare(None, 6), ListedChange::Missing));
    }

    #[test]
    fn put_whose_response_is_late_is_older_than_what_is_listed() {
        let tag = |text: &str| ETag(text.to_owned());
        let mut listed = ListedSnapshot::default();
        let before = KnownBefore {
            merged: Some(tag("a")),
            listed: Some(tag("a")),
            ..KnownBefore::default()
        };
        listed.compare(Some(&tag("a")), 1);
        listed.compare(Some(&tag("c")), 2);
        assert!(!listed.note_put(&tag("b"), &before));
        let change = listed.compare(Some(&tag("c")), 3);
        assert!(matches!(change, ListedChange::Unchanged));
        let change = listed.compare(Some(&tag("b")), 3);
        assert!(matches!(change, ListedChange::FellBack));
        let change = listed.compare(Some(&tag("c")), 4);
        assert!(matches!(change, ListedChange::Replaced));
    }
}
