//! Reads `erasures.gz`, and writes it again if the store has lost erasures.

use std::time::Duration;

use crate::domain::erasure::{Erasure, Erasures};
use crate::ledger::Inner;
use crate::ledger::fallback::report_fallback;
use crate::ledger::unreadable::{ApplyError, UnreadableCause, UnreadableObject};
use crate::ledger::writer_message::WriterSender;
use crate::storage::codec::erasures;
use crate::storage::{ETag, ObjectKey, Precondition, StoreError, StoredObject};

/// A poll waits at most this long while `erasures.gz` is written again.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(3);

impl Inner {
    /// Reads `erasures.gz` and applies it. Returns the number of removed efforts. The caller holds
    /// the exchange lock.
    pub(super) async fn reload_erasures(
        &self,
        writer: Option<&WriterSender>,
    ) -> Result<u64, ApplyError> {
        let Some(object) = self.store.get(&ObjectKey::Erasures).await? else {
            *self.erasure_state.etag.lock() = None;
            self.note_readable(&ObjectKey::Erasures);
            // During recovery (`writer` is `None`), nothing is known yet.
            if writer.is_some() && self.erasures().version() > 0 {
                report_fallback(&ObjectKey::Erasures, "it is missing");
                self.write_erasures_again(&self.erasures(), Precondition::IfNoneMatch)
                    .await;
            }
            return Ok(0);
        };
        if self.erasure_state.etag.lock().as_ref() == Some(&object.etag) {
            self.note_readable(&ObjectKey::Erasures);
            return Ok(0);
        }
        let StoredObject { body, etag } = object;
        let stored = self.offload(move || erasures::decode(&body)).await;
        let stored = stored.map_err(|problem| UnreadableObject {
            key: ObjectKey::Erasures,
            cause: UnreadableCause::ErasuresUnreadable(problem),
        })?;
        let Some(writer) = writer else {
            let removed = self.apply_erasures(&stored);
            *self.erasure_state.etag.lock() = Some(etag);
            return Ok(removed);
        };
        let restored = with_lost(&stored, &self.erasures());
        if let Some(restored) = &restored {
            report_fallback(&ObjectKey::Erasures, "it lacks erasures");
            let condition = Precondition::IfMatch(etag.clone());
            if !self.write_erasures_again(restored, condition).await {
                let problem = "erasures that it lost are not stored again yet";
                return Err(StoreError::new("put", ObjectKey::Erasures, problem).into());
            }
        }
        let removed = self
            .apply_erasures_in_order(restored.as_ref().unwrap_or(&stored).clone(), writer)
            .await
            .map_err(|error| StoreError::new("apply", ObjectKey::Erasures, error))?;
        if restored.is_none() {
            *self.erasure_state.etag.lock() = Some(etag);
        }
        self.note_readable(&ObjectKey::Erasures);
        Ok(removed)
    }

    /// Puts erasures, and notes the ETag. Returns whether they are stored.
    async fn write_erasures_again(&self, erasures: &Erasures, condition: Precondition) -> bool {
        let erasures = erasures.clone();
        let body = self.offload(move || erasures::encode(&erasures)).await;
        let put = self.store.put(&ObjectKey::Erasures, vec![body], condition);
        let etag: Option<ETag> = tokio::select! {
            biased;
            put = put => put.ok(),
            () = self.clock.sleep(RESTORE_TIMEOUT) => None,
        };
        let is_stored = etag.is_some();
        *self.erasure_state.etag.lock() = etag;
        is_stored
    }
}

/// Returns the stored erasures with those that are known and that they lack, if there are any. Each
/// of these gets a new version: objects that carry the stored version may not have applied them.
fn with_lost(stored: &Erasures, known: &Erasures) -> Option<Erasures> {
    let lost = stored.clone().merge(known);
    if lost.is_empty() {
        return None;
    }
    let mut restored = stored.clone();
    restored.merge(known);
    for Erasure {
        scope,
        until_ms,
        reason,
        ..
    } in lost
    {
        // `None` beyond the limits: then it keeps its version.
        let next = restored.with(scope, until_ms, reason);
        restored = next.unwrap_or(restored);
    }
    Some(restored)
}
