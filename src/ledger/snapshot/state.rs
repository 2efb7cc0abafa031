//! The stored snapshots as this instance knows them: ETag, coverage, owner.

use std::time::Duration;

use crate::domain::effort::ClassId;
use crate::domain::erasure::ErasureVersion;
use crate::state::table::StateVersion;
use crate::storage::{ETag, ObjectKey};

/// One object that snapshots write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ledger) enum SnapshotTarget {
    Class(ClassId),
    RacerNames,
}

impl SnapshotTarget {
    pub(in crate::ledger) fn key(self) -> ObjectKey {
        match self {
            Self::Class(class) => ObjectKey::History(class),
            Self::RacerNames => ObjectKey::Racers,
        }
    }
}

/// The state of every stored snapshot.
#[derive(Debug)]
pub(in crate::ledger) struct SnapshotStates {
    classes: Vec<SnapshotState>,
    names: SnapshotState,
    /// Uptime at which erasures were last applied.
    pub(super) last_erasure: Duration,
}

/// A stored body that this instance merged or put.
#[derive(Clone, Debug)]
pub(super) struct StoredBody {
    pub(super) etag: ETag,
    pub(super) hash: u128,
    /// The erasures that its writer had applied.
    pub(super) erasure_version: ErasureVersion,
}

/// The state of one stored snapshot.
#[derive(Clone, Debug)]
pub(super) struct SnapshotState {
    pub(super) body: Option<StoredBody>,
    /// Whether the stored body must be merged again before its ETag may be sent.
    pub(super) must_reload: bool,
    /// Uptime since which the object is known to be missing.
    pub(super) missing_since: Option<Duration>,
    /// A durable snapshot holds everything merged up to this version.
    pub(super) covered: StateVersion,
    /// Whether this instance wrote the snapshot last, as far as it knows. A starting instance
    /// claims it. If another instance is at work, this one sees the change and releases it.
    pub(super) is_owner: bool,
    /// Random extra delay before a take-over, so that not all instances do it at once.
    pub(super) takeover_delay: Duration,
    /// Uptime at which the last write began.
    pub(super) write_began: Option<Duration>,
    /// Duration of the last build.
    pub(super) build_took: Duration,
}

impl SnapshotStates {
    pub(in crate::ledger) fn new(classes: u16) -> Self {
        let state = SnapshotState {
            body: None,
            must_reload: false,
            missing_since: None,
            covered: 0,
            is_owner: true,
            takeover_delay: Duration::ZERO,
            write_began: None,
            build_took: Duration::ZERO,
        };
        Self {
            classes: vec![state.clone(); classes.into()],
            names: state,
            last_erasure: Duration::ZERO,
        }
    }

    pub(super) fn get(&self, target: SnapshotTarget) -> &SnapshotState {
        match target {
            SnapshotTarget::Class(class) => &self.classes[class.index()],
            SnapshotTarget::RacerNames => &self.names,
        }
    }

    pub(super) fn get_mut(&mut self, target: SnapshotTarget) -> &mut SnapshotState {
        match target {
            SnapshotTarget::Class(class) => &mut self.classes[class.index()],
            SnapshotTarget::RacerNames => &mut self.names,
        }
    }

    /// Returns the covered version of every class, in order.
    pub(super) fn covered_versions(&self) -> Vec<StateVersion> {
        self.classes.iter().map(|state| state.covered).collect()
    }

    /// Returns the ETag of the body that was merged or put last.
    pub(in crate::ledger) fn etag(&self, target: SnapshotTarget) -> Option<ETag> {
        let body = self.get(target).body.as_ref();
        body.map(|body| body.etag.clone())
    }

    /// Notes that erasures were applied.
    pub(in crate::ledger) fn note_erasure(&mut self, now: Duration) {
        self.last_erasure = now;
    }

    /// Returns whether the listed body must be loaded: it is another instance's, or was
    /// invalidated.
    pub(in crate::ledger) fn must_load(&self, target: SnapshotTarget, listed: &ETag) -> bool {
        let state = self.get(target);
        let is_merged = state.body.as_ref().is_some_and(|body| body.etag == *listed);
        state.must_reload || !is_merged
    }

    /// Requires that the stored body is merged again, because removed efforts may have to return.
    pub(in crate::ledger) fn invalidate(&mut self, target: SnapshotTarget) {
        self.get_mut(target).must_reload = true;
    }

    /// Notes that the object is missing: its contents are durable nowhere else.
    pub(in crate::ledger) fn note_missing(&mut self, target: SnapshotTarget, now: Duration) {
        let state = self.get_mut(target);
        state.body = None;
        state.covered = 0;
        state.missing_since = Some(now);
    }

    /// Notes that the object cannot be read: it covers nothing.
    pub(in crate::ledger) fn note_unreadable(&mut self, target: SnapshotTarget) {
        let state = self.get_mut(target);
        state.must_reload = true;
        state.covered = 0;
    }

    /// Makes this instance the owner.
    pub(in crate::ledger) fn claim(&mut self, target: SnapshotTarget) {
        self.get_mut(target).is_owner = true;
    }

    /// Notes that another instance has written the snapshot, and owns it.
    pub(in crate::ledger) fn release(&mut self, target: SnapshotTarget, takeover_delay: Duration) {
        let state = self.get_mut(target);
        if state.is_owner {
            state.is_owner = false;
            state.takeover_delay = takeover_delay;
        }
    }
}
