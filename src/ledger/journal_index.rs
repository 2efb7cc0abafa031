//! The journal index: the segments that this instance knows, and which of them snapshots cover.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::domain::erasure::ErasureVersion;
use crate::ledger::merge::MergedPart;
use crate::ledger::snapshot::SnapshotTarget;
use crate::state::table::StateVersion;
use crate::storage::{ListEntry, ObjectKey, SegmentId};

/// Time between a segment's coverage and its deletion. An instance that is reading the journal
/// still finds the segment, and one that polls every few seconds has seen it.
pub(super) const DELETION_GRACE: Duration = Duration::from_secs(60);

/// Counts the rounds of recovery, from 0, then the polls that list the store.
pub(super) type ListingNumber = u64;

/// The journal as this instance knows it.
#[derive(Debug, Default)]
pub(super) struct JournalIndex {
    segments: BTreeMap<SegmentId, IndexedSegment>,
    /// This instance's own segments whose puts are pending, and the last listing that began before
    /// the put. Replication leaves them out.
    in_flight: HashMap<SegmentId, ListingNumber>,
    /// The number of the last listing that began.
    listing: ListingNumber,
}

/// A segment that was merged into this instance's table.
#[derive(Debug)]
struct IndexedSegment {
    parts: HashMap<SnapshotTarget, MergedPart>,
    /// The version of the erasures that were applied to the parts.
    erasure_version: ErasureVersion,
    /// Uptime of the merge.
    merged_at: Duration,
    /// The first listing that could show the segment. A snapshot that covers a changed part was
    /// put later than the listing before.
    listing: ListingNumber,
    covered_since: Option<Duration>,
    /// Whether the segment must be merged again. Until then it is not deleted.
    must_merge_again: bool,
}

impl JournalIndex {
    pub(super) fn begin_put(&mut self, id: SegmentId) {
        self.in_flight.insert(id, self.listing);
    }

    pub(super) fn end_put(&mut self, id: SegmentId) {
        self.in_flight.remove(&id);
    }

    /// Begins a listing. Returns its number, and the segments that it must show unless they were
    /// deleted.
    pub(super) fn begin_listing(&mut self) -> (ListingNumber, Vec<SegmentId>) {
        self.listing += 1;
        (self.listing, self.segments.keys().copied().collect())
    }

    pub(super) fn listing(&self) -> ListingNumber {
        self.listing
    }

    /// Adds a merged segment. `listing` is the first that showed it; `None` for an own one, or one of
    /// recovery.
    pub(super) fn insert(
        &mut self,
        id: SegmentId,
        parts: HashMap<SnapshotTarget, MergedPart>,
        erasure_version: ErasureVersion,
        merged_at: Duration,
        listing: Option<ListingNumber>,
    ) {
        let known = self.segments.get_mut(&id);
        if let Some(known) = known {
            known.must_merge_again = false;
            known.erasure_version = erasure_version;
            // A part whose contents are erased by now needs no snapshot.
            known.parts.retain(|target, _| parts.contains_key(target));
            // Without a change, the coverage held all the time.
            if parts.values().any(|part| part.changed) {
                (known.parts, known.merged_at, known.covered_since) = (parts, merged_at, None);
            }
            return;
        }
        let segment = IndexedSegment {
            parts,
            erasure_version,
            merged_at,
            listing: listing
                .or_else(|| self.in_flight.get(&id).copied())
                .unwrap_or(self.listing),
            covered_since: None,
            must_merge_again: false,
        };
        self.segments.insert(id, segment);
    }

    pub(super) fn remove(&mut self, id: SegmentId) {
        self.segments.remove(&id);
    }

    /// Removes a segment that is no longer listed. Returns the parts that no snapshot can cover: none
    /// of them changed since the segment was listed.
    /// `changed_in` returns the last listing that showed another snapshot than the one before.
    /// `needs_another` returns whether a part needs another snapshot than the listed one before its
    /// segment may be deleted. It receives the version of the erasures that were applied to the part.
    pub(super) fn remove_missing(
        &mut self,
        id: SegmentId,
        changed_in: impl Fn(SnapshotTarget) -> ListingNumber,
        needs_another: impl Fn(SnapshotTarget, MergedPart, ErasureVersion) -> bool,
    ) -> Vec<SnapshotTarget> {
        let Some(segment) = self.segments.remove(&id) else {
            return Vec::new();
        };
        // A part that was new to the first round of recovery is in no snapshot that it read.
        let listing = segment.listing.max(1);
        let erasure_version = segment.erasure_version;
        let lost = segment.parts.into_iter().filter(|&(target, part)| {
            part.changed
                && changed_in(target) < listing
                && needs_another(target, part, erasure_version)
        });
        lost.map(|(target, _)| target).collect()
    }

    /// Marks all segments that hold something: each must be merged again.
    pub(super) fn invalidate(&mut self) {
        for segment in self.segments.values_mut() {
            segment.must_merge_again = !segment.parts.is_empty();
        }
    }

    /// Returns whether replication must merge the listed segment.
    pub(super) fn must_merge(&self, id: SegmentId) -> bool {
        self.segments
            .get(&id)
            .is_none_or(|segment| segment.must_merge_again)
            && !self.in_flight.contains_key(&id)
    }

    /// Returns the least version of the target at which a segment was merged.
    pub(super) fn oldest_version(&self, target: SnapshotTarget) -> Option<StateVersion> {
        let parts = self
            .segments
            .values()
            .filter_map(|it| it.parts.get(&target));
        parts.map(|part| part.version).min()
    }

    /// Returns the uptime since which the target is dirty: the merge of its oldest segment beyond
    /// the version `covered`.
    pub(super) fn dirty_since(
        &self,
        target: SnapshotTarget,
        covered: StateVersion,
    ) -> Option<Duration> {
        let uncovered = self.segments.values().filter(|segment| {
            let part = segment.parts.get(&target);
            part.is_some_and(|part| part.version > covered)
        });
        uncovered.map(|segment| segment.merged_at).min()
    }

    /// Returns the segments that have been covered for all of [`DELETION_GRACE`], and are covered
    /// by snapshots that `is_listed`.
    pub(super) fn deletable(
        &mut self,
        now: Duration,
        is_covered: impl Fn(SnapshotTarget, StateVersion) -> bool,
        is_listed: impl Fn(SnapshotTarget) -> bool,
    ) -> Vec<SegmentId> {
        let mut deletable = Vec::new();
        // A segment that must be merged again stays. Its grace goes on: if the merge changes
        // nothing, the coverage held all the time.
        let segments = self
            .segments
            .iter_mut()
            .filter(|(_, segment)| !segment.must_merge_again);
        for (&id, segment) in segments {
            let mut parts = segment.parts.iter();
            if !parts.all(|(&target, part)| is_covered(target, part.version)) {
                segment.covered_since = None;
                continue;
            }
            let covered_since = *segment.covered_since.get_or_insert(now);
            if now.saturating_sub(covered_since) >= DELETION_GRACE
                && segment.parts.keys().all(|&target| is_listed(target))
            {
                deletable.push(id);
            }
        }
        deletable
    }

    /// Returns whether a segment that was deletable still is. `is_held` says whether the listed
    /// snapshot holds everything merged up to a version.
    pub(super) fn is_still_deletable(
        &self,
        id: SegmentId,
        is_held: impl Fn(SnapshotTarget, StateVersion) -> bool,
    ) -> bool {
        self.segments.get(&id).is_some_and(|segment| {
            let mut parts = segment.parts.iter();
            !segment.must_merge_again && parts.all(|(&target, part)| is_held(target, part.version))
        })
    }

    pub(super) fn len(&self) -> usize {
        self.segments.len()
    }
}

/// Returns the segments of a listing.
pub(super) fn segment_ids(listing: &[ListEntry]) -> impl Iterator<Item = SegmentId> {
    listing.iter().filter_map(|listed| match listed.key {
        ObjectKey::Segment(id) => Some(id),
        _ => None,
    })
}
