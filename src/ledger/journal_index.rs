//! Which segments there are in the journal, as far as this instance knows, and which of them a snapshot covers.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::domain::effort::ClassId;
use crate::state::table::StateVersion;
use crate::storage::SegmentId;

/// How long a covered segment stays, so that an instance that is in the middle of reading the journal still finds it,
/// and one that looks every few seconds has seen it.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// The journal as this instance knows it.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    known: BTreeMap<SegmentId, Segment>,
    /// This instance's own that are being written: not for following.
    writing: HashSet<SegmentId>,
}

/// What became of a segment in this instance's table.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The classes it touches, each with the version at which it had been merged.
    pub(crate) classes: Vec<(ClassId, StateVersion)>,
    /// If it brings names, the names' version at which they had been merged.
    pub(crate) names: Option<StateVersion>,
    /// When this instance had merged it, in uptime.
    pub(crate) since: Duration,
    covered_since: Option<Duration>,
    /// Whether it is to be merged again, and stays until then.
    again: bool,
}

impl Segment {
    pub(crate) fn new(
        classes: Vec<(ClassId, StateVersion)>,
        names: Option<StateVersion>,
        since: Duration,
    ) -> Self {
        Self {
            classes,
            names,
            since,
            covered_since: None,
            again: false,
        }
    }
}

impl Segments {
    pub(crate) fn begin_writing(&mut self, id: SegmentId) {
        self.writing.insert(id);
    }

    pub(crate) fn end_writing(&mut self, id: SegmentId) {
        self.writing.remove(&id);
    }

    pub(crate) fn insert(&mut self, id: SegmentId, segment: Segment) {
        self.known.insert(id, segment);
    }

    pub(crate) fn remove(&mut self, id: SegmentId) {
        self.known.remove(&id);
    }

    /// Forgets what was merged: all is to be merged again.
    pub(crate) fn invalidate(&mut self) {
        self.known
            .values_mut()
            .for_each(|segment| segment.again = true);
    }

    /// Notes that a segment was merged again and changed nothing, so that what is known of it holds. Whether it was
    /// known.
    pub(crate) fn confirm(&mut self, id: SegmentId) -> bool {
        let Some(segment) = self.known.get_mut(&id) else {
            return false;
        };
        segment.again = false;
        true
    }

    pub(crate) fn is_foreign(&self, id: SegmentId) -> bool {
        self.known.get(&id).is_none_or(|segment| segment.again) && !self.writing.contains(&id)
    }

    pub(crate) fn known(&self) -> impl Iterator<Item = SegmentId> {
        self.known.keys().copied()
    }

    /// Since when the class has waited for a snapshot, if it has: it is dirty while a segment is not covered for it.
    pub(crate) fn class_waits_since(
        &self,
        class: ClassId,
        covered: StateVersion,
    ) -> Option<Duration> {
        let waiting = self.known.values().filter(|segment| {
            segment
                .classes
                .iter()
                .any(|&(touched, version)| touched == class && version > covered)
        });
        waiting.map(|segment| segment.since).min()
    }

    /// Since when the names have waited for a snapshot, if they have.
    pub(crate) fn names_wait_since(&self, covered: StateVersion) -> Option<Duration> {
        let waiting = self
            .known
            .values()
            .filter(|segment| segment.names.is_some_and(|version| version > covered));
        waiting.map(|segment| segment.since).min()
    }

    /// The segments that have been covered, for every class and for names, for the whole of [`GRACE`].
    pub(crate) fn due(
        &mut self,
        now: Duration,
        covered: impl Fn(ClassId) -> StateVersion,
        names_covered: StateVersion,
    ) -> Vec<SegmentId> {
        let mut due = Vec::new();
        // What is to be merged again stays, and if that changes nothing, its time has gone on.
        for (&id, segment) in self.known.iter_mut().filter(|(_, segment)| !segment.again) {
            let is_covered = segment
                .classes
                .iter()
                .all(|&(class, version)| version <= covered(class))
                && segment.names.is_none_or(|version| version <= names_covered);
            if !is_covered {
                segment.covered_since = None;
            } else if now.saturating_sub(*segment.covered_since.get_or_insert(now)) >= GRACE {
                due.push(id);
            }
        }
        due
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
