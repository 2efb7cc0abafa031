//! Objects in the journal whose names are no segment's.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::observability;

/// Number of names that are remembered, so that each is reported once.
const NAMES_MAX: usize = 1000;

/// The names that listings passed over.
#[derive(Debug, Default)]
pub(super) struct StrayNames(Mutex<BTreeSet<String>>);

impl StrayNames {
    /// Counts a stray name, and names it in the log the first time.
    pub(super) fn note(&self, name: &str) {
        let mut names = self.0.lock();
        if names.len() < NAMES_MAX && names.insert(name.to_owned()) {
            metrics::counter!(observability::STRAY_NAMES_TOTAL).increment(1);
            tracing::warn!(
                name,
                "not the name of a segment; it is passed over. If it was a segment, give it back its name; if not, move it away"
            );
        }
    }
}
