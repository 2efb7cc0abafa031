//! Writes a new erasure to `erasures.gz`. After a conflict it reads the object and tries again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::erasure::{Erasure, ErasureScope, Erasures};
use crate::ledger::commit_loop::{WriterMessage, WriterSender};
use crate::ledger::erasure::{PUT_TIMEOUT, UNTIL_AHEAD};
use crate::ledger::unreadable::{ApplyError, UnreadableCause, UnreadableObject};
use crate::ledger::{CommitError, Inner, Ledger};
use crate::storage::codec::erasures;
use crate::storage::{ETag, ObjectKey, Precondition, PutError, StoreError, StoredObject};

/// A poll waits at most this long while a missing `erasures.gz` is written again.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(3);

/// After this time the erasure is not tried again: `erase` returns an error.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// Back-off after a failure of the store.
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
    /// Another body is stored, or this put took too long: the caller reads the stored body and
    /// tries again.
    Conflict,
    Failed(StoreError),
}

impl Ledger {
    /// Erases, forever, all efforts in scope that are ridden until 30 s from now. Returns once the
    /// erasure is durable and applied here. After an error the erasure may already be stored, or be
    /// stored later.
    pub async fn erase(
        &self,
        scope: ErasureScope,
        reason: Option<Arc<str>>,
    ) -> Result<Erased, EraseError> {
        self.accepts()?;
        self.inner
            .erase(&scope, reason.as_ref(), &self.writer)
            .await
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
            let attempt = self
                .put_erasure(scope, reason, writer, &mut efforts)
                .await?;
            let mut has_failed = false;
            match attempt {
                EraseAttempt::Done(erasure) => {
                    tracing::info!(racer = %scope.racer_id, version = erasure.version, efforts, "erased");
                    return Ok(Erased { erasure, efforts });
                }
                EraseAttempt::Conflict => {}
                EraseAttempt::Failed(error) => {
                    tracing::warn!(racer = %scope.racer_id, %error, "erasure not stored yet");
                    last_error = error;
                    has_failed = true;
                }
            }
            match self.reload_erasures(Some(writer)).await {
                Ok(removed) => efforts += removed,
                Err(error) => {
                    last_error = error.into();
                    has_failed = true;
                }
            }
            drop(exchange_lock);
            if has_failed {
                self.clock.sleep(BACKOFF).await;
            }
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
        let next = self
            .erasures()
            .with(scope.clone(), until_ms, reason.cloned())
            .ok_or(EraseError::TooMany)?;
        let etag = self.erasure_state.etag.lock().clone();
        let condition = etag.map_or(Precondition::IfNoneMatch, Precondition::IfMatch);
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
            // Another instance was faster, or an earlier put of this instance has succeeded after all.
            Err(PutError::WriteConflict) => return Ok(EraseAttempt::Conflict),
            // The put may still succeed. Then reload_erasures sees a new ETag.
            Err(PutError::Failed(error)) => return Ok(EraseAttempt::Failed(error)),
        };
        let took = self.clock.uptime().saturating_sub(put_began);
        *efforts += self.apply_erasures_in_order(next, writer).await?;
        *self.erasure_state.etag.lock() = Some(etag);
        if took > PUT_TIMEOUT {
            return Ok(EraseAttempt::Conflict);
        }
        self.erasure_state
            .late
            .lock()
            .retain(|late| late.scope != *scope);
        self.claim_snapshots(scope);
        let known = self.erasures();
        let erasure = known.find(scope).expect("it was just applied");
        Ok(EraseAttempt::Done(erasure.clone()))
    }

    /// Repeats each erasure that this instance learned after its `until`, with a new `until`.
    pub(in crate::ledger) async fn extend_late_erasures(
        &self,
        writer: &WriterSender,
    ) -> Result<(), StoreError> {
        while let Some(Erasure { scope, reason, .. }) =
            { self.erasure_state.late.lock().last().cloned() }
        {
            tracing::warn!(racer = %scope.racer_id, "erasure was learned after its `until`; repeating it with a new `until`");
            let erased = self.erase(&scope, reason.as_ref(), writer).await;
            erased.map_err(|error| StoreError::new("put", ObjectKey::Erasures, error))?;
        }
        Ok(())
    }

    /// Reads `erasures.gz` and applies it. Returns the number of removed efforts. The caller holds
    /// the exchange lock.
    pub(super) async fn reload_erasures(
        &self,
        writer: Option<&WriterSender>,
    ) -> Result<u64, ApplyError> {
        let Some(object) = self.store.get(&ObjectKey::Erasures).await? else {
            self.restore_missing_erasures(writer).await;
            return Ok(0);
        };
        if self.erasure_state.etag.lock().as_ref() == Some(&object.etag) {
            self.note_readable(&ObjectKey::Erasures);
            return Ok(0);
        }
        let StoredObject { body, etag } = object;
        let erasures = self.offload(move || erasures::decode(&body)).await;
        let erasures = erasures.map_err(|problem| UnreadableObject {
            key: ObjectKey::Erasures,
            cause: UnreadableCause::ErasuresUnreadable(problem),
        })?;
        let removed = match writer {
            Some(writer) => self
                .apply_erasures_in_order(erasures, writer)
                .await
                .map_err(|error| StoreError::new("apply", ObjectKey::Erasures, error))?,
            None => self.apply_erasures(&erasures),
        };
        *self.erasure_state.etag.lock() = Some(etag);
        self.note_readable(&ObjectKey::Erasures);
        Ok(removed)
    }

    /// If `erasures.gz` is missing, writes the known erasures. Not during recovery (`writer` is
    /// `None`): there, nothing is known yet.
    async fn restore_missing_erasures(&self, writer: Option<&WriterSender>) {
        *self.erasure_state.etag.lock() = None;
        self.note_readable(&ObjectKey::Erasures);
        if writer.is_none() || self.erasures().version() == 0 {
            return;
        }
        tracing::warn!("erasures.gz is missing; writing it again from memory");
        let known = self.erasures();
        let body = self.offload(move || erasures::encode(&known)).await;
        let put = self
            .store
            .put(&ObjectKey::Erasures, vec![body], Precondition::IfNoneMatch);
        let etag: Option<ETag> = tokio::select! {
            biased;
            put = put => put.ok(),
            () = self.clock.sleep(RESTORE_TIMEOUT) => None,
        };
        *self.erasure_state.etag.lock() = etag;
    }

    /// Applies erasures through the writer. Returns the number of removed efforts.
    async fn apply_erasures_in_order(
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

    /// Makes this instance the owner of the snapshots that the erasure changes, so that they are
    /// written soon, even if another instance wrote them last.
    fn claim_snapshots(&self, scope: &ErasureScope) {
        let mut snapshots = self.snapshots.lock();
        for target in self.concerned_snapshots(scope) {
            snapshots.claim(target);
        }
    }
}
