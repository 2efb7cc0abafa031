//! The ledger's numbers at a moment, for metrics.

use std::time::Duration;

use crate::domain::effort::ClassId;
use crate::ledger::history_cache::HistoryCache;
use crate::ledger::snapshot::SnapshotTarget;
use crate::ledger::{Inner, Ledger};

/// The ledger's numbers at a moment.
#[derive(Clone, Debug)]
pub(crate) struct LedgerGauges {
    /// Whether the service should get traffic.
    pub(crate) ready: bool,
    /// Batches in the commit queue.
    pub(crate) commit_queue_length: usize,
    /// Age of the oldest delivery without a response; zero if every delivery has one.
    pub(crate) oldest_unanswered_age: Duration,
    /// Time since the last complete listing began; zero before the first.
    pub(crate) replication_lag: Duration,
    /// Segments in the journal.
    pub(crate) segments: usize,
    /// Listed segments that are not merged yet.
    pub(crate) unread_segments: usize,
    /// Time since the oldest of them was listed first; zero without one.
    pub(crate) oldest_unread_age: Duration,
    /// Stored objects that cannot be read.
    pub(crate) unreadable: usize,
    /// Erasures in force.
    pub(crate) erasures: usize,
    /// The numbers of every class.
    pub(crate) classes: Vec<ClassGauges>,
    /// Memory of the state.
    pub(crate) memory: MemoryUsage,
}

/// Memory of the state in bytes, without the allocator's overhead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryUsage {
    /// The table, with its cached orders.
    pub(crate) table: usize,
    /// The cached histories, without stale versions that slow readers still hold.
    pub(crate) histories: usize,
    /// The racers' names.
    pub(crate) names: usize,
    /// The rows of races and the finishes.
    pub(crate) races: usize,
}

/// A class's numbers at a moment.
#[derive(Clone, Debug)]
pub(crate) struct ClassGauges {
    /// The class.
    pub(crate) class: ClassId,
    /// Number of efforts.
    pub(crate) efforts: u64,
    /// Racers with an effort.
    pub(crate) racers: usize,
    /// Time for which something has been missing from the class's stored snapshots; zero if nothing
    /// is.
    pub(crate) snapshot_lag: Duration,
}

impl Ledger {
    /// Returns the current numbers. Cheap: it visits no single effort, name or erasure.
    pub(crate) fn gauges(&self) -> LedgerGauges {
        let inner = &*self.inner;
        let now = inner.clock.uptime();
        let last_poll = inner.last_poll();
        let replication_lag = if last_poll.is_zero() {
            Duration::ZERO
        } else {
            now.saturating_sub(last_poll)
        };
        let oldest = inner.unanswered.lock().first().map(|&(arrival, _)| arrival);
        // Not within the expression below: it would hold these locks to its end, and needs them.
        let segments = inner.journal.lock().len();
        let (unread_segments, oldest_unread) = inner.unread.lock().count_and_oldest();
        let unreadable = inner.unreadable.lock().len();
        let histories = inner.history_caches.iter().filter_map(HistoryCache::bytes);
        LedgerGauges {
            ready: self.ready().is_ok(),
            commit_queue_length: self.commits.max_capacity() - self.commits.capacity(),
            oldest_unanswered_age: oldest
                .map_or(Duration::ZERO, |arrival| now.saturating_sub(arrival)),
            replication_lag,
            segments,
            unread_segments,
            oldest_unread_age: oldest_unread
                .map_or(Duration::ZERO, |listed_at| now.saturating_sub(listed_at)),
            unreadable,
            erasures: inner.erasures().count(),
            classes: inner
                .table
                .classes()
                .map(|class| inner.class_gauges(class, now))
                .collect(),
            memory: MemoryUsage {
                table: inner.table.bytes(),
                histories: histories.sum::<u64>() as usize,
                names: inner.names.bytes(),
                races: inner.races.bytes(),
            },
        }
    }
}

impl Inner {
    fn class_gauges(&self, class: ClassId, now: Duration) -> ClassGauges {
        let summary = self.table.summary(class);
        // Races are written less often, and expire.
        let targets = [
            SnapshotTarget::Class(class),
            SnapshotTarget::Finishes(class),
        ];
        let dirty_since = targets
            .into_iter()
            .filter_map(|it| self.dirty_since(it))
            .min();
        let dirty_since = dirty_since.filter(|_| !self.options.read_only); // others write it
        ClassGauges {
            class,
            efforts: summary.efforts,
            racers: summary.racers,
            snapshot_lag: dirty_since.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
        }
    }
}
