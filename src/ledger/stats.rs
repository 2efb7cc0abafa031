//! What the ledger is at a moment, in numbers: for whoever watches it from outside.

use std::time::Duration;

use crate::domain::effort::ClassId;
use crate::ledger::history_cache::HistoryCache;
use crate::ledger::snapshot::Subject;
use crate::ledger::{Inner, Ledger, lock};

/// What the ledger is at this moment.
#[derive(Clone, Debug)]
pub struct Gauges {
    /// Whether the service should be sent traffic.
    pub ready: bool,
    /// Deliveries that wait for the writer to take them.
    pub queued: usize,
    /// How long ago the oldest delivery came that is not answered yet; zero where there is none.
    pub commit_oldest_age: Duration,
    /// How long ago the last complete look at the store began; zero before the first.
    pub sync_age: Duration,
    /// Segments in the journal.
    pub segments: usize,
    /// Erasures that are kept.
    pub erasures: usize,
    /// Every class.
    pub classes: Vec<ClassGauges>,
    /// What the state takes up.
    pub memory: Memory,
}

/// What the state takes up, in bytes, without what allocators add.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// The table, the orders that it keeps included.
    pub table: usize,
    /// The histories as they are published; versions that slow readers still hold are not counted.
    pub histories: usize,
    /// The racers' names.
    pub names: usize,
}

/// What a class is at this moment.
#[derive(Clone, Debug)]
pub struct ClassGauges {
    /// The class.
    pub class: ClassId,
    /// Efforts.
    pub efforts: u64,
    /// Racers with an effort.
    pub racers: usize,
    /// How long efforts have waited that the stored `class-N.gz` has not; zero where it has all.
    pub snapshot_age: Duration,
}

impl Ledger {
    /// What the ledger is at this moment. Costs little: nothing is gone through effort by effort or name by name.
    pub fn gauges(&self) -> Gauges {
        let inner = &*self.inner;
        let now = inner.clock.uptime();
        let listed = inner.listed();
        let sync_age = if listed.is_zero() {
            Duration::ZERO
        } else {
            now.saturating_sub(listed)
        };
        let oldest = lock(&inner.waiting).first().map(|&(since, _)| since);
        let segments = lock(&inner.segments).len(); // before what is below, which locks them itself
        Gauges {
            ready: self.ready().is_ok(),
            queued: self.queue.max_capacity() - self.queue.capacity(),
            commit_oldest_age: oldest.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
            sync_age,
            segments,
            erasures: inner.erasures().iter().count(),
            classes: inner
                .table
                .classes()
                .map(|class| inner.class_gauges(class, now))
                .collect(),
            memory: Memory {
                table: inner.table.bytes(),
                histories: inner
                    .published
                    .iter()
                    .filter_map(HistoryCache::bytes)
                    .sum::<u64>() as usize,
                names: inner.names.bytes(),
            },
        }
    }
}

impl Inner {
    fn class_gauges(&self, class: ClassId, now: Duration) -> ClassGauges {
        let summary = self.table.summary(class);
        let since = self.waits_since(Subject::Class(class));
        let snapshot_age = since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        ClassGauges {
            class,
            efforts: summary.efforts,
            racers: summary.racers,
            snapshot_age,
        }
    }
}
