//! The journal index: the segments that this instance knows, and which of them snapshots cover.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::domain::effort::ClassId;
use crate::state::table::StateVersion;
use crate::storage::{ListEntry, ObjectKey, SegmentId};

/// Time between a segment's coverage and its deletion. An instance that is reading the journal
/// still finds the segment, and one that polls every few seconds has seen it.
pub(super) const DELETION_GRACE: Duration = Duration::from_secs(60);

/// The journal as this instance knows it.
#[derive(Debug, Default)]
pub(super) struct JournalIndex {
    segments: BTreeMap<SegmentId, IndexedSegment>,
    /// This instance's own segments whose puts are pending. Replication leaves them out.
    in_flight: HashSet<SegmentId>,
}

/// A segment that was merged into this instance's table.
#[derive(Debug)]
pub(super) struct IndexedSegment {
    /// The classes in the segment, each with the version at which it had been merged.
    classes: Vec<(ClassId, StateVersion)>,
    /// The names' version at which the segment's names had been merged, if it has any.
    names: Option<StateVersion>,
    /// Uptime of the merge.
    merged_at: Duration,
    covered_since: Option<Duration>,
    /// Whether the segment must be merged again. Until then it is not deleted.
    must_merge_again: bool,
}

impl IndexedSegment {
    pub(super) fn new(
        classes: Vec<(ClassId, StateVersion)>,
        names: Option<StateVersion>,
        merged_at: Duration,
    ) -> Self {
        Self {
            classes,
            names,
            merged_at,
            covered_since: None,
            must_merge_again: false,
        }
    }
}

impl JournalIndex {
    pub(super) fn begin_put(&mut self, id: SegmentId) {
        self.in_flight.insert(id);
    }

    pub(super) fn end_put(&mut self, id: SegmentId) {
        self.in_flight.remove(&id);
    }

    pub(super) fn insert(&mut self, id: SegmentId, segment: IndexedSegment) {
        self.segments.insert(id, segment);
    }

    pub(super) fn remove(&mut self, id: SegmentId) {
        self.segments.remove(&id);
    }

    /// Marks all segments: each must be merged again.
    pub(super) fn invalidate(&mut self) {
        for segment in self.segments.values_mut() {
            segment.must_merge_again = true;
        }
    }

    /// Notes that a segment was merged again without a change, so its entry still holds. Returns
    /// `false` if the segment has no entry.
    pub(super) fn confirm_merged(&mut self, id: SegmentId) -> bool {
        let Some(segment) = self.segments.get_mut(&id) else {
            return false;
        };
        segment.must_merge_again = false;
        true
    }

    /// Returns whether replication must merge the listed segment.
    pub(super) fn must_merge(&self, id: SegmentId) -> bool {
        self.segments
            .get(&id)
            .is_none_or(|segment| segment.must_merge_again)
            && !self.in_flight.contains(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SegmentId> {
        self.segments.keys().copied()
    }

    /// Returns the uptime since which the class is dirty: the merge of its oldest segment beyond
    /// the version `covered`.
    pub(super) fn class_dirty_since(
        &self,
        class: ClassId,
        covered: StateVersion,
    ) -> Option<Duration> {
        let uncovered = self.segments.values().filter(|segment| {
            segment
                .classes
                .iter()
                .any(|&(touched, version)| touched == class && version > covered)
        });
        uncovered.map(|segment| segment.merged_at).min()
    }

    /// Returns the uptime since which the names are dirty.
    pub(super) fn names_dirty_since(&self, covered: StateVersion) -> Option<Duration> {
        let uncovered = self
            .segments
            .values()
            .filter(|segment| segment.names.is_some_and(|version| version > covered));
        uncovered.map(|segment| segment.merged_at).min()
    }

    /// Returns the segments that have been covered for all of [`DELETION_GRACE`], for every class
    /// in them and for their names.
    pub(super) fn deletable(
        &mut self,
        now: Duration,
        covered: impl Fn(ClassId) -> StateVersion,
        names_covered: StateVersion,
    ) -> Vec<SegmentId> {
        let mut deletable = Vec::new();
        // A segment that must be merged again stays. Its grace goes on: if the merge changes
        // nothing, the coverage held all the time.
        let segments = self
            .segments
            .iter_mut()
            .filter(|(_, segment)| !segment.must_merge_again);
        for (&id, segment) in segments {
            let is_covered = segment
                .classes
                .iter()
                .all(|&(class, version)| version <= covered(class))
                && segment.names.is_none_or(|version| version <= names_covered);
            if !is_covered {
                segment.covered_since = None;
                continue;
            }
            let covered_since = *segment.covered_since.get_or_insert(now);
            if now.saturating_sub(covered_since) >= DELETION_GRACE {
                deletable.push(id);
            }
        }
        deletable
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
