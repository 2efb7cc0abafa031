//! New personal bests as they become durable, for whoever watches; where nobody does, nothing is gathered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::effort::{ClassId, Effort};

/// New personal bests of a class that are kept, the latest: more than anyone reads in the quarter of a second between
/// two looks.
const BESTS_MAX: usize = 50;

/// The latest new personal bests of every class that is watched.
pub(crate) struct RecentBests {
    classes: Box<[ClassFeed]>,
    watches: AtomicUsize,
}

#[derive(Default)]
struct ClassFeed {
    watches: AtomicUsize,
    bests: Mutex<BestsWindow>,
}

/// The latest new personal bests of a class, and how many there were.
#[derive(Clone, Debug, Default)]
pub struct BestsWindow {
    /// All since somebody first watched the class.
    pub count: u64,
    /// The latest of them, the newest last.
    pub latest: VecDeque<Effort>,
}

impl RecentBests {
    pub(crate) fn new(classes: u16) -> Self {
        Self {
            classes: ClassId::all(classes)
                .map(|_| ClassFeed::default())
                .collect(),
            watches: AtomicUsize::new(0),
        }
    }

    /// Takes in what was merged just now.
    pub(crate) fn note(&self, efforts: &[Effort]) {
        if self.watches.load(Ordering::Relaxed) == 0 {
            return;
        }
        for efforts in efforts.chunk_by(|a, b| a.class == b.class) {
            let class = &self.classes[efforts[0].class.index()];
            if class.watches.load(Ordering::Relaxed) > 0 {
                lock(&class.bests).note(efforts);
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

/// Gathers a class's new personal bests for as long as it is kept.
pub struct RecentBestsSubscription {
    fresh: Arc<RecentBests>,
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
    pub(crate) fn new(fresh: Arc<RecentBests>, class: ClassId) -> Self {
        fresh.watches.fetch_add(1, Ordering::Relaxed);
        fresh.classes[class.index()]
            .watches
            .fetch_add(1, Ordering::Relaxed);
        Self { fresh, class }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        lock(&self.fresh.classes[self.class.index()].bests).count
    }

    /// The latest, where there were others than so many.
    pub fn since(&self, count: u64) -> Option<BestsWindow> {
        let bests = lock(&self.fresh.classes[self.class.index()].bests);
        (bests.count != count).then(|| bests.clone())
    }
}

impl Drop for RecentBestsSubscription {
    fn drop(&mut self) {
        self.fresh.classes[self.class.index()]
            .watches
            .fetch_sub(1, Ordering::Relaxed);
        self.fresh.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effort::{Output, RacerId, Second};

    #[test]
    fn the_latest_are_kept_and_all_are_counted() {
        let output = Output::new(90.0).unwrap();
        let effort = |racer| {
            let (class, racer) = (ClassId::new(1).unwrap(), RacerId(racer));
            Effort {
                class,
                second: Second(1),
                racer,
                output,
                race: None,
                time: 0,
            }
        };
        let mut bests = BestsWindow::default();
        bests.note(&[effort(1), effort(2)]);
        bests.note(&(3..=51).map(effort).collect::<Vec<_>>());
        assert_eq!((bests.count, bests.latest.len()), (51, BESTS_MAX));
        assert_eq!(
            (bests.latest[0].racer, bests.latest[49].racer),
            (RacerId(2), RacerId(51))
        );
        bests.note(&(100..1100).map(effort).collect::<Vec<_>>());
        assert_eq!(
            (bests.count, bests.latest.len(), bests.latest[0].racer),
            (1051, BESTS_MAX, RacerId(1050))
        );
    }
}
