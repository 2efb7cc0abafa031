//! The latest name of every racer.
//!
//! A name is a pair of time and text, and the greater pair wins. So merging names takes a maximum,
//! as merging efforts does. The same name at a later time is not stored again. Its time is kept in
//! memory, so that an older name that arrives late does not win.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_normalizer::properties::CanonicalCombiningClassMapBorrowed;
use parking_lot::RwLock;
use smol_str::SmolStr;

use crate::domain::effort::RacerId;

/// Maximum length of a name, in characters. Longer names are truncated.
pub const NAME_CHARS_MAX: usize = 100;

/// A racer's name and its time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RacerName {
    /// The time of the effort that brought the name, in ms since 1970.
    pub at_ms: u64,
    /// The name, at most [`NAME_CHARS_MAX`] characters. Every record compares it, so a name of up
    /// to 23 bytes, as most are, is stored inline, beside its racer.
    pub text: SmolStr,
}

impl RacerName {
    /// Returns the size of its text on the heap, in bytes. It is 0 for a short text.
    pub fn heap_bytes(&self) -> usize {
        let counts = 2 * size_of::<usize>(); // the reference counts of a shared text
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
    names: DashMap<RacerId, KnownName, foldhash::fast::RandomState>,
    /// Every name, folded, for the search by prefix. It is changed only while the entry of the
    /// racer in `names` is locked.
    index: RwLock<BTreeSet<(Box<str>, RacerId)>>,
    version: AtomicU64,
    /// Size of all texts, here and in the index, in bytes.
    text_bytes: AtomicUsize,
}

#[derive(Debug)]
struct KnownName {
    name: RacerName,
    /// The latest time at which this name arrived, in ms since 1970.
    seen_ms: AtomicU64,
}

/// Returns the name, truncated to [`NAME_CHARS_MAX`] characters.
pub fn truncate(name: &str) -> &str {
    if name.len() <= NAME_CHARS_MAX {
        return name; // it has no more characters than bytes
    }
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

/// Folds a name for the search, such that a prefix of a name folds to a prefix: without accents
/// (Unicode's canonical decomposition without combining characters), and in lower case.
///
/// It converts to upper case first: there `ß` is `SS`, and both small sigmas are the same.
fn fold(name: &str) -> Box<str> {
    let combining_class = CanonicalCombiningClassMapBorrowed::new();
    DecomposingNormalizerBorrowed::new_nfd()
        .normalize_iter(name.chars())
        .filter(|&char| combining_class.get_u8(char) == 0)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect::<String>()
        .into_boxed_str()
}

impl RacerNames {
    /// Retains the names that are newer than the known ones, since these must be committed. Records
    /// the times of the others.
    pub fn retain_newer(&self, names: &mut Vec<(RacerId, RacerName)>) {
        names.retain(|(racer, name)| self.observe(*racer, name));
        names.shrink_to_fit();
    }

    /// Returns whether the name is newer: it differs from the known name, and is later than the
    /// known name was last seen. If the name is equal to the known one, records the time.
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

    /// Merges a name: the greater one wins. Returns whether anything changed.
    pub fn merge(&self, racer: RacerId, name: &RacerName) -> bool {
        let mut changed = false;
        let new_entry = || KnownName {
            name: name.clone(),
            seen_ms: AtomicU64::new(name.at_ms),
        };
        // The entry stays locked until the version is raised. So a reader of the new name reads the
        // new version, too.
        let _locked = self
            .names
            .entry(racer)
            .and_modify(|known| {
                let seen_ms = known.seen_ms.load(Ordering::Relaxed);
                if known.name < *name && seen_ms > name.at_ms && known.name.text != name.text {
                    // The known name was seen after the new one. It was not stored again then, but
                    // it is the latest.
                    known.name.at_ms = seen_ms;
                    changed = true;
                } else if known.name < *name {
                    self.reindex(racer, Some(&known.name), Some(name));
                    *known = new_entry();
                    changed = true;
                }
            })
            .or_insert_with(|| {
                self.reindex(racer, None, Some(name));
                changed = true;
                new_entry()
            });
        if changed {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        changed
    }

    /// Erases the racer's name if its time is not after `until_ms`. Returns whether it was erased.
    pub fn erase(&self, racer: RacerId, until_ms: u64) -> bool {
        let is_erased = |_: &RacerId, known: &KnownName| {
            let is_erased = known.name.at_ms <= until_ms;
            if is_erased {
                self.reindex(racer, Some(&known.name), None);
            }
            is_erased
        };
        let erased = self.names.remove_if(&racer, is_erased).is_some();
        if erased {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        erased
    }

    /// Returns the racer's name.
    pub fn get(&self, racer: RacerId) -> Option<SmolStr> {
        self.names.get(&racer).map(|known| known.name.text.clone())
    }

    /// Returns the first `racers_max` racers whose name begins with `prefix`, in any case and with any
    /// accents. They are ordered by name, then by id.
    pub fn find_by_prefix(&self, prefix: &str, racers_max: usize) -> Vec<(RacerId, SmolStr)> {
        let folded = fold(prefix);
        if folded.is_empty() && !prefix.is_empty() {
            return Vec::new(); // accents alone
        }
        let prefix = folded;
        let index = self.index.read();
        let from = (
            Bound::Included((prefix.clone(), RacerId(0))),
            Bound::Unbounded,
        );
        let matches = index
            .range(from)
            .take_while(|(name, _)| name.starts_with(&*prefix))
            .take(racers_max);
        let racers: Vec<RacerId> = matches.map(|&(_, racer)| racer).collect();
        drop(index); // `get` locks an entry, and writers lock an entry before the index
        racers
            .into_iter()
            .filter_map(|racer| Some((racer, self.get(racer)?)))
            .collect()
    }

    fn reindex(&self, racer: RacerId, old: Option<&RacerName>, new: Option<&RacerName>) {
        let in_index = |name: &RacerName| (fold(&name.text), racer);
        let text_bytes =
            |(text, _): &(Box<str>, RacerId), name: &RacerName| text.len() + name.heap_bytes();
        let mut index = self.index.write();
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

    /// Returns every name, by ascending racer id.
    pub fn all(&self) -> Vec<(RacerId, RacerName)> {
        let mut all: Vec<_> = self
            .names
            .iter()
            .map(|known| (*known.key(), known.name.clone()))
            .collect();
        all.sort_unstable_by_key(|&(racer, _)| racer);
        all
    }

    /// Returns the memory of the names, in bytes: texts, entries and index, without the overhead of
    /// allocators and trees.
    pub fn bytes(&self) -> usize {
        let entry = size_of::<(RacerId, KnownName)>() + size_of::<(Box<str>, RacerId)>();
        self.names.len() * entry + self.text_bytes.load(Ordering::Relaxed)
    }

    /// Returns the number of changes so far. Every change counted in it is contained in every later
    /// [`all`](Self::all).
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
