//! The commit loop: the one task that orders writes. It compares, writes, merges and responds, in
//! that order.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::mpsc;

use crate::domain::effort::{ClassId, Effort, RacerId};
use crate::domain::rejection::RejectionReason;
use crate::ledger::merge::{MergedParts, keep_best};
use crate::ledger::write_batch::{
    CommitReply, CommitRequest, RemainingEfforts, UnansweredGuard, reject_erased,
};
use crate::ledger::writer_message::WriterMessage;
use crate::ledger::{CommitError, CommitResult, Inner, Quarantined, WriteBatch, YIELD_EFFORTS};
use crate::observability;
use crate::state::table::{Comparison, Newcomers};
use crate::storage::codec::journal_segment::{self, Chunk, SegmentContents};
use crate::storage::codec::quarantine;
use crate::storage::{ObjectKey, StoreError};

/// A commit takes no more deliveries once it has this many efforts, race rows and names: some
/// 100 MB.
const COMMIT_ENTRIES_MAX: usize = 2_000_000;

/// Maximum number of pending race positions that one commit writes: about 0.1 s of encoding. A
/// thousand riders bring a thousand a second.
const COMMIT_POSITIONS_MAX: usize = 1 << 16;

/// Maximum pause before positions are written again after a failure. The pause doubles with each
/// further failure.
const POSITIONS_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Maximum bytes of quarantined records in a commit, which are encoded in one piece in memory. The
/// last delivery may exceed it.
const COMMIT_QUARANTINED_BYTES_MAX: usize = 64 << 20;

/// The content of the next commit.
#[derive(Default)]
pub(super) struct PendingCommit {
    pub(super) contents: SegmentContents,
    quarantined: Vec<Quarantined>,
    quarantined_bytes: usize,
    newcomers: Newcomers,
    pub(super) replies: Vec<PendingReply>,
}

/// A caller that waits for a commit, and the guards that it holds until then.
pub(super) struct PendingReply {
    pub(super) result: CommitResult,
    pub(super) reply: CommitReply,
    /// `None` for efforts that are journaled again after an erasure: nobody delivered them.
    pub(super) _unanswered: Option<UnansweredGuard>,
    pub(super) _guard: Option<Box<dyn Send>>,
}

impl PendingCommit {
    fn is_full(&self) -> bool {
        let contents = &self.contents;
        contents.efforts.len() + contents.race_rows.len() + contents.names.len()
            >= COMMIT_ENTRIES_MAX
            || self.quarantined_bytes >= COMMIT_QUARANTINED_BYTES_MAX
    }
}

impl Inner {
    /// Handles batches and messages until `shutdown`, then commits the queued batches and returns.
    pub(super) async fn run_commit_loop(
        &self,
        mut commits: mpsc::Receiver<CommitRequest>,
        mut messages: mpsc::Receiver<WriterMessage>,
        shutdown: impl Future<Output = ()>,
    ) {
        tokio::pin!(shutdown);
        let mut closing = false;
        let mut pending = PendingCommit::default();
        let mut due = Duration::ZERO;
        let mut positions_pause = self.options.sync_interval;
        let mut positions_due = self.clock.uptime() + positions_pause;
        loop {
            let now = self.clock.uptime();
            let wait = due.saturating_sub(now);
            let positions_wait = positions_due.saturating_sub(now);
            tokio::select! {
                biased;
                () = &mut shutdown, if !closing => {
                    closing = true;
                    self.serving.store(false, Ordering::Release);
                    commits.close();
                }
                () = self.clock.sleep(wait), if !pending.replies.is_empty() => {}
                () = self.clock.sleep(positions_wait) => {}
                request = commits.recv() => match request {
                    Some(request) => self.take_request(&mut pending, request, &mut messages).await,
                    None => break,
                },
                Some(message) = messages.recv() => self.handle_message(message, &mut pending),
            }
            let now = self.clock.uptime();
            let is_due = !pending.replies.is_empty() && (now >= due || pending.is_full());
            let are_positions_due = now >= positions_due;
            if are_positions_due {
                positions_due = now + positions_pause;
                self.raise_race_floors();
            }
            let must_write_positions = are_positions_due && self.has_unwritten_races();
            if !is_due && !must_write_positions {
                continue;
            }
            while !pending.is_full()
                && let Ok(request) = commits.try_recv()
            {
                self.take_request(&mut pending, request, &mut messages)
                    .await;
            }
            due = self.clock.uptime() + self.options.commit_interval;
            let commit = self.commit_pending(std::mem::take(&mut pending));
            let is_written = self
                .run_beside_messages(commit, &mut messages, &mut pending)
                .await;
            positions_pause = if is_written {
                self.options.sync_interval
            } else {
                (positions_pause * 2).min(POSITIONS_PAUSE_MAX)
            };
            positions_due = self.clock.uptime() + positions_pause; // every commit writes them
        }
        self.commit_pending(pending).await;
    }

    /// Adds a batch to the commit, and handles one message, so that neither queue starves the other.
    async fn take_request(
        &self,
        pending: &mut PendingCommit,
        request: CommitRequest,
        messages: &mut mpsc::Receiver<WriterMessage>,
    ) {
        self.add_to_commit(pending, request).await;
        if let Ok(message) = messages.try_recv() {
            self.handle_message(message, pending);
        }
    }

    /// Runs a commit, and handles messages while it waits for the store. Merging is monotone, so
    /// what others made durable may enter the table before this commit does.
    async fn run_beside_messages(
        &self,
        commit: impl Future<Output = bool>,
        messages: &mut mpsc::Receiver<WriterMessage>,
        pending: &mut PendingCommit,
    ) -> bool {
        tokio::pin!(commit);
        loop {
            tokio::select! {
                biased;
                is_written = &mut commit => return is_written,
                Some(message) = messages.recv() => self.handle_message(message, pending),
            }
        }
    }

    /// Compares a batch with the table and adds its improvements to the commit. Responds at once if
    /// nothing must be written.
    async fn add_to_commit(&self, pending: &mut PendingCommit, request: CommitRequest) {
        let CommitRequest {
            batch,
            reply,
            unanswered,
        } = request;
        if reply.is_closed() {
            return; // the request was abandoned; Firehose sends the delivery again
        }
        let WriteBatch {
            efforts,
            names,
            quarantined,
            guard,
            race_positions: _, // `Ledger::commit` merges them
            race_finals,
        } = batch;
        let erasures = self.erasures();
        let RemainingEfforts {
            efforts,
            indices,
            mut rejected,
        } = reject_erased(efforts, &erasures);
        let comparison = self.compare(&efforts, &mut pending.newcomers).await;
        let full_classes: BTreeSet<(RacerId, ClassId)> = comparison
            .class_full
            .iter()
            .map(|&index| (efforts[index].racer, efforts[index].class))
            .collect();
        let finals = race_finals.into_iter().filter(|it| {
            !full_classes.contains(&(it.row.racer, it.row.class))
                && !it.is_erased(&erasures)
                && self.races.must_journal(&it.row)
        });
        let finals_before = pending.contents.race_rows.len();
        pending.contents.race_rows.extend(finals.map(|it| it.row));
        let no_finals = pending.contents.race_rows.len() == finals_before;
        rejected.extend(comparison.class_full.iter().map(|&index| {
            let index_in_batch = indices.get(index).copied().unwrap_or(index);
            (index_in_batch, RejectionReason::ClassFull)
        }));
        rejected.sort_unstable_by_key(|&(index, _)| index);
        let result = CommitResult {
            improvements: comparison.improving.len(),
            rejected,
        };
        let has_full_class = |racer| full_classes.iter().any(|&(other, _)| other == racer);
        let newer_names = names.into_iter().filter(|(racer, name)| {
            !has_full_class(*racer)
                && !erasures.any_covers_name(*racer, name.at_ms)
                && self.names.observe(*racer, name)
        });
        let names_before = pending.contents.names.len();
        pending.contents.names.extend(newer_names);
        let no_names = pending.contents.names.len() == names_before;
        let nothing_new = comparison.improving.is_empty() && no_names && no_finals;
        if nothing_new && quarantined.is_empty() {
            let _ = reply.send(Ok(result)); // the caller may be gone
            return;
        }
        let improving = comparison.improving.iter().map(|&index| efforts[index]);
        pending.contents.efforts.extend(improving);
        pending.quarantined_bytes += quarantined.iter().map(|it| it.raw.len()).sum::<usize>();
        pending.quarantined.extend(quarantined);
        pending.replies.push(PendingReply {
            result,
            reply,
            _unanswered: Some(unanswered),
            _guard: guard,
        });
    }

    /// Compares efforts with the table, slice by slice. No merge can happen in between: only
    /// this task merges.
    async fn compare(&self, efforts: &[Effort], newcomers: &mut Newcomers) -> Comparison {
        let mut comparison = Comparison::default();
        for (slice, efforts) in efforts.chunks(YIELD_EFFORTS).enumerate() {
            if slice > 0 {
                tokio::task::yield_now().await;
            }
            let offset = slice * YIELD_EFFORTS;
            let found = self
                .table
                .compare(efforts, self.options.racers_max, newcomers);
            let improving = found.improving.iter().map(|index| offset + index);
            comparison.improving.extend(improving);
            let class_full = found.class_full.iter().map(|index| offset + index);
            comparison.class_full.extend(class_full);
        }
        comparison
    }

    /// Writes a commit, with the race positions and floors that are not durable yet, and responds.
    /// Returns whether it is durable.
    pub(super) async fn commit_pending(&self, pending: PendingCommit) -> bool {
        let PendingCommit {
            mut contents,
            quarantined,
            replies,
            ..
        } = pending;
        if replies.is_empty() && !self.has_unwritten_races() {
            return true;
        }
        let positions = self.races.pending_rows(COMMIT_POSITIONS_MAX);
        let began = self.clock.uptime();
        contents.race_rows.extend(positions);
        keep_best(&mut contents);
        contents.race_floors = self.shared_race_floors(&contents.race_rows);
        // The contents already exclude everything erased up to this version: ApplyErasures filters
        // the waiting efforts too.
        contents.erasure_version = self.erasures().version();
        let segments = if contents.is_empty() {
            Vec::new()
        } else {
            journal_segment::split(contents)
        };
        let write = async {
            let segments = join_all(
                segments
                    .into_iter()
                    .map(|segment| self.write_segment(segment)),
            );
            let (segments, quarantine) = tokio::join!(segments, self.write_quarantine(quarantined));
            segments
                .into_iter()
                .chain([quarantine])
                .collect::<Result<(), StoreError>>()
        };
        // A panic fails these deliveries and no others. If a segment was written all the same,
        // replication merges it later, as after a put with an unknown outcome.
        let written = AssertUnwindSafe(write).catch_unwind().await;
        let error = written
            .unwrap_or_else(|_| Err(StoreError::new("put", "journal/", "writer panicked")))
            .err();
        metrics::histogram!(observability::COMMIT_DURATION_SECONDS)
            .record(self.clock.uptime().saturating_sub(began).as_secs_f64());
        match &error {
            None => {}
            Some(error) if replies.is_empty() => {
                tracing::warn!(%error, "race positions are not durable yet; trying again");
            }
            Some(error) => {
                tracing::warn!(%error, deliveries = replies.len(), "commit failed; senders retry its deliveries");
            }
        }
        for PendingReply { result, reply, .. } in replies {
            let outcome = match &error {
                None => Ok(result),
                Some(error) => Err(CommitError::Store(error.to_string())),
            };
            let _ = reply.send(outcome); // the caller may be gone
        }
        error.is_none()
    }

    /// Writes a segment and, once it is durable, merges it.
    async fn write_segment(&self, chunks: Vec<Chunk>) -> Result<(), StoreError> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let encoded: Vec<(Bytes, Chunk)> = stream::iter(chunks)
            .map(|chunk| self.offload(move || (chunk.encode(), chunk)))
            .buffered(workers)
            .collect()
            .await;
        let (parts, chunks): (Vec<Bytes>, Vec<Chunk>) = encoded.into_iter().unzip();
        let put = self.put_hedged(ObjectKey::Segment, parts).await?;
        let mut parts = MergedParts::default();
        for chunk in chunks {
            self.merge(&chunk.into_contents(), &mut parts);
        }
        self.index_segment(put.id, parts, self.erasures().version(), None);
        Ok(())
    }

    async fn write_quarantine(&self, quarantined: Vec<Quarantined>) -> Result<(), StoreError> {
        if quarantined.is_empty() {
            return Ok(());
        }
        let object = self.offload(move || quarantine::encode(&quarantined)).await;
        self.put_hedged(ObjectKey::Quarantine, vec![object])
            .await
            .map(drop)
    }
}
