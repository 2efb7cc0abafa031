//! The history cache: built on demand, by a reader or a snapshot, one build per class at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::domain::effort::ClassId;
use crate::ledger::Inner;
use crate::state::table::StateVersion;
use crate::storage::history_file::History;

/// Staleness that readers accept even if the history is quick to build.
const STALENESS_MIN: Duration = Duration::from_secs(1);

/// Readers accept a staleness of this many times the last build's duration, so that builds take at
/// most a tenth of the time.
const BUILD_TIME_FACTOR: u32 = 10;

/// Upper bound of staleness, also when a process pause made the last build look slow.
const STALENESS_MAX: Duration = Duration::from_secs(30);

/// The cached history of a class.
#[derive(Debug, Default)]
pub(super) struct HistoryCache {
    entry: Arc<Mutex<CacheEntry>>,
    building: Arc<tokio::sync::Mutex<()>>,
    /// Length of the stored history that was read last, in bytes, until one is built here. 0 if
    /// none was read.
    stored_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct CacheEntry {
    history: Option<History>,
    build_began: Duration,
    build_took: Duration,
}

impl HistoryCache {
    /// Returns the length of the cached history in bytes, or else of the stored one. `None` if
    /// neither is known, or if the cached one is empty: its length soon says nothing of the next.
    pub(super) fn bytes(&self) -> Option<u64> {
        let cached = self
            .entry
            .lock()
            .history
            .as_ref()
            .filter(|history| !history.is_empty())
            .map(History::len);
        let stored_bytes = self.stored_bytes.load(Ordering::Relaxed);
        cached.or_else(|| (stored_bytes > 0).then_some(stored_bytes))
    }

    /// Returns the bytes that histories older than the cached one hold.
    pub(super) fn stale_bytes(&self) -> u64 {
        self.entry
            .lock()
            .history
            .as_ref()
            .map_or(0, History::stale_bytes)
    }

    /// Notes the length of the stored history, in bytes.
    pub(super) fn note_stored(&self, bytes: u64) {
        self.stored_bytes.store(bytes, Ordering::Relaxed);
    }
}

impl Inner {
    /// Returns the class's history for a reader, perhaps stale.
    pub(super) async fn history(&self, class: ClassId) -> History {
        if let Some(history) = self.cached_history(class, None) {
            return history;
        }
        self.build_history_unless_cached(class, None).await
    }

    /// Returns the class's history with everything that was merged before the call.
    pub(super) async fn current_history(&self, class: ClassId) -> History {
        let version = self.table.version(class);
        self.build_history_unless_cached(class, Some(version)).await
    }

    async fn build_history_unless_cached(
        &self,
        class: ClassId,
        version: Option<StateVersion>,
    ) -> History {
        let building = self.history_caches[class.index()].building.clone();
        let building = building.lock_owned().await;
        match self.cached_history(class, version) {
            Some(history) => history,
            None => self.build_history(class, building).await,
        }
    }

    /// Returns the cached history if it holds the merges up to `version`. Without a version, it
    /// must be fresh enough for readers.
    fn cached_history(&self, class: ClassId, version: Option<StateVersion>) -> Option<History> {
        let entry = self.history_caches[class.index()].entry.lock();
        let history = entry.history.as_ref()?;
        if history.erasure_version() != self.erasures().version_concerning(class) {
            return None;
        }
        let is_fresh = match version {
            Some(version) => history.built_at() >= version,
            None => {
                let staleness_max =
                    (entry.build_took * BUILD_TIME_FACTOR).clamp(STALENESS_MIN, STALENESS_MAX);
                history.built_at() == self.table.version(class)
                    || self.clock.uptime().saturating_sub(entry.build_began) < staleness_max
            }
        };
        is_fresh.then(|| history.clone())
    }

    /// Builds the history and caches it. Runs to completion even if the caller goes away.
    async fn build_history(&self, class: ClassId, building: OwnedMutexGuard<()>) -> History {
        let entry = self.history_caches[class.index()].entry.clone();
        let table = self.table.clone();
        let clock = self.clock.clone();
        let erasures = self.erasures.subscribe();
        self.offload(move || {
            let build_began = clock.uptime();
            let last = entry.lock().history.clone();
            let last = last.unwrap_or_else(|| History::empty(0));
            let erasure_version = || erasures.borrow().version_concerning(class);
            let history = loop {
                // An erasure is applied to the table before its version is published. So a build
                // that begins and ends at the same version holds nothing that the version covers.
                let version = erasure_version();
                let history = History::build(&table, class, &last, version);
                if erasure_version() == version {
                    break history;
                }
            };
            *entry.lock() = CacheEntry {
                history: Some(history.clone()),
                build_began,
                build_took: clock.uptime().saturating_sub(build_began),
            };
            drop(building);
            history
        })
        .await
    }
}
