//! A lock for each stored snapshot, so that no two tasks read or put one at the same time. What one
//! of them finds would be old news to the other.

use tokio::sync::{Mutex, MutexGuard};

use crate::ledger::snapshot::SnapshotTarget;

/// The locks. Nobody waits for one: a put may hang, and the other snapshots must not wait with it.
#[derive(Debug)]
pub(in crate::ledger) struct SnapshotLocks {
    classes: Vec<Mutex<()>>,
    names: Mutex<()>,
}

impl SnapshotLocks {
    pub(in crate::ledger) fn new(classes: u16) -> Self {
        Self {
            classes: (0..classes).map(|_| Mutex::default()).collect(),
            names: Mutex::default(),
        }
    }

    /// Returns the snapshot's lock; `None` while another task reads or writes it.
    pub(in crate::ledger) fn try_lock(&self, target: SnapshotTarget) -> Option<MutexGuard<'_, ()>> {
        let lock = match target {
            SnapshotTarget::Class(class) => &self.classes[class.index()],
            SnapshotTarget::RacerNames => &self.names,
        };
        lock.try_lock().ok()
    }
}
