//! The racers' names: for every racer the latest.
//!
//! A name is a pair of its time and its text, and the greater pair wins, so merging names is a maximum like all else.
//! The same name at a later time is no news: it is remembered while the process lives, so that a name that arrives late
//! does not win, but not stored.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use dashmap::DashMap;
use smol_str::SmolStr;

use crate::domain::effort::RacerId;

/// The greatest length of a name, in characters; what is longer is cut.
pub const NAME_CHARS_MAX: usize = 100;

/// A racer's name from a certain time on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RacerName {
    /// When it was given, in milliseconds since 1970.
    pub at_ms: u64,
    /// The name, at most [`NAME_CHARS_MAX`] characters. Those of up to 23 bytes, which most are, lie beside their racer
    /// in memory, where each record compares them.
    pub text: SmolStr,
}

impl RacerName {
    /// What its text takes up beside it, in bytes; a short one nothing.
    pub fn bytes_outside(&self) -> usize {
        let counts = 2 * size_of::<usize>(); // a shared text's
        if self.text.is_heap_allocated() {
            self.text.len() + counts
        } else {
            0
        }
    }
}

/// The names of all racers.
#[derive(Debug, Default)]
pub struct RacerNames {
    names: DashMap<RacerId, Known, foldhash::fast::RandomState>,
    /// Every name as it is searched for. Changed only while the name's own entry is held.
    index: RwLock<BTreeSet<(Box<str>, RacerId)>>,
    version: AtomicU64,
    /// The length of all texts together.
    text_bytes: AtomicUsize,
}

#[derive(Debug)]
struct Known {
    name: RacerName,
    seen_ms: AtomicU64,
}

/// The name, cut to [`NAME_CHARS_MAX`] characters.
pub fn cut(name: &str) -> &str {
    if name.len() <= NAME_CHARS_MAX {
        return name; // no more characters than bytes
    }
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

/// The name without its case, character by character, so that what it begins with is folded alike. By way of the upper
/// case, in which `ß` is `SS` and both small sigmas are one.
fn folded(name: &str) -> Box<str> {
    name.chars()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect::<String>()
        .into_boxed_str()
}

impl RacerNames {
    /// Keeps only names that are newer than the known ones, and so must be committed. Records the times of the others.
    pub fn retain_newer(&self, names: &mut Vec<(RacerId, RacerName)>) {
        names.retain(|(racer, name)| self.observe(*racer, name));
        names.shrink_to_fit();
    }

    /// Returns whether the name differs from the known one and is later than it was last seen. The known name's time
    /// of last sight is raised.
    pub fn observe(&self, racer: RacerId, name: &RacerName) -> bool {
        let Some(known) = self.names.get(&racer) else {
            return true;
        };
        if known.name.text == name.text {
            known.seen_ms.fetch_max(name.at_ms, Ordering::Relaxed);
            return false;
        }
        let seen_ms = known.seen_ms.load(Ordering::Relaxed);
        (seen_ms, &known.name.text) < (name.at_ms, &name.text)
    }

    /// Takes in a name unless a greater one is known. Returns whether it changed anything.
    pub fn merge(&self, racer: RacerId, name: &RacerName) -> bool {
        let mut changed = false;
        let fresh = || Known {
            name: name.clone(),
            seen_ms: AtomicU64::new(name.at_ms),
        };
        self.names
            .entry(racer)
            .and_modify(|known| {
                let seen_ms = known.seen_ms.load(Ordering::Relaxed);
                if known.name < *name && seen_ms > name.at_ms && known.name.text != name.text {
                    // It was seen since, and that was no news then: it is the latest all the same.
                    known.name.at_ms = seen_ms;
                    changed = true;
                } else if known.name < *name {
                    self.reindex(racer, Some(&known.name), Some(name));
                    *known = fresh();
                    changed = true;
                }
            })
            .or_insert_with(|| {
                self.reindex(racer, None, Some(name));
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
        let goes = |_: &RacerId, known: &Known| {
            let goes = known.name.at_ms <= until_ms;
            if goes {
                self.reindex(racer, Some(&known.name), None);
            }
            goes
        };
        let erased = self.names.remove_if(&racer, goes).is_some();
        if erased {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        erased
    }

    /// The racer's name.
    pub fn get(&self, racer: RacerId) -> Option<SmolStr> {
        self.names.get(&racer).map(|known| known.name.text.clone())
    }

    /// The first `racers_max` racers whose name begins with that, whatever the case; by name, then by id.
    pub fn find_by_prefix(&self, beginning: &str, racers_max: usize) -> Vec<(RacerId, SmolStr)> {
        let beginning = folded(beginning);
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let from = (
            Bound::Included((beginning.clone(), RacerId(0))),
            Bound::Unbounded,
        );
        let found = index
            .range(from)
            .take_while(|(name, _)| name.starts_with(&*beginning))
            .take(racers_max);
        let racers: Vec<RacerId> = found.map(|&(_, racer)| racer).collect();
        drop(index); // an entry is never waited for with the index held
        racers
            .into_iter()
            .filter_map(|racer| Some((racer, self.get(racer)?)))
            .collect()
    }

    fn reindex(&self, racer: RacerId, old: Option<&RacerName>, new: Option<&RacerName>) {
        let in_index = |name: &RacerName| (folded(&name.text), racer);
        let text_bytes =
            |(text, _): &(Box<str>, RacerId), name: &RacerName| text.len() + name.bytes_outside();
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = old {
            let entry = in_index(old);
            self.text_bytes
                .fetch_sub(text_bytes(&entry, old), Ordering::Relaxed);
            index.remove(&entry);
        }
        if let Some(new) = new {
            let entry = in_index(new);
            self.text_bytes
                .fetch_add(text_bytes(&entry, new), Ordering::Relaxed);
            index.insert(entry);
        }
    }

    /// Every name, by racer id ascending.
    pub fn all(&self) -> Vec<(RacerId, RacerName)> {
        let mut all: Vec<_> = self
            .names
            .iter()
            .map(|known| (*known.key(), known.name.clone()))
            .collect();
        all.sort_unstable_by_key(|&(racer, _)| racer);
        all
    }

    /// What the names take up, in bytes: texts, entries and index, without what allocators and trees add.
    pub fn bytes(&self) -> usize {
        let entry = size_of::<(RacerId, Known)>() + size_of::<(Box<str>, RacerId)>();
        self.names.len() * entry + self.text_bytes.load(Ordering::Relaxed)
    }

    /// Counts the changes: what was merged before the version was read is in every later [`all`](Self::all).
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_newer(names: &RacerNames, at_ms: u64, text: &str) -> bool {
        let text = text.into();
        names.observe(RacerId(1), &RacerName { at_ms, text })
    }

    fn given(names: &RacerNames, racer: u64, at_ms: u64, text: &str) {
        names.merge(
            RacerId(racer),
            &RacerName {
                at_ms,
                text: text.into(),
            },
        );
    }

    fn found(names: &RacerNames, beginning: &str, racers_max: usize) -> Vec<u64> {
        names
            .find_by_prefix(beginning, racers_max)
            .into_iter()
            .map(|(racer, _)| racer.0)
            .collect()
    }

    #[test]
    fn what_names_take_up_is_given_back_whatever_their_length() {
        let names = RacerNames::default();
        given(&names, 1, 1, "short");
        let short = names.bytes();
        given(&names, 1, 2, &"ß".repeat(NAME_CHARS_MAX)); // a text of its own, and another length in the index
        assert!(names.bytes() > short + 2 * NAME_CHARS_MAX);
        given(&names, 1, 3, "again");
        assert_eq!(names.bytes(), short);
        names.erase(RacerId(1), 3);
        assert_eq!(names.bytes(), 0);
    }

    #[test]
    fn a_name_is_news_when_it_differs_anywhere_and_is_later_than_the_known_was_seen() {
        for (known, other) in [
            ("Hubert", "Huber"),
            ("Hubert", "Hubert\0"),
            ("sixteen bytes it", "sixteen bytes is"),
            ("sixteen bytes it", "sixteen bytes it is"),
            ("as long as it and more", "as long as it and less"),
            ("", "\0"),
        ] {
            let names = RacerNames::default();
            assert!(is_newer(&names, 0, known));
            given(&names, 1, 5, known);
            assert!(!is_newer(&names, 9, known), "{known:?}: it is known");
            assert!(
                !is_newer(&names, 8, known) && !is_newer(&names, 8, other),
                "{other:?}"
            );
            assert!(is_newer(&names, 10, other), "{other:?} after {known:?}");
        }
    }

    #[test]
    fn a_racer_is_found_by_the_beginning_of_the_latest_name() {
        let names = RacerNames::default();
        given(&names, 1, 1, "Hubert");
        given(&names, 2, 1, "hub");
        given(&names, 3, 1, "HUBA");
        given(&names, 4, 1, "Zoë");
        assert_eq!(found(&names, "hUb", 9), [2, 3, 1]);
        assert_eq!(found(&names, "hub", 2), [2, 3]);
        assert_eq!(found(&names, "ZOË", 9), [4]);
        assert_eq!(found(&names, "", 9), [2, 3, 1, 4]);
        given(&names, 1, 2, "Zorro");
        given(&names, 2, 0, "Older");
        assert_eq!(
            (found(&names, "hub", 9), found(&names, "zo", 9)),
            (vec![2, 3], vec![1, 4])
        );
        assert!(names.erase(RacerId(2), 1) && !names.erase(RacerId(1), 1));
        assert_eq!(
            (found(&names, "hub", 9), found(&names, "o", 9)),
            (vec![3], vec![])
        );
    }
}
