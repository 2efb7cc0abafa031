//! Erasures: this instance's are committed to `erasures.gz`, and all instances' are applied here.
//!
//! An erasure is in force until a time that lies ahead of its put. By that time every instance
//! knows it, or its last listing of the root is so old that it accepts no deliveries. So an instance
//! that accepts a later ride knows the erasure, and does not compare the ride with erased efforts.
//! docs/decisions/0004-erasures.md has the proof. It needs no announcement: that only makes the
//! others read the erasure sooner.
//!
//! Invariant: an erasure is applied to the table before its version is published. Every object that
//! carries version V has applied all erasures up to V.

mod apply;
mod commit;
mod reload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::domain::effort::Effort;
use crate::domain::erasure::Erasure;
use crate::domain::race_row::RaceRow;
use crate::ledger::REPLICATION_LAG_MAX;
use crate::ledger::unreadable::Reports;
use crate::storage::ETag;

pub use commit::{EraseError, Erased};

/// Time between the start of an erasure's put and its `until`: 30 s. The put must succeed within
/// [`PUT_TIMEOUT`], each instance lists the root within [`REPLICATION_LAG_MAX`], and clocks
/// differ.
const UNTIL_AHEAD: Duration = Duration::from_secs(
    PUT_TIMEOUT.as_secs() + REPLICATION_LAG_MAX.as_secs() + CLOCK_SKEW_MAX.as_secs(),
);

/// Maximum duration of an erasure's put. A slower put is repeated with a new time.
const PUT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum step from one version to the next. With two random steps of this size, two instances use
/// one number for two erasures once in a million times.
const VERSION_STEP_MAX: u64 = 1 << 20;

/// Maximum difference between the clocks of two instances.
pub(super) const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// The known state of `erasures.gz`, and the work that applied erasures leave.
#[derive(Debug, Default)]
pub(super) struct ErasureState {
    /// Held during a whole erasure, so that erasures wait for each other here, and a poll, which takes
    /// only `exchange_lock`, waits for one put at most.
    commit_lock: tokio::sync::Mutex<()>,
    /// Held while `erasures.gz` is read or put, so that no erasure is applied twice.
    exchange_lock: tokio::sync::Mutex<()>,
    /// ETag of the body that was applied or put last.
    etag: Mutex<Option<ETag>>,
    /// Erasures that were applied so late that this instance may have accepted later rides without
    /// knowing them.
    late: Mutex<Vec<Erasure>>,
    /// When the next report is due of erasures that the store lost and that cannot be written again.
    loss_reports: Mutex<Reports>,
    must_reload_snapshots: AtomicBool,
    /// Efforts under erased ones, to be written to the journal again.
    exposed: Mutex<Vec<Effort>>,
    /// Race rows under erased ones, likewise.
    exposed_rows: Mutex<Vec<RaceRow>>,
    /// Held exclusively while erasures are applied and published, and shared while pending
    /// positions are merged. So no erased position stays.
    pub(super) pending_lock: RwLock<()>,
}

impl ErasureState {
    /// Makes the next poll read changed and invalidated snapshots again.
    pub(super) fn request_snapshot_reload(&self) {
        self.must_reload_snapshots.store(true, Ordering::Release);
    }

    /// Returns whether a reload was requested, and clears the request.
    pub(super) fn take_snapshot_reload(&self) -> bool {
        self.must_reload_snapshots.swap(false, Ordering::AcqRel)
    }

    pub(super) fn note_exposed<'a>(&self, efforts: impl Iterator<Item = &'a Effort>) {
        let mut efforts = efforts.copied().peekable();
        if efforts.peek().is_some() {
            self.exposed.lock().extend(efforts);
        }
    }

    pub(super) fn note_exposed_rows(&self, rows: impl Iterator<Item = RaceRow>) {
        self.exposed_rows.lock().extend(rows);
    }
}
