//! A batch on its way to the commit loop: what a delivery writes, and the result of its commit.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::domain::effort::{Effort, RacerId};
use crate::domain::erasure::Erasures;
use crate::domain::race_row::RaceRow;
use crate::domain::racer_names::RacerName;
use crate::domain::rejection::RejectionReason;
use crate::ledger::{Inner, Ledger, Quarantined, REPLICATION_LAG_MAX, YIELD_EFFORTS};
use crate::observability;

/// The writes of one delivery.
#[derive(Default)]
pub struct WriteBatch {
    /// Efforts, whether or not they improve anything.
    pub efforts: Vec<Effort>,
    /// Names newer than the known ones.
    pub names: Vec<(RacerId, RacerName)>,
    /// Records to quarantine.
    pub quarantined: Vec<Quarantined>,
    /// The batch's share of a memory budget. The ledger holds it as long as it holds anything of
    /// the batch, also after the caller is gone. Otherwise the budget would not bound memory.
    pub guard: Option<Box<dyn Send>>,
    /// The efforts' race rows, other than finals. They are shown once the batch is acknowledged,
    /// and become durable with the next segment.
    pub race_positions: Vec<BatchRow>,
    /// The racers' last rows of their races. They are durable before the batch is acknowledged.
    pub race_finals: Vec<BatchRow>,
}

/// A race row of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchRow {
    /// The effort's row in its race.
    pub row: RaceRow,
    /// Index of that effort in the batch.
    pub index: usize,
}

impl fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBatch")
            .field("efforts", &self.efforts)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// The result of a batch whose accepted efforts are all durable.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommitResult {
    /// Number of improving efforts.
    pub improvements: usize,
    /// Rejected efforts: each index in the batch, with the reason. The caller must quarantine their
    /// records.
    pub rejected: Vec<(usize, RejectionReason)>,
}

/// Why a batch is not acknowledged. The sender should retry in every case.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The instance is starting or stopping.
    #[error("the service is starting or stopping")]
    NotReady,
    /// No listing of the store succeeded for too long.
    #[error("replication lag: no successful listing for {} s", REPLICATION_LAG_MAX.as_secs())]
    ReplicationLag,
    /// The commit queue is full.
    #[error("commit queue is full")]
    QueueFull,
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
}

/// A batch in the commit queue.
pub(super) struct CommitRequest {
    pub(super) batch: WriteBatch,
    pub(super) reply: CommitReply,
    pub(super) unanswered: UnansweredGuard,
}

/// Carries the result of a commit to its caller.
pub(super) type CommitReply = oneshot::Sender<Result<CommitResult, CommitError>>;

/// Counts a delivery as unanswered until dropped, for the age of the oldest one.
pub(super) struct UnansweredGuard {
    inner: Arc<Inner>,
    arrival: (Duration, u64),
}

impl UnansweredGuard {
    fn new(inner: &Arc<Inner>) -> Self {
        let number = inner.next_arrival.fetch_add(1, Ordering::Relaxed);
        let arrival = (inner.clock.uptime(), number);
        inner.unanswered.lock().insert(arrival);
        Self {
            inner: inner.clone(),
            arrival,
        }
    }
}

impl Drop for UnansweredGuard {
    fn drop(&mut self) {
        self.inner.unanswered.lock().remove(&self.arrival);
    }
}

impl Ledger {
    /// Returns the batch of decoded efforts. `finals`: ascending indices of the efforts that end a
    /// racer's race. Keeps only newer names, and makes the race rows: milliseconds of work for a
    /// large delivery, on the calling thread.
    pub fn write_batch(
        &self,
        efforts: Vec<Effort>,
        finals: &[usize],
        mut names: Vec<(RacerId, RacerName)>,
        receipt_ms: u64,
    ) -> WriteBatch {
        self.names().retain_newer(&mut names);
        let mut batch = WriteBatch {
            race_positions: Vec::with_capacity(efforts.len()), // most efforts have a race
            race_finals: Vec::with_capacity(finals.len()),
            names,
            ..WriteBatch::default()
        };
        let mut finals = finals.iter().copied().peekable();
        for (index, effort) in efforts.iter().enumerate() {
            let is_final = finals.next_if_eq(&index).is_some();
            let rows = if is_final {
                &mut batch.race_finals
            } else {
                &mut batch.race_positions
            };
            let row = RaceRow::new(effort, is_final, receipt_ms);
            rows.extend(row.map(|row| BatchRow { row, index }));
        }
        WriteBatch { efforts, ..batch }
    }

    /// Returns once the batch's efforts, names and finals are durable and visible. Other race
    /// positions are visible then, and durable soon. After an error, parts of the batch may be
    /// durable, or become so.
    pub async fn commit(&self, mut batch: WriteBatch) -> Result<CommitResult, CommitError> {
        self.accepts()?;
        let positions = std::mem::take(&mut batch.race_positions);
        let (reply, result) = oneshot::channel();
        let unanswered = UnansweredGuard::new(&self.inner);
        self.commits
            .try_send(CommitRequest {
                batch,
                reply,
                unanswered,
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => CommitError::QueueFull,
                mpsc::error::TrySendError::Closed(_) => CommitError::NotReady,
            })?;
        let committed = result.await.unwrap_or(Err(CommitError::NotReady))?;
        self.inner.show_positions(positions, &committed).await;
        Ok(committed)
    }
}

impl BatchRow {
    /// Returns whether erasures cover the row. An effort without a time counts as erased as long as
    /// the erasure stands, and so does its row.
    pub(super) fn is_erased(&self, erasures: &Erasures) -> bool {
        let effort = Effort {
            time: self.row.effort_time(),
            ..self.row.effort()
        };
        erasures.any_covers(&effort, 0)
    }
}

impl Inner {
    /// Merges the positions of an acknowledged batch, as pending. Leaves out rejected and erased
    /// ones.
    async fn show_positions(&self, mut positions: Vec<BatchRow>, committed: &CommitResult) {
        if !committed.rejected.is_empty() {
            let rejected = committed.rejected.iter().map(|&(index, _)| index);
            let rejected: HashSet<usize> = rejected.collect();
            positions.retain(|it| !rejected.contains(&it.index));
        }
        for (slice, positions) in positions.chunks(YIELD_EFFORTS).enumerate() {
            if slice > 0 {
                tokio::task::yield_now().await;
            }
            let _pending_lock = self.erasure_state.pending_lock.read();
            let erasures = self.erasures();
            let positions = positions.iter().filter(|it| !it.is_erased(&erasures));
            self.races.merge_pending(positions.map(|it| &it.row));
        }
    }
}

/// The efforts of a batch that no erasure covers.
pub(super) struct RemainingEfforts {
    pub(super) efforts: Vec<Effort>,
    /// Each effort's index in the batch. Empty if all efforts remain.
    pub(super) indices: Vec<usize>,
    /// Erased efforts without a time: it is unknown whether they were ridden after the erasure.
    pub(super) rejected: Vec<(usize, RejectionReason)>,
}

/// Removes erased efforts, so that they use none of their class's capacity.
pub(super) fn reject_erased(efforts: Vec<Effort>, erasures: &Erasures) -> RemainingEfforts {
    if erasures.version() == 0 || !efforts.iter().any(|effort| erasures.any_covers(effort, 0)) {
        return RemainingEfforts {
            efforts,
            indices: Vec::new(),
            rejected: Vec::new(),
        };
    }
    let (erased, remaining): (Vec<_>, Vec<_>) = efforts
        .into_iter()
        .enumerate()
        .partition(|(_, effort)| erasures.any_covers(effort, 0));
    metrics::counter!(observability::EFFORTS_ERASED_TOTAL).increment(erased.len() as u64);
    let (indices, efforts) = remaining.into_iter().unzip();
    RemainingEfforts {
        efforts,
        indices,
        rejected: erased
            .iter()
            .filter(|(_, effort)| effort.time == 0)
            .map(|&(index, _)| (index, RejectionReason::Erased))
            .collect(),
    }
}
