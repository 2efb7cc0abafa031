//! The listed segments that are not merged yet, and when each is read next.

use std::collections::BTreeMap;

use crate::ledger::journal_index::ListingNumber;
use crate::storage::SegmentId;

/// The segments to read.
#[derive(Debug, Default)]
pub(in crate::ledger) struct UnreadSegments(BTreeMap<SegmentId, UnreadSegment>);

#[derive(Debug)]
struct UnreadSegment {
    /// The first listing that showed it.
    listing: ListingNumber,
    state: ReadState,
    /// Number of reads that found nothing, or something that cannot be read.
    failures: u32,
    /// Whether the last read found nothing.
    is_gone: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum ReadState {
    Due,
    UnderWay,
    /// The next read comes after this many more listings.
    Waits(u32),
}

/// Maximum number of listings between two reads of a segment that stays unreadable: about a minute
/// at the default sync interval.
const LISTINGS_BETWEEN_READS_MAX: u32 = 32;

impl UnreadSegments {
    /// Notes a listing. Returns the segments that are listed no more, and of which this shows that
    /// they are gone.
    pub(super) fn note_listed(
        &mut self,
        listed: impl Iterator<Item = SegmentId>,
        number: ListingNumber,
        must_merge: impl Fn(SegmentId) -> bool,
    ) -> Vec<SegmentId> {
        let mut before = std::mem::take(&mut self.0);
        for id in listed {
            let known = before.remove(&id);
            let Some(mut segment) = known.or_else(|| {
                must_merge(id).then_some(UnreadSegment {
                    listing: number,
                    state: ReadState::Due,
                    failures: 0,
                    is_gone: false,
                })
            }) else {
                continue;
            };
            segment.state = match segment.state {
                ReadState::Waits(0 | 1) => ReadState::Due,
                ReadState::Waits(listings) => ReadState::Waits(listings - 1),
                state => state,
            };
            self.0.insert(id, segment);
        }
        before.retain(|_, segment| !segment.is_gone);
        before.into_keys().collect()
    }

    /// Returns a segment that is due, and the first listing that showed it.
    pub(super) fn begin_read(&mut self) -> Option<(SegmentId, ListingNumber)> {
        let due = self.0.iter_mut().find(|(_, it)| it.state == ReadState::Due);
        due.map(|(&id, segment)| {
            segment.state = ReadState::UnderWay;
            (id, segment.listing)
        })
    }

    pub(super) fn note_merged(&mut self, id: SegmentId) {
        self.0.remove(&id);
    }

    /// Makes the next listing read the segment again.
    pub(super) fn retry(&mut self, id: SegmentId) {
        if let Some(segment) = self.0.get_mut(&id) {
            segment.state = ReadState::Waits(1);
        }
    }

    /// Makes a later listing read the segment again, ever later. Returns how often that happened; 0
    /// if the segment is listed no more.
    pub(super) fn back_off(&mut self, id: SegmentId, is_gone: bool) -> u32 {
        let Some(segment) = self.0.get_mut(&id) else {
            return 0;
        };
        let listings = 2u32.saturating_pow(segment.failures);
        segment.failures += 1;
        segment.is_gone = is_gone;
        segment.state = ReadState::Waits(listings.min(LISTINGS_BETWEEN_READS_MAX));
        segment.failures
    }
}
