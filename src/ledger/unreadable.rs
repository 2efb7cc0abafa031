//! Objects that cannot be read: the errors, and the list of them.

use std::time::Duration;

use crate::domain::erasure::ErasureVersion;
use crate::ledger::Inner;
use crate::ledger::snapshot::SnapshotTarget;
use crate::observability;
use crate::storage::{ObjectKey, StoreError};

/// Maximum number of reads of an object that looks damaged: the damage may be the network's.
pub(super) const DAMAGED_OBJECT_READS_MAX: u32 = 3;

/// First pause before an object that cannot be read is read and logged again, or another problem that
/// lasts is. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Maximum pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A stored object that cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{key}: {cause}")]
pub(super) struct UnreadableObject {
    pub(super) key: ObjectKey,
    pub(super) cause: UnreadableCause,
}

impl UnreadableObject {
    /// Returns whether another read could find the object undamaged.
    pub(super) fn is_damaged(&self) -> bool {
        matches!(
            self.cause,
            UnreadableCause::Damaged(_) | UnreadableCause::ErasuresUnreadable(_)
        )
    }
}

/// Why an object cannot be read, by what the operator must do.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum UnreadableCause {
    /// The object may be damaged.
    #[error("{0}")]
    Damaged(String),
    /// A newer program wrote the object. It is not damaged.
    #[error("{0}")]
    Newer(String),
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

/// An object that replication cannot read.
#[derive(Debug)]
pub(super) struct KnownUnreadable {
    pub(super) cause: UnreadableCause,
    reports: Reports,
}

/// When a problem that lasts is reported again.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Pause after the last report.
    pause: Duration,
    /// Uptime at which the next one is due.
    due: Duration,
}

impl Reports {
    /// Returns whether a report is due now. Then the next pause is twice as long.
    pub(super) fn take_due(&mut self, now: Duration) -> bool {
        let is_due = now >= self.due;
        if is_due {
            self.pause = (self.pause * 2).clamp(FIRST_PAUSE, PAUSE_MAX);
            self.due = now + self.pause;
        }
        is_due
    }
}

impl Inner {
    /// Records an object that cannot be read, and logs it, less and less often.
    pub(super) fn note_unreadable(&self, UnreadableObject { key, cause }: UnreadableObject) {
        metrics::counter!(observability::CORRUPT_OBJECT_READS_TOTAL).increment(1);
        let now = self.clock.uptime();
        let mut unreadable = self.unreadable.lock();
        let known = unreadable
            .entry(key.clone())
            .or_insert_with(|| KnownUnreadable {
                cause: cause.clone(),
                reports: Reports::default(),
            });
        if known.reports.take_due(now) {
            tracing::error!(%key, problem = %cause, "stored object cannot be read");
        }
        known.cause = cause;
    }

    /// Records an unreadable snapshot: it covers nothing, and the catch-up loop reads it again.
    pub(super) fn note_unreadable_snapshot(
        &self,
        target: SnapshotTarget,
        object: UnreadableObject,
    ) {
        self.note_unreadable(object);
        self.snapshots.lock().note_unreadable(target);
        self.erasure_state.request_snapshot_reload();
    }

    pub(super) fn note_readable(&self, key: &ObjectKey) {
        self.unreadable.lock().remove(key);
    }

    /// Returns whether the object may be read now.
    pub(super) fn is_read_due(&self, key: &ObjectKey) -> bool {
        let unreadable = self.unreadable.lock();
        unreadable
            .get(key)
            .is_none_or(|known| self.clock.uptime() >= known.reports.due)
    }

    /// Makes an unreadable object that has changed due now.
    pub(super) fn note_replaced(&self, key: &ObjectKey) {
        if let Some(known) = self.unreadable.lock().get_mut(key) {
            known.reports.due = Duration::ZERO;
        }
    }

    /// Returns the reason why unreadable objects keep the instance from traffic, if they do. A
    /// damaged object does not: this instance may have the last good copy of what it held, and a
    /// supervisor that ends unready instances would destroy it.
    pub(super) fn unreadable_problem(&self) -> Option<String> {
        let unreadable = self.unreadable.lock();
        let mut others = unreadable
            .iter()
            .filter(|(_, known)| !matches!(known.cause, UnreadableCause::Damaged(_)));
        let (key, known) = others.next()?;
        Some(format!("{key} cannot be read: {}", known.cause))
    }
}
