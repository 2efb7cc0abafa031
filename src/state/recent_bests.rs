//! New personal bests as they become durable, for subscribers. Nothing is collected for a class
//! without subscribers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::domain::effort::{ClassId, Effort};

/// Maximum number of personal bests in a class's window: more than anyone reads in the quarter of a
/// second between two polls.
const BESTS_MAX: usize = 50;

/// The latest new personal bests of every class with subscribers.
pub(crate) struct RecentBests {
    classes: Box<[ClassFeed]>,
    subscribers: AtomicUsize,
}

#[derive(Default)]
struct ClassFeed {
    subscribers: AtomicUsize,
    bests: Mutex<BestsWindow>,
}

/// The latest new personal bests of a class, and their count.
#[derive(Clone, Debug, Default)]
pub struct BestsWindow {
    /// Number of personal bests while the class had subscribers.
    pub count: u64,
    /// The latest of them, newest last.
    pub latest: VecDeque<Effort>,
}

impl RecentBests {
    pub(crate) fn new(classes: u16) -> Self {
        Self {
            classes: ClassId::all(classes)
                .map(|_| ClassFeed::default())
                .collect(),
            subscribers: AtomicUsize::new(0),
        }
    }

    /// Notes efforts that were just merged.
    pub(crate) fn note(&self, efforts: &[Effort]) {
        if self.subscribers.load(Ordering::Relaxed) == 0 {
            return;
        }
        for efforts in efforts.chunk_by(|a, b| a.class == b.class) {
            let class = &self.classes[efforts[0].class.index()];
            if class.subscribers.load(Ordering::Relaxed) > 0 {
                class.bests.lock().note(efforts);
            }
        }
    }
}

impl BestsWindow {
    fn note(&mut self, efforts: &[Effort]) {
        self.count += efforts.len() as u64;
        let newest = &efforts[efforts.len().saturating_sub(BESTS_MAX)..];
        let surplus = (self.latest.len() + newest.len()).saturating_sub(BESTS_MAX);
        self.latest.drain(..surplus);
        self.latest.extend(newest);
    }
}

/// Collects a class's new personal bests until it is dropped.
pub struct RecentBestsSubscription {
    bests: Arc<RecentBests>,
    class: ClassId,
}

impl std::fmt::Debug for RecentBestsSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RecentBestsSubscription")
            .field(&self.class)
            .finish()
    }
}

impl RecentBestsSubscription {
    pub(crate) fn new(bests: Arc<RecentBests>, class: ClassId) -> Self {
        bests.subscribers.fetch_add(1, Ordering::Relaxed);
        bests.classes[class.index()]
            .subscribers
            .fetch_add(1, Ordering::Relaxed);
        Self { bests, class }
    }

    /// Returns the count of personal bests.
    pub fn count(&self) -> u64 {
        self.feed().bests.lock().count
    }

    /// Returns the window when its count differs from `count`.
    pub fn since(&self, count: u64) -> Option<BestsWindow> {
        let bests = self.feed().bests.lock();
        (bests.count != count).then(|| bests.clone())
    }

    fn feed(&self) -> &ClassFeed {
        &self.bests.classes[self.class.index()]
    }
}

impl Drop for RecentBestsSubscription {
    fn drop(&mut self) {
        self.feed().subscribers.fetch_sub(1, Ordering::Relaxed);
        self.bests.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effort::RacerId;

    #[test]
    fn window_keeps_the_latest_and_counts_all() {
        let effort = |racer| Effort::of(1, 1, racer, 90.0);
        let mut bests = BestsWindow::default();
        bests.note(&[effort(1), effort(2)]);
        bests.note(&(3..=51).map(effort).collect::<Vec<_>>());
        assert_eq!(bests.count, 51);
        assert_eq!(bests.latest.len(), BESTS_MAX);
        assert_eq!(bests.latest[0].racer, RacerId(2));
        assert_eq!(bests.latest[49].racer, RacerId(51));
        bests.note(&(100..1100).map(effort).collect::<Vec<_>>());
        assert_eq!(bests.count, 1051);
        assert_eq!(bests.latest.len(), BESTS_MAX);
        assert_eq!(bests.latest[0].racer, RacerId(1050));
    }
}
