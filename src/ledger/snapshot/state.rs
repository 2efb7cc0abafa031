//! The stored snapshots as this instance knows them: ETag, coverage, owner.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::effort::ClassId;
use crate::domain::erasure::ErasureVersion;
use crate::ledger::snapshot::listed::ListedSnapshot;
use crate::state::table::StateVersion;
use crate::storage::{ETag, ObjectKey};

/// Maximum number of puts with unknown outcomes that are remembered. After a longer outage another
/// instance's snapshot is as likely as an own one.
const UNCONFIRMED_PUTS_MAX: usize = 16;

/// One object that snapshots write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::ledger) enum SnapshotTarget {
    Class(ClassId),
    Races(ClassId),
    Finishes(ClassId),
    RacerNames,
}

impl SnapshotTarget {
    /// Returns all targets of the classes 1 to `classes`.
    pub(in crate::ledger) fn all(classes: u16) -> Vec<Self> {
        let of_class = |class| {
            [
                Self::Class(class),
                Self::Races(class),
                Self::Finishes(class),
            ]
        };
        let classes = ClassId::all(classes).flat_map(of_class);
        classes.chain([Self::RacerNames]).collect()
    }

    /// Returns the target that an object is; `None` for objects that are no snapshots.
    pub(in crate::ledger) fn of_key(key: &ObjectKey) -> Option<Self> {
        match *key {
            ObjectKey::History(class) => Some(Self::Class(class)),
            ObjectKey::Races(class) => Some(Self::Races(class)),
            ObjectKey::Finishes(class) => Some(Self::Finishes(class)),
            ObjectKey::Racers => Some(Self::RacerNames),
            _ => None,
        }
    }

    /// Returns the class; `None` for the names of all classes.
    pub(in crate::ledger) fn class(self) -> Option<ClassId> {
        match self {
            Self::Class(class) | Self::Races(class) | Self::Finishes(class) => Some(class),
            Self::RacerNames => None,
        }
    }

    pub(in crate::ledger) fn key(self) -> ObjectKey {
        match self {
            Self::Class(class) => ObjectKey::History(class),
            Self::Races(class) => ObjectKey::Races(class),
            Self::Finishes(class) => ObjectKey::Finishes(class),
            Self::RacerNames => ObjectKey::Racers,
        }
    }
}

/// The state of every stored snapshot.
#[derive(Debug)]
pub(in crate::ledger) struct SnapshotStates {
    /// One for each target.
    states: HashMap<SnapshotTarget, SnapshotState>,
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

/// The state of a stored snapshot before this instance requested or put its body.
#[derive(Debug, Default)]
pub(super) struct KnownBefore {
    /// The ETag of the body that was merged or put last.
    pub(super) merged: Option<ETag>,
    /// The ETag that was listed, read or put last.
    pub(super) listed: Option<ETag>,
    /// Whether the next body must be compared with memory.
    pub(super) must_compare: bool,
}

/// The state of one stored snapshot.
#[derive(Clone, Debug)]
pub(super) struct SnapshotState {
    pub(super) body: Option<StoredBody>,
    /// Whether the stored body must be merged again before its ETag may be sent.
    pub(super) must_reload: bool,
    /// The ETags of the object in listings.
    pub(super) listed: ListedSnapshot,
    /// Uptime since which the store is known to lack what memory holds.
    pub(super) write_again_since: Option<Duration>,
    /// Hashes of the puts whose outcome is not known, newest last.
    pub(super) unconfirmed_puts: VecDeque<u128>,
    /// A snapshot that was durable held everything merged up to this version.
    pub(super) covered: StateVersion,
    /// The ETag of that snapshot. Only while listings show it, the coverage counts.
    pub(super) covered_by: Option<ETag>,
    /// A stored body held everything merged up to this version: this instance wrote it, or read it
    /// at its start, or the journal shows no segment of before. Those that replace it hold that as
    /// well, unless the store falls back.
    pub(super) stored_up_to: StateVersion,
    /// Whether the body that is read next must be compared with memory: this instance owned the
    /// snapshot, and listings show one that it does not know; or races are as they were earlier.
    pub(super) must_compare: bool,
    /// Number of reads in a row that found races damaged.
    pub(super) damaged_reads: u32,
    /// Whether this instance wrote the snapshot last, as far as it knows. A starting instance
    /// claims it. If another instance is at work, this one sees the change and releases it.
    pub(super) is_owner: bool,
    /// Whether this instance's last put was confirmed, and no conflict and no release came since.
    pub(super) is_confirmed_owner: bool,
    /// Random extra delay before a take-over, so that not all instances do it at once.
    pub(super) takeover_delay: Duration,
    /// Uptime at which the last write began.
    pub(super) write_began: Option<Duration>,
    /// Whether the last write failed.
    pub(super) has_failed: bool,
    /// Duration of the last build.
    pub(super) build_took: Duration,
}

impl SnapshotStates {
    pub(in crate::ledger) fn new(classes: u16) -> Self {
        let state = SnapshotState {
            body: None,
            must_reload: false,
            listed: ListedSnapshot::default(),
            write_again_since: None,
            unconfirmed_puts: VecDeque::new(),
            covered: 0,
            covered_by: None,
            stored_up_to: 0,
            must_compare: false,
            damaged_reads: 0,
            is_owner: true,
            is_confirmed_owner: false,
            takeover_delay: Duration::ZERO,
            write_began: None,
            has_failed: false,
            build_took: Duration::ZERO,
        };
        let targets = SnapshotTarget::all(classes).into_iter();
        Self {
            states: targets.map(|target| (target, state.clone())).collect(),
            last_erasure: Duration::ZERO,
        }
    }

    pub(super) fn get(&self, target: SnapshotTarget) -> &SnapshotState {
        &self.states[&target]
    }

    pub(super) fn get_mut(&mut self, target: SnapshotTarget) -> &mut SnapshotState {
        let state = self.states.get_mut(&target);
        state.expect("there is a state for each target")
    }

    /// Returns the ETag of the body that was merged or put last.
    pub(in crate::ledger) fn etag(&self, target: SnapshotTarget) -> Option<ETag> {
        let body = self.get(target).body.as_ref();
        body.map(|body| body.etag.clone())
    }

    pub(super) fn known(&self, target: SnapshotTarget) -> KnownBefore {
        let state = self.get(target);
        KnownBefore {
            merged: state.etag().cloned(),
            listed: state.listed.etag().cloned(),
            must_compare: state.must_compare,
        }
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

    /// Returns whether a body must be compared with what was held.
    pub(in crate::ledger) fn must_compare(&self, target: SnapshotTarget) -> bool {
        self.get(target).must_compare
    }

    /// Requires that the stored body is merged again, because removed efforts may have to return.
    pub(in crate::ledger) fn invalidate(&mut self, target: SnapshotTarget) {
        self.get_mut(target).must_reload = true;
    }

    /// Makes this instance write what memory holds, because the store has lost some of it. The
    /// stored body is read first.
    pub(in crate::ledger) fn write_again(&mut self, target: SnapshotTarget, now: Duration) {
        let state = self.get_mut(target);
        state.must_reload = true;
        state.must_compare = false;
        state.is_owner = true;
        state.write_again_since.get_or_insert(now);
    }

    /// Returns whether the listed snapshot holds everything merged up to the version.
    pub(in crate::ledger) fn holds(&self, target: SnapshotTarget, version: StateVersion) -> bool {
        self.covers(target, version) && self.is_cover_listed(target)
    }

    /// Returns whether a snapshot that was durable held everything merged up to the version.
    pub(super) fn covers(&self, target: SnapshotTarget, version: StateVersion) -> bool {
        version <= self.get(target).covered
    }

    pub(super) fn is_cover_listed(&self, target: SnapshotTarget) -> bool {
        self.get(target).is_cover_listed()
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
        state.is_confirmed_owner = false;
        if state.is_owner {
            state.is_owner = false;
            state.takeover_delay = takeover_delay;
        }
    }
}

impl SnapshotState {
    /// Notes a put that begins. Until one is confirmed, a stored body may be that of any.
    pub(super) fn note_put_began(&mut self, hash: u128) {
        if self.unconfirmed_puts.len() == UNCONFIRMED_PUTS_MAX {
            self.unconfirmed_puts.pop_front();
        }
        self.unconfirmed_puts.push_back(hash);
    }

    /// Notes that the condition of the put that began last does not hold. If this instance owned
    /// the snapshot, the network may have doubled the put, so the stored body may be its first copy.
    /// Otherwise, or after two conflicts in a row, an equal body is rather another instance's.
    pub(super) fn note_conflict(&mut self) {
        if !std::mem::take(&mut self.is_confirmed_owner) {
            self.unconfirmed_puts.pop_back();
        }
    }

    pub(super) fn etag(&self) -> Option<&ETag> {
        self.body.as_ref().map(|body| &body.etag)
    }

    /// Returns whether listings show the body that was merged or put last.
    pub(super) fn is_listed(&self) -> bool {
        self.listed.etag() == self.etag()
    }

    /// Returns whether listings show the body that covers.
    pub(super) fn is_cover_listed(&self) -> bool {
        self.covered_by.is_some() && self.listed.etag() == self.covered_by.as_ref()
    }
}
