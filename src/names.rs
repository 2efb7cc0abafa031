//! The racers' names: for every racer the latest.
//!
//! A name is a pair of its time and its text, and the greater pair wins, so merging names is a maximum like all else.
//! The same name at a later time is no news: it is remembered while the process lives, so that a name that arrives late
//! does not win, but not stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

use crate::effort::RacerId;

/// The greatest length of a name, in characters; what is longer is cut.
pub const NAME_CHARS_MAX: usize = 100;

/// A racer's name from a certain time on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// When it was given, in milliseconds since 1970.
    pub at_ms: u64,
    /// The name, at most [`NAME_CHARS_MAX`] characters.
    pub text: Arc<str>,
}

/// The names of all racers.
#[derive(Debug, Default)]
pub struct Names {
    names: DashMap<RacerId, Known, foldhash::fast::RandomState>,
    version: AtomicU64,
}

#[derive(Debug)]
struct Known {
    name: Name,
    seen_ms: AtomicU64,
}

/// The name, cut to [`NAME_CHARS_MAX`] characters.
pub fn cut(name: &str) -> &str {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

impl Names {
    /// Whether a name that was ridden under at that time is another than the latest known.
    pub fn is_news(&self, racer: RacerId, at_ms: u64, text: &str) -> bool {
        let Some(known) = self.names.get(&racer) else { return true };
        if &*known.name.text == text {
            known.seen_ms.fetch_max(at_ms, Ordering::Relaxed);
            return false;
        }
        (known.seen_ms.load(Ordering::Relaxed), &*known.name.text) < (at_ms, text)
    }

    /// Takes in a name unless a greater one is known. Returns whether it changed anything.
    pub fn merge(&self, racer: RacerId, name: &Name) -> bool {
        let mut changed = false;
        let fresh = || Known { name: name.clone(), seen_ms: AtomicU64::new(name.at_ms) };
        self.names
            .entry(racer)
            .and_modify(|known| {
                if known.name < *name {
                    *known = fresh();
                    changed = true;
                }
            })
            .or_insert_with(|| {
                changed = true;
                fresh()
            });
        if changed {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        changed
    }

    /// Forgets the racer's name if it is not after that time.
    pub fn erase(&self, racer: RacerId, until_ms: u64) -> bool {
        let erased = self.names.remove_if(&racer, |_, known| known.name.at_ms <= until_ms).is_some();
        if erased {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        erased
    }

    /// The racer's name.
    pub fn get(&self, racer: RacerId) -> Option<Arc<str>> {
        self.names.get(&racer).map(|known| known.name.text.clone())
    }

    /// Every name, by racer id ascending.
    pub fn all(&self) -> Vec<(RacerId, Name)> {
        let mut all: Vec<_> = self.names.iter().map(|known| (*known.key(), known.name.clone())).collect();
        all.sort_unstable_by_key(|&(racer, _)| racer);
        all
    }

    /// Counts the changes: what was merged before the version was read is in every later [`all`](Self::all).
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}
