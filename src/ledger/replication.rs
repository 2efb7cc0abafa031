//! Replication: two listings every sync interval show what other instances wrote, and the writer
//! merges it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::domain::effort::{Bounds, Effort};
use crate::domain::erasure::ErasureVersion;
use crate::ledger::Inner;
use crate::ledger::commit_loop::WriterSender;
use crate::ledger::journal_index::segment_ids;
use crate::ledger::merge::MERGE_EFFORTS_MAX;
use crate::ledger::snapshot::{SnapshotTarget, class_beyond_options, second_beyond_options};
use crate::ledger::unreadable::{ApplyError, UnreadableCause, UnreadableObject};
use crate::observability;
use crate::storage::codec::journal_segment::{self, SegmentContents};
use crate::storage::{ETag, ListEntry, ListScope, ObjectKey, SegmentId, StoreError};

/// If the last listing is older, segments may have been written and deleted unseen, so the snapshots
/// are read again. This is half of [`DELETION_GRACE`](super::journal_index::DELETION_GRACE).
const SEGMENTS_MISSED_AFTER: Duration = Duration::from_secs(30);

/// Maximum number of concurrent segment reads.
pub(super) const FETCHES_MAX: usize = 8;

/// The result of reading a listed segment.
pub(super) enum FetchedSegment {
    Found {
        /// Its contents in slices of [`MERGE_EFFORTS_MAX`] efforts.
        slices: Vec<SegmentContents>,
        /// The erasures that its writer had applied.
        erasure_version: ErasureVersion,
    },
    /// The segment has been deleted: a snapshot holds its contents.
    Deleted,
}

impl Inner {
    /// Polls every sync interval, forever. The interval counts from the start of a poll. If a poll
    /// takes at most one interval, others' writes are seen within two.
    pub(super) async fn replicate(&self, writer: &WriterSender) {
        let mut unreadable = BTreeSet::new();
        let mut due = self.clock.uptime() + self.options.sync_interval;
        loop {
            self.clock
                .sleep(due.saturating_sub(self.clock.uptime()))
                .await;
            let began = self.clock.uptime();
            due = began + self.options.sync_interval;
            match self.poll_once(writer, &mut unreadable).await {
                Ok(is_complete) => {
                    self.note_listing(began);
                    if !is_complete {
                        due = began; // poll again at once
                    }
                }
                Err(error) => {
                    metrics::counter!(observability::REPLICATION_ERRORS_TOTAL).increment(1);
                    tracing::warn!(%error, "replication failed; retrying");
                }
            }
        }
    }

    /// Polls once. Returns `false` if the erasures changed during the poll: the next poll must then
    /// read invalidated data again. `unreadable` holds the segments that cannot be read.
    async fn poll_once(
        &self,
        writer: &WriterSender,
        unreadable: &mut BTreeSet<SegmentId>,
    ) -> Result<bool, StoreError> {
        let since_listing = self.clock.uptime().saturating_sub(self.last_listing());
        let may_have_missed_segments = since_listing > SEGMENTS_MISSED_AFTER;
        let indexed: Vec<SegmentId> = self.journal.lock().ids().collect();
        let etags = self.snapshot_etags();
        let (root, journal) = tokio::join!(
            self.store.list(ListScope::Root),
            self.store.list(ListScope::Journal)
        );
        let (root, journal) = (root?, journal?);
        self.note_changed_snapshots(&root, &etags);
        let erasures = root
            .iter()
            .find(|listed| listed.key == ObjectKey::Erasures)
            .map(|listed| &listed.etag);
        self.refresh_erasures_if_changed(erasures, writer)
            .await
            .inspect_err(|error| self.note_if_unreadable(error))?;
        self.extend_late_erasures(writer).await?;
        let erasure_version = self.erasures().version();

        let listed: BTreeSet<SegmentId> = segment_ids(&journal).collect();
        self.remove_deleted_segments(&indexed, &listed, unreadable);
        self.apply_new_segments(listed, writer, unreadable).await?;
        if self.erasure_state.take_snapshot_reload() || may_have_missed_segments {
            let reloaded = self.reload_changed_snapshots(writer).await;
            reloaded.inspect_err(|_| self.erasure_state.request_snapshot_reload())?;
        }
        self.rejournal_exposed_efforts(writer).await?;
        Ok(self.erasures().version() == erasure_version)
    }

    /// Removes deleted segments from the index: those that were indexed before the listing began,
    /// and are not listed.
    fn remove_deleted_segments(
        &self,
        indexed: &[SegmentId],
        listed: &BTreeSet<SegmentId>,
        unreadable: &mut BTreeSet<SegmentId>,
    ) {
        let mut journal = self.journal.lock();
        for id in indexed.iter().filter(|id| !listed.contains(id)) {
            journal.remove(*id);
        }
        drop(journal);
        unreadable.retain(|id| {
            let is_listed = listed.contains(id);
            if !is_listed {
                self.note_readable(&ObjectKey::Segment(*id));
                // Deleted, so a snapshot holds its contents: read the snapshots.
                self.erasure_state.request_snapshot_reload();
            }
            is_listed
        });
    }

    /// Reads and applies the listed segments that this instance has not merged.
    async fn apply_new_segments(
        &self,
        listed: BTreeSet<SegmentId>,
        writer: &WriterSender,
        unreadable: &mut BTreeSet<SegmentId>,
    ) -> Result<(), StoreError> {
        let new: Vec<SegmentId> = {
            let journal = self.journal.lock();
            listed
                .into_iter()
                .filter(|&id| journal.must_merge(id))
                .collect()
        };
        let mut fetched = stream::iter(new)
            .map(|id| async move { (id, self.fetch_segment(id).await) })
            .buffered(FETCHES_MAX);
        while let Some((id, outcome)) = fetched.next().await {
            let outcome = match outcome {
                Ok(FetchedSegment::Found {
                    slices,
                    erasure_version,
                }) => {
                    self.apply_segment(id, slices, erasure_version, Some(writer))
                        .await
                }
                Ok(FetchedSegment::Deleted) => {
                    self.erasure_state.request_snapshot_reload();
                    continue;
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => {
                    self.note_readable(&ObjectKey::Segment(id));
                    unreadable.remove(&id);
                }
                Err(ApplyError::Store(error)) => return Err(error),
                Err(ApplyError::Unreadable(object)) => {
                    unreadable.insert(id);
                    self.note_unreadable(&object);
                }
            }
        }
        Ok(())
    }

    /// Merges a segment and indexes it. First ensures that the erasures that it requires are
    /// applied; fails if they are not known.
    pub(super) async fn apply_segment(
        &self,
        id: SegmentId,
        slices: Vec<SegmentContents>,
        erasure_version: ErasureVersion,
        writer: Option<&WriterSender>,
    ) -> Result<(), ApplyError> {
        self.require_erasure_version(&ObjectKey::Segment(id), erasure_version, writer)
            .await?;
        let erasure_version = self.erasures().version();
        let versions = self.apply_contents(slices, writer).await;
        self.index_segment(id, versions, erasure_version);
        Ok(())
    }

    fn note_if_unreadable(&self, error: &ApplyError) {
        if let ApplyError::Unreadable(object) = error {
            self.note_unreadable(object);
        }
    }

    fn snapshot_etags(&self) -> Vec<(SnapshotTarget, Option<ETag>)> {
        let snapshots = self.snapshots.lock();
        self.snapshot_targets()
            .into_iter()
            .map(|target| (target, snapshots.etag(target)))
            .collect()
    }

    /// Compares the listed snapshots with the ETags from before the listing. The last writer of a
    /// snapshot owns it, so another ETag means another owner. If a known snapshot is not listed,
    /// somebody deleted it. The journal may lack its data, so it is written again.
    fn note_changed_snapshots(&self, root: &[ListEntry], etags: &[(SnapshotTarget, Option<ETag>)]) {
        for (target, etag) in etags {
            let key = target.key();
            let listed = root
                .iter()
                .find(|listed| listed.key == key)
                .map(|listed| &listed.etag);
            let mut snapshots = self.snapshots.lock();
            if snapshots.etag(*target) != *etag || listed == etag.as_ref() {
                continue;
            }
            if listed.is_some() {
                snapshots.release(*target, self.jitter(self.options.snapshot_interval));
            } else {
                tracing::warn!(%key, "stored snapshot is missing; writing it again from memory");
                snapshots.note_missing(*target, self.clock.uptime());
            }
        }
    }

    /// Loads the snapshots that changed since this instance merged or wrote them. Also retries
    /// unreadable snapshots; one that stays unreadable does not stop the others.
    async fn reload_changed_snapshots(&self, writer: &WriterSender) -> Result<(), StoreError> {
        let root = self.store.list(ListScope::Root).await?;
        for target in self.snapshot_targets() {
            let listed = root.iter().find(|listed| listed.key == target.key());
            let must_load =
                listed.is_some_and(|listed| self.snapshots.lock().must_load(target, &listed.etag));
            if !must_load && !self.unreadable.lock().contains_key(&target.key()) {
                continue;
            }
            match self.load_snapshot(target, Some(writer)).await {
                Ok(()) => {}
                Err(ApplyError::Store(error)) => return Err(error),
                Err(ApplyError::Unreadable(object)) => {
                    self.note_unreadable_snapshot(target, &object);
                }
            }
        }
        Ok(())
    }

    /// Reads a segment.
    pub(super) async fn fetch_segment(&self, id: SegmentId) -> Result<FetchedSegment, ApplyError> {
        let key = ObjectKey::Segment(id);
        let Some(object) = self.store.get(&key).await? else {
            return Ok(FetchedSegment::Deleted);
        };
        let bounds = self.options.bounds;
        let contents = self
            .offload(move || decode_segment(&object.body, &bounds))
            .await;
        let (slices, erasure_version) =
            contents.map_err(|cause| UnreadableObject { key, cause })?;
        Ok(FetchedSegment::Found {
            slices,
            erasure_version,
        })
    }
}

/// Returns the segment's contents in slices, and the erasures that its writer had applied.
fn decode_segment(
    object: &[u8],
    bounds: &Bounds,
) -> Result<(Vec<SegmentContents>, ErasureVersion), UnreadableCause> {
    let SegmentContents {
        efforts,
        names,
        erasure_version,
    } = journal_segment::read(object)
        .map_err(|error| UnreadableCause::Damaged(error.to_string()))?;
    // The greatest class and second, so that the advice holds for the whole segment.
    let greatest_class = efforts.iter().map(|effort| effort.class).max();
    if let Some(class) = greatest_class.filter(|class| class.get() > bounds.classes) {
        let problem = class_beyond_options(class, bounds.classes);
        return Err(UnreadableCause::BeyondOptions(problem));
    }
    let latest = efforts.iter().max_by_key(|effort| effort.second);
    if let Some(&Effort { class, second, .. }) =
        latest.filter(|effort| effort.second.0 > bounds.second_max)
    {
        let problem = second_beyond_options(class, second, bounds.second_max);
        return Err(UnreadableCause::BeyondOptions(problem));
    }
    let mut slices: Vec<SegmentContents> = efforts
        .chunks(MERGE_EFFORTS_MAX)
        .map(|efforts| SegmentContents {
            efforts: efforts.to_vec(),
            names: Vec::new(),
            erasure_version,
        })
        .collect();
    slices.push(SegmentContents {
        efforts: Vec::new(),
        names,
        erasure_version,
    });
    Ok((slices, erasure_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effort(class: u16, second: u32) -> Effort {
        Effort::of(class, second, 1, 1.0)
    }

    #[test]
    fn segment_beyond_the_options_names_the_values_to_start_with() {
        let bounds = Bounds {
            classes: 2,
            second_max: 9,
        };
        for (efforts, advice) in [
            (
                [effort(3, 1), effort(7, 20), effort(1, 1)],
                "class 7, but --classes is 2: start with --classes 7 or more",
            ),
            (
                [effort(1, 10), effort(2, 20), effort(1, 1)],
                "second 20 of class 2, but --max-second is 9: start with --max-second 20 or more",
            ),
        ] {
            let contents = SegmentContents {
                efforts: efforts.into(),
                ..SegmentContents::default()
            };
            let chunks = journal_segment::split(contents).into_iter().flatten();
            let segment: Vec<u8> = chunks.flat_map(|chunk| chunk.encode()).collect();
            match decode_segment(&segment, &bounds) {
                Err(UnreadableCause::BeyondOptions(problem)) => {
                    assert!(problem.contains(advice), "{problem}");
                }
                other => panic!("not beyond the options: {other:?}"),
            }
        }
    }
}
