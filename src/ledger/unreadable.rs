//! Objects that cannot be read: the errors, and the list that keeps an instance unready.

use crate::ledger::Inner;
use crate::ledger::snapshot::SnapshotTarget;
use crate::observability;
use crate::storage::{ObjectKey, StoreError};

/// A stored object that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub(super) struct UnreadableObject {
    pub(super) key: ObjectKey,
    pub(super) problem: String,
    /// Whether the object itself may be damaged. Otherwise `erasures.gz` is damaged or too old.
    pub(super) is_damaged: bool,
}

/// Why a stored object was not applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreadable(#[from] UnreadableObject),
}

impl Inner {
    pub(super) fn note_unreadable(&self, object: &UnreadableObject) {
        let UnreadableObject { key, problem, .. } = object;
        tracing::error!(%key, %problem, "stored object cannot be read");
        metrics::counter!(observability::CORRUPT_OBJECT_READS_TOTAL).increment(1);
        self.unreadable.lock().insert(key.clone(), problem.clone());
    }

    /// Notes an unreadable snapshot: it covers nothing, and the next poll reads it again.
    pub(super) fn note_unreadable_snapshot(
        &self,
        target: SnapshotTarget,
        object: &UnreadableObject,
    ) {
        self.note_unreadable(object);
        self.snapshots.lock().note_unreadable(target);
        self.erasure_state.request_snapshot_reload();
    }

    pub(super) fn note_readable(&self, key: &ObjectKey) {
        self.unreadable.lock().remove(key);
    }
}
