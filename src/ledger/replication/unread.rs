//! The listed segments that are not merged yet, and when each is read next.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ledger::journal_index::ListingNumber;
use crate::ledger::replication::SEGMENT_READS_MAX;
use crate::storage::SegmentId;

/// The segments to read.
#[derive(Debug, Default)]
pub(in crate::ledger) struct UnreadSegments(BTreeMap<SegmentId, UnreadSegment>);

#[derive(Debug)]
struct UnreadSegment {
    /// The first listing that showed it.
    listing: ListingNumber,
    /// Uptime of that listing.
    listed_at: Duration,
    state: ReadState,
    /// Number of reads that found nothing, or something that cannot be read.
    failures: u32,
    /// Whether the last read found nothing.
    was_not_found: bool,
    /// Whether a read has failed in any way.
    has_failed: bool,
    /// Whether a read has ended.
    was_tried: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum ReadState {
    Due,
    Reading,
    /// The next read comes after this many more listings.
    Waiting(u32),
}

/// Maximum number of listings between two reads of a segment that stays unreadable: about a minute
/// at the default sync interval.
const LISTINGS_BETWEEN_READS_MAX: u32 = 32;

/// Maximum number of concurrent reads of segments whose reads failed before. They may take as long
/// as the store's timeout, so half of the reads stay free for other segments.
const REPEATED_READS_MAX: usize = SEGMENT_READS_MAX / 2;

impl UnreadSegments {
    /// Notes a listing. Returns the segments that are no longer listed, except those whose last read
    /// found nothing already.
    pub(super) fn note_listed(
        &mut self,
        listed: impl Iterator<Item = SegmentId>,
        number: ListingNumber,
        now: Duration,
        must_merge: impl Fn(SegmentId) -> bool,
    ) -> Vec<SegmentId> {
        let mut before = std::mem::take(&mut self.0);
        for id in listed {
            let known = before.remove(&id);
            let Some(mut segment) = known.or_else(|| {
                must_merge(id).then_some(UnreadSegment {
                    listing: number,
                    listed_at: now,
                    state: ReadState::Due,
                    failures: 0,
                    was_not_found: false,
                    has_failed: false,
                    was_tried: false,
                })
            }) else {
                continue;
            };
            segment.state = match segment.state {
                ReadState::Waiting(0 | 1) => ReadState::Due,
                ReadState::Waiting(listings) => ReadState::Waiting(listings - 1),
                state => state,
            };
            self.0.insert(id, segment);
        }
        before.retain(|_, segment| !segment.was_not_found);
        before.into_keys().collect()
    }

    /// Notes a segment that was damaged at the start. Only the polls tell whether it is still there.
    pub(in crate::ledger) fn note_damaged(&mut self, id: SegmentId, now: Duration) {
        let segment = UnreadSegment {
            listing: 0,
            listed_at: now,
            state: ReadState::Waiting(1),
            failures: 1,
            was_not_found: false,
            has_failed: true,
            was_tried: true,
        };
        self.0.insert(id, segment);
    }

    /// Returns a segment that is due, and the first listing that showed it. Segments whose reads
    /// failed come last.
    pub(super) fn begin_read(&mut self) -> Option<(SegmentId, ListingNumber)> {
        let repeated = self.0.values();
        let repeated = repeated.filter(|it| it.has_failed && it.state == ReadState::Reading);
        let may_repeat = repeated.count() < REPEATED_READS_MAX;
        let due = self
            .0
            .iter_mut()
            .filter(|(_, it)| it.state == ReadState::Due && (may_repeat || !it.has_failed));
        let due = due.min_by_key(|(_, it)| it.has_failed);
        due.map(|(&id, segment)| {
            segment.state = ReadState::Reading;
            (id, segment.listing)
        })
    }

    /// Returns whether a segment that this or an earlier listing showed first has had no read that
    /// ended.
    pub(super) fn has_untried(&self, number: ListingNumber) -> bool {
        let mut segments = self.0.values();
        segments.any(|it| !it.was_tried && it.listing <= number)
    }

    /// Returns the number of segments, and when the oldest was listed first. Leaves out those whose
    /// last read found nothing: normally a snapshot covers them.
    pub(in crate::ledger) fn count_and_oldest(&self) -> (usize, Option<Duration>) {
        let found = || self.0.values().filter(|it| !it.was_not_found);
        (found().count(), found().map(|it| it.listed_at).min())
    }

    pub(super) fn note_merged(&mut self, id: SegmentId) {
        self.0.remove(&id);
    }

    /// Makes the next listing read the segment again. `has_failed` says that the store failed.
    pub(super) fn retry(&mut self, id: SegmentId, has_failed: bool) {
        if let Some(segment) = self.0.get_mut(&id) {
            segment.has_failed |= has_failed;
            segment.was_tried = true;
            segment.state = ReadState::Waiting(1);
        }
    }

    /// Delays the next read of the segment, each time twice as long. Returns the number of failed
    /// reads; 0 if the segment is no longer listed.
    pub(super) fn back_off(&mut self, id: SegmentId, was_not_found: bool) -> u32 {
        let Some(segment) = self.0.get_mut(&id) else {
            return 0;
        };
        let listings = 2u32.saturating_pow(segment.failures);
        segment.failures += 1;
        segment.was_not_found = was_not_found;
        segment.has_failed = true;
        segment.was_tried = true;
        segment.state = ReadState::Waiting(listings.min(LISTINGS_BETWEEN_READS_MAX));
        segment.failures
    }
}
