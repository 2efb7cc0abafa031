//! A lock for each stored snapshot, so that no two tasks read or put one at the same time. What one
//! of them finds would be old news to the other.

use std::collections::HashMap;

use tokio::sync::{Mutex, MutexGuard};

use crate::ledger::snapshot::SnapshotTarget;

/// The locks. Nobody waits for one: a put may hang, and the other snapshots must not wait with it.
#[derive(Debug)]
pub(in crate::ledger) struct SnapshotLocks(HashMap<SnapshotTarget, Mutex<()>>);

impl SnapshotLocks {
    pub(in crate::ledger) fn new(classes: u16) -> Self {
        let targets = SnapshotTarget::all(classes).into_iter();
        Self(targets.map(|target| (target, Mutex::default())).collect())
    }

    /// Returns the snapshot's lock; `None` while another task reads or writes it.
    pub(in crate::ledger) fn try_lock(&self, target: SnapshotTarget) -> Option<MutexGuard<'_, ()>> {
        self.0[&target].try_lock().ok()
    }
}
