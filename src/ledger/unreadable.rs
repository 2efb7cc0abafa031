//! Objects that cannot be read: the errors, and the list that keeps an instance unready.

use crate::domain::erasure::ErasureVersion;
use crate::ledger::Inner;
use crate::ledger::snapshot::SnapshotTarget;
use crate::observability;
use crate::storage::{ObjectKey, StoreError};

/// A stored object that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {cause}")]
pub(super) struct UnreadableObject {
    pub(super) key: ObjectKey,
    pub(super) cause: UnreadableCause,
}

/// Why an object cannot be read, by what the operator must do.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnreadableCause {
    /// The object may be damaged.
    #[error("{0}")]
    Damaged(String),
    /// `erasures.gz` may be damaged.
    #[error("{0}")]
    ErasuresUnreadable(String),
    /// The object was written by an instance that knew later erasures than `erasures.gz` has.
    #[error(
        "requires erasure version {required}, but erasures.gz is at version {known}; restore the newest erasures.gz"
    )]
    ErasuresOutdated {
        required: ErasureVersion,
        known: ErasureVersion,
    },
    /// The object has a class or a second that the options exclude. It is not damaged.
    #[error("{0}")]
    BeyondOptions(String),
}

/// Why a stored object was not applied.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreadable(#[from] UnreadableObject),
}

impl From<ApplyError> for StoreError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Store(error) => error,
            ApplyError::Unreadable(UnreadableObject { key, cause }) => Self::new("get", key, cause),
        }
    }
}

impl Inner {
    pub(super) fn note_unreadable(&self, object: &UnreadableObject) {
        let UnreadableObject { key, cause } = object;
        let problem = cause.to_string();
        tracing::error!(%key, %problem, "stored object cannot be read");
        metrics::counter!(observability::CORRUPT_OBJECT_READS_TOTAL).increment(1);
        self.unreadable.lock().insert(key.clone(), problem);
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
