//! The histories as they are published: rebuilt on demand, by a reader or a snapshot, one rebuild a class at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use crate::domain::effort::ClassId;
use crate::ledger::{Inner, lock};
use crate::state::table::StateVersion;
use crate::storage::history_file::History;

/// How far a published history may be behind what was acknowledged, at least.
const BEHIND: Duration = Duration::from_secs(1);

/// A rebuild may take up to this share of the time: a history is up to this many times its last rebuild behind.
const REBUILD_SHARE: u32 = 10;

/// How far it may be behind at most, whatever its last rebuild took: a pause of the whole process that fell into it is
/// not what it costs.
const BEHIND_AT_MOST: Duration = Duration::from_secs(30);

/// A class's published history.
#[derive(Debug, Default)]
pub(crate) struct HistoryCache {
    current: Arc<Mutex<Current>>,
    rebuilding: Arc<tokio::sync::Mutex<()>>,
    /// The length of the stored history that was read last, in bytes: what is known before one is built here; 0 where
    /// none was read.
    stored_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Current {
    history: Option<History>,
    built: Duration,
    took: Duration,
}

impl HistoryCache {
    /// The length of what is published, in bytes; before that, of what was read from the store. `None` before either,
    /// and where nobody had ridden yet: an empty history soon says nothing of the one to come.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let published = lock(&self.current)
            .history
            .as_ref()
            .filter(|it| !it.is_empty())
            .map(History::len);
        published
            .or_else(|| Some(self.stored_bytes.load(Ordering::Relaxed)).filter(|&bytes| bytes > 0))
    }

    /// What is held of histories earlier than what is published, in bytes.
    pub(crate) fn outdated_bytes(&self) -> u64 {
        lock(&self.current)
            .history
            .as_ref()
            .map_or(0, History::outdated_bytes)
    }

    /// Notes the length of the stored history, in bytes.
    pub(crate) fn note_stored(&self, bytes: u64) {
        self.stored_bytes.store(bytes, Ordering::Relaxed);
    }
}

impl Inner {
    /// The class's history for a reader.
    pub(crate) async fn history(&self, class: ClassId) -> History {
        if let Some(history) = self.published_since(class, None) {
            return history;
        }
        let rebuilding = self.published[class.index()]
            .rebuilding
            .clone()
            .lock_owned()
            .await;
        match self.published_since(class, None) {
            Some(history) => history,
            None => self.rebuild(class, rebuilding).await,
        }
    }

    /// The class's history with everything that had been merged when this was called.
    pub(crate) async fn history_now(&self, class: ClassId) -> History {
        let version = self.table.version(class);
        let rebuilding = self.published[class.index()]
            .rebuilding
            .clone()
            .lock_owned()
            .await;
        match self.published_since(class, Some(version)) {
            Some(history) => history,
            None => self.rebuild(class, rebuilding).await,
        }
    }

    /// What is published, if it holds the merges up to `version`, or is fresh enough for readers where none is asked
    /// for.
    fn published_since(&self, class: ClassId, version: Option<StateVersion>) -> Option<History> {
        let current = lock(&self.published[class.index()].current);
        let history = current.history.as_ref()?;
        if history.erasure_version() != self.erasures().concerning(class) {
            return None;
        }
        let fresh = match version {
            Some(version) => history.built_at() >= version,
            None => {
                let allowed = (current.took * REBUILD_SHARE).clamp(BEHIND, BEHIND_AT_MOST);
                history.built_at() == self.table.version(class)
                    || self.clock.uptime().saturating_sub(current.built) < allowed
            }
        };
        fresh.then(|| history.clone())
    }

    /// Goes on to its end, and publishes, whatever becomes of whoever asked.
    async fn rebuild(&self, class: ClassId, rebuilding: OwnedMutexGuard<()>) -> History {
        let current = self.published[class.index()].current.clone();
        let table = self.table.clone();
        let clock = self.clock.clone();
        let erasures = self.erasures.subscribe();
        self.offload(move || {
            let began = clock.uptime();
            let last = lock(&current)
                .history
                .clone()
                .unwrap_or_else(|| History::empty(0));
            let concerning = || erasures.borrow().concerning(class);
            let history = loop {
                // What an erasure covers is gone from the table before its version is known, so a build that begins
                // with a version and ends with it holds nothing that the version covers.
                let version = concerning();
                let history = History::build(&table, class, &last, version);
                if concerning() == version {
                    break history;
                }
            };
            let took = clock.uptime().saturating_sub(began);
            *lock(&current) = Current {
                history: Some(history.clone()),
                built: began,
                took,
            };
            drop(rebuilding);
            history
        })
        .await
    }
}
