//! Writes a new erasure to `erasures.gz`. After a conflict it reads the object and tries again.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::oneshot;

use crate::domain::erasure::{Erasure, ErasureScope, Erasures};
use crate::ledger::erasure::{PUT_TIMEOUT, UNTIL_AHEAD, VERSION_STEP_MAX};
use crate::ledger::merge::MergedParts;
use crate::ledger::writer_message::{WriterMessage, WriterSender};
use crate::ledger::{CommitError, Inner, Ledger};
use crate::storage::codec::erasures;
use crate::storage::codec::journal_segment::{self, SegmentContents};
use crate::storage::{ObjectKey, Precondition, PutError, StoreError};

/// Time after which no further try starts, and `erase` returns an error.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Back-off after a failure of the store, and maximum of the random pause after a conflict.
const BACKOFF: Duration = Duration::from_millis(500);

/// The result of an erasure.
#[derive(Clone, Debug, PartialEq)]
pub struct Erased {
    /// The erasure in force.
    pub erasure: Erasure,
    /// Number of efforts that were removed from this instance's table, also by erasures of other
    /// instances that it read in the meantime.
    pub efforts: u64,
}

/// The reason why the erasure is not confirmed. It may still have happened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EraseError {
    /// A retry may succeed.
    #[error(transparent)]
    Failed(#[from] CommitError),
    /// The maximum number of erasures is reached.
    #[error("the maximum number of erasures is reached, for this racer or in total")]
    TooMany,
}

/// The outcome of one put of `erasures.gz`.
enum EraseAttempt {
    Done(Erasure),
    /// Another body is stored, or this put took too long. The caller reads the stored body, and tries
    /// again unless that body has this erasure and was put in time.
    Conflict(Erasure),
    /// As for a conflict: the put may have succeeded.
    Failed(Erasure, StoreError),
}

impl Ledger {
    /// Erases, forever, all efforts in scope that are ridden until 30 s from now. Returns once the
    /// erasure is durable, applied here, and announced to the others. After an error the erasure may
    /// already be stored, or be stored later.
    pub async fn erase(
        &self,
        scope: ErasureScope,
        reason: Option<Arc<str>>,
    ) -> Result<Erased, EraseError> {
        self.accepts()?;
        let erasing = self.inner.erase(&scope, reason.as_ref(), &self.writer);
        let erased = erasing.await?;
        self.inner.announce_erasures().await?;
        Ok(erased)
    }
}

impl Inner {
    async fn erase(
        &self,
        scope: &ErasureScope,
        reason: Option<&Arc<str>>,
        writer: &WriterSender,
    ) -> Result<Erased, EraseError> {
        let _commit_lock = self.erasure_state.commit_lock.lock().await;
        let began = self.clock.uptime();
        let mut efforts = 0;
        let problem = format!("not stored within {} s", GIVE_UP_AFTER.as_secs());
        let mut last_error = StoreError::new("put", ObjectKey::Erasures, problem);
        while self.clock.uptime().saturating_sub(began) < GIVE_UP_AFTER {
            // Locked once per try, so that a poll waits for one try at most.
            let exchange_lock = self.erasure_state.exchange_lock.lock().await;
            let try_began = self.clock.uptime();
            let attempt = self
                .put_erasure(scope, reason, writer, &mut efforts)
                .await?;
            let (tried, mut pause) = match attempt {
                EraseAttempt::Done(erasure) => return Ok(done(erasure, efforts)),
                EraseAttempt::Conflict(tried) => (tried, self.jitter(BACKOFF)),
                EraseAttempt::Failed(tried, error) => {
                    tracing::warn!(racer = %scope.racer_id, %error, "erasure not stored yet");
                    last_error = error;
                    (tried, BACKOFF)
                }
            };
            match self.reload_erasures(Some(writer)).await {
                Ok(removed) => efforts += removed,
                Err(error) => {
                    last_error = error.into();
                    pause = BACKOFF;
                }
            }
            drop(exchange_lock);
            let stands = self.erasures().find(scope) == Some(&tried);
            if stands && self.clock.uptime().saturating_sub(try_began) <= PUT_TIMEOUT {
                self.note_erased(scope);
                return Ok(done(tried, efforts));
            }
            self.clock.sleep(pause).await;
        }
        Err(CommitError::Store(last_error.to_string()).into())
    }

    /// Adds the erasure to the known ones, puts them, and applies them. The caller holds the
    /// exchange lock. Adds the number of removed efforts to `efforts`.
    async fn put_erasure(
        &self,
        scope: &ErasureScope,
        reason: Option<&Arc<str>>,
        writer: &WriterSender,
        efforts: &mut u64,
    ) -> Result<EraseAttempt, EraseError> {
        let put_began = self.clock.uptime();
        let until_ms = self.clock.wall_ms() + UNTIL_AHEAD.as_millis() as u64;
        let mut next = (*self.erasures()).clone();
        next.skip_versions(self.versions_to_skip());
        let next = next
            .with(scope.clone(), until_ms, reason.cloned())
            .ok_or(EraseError::TooMany)?;
        let etag = self.erasure_state.etag.lock().clone();
        let condition = etag.map_or(Precondition::IfNoneMatch, Precondition::IfMatch);
        let tried = next.find(scope).expect("it was just added").clone();
        let (next, body) = self
            .offload(move || {
                let body = erasures::encode(&next);
                (next, body)
            })
            .await;
        let put = tokio::select! {
            biased;
            put = self.store.put(&ObjectKey::Erasures, vec![body], condition) => put,
            () = self.clock.sleep(PUT_TIMEOUT) => {
                let problem = format!("no response within {} s", PUT_TIMEOUT.as_secs());
                Err(StoreError::new("put", ObjectKey::Erasures, problem).into())
            }
        };
        let etag = match put {
            Ok(etag) => etag,
            // Another instance was faster, or an earlier put of this instance has succeeded after
            // all.
            Err(PutError::WriteConflict) => return Ok(EraseAttempt::Conflict(tried)),
            // The put may still succeed. Then reload_erasures sees a new ETag.
            Err(PutError::Failed(error)) => return Ok(EraseAttempt::Failed(tried, error)),
        };
        let took = self.clock.uptime().saturating_sub(put_began);
        *efforts += self.apply_erasures_in_order(next, writer).await?;
        *self.erasure_state.etag.lock() = Some(etag);
        if took > PUT_TIMEOUT {
            return Ok(EraseAttempt::Conflict(tried));
        }
        self.note_erased(scope);
        Ok(EraseAttempt::Done(tried))
    }

    /// Returns the number of versions to leave out before the next one. Another instance that goes on
    /// from the same erasures, because the store lost some, leaves out another number.
    pub(super) fn versions_to_skip(&self) -> u64 {
        self.rng.lock().random_range(0..VERSION_STEP_MAX)
    }

    /// Puts an empty segment that requires the known erasures. Others find it in their next listing of
    /// the journal, and read `erasures.gz`. They list the root, which shows that as well, more rarely.
    async fn announce_erasures(&self) -> Result<(), CommitError> {
        let contents = SegmentContents {
            erasure_version: self.erasures().version(),
            ..SegmentContents::default()
        };
        let chunks = journal_segment::split(contents).into_iter().flatten();
        let parts = chunks.map(|chunk| chunk.encode()).collect();
        let put = self.put_hedged(ObjectKey::Segment, parts).await;
        let put = put.map_err(|error| CommitError::Store(error.to_string()))?;
        let known = self.erasures().version();
        self.index_segment(put.id, MergedParts::default(), known, None);
        Ok(())
    }

    /// Repeats each erasure that this instance applied after its `until`, with a new `until`.
    pub(in crate::ledger) async fn extend_late_erasures(
        &self,
        writer: &WriterSender,
    ) -> Result<(), StoreError> {
        while let Some(Erasure { scope, reason, .. }) =
            { self.erasure_state.late.lock().last().cloned() }
        {
            tracing::warn!(racer = %scope.racer_id, "erasure was applied after its `until`; repeating it with a new `until`");
            let erased = self.erase(&scope, reason.as_ref(), writer).await;
            erased.map_err(|error| StoreError::new("put", ObjectKey::Erasures, error))?;
        }
        Ok(())
    }

    /// Applies erasures through the writer. Returns the number of removed efforts.
    pub(super) async fn apply_erasures_in_order(
        &self,
        erasures: Erasures,
        writer: &WriterSender,
    ) -> Result<u64, CommitError> {
        let (reply, removed) = oneshot::channel();
        writer
            .send(WriterMessage::ApplyErasures { erasures, reply })
            .await
            .map_err(|_| CommitError::NotReady)?;
        removed.await.map_err(|_| CommitError::NotReady)
    }

    /// Notes that an erasure is in force.
    fn note_erased(&self, scope: &ErasureScope) {
        self.erasure_state
            .late
            .lock()
            .retain(|late| late.scope != *scope);
        self.claim_concerned_snapshots(scope);
    }

    /// Makes this instance the owner of the snapshots that an erasure with a new version changes, so
    /// that they are written soon, even if another instance wrote them last.
    pub(super) fn claim_concerned_snapshots(&self, scope: &ErasureScope) {
        let mut snapshots = self.snapshots.lock();
        for target in self.concerned_snapshots(scope) {
            snapshots.claim(target);
        }
    }
}

fn done(erasure: Erasure, efforts: u64) -> Erased {
    tracing::info!(racer = %erasure.scope.racer_id, version = erasure.version, efforts, "erased");
    Erased { erasure, efforts }
}
