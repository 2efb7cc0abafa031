//! The writer: compare, write, merge, answer, strictly in turn.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::domain::effort::{Effort, RacerId};
use crate::domain::erasure::{ErasureVersion, Erasures};
use crate::domain::racer_names::RacerName;
use crate::domain::rejection::RejectionReason;
use crate::ledger::journal_index::Segment;
use crate::ledger::{
    CommitError, CommitRequest, CommitResult, EFFORTS_A_TURN, Inner, Waiting, WriteBatch, lock,
};
use crate::state::table::{Comparison, Newcomers, StateVersion};
use crate::storage::codec::journal_segment::{self, Chunk, Contents, Quarantined};
use crate::storage::{ObjectKey, Precondition, SegmentId, StoreError};

/// A put that takes longer is done again under a new key beside it; the first success wins.
const HEDGE_AFTER: Duration = Duration::from_secs(1);

/// How often one segment is tried, hedges included.
const PUT_TRIES_MAX: usize = 3;

/// After this, whatever still waits for the store is given up and answered as failed: well before a delivery's own
/// deadline, so that its sender is told.
const PUT_DEADLINE: Duration = Duration::from_secs(30);

/// Efforts and names that one commit takes at most, some 100 MB; what else waits goes into the next.
const COMMIT_ENTRIES_MAX: usize = 2_000_000;

/// Bytes of quarantined records that one commit takes at most, the last delivery's beyond it: they are encoded in one
/// piece, so this bounds what that takes.
const COMMIT_QUARANTINED_BYTES_MAX: usize = 64 << 20;

/// Efforts that are merged under one hold of a class's lock: about a millisecond.
pub(crate) const MERGE_EFFORTS_MAX: usize = 16 * 1024;

/// Something that is durable already, to be taken in in turn.
#[derive(Debug)]
pub(crate) enum WriterMessage {
    ApplyRemote {
        /// At most [`MERGE_EFFORTS_MAX`] efforts, and names.
        contents: Contents,
        /// The versions afterwards, as a [`Segment`] notes them.
        merged: oneshot::Sender<Merged>,
    },
    ApplyErasures {
        erasures: Erasures,
        /// How many efforts that took away.
        learned: oneshot::Sender<u64>,
    },
    /// To be journaled, whether they beat anything or not.
    Rejournal {
        efforts: Vec<Effort>,
        answer: oneshot::Sender<Result<CommitResult, CommitError>>,
    },
}

/// The versions at which something had been merged.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) classes: HashMap<crate::domain::effort::ClassId, StateVersion>,
    pub(crate) names: Option<StateVersion>,
    /// Whether anything was not there already.
    pub(crate) changed: bool,
}

/// What waits for the next commit.
#[derive(Default)]
struct Pending {
    contents: Contents,
    quarantined: Vec<Quarantined>,
    quarantined_bytes: usize,
    newcomers: Newcomers,
    answers: Vec<Answer>,
}

/// Who waits for a commit, and what is held until it is done.
struct Answer {
    committed: CommitResult,
    answer: oneshot::Sender<Result<CommitResult, CommitError>>,
    /// None for what an erasure left to be journaled again: nobody delivered it.
    _waiting: Option<Waiting>,
    _room: Option<Arc<OwnedSemaphorePermit>>,
}

impl Pending {
    fn is_full(&self) -> bool {
        self.contents.efforts.len() + self.contents.names.len() >= COMMIT_ENTRIES_MAX
            || self.quarantined_bytes >= COMMIT_QUARANTINED_BYTES_MAX
    }
}

impl Inner {
    /// Takes deliveries and what was adopted until `shutdown`, then what still waits, and no more.
    pub(crate) async fn write(
        &self,
        mut queue: mpsc::Receiver<CommitRequest>,
        mut adoptions: mpsc::Receiver<WriterMessage>,
        shutdown: impl Future<Output = ()>,
    ) {
        tokio::pin!(shutdown);
        let mut closing = false;
        let mut pending = Pending::default();
        let mut due = Duration::ZERO;
        loop {
            let wait = due.saturating_sub(self.clock.uptime());
            tokio::select! {
                biased;
                () = &mut shutdown, if !closing => {
                    closing = true;
                    self.serving.store(false, Ordering::Release);
                    queue.close();
                }
                Some(adoption) = adoptions.recv() => self.adopt(adoption, &mut pending),
                () = self.clock.sleep(wait), if !pending.answers.is_empty() => {}
                commit = queue.recv() => match commit {
                    Some(commit) => self.take(&mut pending, commit).await,
                    None => break,
                },
            }
            if pending.answers.is_empty() || (self.clock.uptime() < due && !pending.is_full()) {
                continue;
            }
            while !pending.is_full()
                && let Ok(commit) = queue.try_recv()
            {
                self.take(&mut pending, commit).await;
            }
            due = self.clock.uptime() + self.options.commit_interval;
            self.commit(std::mem::take(&mut pending)).await;
        }
        self.commit(pending).await;
    }

    /// Compares one delivery with the table. What improves nothing is answered at once.
    async fn take(
        &self,
        pending: &mut Pending,
        CommitRequest {
            submission,
            answer,
            waiting,
        }: CommitRequest,
    ) {
        if answer.is_closed() {
            return; // whoever asked has been told to come again
        }
        let WriteBatch {
            efforts,
            names,
            quarantined,
            room,
            ..
        } = submission;
        let erasures = self.erasures();
        let mut refused = Vec::new();
        // What is gone is no effort, and takes nobody's room.
        let mut places = Vec::new();
        let efforts =
            if erasures.version() > 0 && efforts.iter().any(|effort| erasures.cover(effort, 0)) {
                let (gone, left): (Vec<_>, Vec<_>) = efforts
                    .into_iter()
                    .enumerate()
                    .partition(|(_, effort)| erasures.cover(effort, 0));
                metrics::counter!("alleycat_efforts_erased_total").increment(gone.len() as u64);
                refused.extend(
                    gone.iter()
                        .filter(|(_, it)| it.time == 0)
                        .map(|&(place, _)| (place, RejectionReason::Erased)),
                );
                let left: (Vec<_>, Vec<_>) = left.into_iter().unzip();
                places = left.0;
                left.1
            } else {
                efforts
            };
        let mut comparison = Comparison::default();
        for (turn, some) in efforts.chunks(EFFORTS_A_TURN).enumerate() {
            if turn > 0 {
                tokio::task::yield_now().await; // nobody else merges meanwhile
            }
            let found = self
                .table
                .compare(some, self.options.racers_max, &mut pending.newcomers);
            comparison.improving.extend(
                found
                    .improving
                    .iter()
                    .map(|place| turn * EFFORTS_A_TURN + place),
            );
            comparison.class_full.extend(
                found
                    .class_full
                    .iter()
                    .map(|place| turn * EFFORTS_A_TURN + place),
            );
        }
        let class_full: BTreeSet<RacerId> = comparison
            .class_full
            .iter()
            .map(|&place| efforts[place].racer)
            .collect();
        let place_of = |place: usize| places.get(place).copied().unwrap_or(place);
        refused.extend(
            comparison
                .class_full
                .iter()
                .map(|&place| (place_of(place), RejectionReason::ClassFull)),
        );
        refused.sort_unstable_by_key(|&(place, _)| place);
        let committed = CommitResult {
            improvements: comparison.improving.len(),
            refused,
        };
        let news = names.into_iter().filter(|(racer, name)| {
            !class_full.contains(racer)
                && !erasures.cover_name(*racer, name.at_ms)
                && self.names.observe(*racer, name)
        });
        let names_before = pending.contents.names.len();
        pending.contents.names.extend(news);
        let no_names = pending.contents.names.len() == names_before;
        if comparison.improving.is_empty() && no_names && quarantined.is_empty() {
            let _ = answer.send(Ok(committed)); // whoever asked may be gone
            return;
        }
        pending
            .contents
            .efforts
            .extend(comparison.improving.iter().map(|&place| efforts[place]));
        pending.quarantined_bytes += quarantined
            .iter()
            .map(|quarantined| quarantined.raw.len())
            .sum::<usize>();
        pending.quarantined.extend(quarantined);
        pending.answers.push(Answer {
            committed,
            answer,
            _waiting: Some(waiting),
            _room: room,
        });
    }

    async fn commit(&self, pending: Pending) {
        let Pending {
            mut contents,
            quarantined,
            answers,
            ..
        } = pending;
        if answers.is_empty() {
            return;
        }
        let began = self.clock.uptime();
        keep_best(&mut contents);
        contents.heeded = self.erasures().version(); // since it was taken, nothing was learned
        let segments = if contents.efforts.is_empty() && contents.names.is_empty() {
            Vec::new()
        } else {
            journal_segment::cut(contents)
        };
        let writing = async {
            let journaled = join_all(
                segments
                    .into_iter()
                    .map(|segment| self.write_segment(segment)),
            );
            let (journaled, quarantined) =
                tokio::join!(journaled, self.write_quarantine(quarantined));
            journaled
                .into_iter()
                .chain([quarantined])
                .collect::<Result<(), StoreError>>()
        };
        // A panic fails these deliveries and no others. As with a put of unknown outcome, what was written all the same
        // is found by the next look at the journal.
        let written = AssertUnwindSafe(writing).catch_unwind().await;
        let failure = written
            .unwrap_or_else(|_| Err(StoreError::new("put", "journal/", "it panicked")))
            .err();
        metrics::histogram!("alleycat_commit_duration_seconds")
            .record(self.clock.uptime().saturating_sub(began).as_secs_f64());
        if let Some(error) = &failure {
            tracing::warn!(%error, deliveries = answers.len(), "a commit failed; its deliveries will be sent again");
        }
        for Answer {
            committed, answer, ..
        } in answers
        {
            let outcome = match &failure {
                None => Ok(committed),
                Some(error) => Err(CommitError::Store(error.to_string())),
            };
            let _ = answer.send(outcome); // whoever asked may be gone
        }
    }

    /// Writes one segment and, once it is durable, merges it.
    async fn write_segment(&self, chunks: Vec<Chunk>) -> Result<(), StoreError> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let encoded: Vec<(Bytes, Chunk)> = stream::iter(chunks)
            .map(|chunk| self.offload(move || (chunk.encode(), chunk)))
            .buffered(workers)
            .collect()
            .await;
        let (parts, chunks): (Vec<Bytes>, Vec<Chunk>) = encoded.into_iter().unzip();
        let written = self.put_under_new_key(ObjectKey::Segment, parts).await?;
        let mut merged = Merged::default();
        for chunk in chunks {
            self.merge(&chunk.into_contents(), &mut merged);
        }
        self.register(written.id, merged, self.erasures().version());
        Ok(())
    }

    async fn write_quarantine(&self, quarantined: Vec<Quarantined>) -> Result<(), StoreError> {
        if quarantined.is_empty() {
            return Ok(());
        }
        let object = self
            .offload(move || journal_segment::encode_quarantine(&quarantined))
            .await;
        self.put_under_new_key(ObjectKey::Quarantine, vec![object])
            .await
            .map(drop)
    }

    /// Writes an object that is written once. Since a put's outcome may not be known, every try has a key of its own:
    /// the object may come to stand there more than once, which merging does not mind.
    async fn put_under_new_key(
        &self,
        key: fn(SegmentId) -> ObjectKey,
        parts: Vec<Bytes>,
    ) -> Result<Writing<'_>, StoreError> {
        let mut tries = FuturesUnordered::new();
        let mut left = PUT_TRIES_MAX;
        let mut start = |tries: &mut FuturesUnordered<_>| {
            left -= 1;
            tries.push(self.put_once(key, parts.clone()));
            left
        };
        let mut left = start(&mut tries);
        let deadline = self.clock.sleep(PUT_DEADLINE);
        tokio::pin!(deadline);
        let mut failure = None;
        loop {
            tokio::select! {
                biased;
                outcome = tries.next() => match outcome {
                    Some(Ok(written)) => return Ok(written),
                    Some(Err(error)) => {
                        failure = Some(error);
                        if left > 0 {
                            left = start(&mut tries);
                        }
                    }
                    None => return Err(failure.expect("the last try failed")),
                },
                () = self.clock.sleep(HEDGE_AFTER), if left > 0 => left = start(&mut tries),
                () = &mut deadline => {
                    let problem = format!("no answer within {} s", PUT_DEADLINE.as_secs());
                    return Err(StoreError { operation: "put", key: key(self.next_id()).path(), problem });
                }
            }
        }
    }

    async fn put_once(
        &self,
        key: fn(SegmentId) -> ObjectKey,
        parts: Vec<Bytes>,
    ) -> Result<Writing<'_>, StoreError> {
        let id = self.next_id();
        let writing = Writing::begin(self, id);
        let key = key(id);
        match self.store.put(&key, parts, Precondition::IfNoneMatch).await {
            Ok(_) => Ok(writing),
            Err(error) => Err(StoreError {
                operation: "put",
                key: key.path(),
                problem: error.to_string(),
            }),
        }
    }

    /// Merges what is durable.
    pub(crate) fn merge(&self, contents: &Contents, merged: &mut Merged) {
        let now_ms = self.clock.wall_ms();
        let erasures = self.erasures();
        let left;
        let contents = if erasures.version() > contents.heeded {
            left = without_erased(contents, &erasures);
            self.erasing.note_uncovered(
                left.efforts
                    .iter()
                    .filter(|it| erasures.uncover(it, contents.heeded)),
            );
            &left
        } else {
            contents
        };
        for efforts in contents.efforts.chunks(MERGE_EFFORTS_MAX) {
            let before: Vec<StateVersion> = self
                .table
                .classes()
                .map(|class| self.table.version(class))
                .collect();
            let versions = self.table.merge(efforts, now_ms);
            let changed = versions
                .iter()
                .any(|&(class, version)| before[class.index()] != version);
            merged.changed |= changed;
            merged.classes.extend(versions);
            if changed {
                self.fresh.note(efforts);
            }
        }
        if !contents.names.is_empty() {
            for (racer, name) in &contents.names {
                merged.changed |= self.names.merge(*racer, name);
            }
            merged.names = Some(self.names.version());
        }
    }

    /// Notes that a segment is in the journal, and merged while what was erased had the version `heeded`. Has something
    /// been erased since, it is to be merged again.
    pub(crate) fn register(&self, id: SegmentId, merged: Merged, heeded: ErasureVersion) {
        let Merged {
            classes,
            names,
            changed,
        } = merged;
        let segment = Segment::new(classes.into_iter().collect(), names, self.clock.uptime());
        let mut segments = lock(&self.segments);
        if self.erasures().version() == heeded && (changed || !segments.confirm(id)) {
            segments.insert(id, segment);
        }
    }

    fn adopt(&self, adoption: WriterMessage, pending: &mut Pending) {
        match adoption {
            WriterMessage::ApplyRemote { contents, merged } => {
                let mut versions = Merged::default();
                self.merge(&contents, &mut versions);
                let _ = merged.send(versions); // whoever asked may be gone
            }
            WriterMessage::ApplyErasures { erasures, learned } => {
                let news = self.apply_erasures(&erasures);
                // What waits must not stand in the way of later rides when only the best of each is kept.
                pending.contents = without_erased(&pending.contents, &self.erasures());
                let _ = learned.send(news); // whoever asked may be gone
            }
            WriterMessage::Rejournal { efforts, answer } => {
                let erasures = self.erasures();
                pending
                    .contents
                    .efforts
                    .extend(efforts.iter().filter(|effort| !erasures.cover(effort, 0)));
                let committed = CommitResult::default();
                pending.answers.push(Answer {
                    committed,
                    answer,
                    _waiting: None,
                    _room: None,
                });
            }
        }
    }
}

/// Marks an object as being written, until dropped: until then it is not taken for another instance's.
struct Writing<'a> {
    inner: &'a Inner,
    id: SegmentId,
}

impl<'a> Writing<'a> {
    fn begin(inner: &'a Inner, id: SegmentId) -> Self {
        lock(&inner.segments).begin_writing(id);
        Self { inner, id }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        lock(&self.inner.segments).end_writing(self.id);
    }
}

/// What is left of it when all that is gone is taken away.
fn without_erased(contents: &Contents, erasures: &Erasures) -> Contents {
    let Contents {
        efforts,
        names,
        heeded,
    } = contents;
    Contents {
        efforts: efforts
            .iter()
            .filter(|effort| !erasures.cover(effort, *heeded))
            .copied()
            .collect(),
        names: names
            .iter()
            .filter(|(racer, name)| !erasures.cover_name(*racer, name.at_ms))
            .cloned()
            .collect(),
        heeded: erasures.version(),
    }
}

/// Keeps the best of each racer's efforts at a second, and the latest of each racer's names.
fn keep_best(contents: &mut Contents) {
    let key = |effort: &Effort| (effort.class, effort.second, effort.racer);
    contents.efforts.sort_unstable_by(|a, b| {
        key(a)
            .cmp(&key(b))
            .then_with(|| b.output.cmp(&a.output))
            .then_with(|| b.time.cmp(&a.time))
    });
    contents.efforts.dedup_by_key(|effort| key(effort));
    contents
        .names
        .sort_unstable_by(|(a, a_name): &(_, RacerName), (b, b_name)| {
            a.cmp(b).then_with(|| b_name.cmp(a_name))
        });
    contents.names.dedup_by_key(|(racer, _)| *racer);
}
