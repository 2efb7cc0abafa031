//! Catching up: an instance may miss others' writes during a long recovery, a suspension or an
//! outage.
//!
//! It is not ready until it has tried once to read all of them, because it would show an old state.
//! One try is enough: a failing store must not make an instance unready that has a good state in
//! memory.

use crate::ledger::Inner;
use crate::ledger::journal_index::ListingNumber;

/// The state of catching up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::ledger) enum MissedWrites {
    /// No poll has succeeded since the start. Recovery listed the journal before it read anything.
    #[default]
    NotListed,
    /// This listing showed them. First its segments are tried, then the snapshots that changed: a
    /// segment that is gone is in one of them.
    Listed(ListingNumber),
    /// Nothing is missed.
    None,
}

impl Inner {
    /// Returns whether this instance has not yet tried to read everything that it missed.
    pub(in crate::ledger) fn is_catching_up(&self) -> bool {
        *self.missed.lock() != MissedWrites::None
    }

    /// Notes a complete listing. `has_missed` says that earlier ones came so late that segments may
    /// have been written and deleted unseen.
    pub(super) fn note_missed(&self, number: ListingNumber, has_missed: bool) {
        let mut missed = self.missed.lock();
        if has_missed || *missed == MissedWrites::NotListed {
            *missed = MissedWrites::Listed(number);
        }
    }

    /// Returns the listing that showed what was missed, if all its segments were tried.
    pub(super) fn tried_segments(&self) -> Option<ListingNumber> {
        let MissedWrites::Listed(number) = *self.missed.lock() else {
            return None;
        };
        (!self.unread.lock().has_untried(number)).then_some(number)
    }

    /// Notes that the snapshots were tried after the segments of this listing.
    pub(super) fn note_caught_up(&self, number: ListingNumber) {
        let mut missed = self.missed.lock();
        if *missed == MissedWrites::Listed(number) {
            *missed = MissedWrites::None;
        }
    }
}
