//! Reading segments: those that a poll listed and that are not merged yet.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::domain::effort::Bounds;
use crate::ledger::Inner;
use crate::ledger::journal_index::ListingNumber;
use crate::ledger::merge::without_erased;
use crate::ledger::replication::report_failure;
use crate::ledger::snapshot::{class_beyond_options, second_beyond_options};
use crate::ledger::unreadable::{ApplyError, UnreadableCause, UnreadableObject};
use crate::ledger::writer_message::WriterSender;
use crate::observability;
use crate::storage::codec::journal_segment::{self, SegmentContents, SegmentError};
use crate::storage::{ObjectKey, SegmentId};

/// Maximum number of concurrent segment reads.
pub(in crate::ledger) const SEGMENT_READS_MAX: usize = 8;

/// The result of reading a listed segment.
pub(in crate::ledger) enum FetchedSegment {
    Found(SegmentContents),
    /// The segment is not there. Normally it was deleted, because snapshots cover it.
    NotFound,
}

impl Inner {
    /// Reads due segments. Never returns. A slow one delays no other.
    pub(super) async fn run_segment_reads(&self, writer: &WriterSender) {
        let mut reads = FuturesUnordered::new();
        loop {
            while reads.len() < SEGMENT_READS_MAX
                && let Some((id, listing)) = { self.unread.lock().begin_read() }
            {
                reads.push(self.replicate_segment(id, listing, writer));
            }
            tokio::select! {
                biased;
                Some(()) = reads.next() => {
                    if self.tried_segments().is_some() {
                        self.polled.catch_up.notify_one();
                    }
                }
                () = self.polled.segments.notified() => {}
            }
        }
    }

    async fn replicate_segment(
        &self,
        id: SegmentId,
        listing: ListingNumber,
        writer: &WriterSender,
    ) {
        let key = ObjectKey::Segment(id);
        let outcome = match self.read_segment(id).await {
            Ok(FetchedSegment::Found(contents)) => {
                self.apply_segment(id, contents, Some((listing, writer)))
                    .await
            }
            Ok(FetchedSegment::NotFound) => return self.pass_over(id),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(is_indexed) => {
                self.note_readable(&key);
                let mut unread = self.unread.lock();
                if is_indexed {
                    unread.note_merged(id);
                } else {
                    unread.retry(id, false);
                }
            }
            Err(ApplyError::Store(error)) => {
                report_failure(&error);
                self.unread.lock().retry(id, true);
            }
            Err(ApplyError::Unreadable(object)) => {
                // Only while it is listed: a deleted segment must raise no alarm.
                if self.unread.lock().back_off(id, false) > 0 {
                    self.note_unreadable(object);
                }
            }
        }
    }

    /// Skips a listed segment that is not found, and requests a reload of changed snapshots: they
    /// normally cover it. If it stays listed, logs it, and reads it less and less often.
    fn pass_over(&self, id: SegmentId) {
        self.erasure_state.request_snapshot_reload();
        self.note_readable(&ObjectKey::Segment(id));
        let failures = self.unread.lock().back_off(id, true);
        if failures > 1 {
            metrics::counter!(observability::SEGMENTS_PASSED_OVER_TOTAL).increment(1);
            tracing::warn!(key = %ObjectKey::Segment(id), "a listed segment does not exist; it is passed over");
        }
    }

    /// Merges a segment and indexes it. First ensures that the erasures that it requires are
    /// applied; fails if they are not known. `replicated` has the first listing that showed the
    /// segment and the sender to the commit loop; `None` during recovery. Returns false if erasures
    /// changed meanwhile: then the segment must be merged again.
    pub(in crate::ledger) async fn apply_segment(
        &self,
        id: SegmentId,
        contents: SegmentContents,
        replicated: Option<(ListingNumber, &WriterSender)>,
    ) -> Result<bool, ApplyError> {
        let (listing, writer) = replicated.unzip();
        let key = ObjectKey::Segment(id);
        self.require_erasure_version(&key, contents.erasure_version, writer)
            .await?;
        let erasures = self.erasures();
        let erasure_version = erasures.version();
        let contents = match erasure_version {
            0 => contents,
            // An instance writes nothing that an erasure covers, if it knows the erasure. If the store
            // has lost erasures, the required version does not tell which ones the writer knew.
            _ => SegmentContents {
                erasure_version: contents.erasure_version,
                ..without_erased(&contents, &erasures, 0)
            },
        };
        let parts = self.apply_contents([contents], writer).await;
        Ok(self.index_segment(id, parts, erasure_version, listing))
    }

    /// Reads and decodes a segment, and checks its classes and seconds against the options.
    pub(in crate::ledger) async fn read_segment(
        &self,
        id: SegmentId,
    ) -> Result<FetchedSegment, ApplyError> {
        let key = ObjectKey::Segment(id);
        let Some(object) = self.store.get(&key).await? else {
            return Ok(FetchedSegment::NotFound);
        };
        let bounds = self.options.bounds;
        let contents = self
            .offload(move || decode_segment(&object.body, &bounds))
            .await;
        let contents = contents.map_err(|cause| UnreadableObject { key, cause })?;
        Ok(FetchedSegment::Found(contents))
    }
}

/// Returns the contents of a segment, or why it cannot be used.
pub(in crate::ledger) fn decode_segment(
    object: &[u8],
    bounds: &Bounds,
) -> Result<SegmentContents, UnreadableCause> {
    let contents = journal_segment::read(object).map_err(|error| match error {
        SegmentError::Newer(_) => UnreadableCause::Newer(error.to_string()),
        error => UnreadableCause::Damaged(error.to_string()),
    })?;
    let of_efforts = contents.efforts.iter().map(|it| (it.class, it.second));
    let of_rows = contents.race_rows.iter().map(|it| (it.class, it.second));
    let places = || of_efforts.clone().chain(of_rows.clone());
    // The greatest class and second, so that the advice holds for the whole segment.
    let of_floors = contents.race_floors.iter().map(|&(class, _)| class);
    let greatest_class = places().map(|(class, _)| class).chain(of_floors).max();
    if let Some(class) = greatest_class.filter(|class| class.get() > bounds.classes) {
        let problem = class_beyond_options(class, bounds.classes);
        return Err(UnreadableCause::BeyondOptions(problem));
    }
    let latest = places().max_by_key(|&(_, second)| second);
    if let Some((class, second)) = latest.filter(|(_, second)| second.0 > bounds.second_max) {
        let problem = second_beyond_options(class, second, bounds.second_max);
        return Err(UnreadableCause::BeyondOptions(problem));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effort::Effort;

    fn effort(class: u16, second: u32) -> Effort {
        Effort::of(class, second, 1, 1.0)
    }

    #[test]
    fn segment_beyond_the_options_names_the_values_to_start_with() {
        let bounds = Bounds {
            classes: 2,
            second_max: 9,
        };
        for (efforts, advice) in [
            (
                [effort(3, 1), effort(7, 20), effort(1, 1)],
                "class 7, but --classes is 2: start with --classes 7 or more",
            ),
            (
                [effort(1, 10), effort(2, 20), effort(1, 1)],
                "second 20 of class 2, but --max-second is 9: start with --max-second 20 or more",
            ),
        ] {
            let contents = SegmentContents {
                efforts: efforts.into(),
                ..SegmentContents::default()
            };
            let chunks = journal_segment::split(contents).into_iter().flatten();
            let segment: Vec<u8> = chunks.flat_map(|chunk| chunk.encode()).collect();
            match decode_segment(&segment, &bounds) {
                Err(UnreadableCause::BeyondOptions(problem)) => {
                    assert!(problem.contains(advice), "{problem}");
                }
                other => panic!("not beyond the options: {other:?}"),
            }
        }
    }
}
