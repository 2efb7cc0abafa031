//! Reads `erasures.gz`, and writes it again if the store has lost erasures.

use std::time::Duration;

use crate::domain::erasure::{Erasure, Erasures};
use crate::ledger::Inner;
use crate::ledger::fallback::report_fallback;
use crate::ledger::unreadable::{ApplyError, Reports, UnreadableCause, UnreadableObject};
use crate::ledger::writer_message::WriterSender;
use crate::storage::codec::erasures;
use crate::storage::{ETag, ObjectKey, Precondition, StoreError, StoredObject};

/// Maximum time that a poll waits while `erasures.gz` is written again.
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
            if writer.is_some() && self.erasures().version() > 0 && !self.options.read_only {
                self.report_lost_erasures("it is missing");
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
        let known = self.erasures();
        let restored = with_lost(&stored, &known, self.versions_to_skip());
        let Some(writer) = writer else {
            if restored.is_some() {
                let problem = "it lacks erasures that it had before";
                return Err(StoreError::new("get", ObjectKey::Erasures, problem).into());
            }
            let removed = self.apply_erasures(&stored);
            *self.erasure_state.etag.lock() = Some(etag);
            return Ok(removed);
        };
        // An instance that only reads keeps what it knows; one that writes stores it again.
        let restored = restored.filter(|_| !self.options.read_only);
        if let Some(restored) = &restored {
            self.restore_erasures(&stored, restored, &etag).await?;
        }
        let removed = self
            .apply_erasures_in_order(restored.as_ref().unwrap_or(&stored).clone(), writer)
            .await
            .map_err(|error| StoreError::new("apply", ObjectKey::Erasures, error))?;
        if restored.is_none() {
            *self.erasure_state.loss_reports.lock() = Reports::default();
            *self.erasure_state.etag.lock() = Some(etag);
        }
        self.note_readable(&ObjectKey::Erasures);
        Ok(removed)
    }

    /// Reports a loss, and puts the stored erasures together with the lost ones.
    async fn restore_erasures(
        &self,
        stored: &Erasures,
        restored: &Erasures,
        etag: &ETag,
    ) -> Result<(), StoreError> {
        self.report_lost_erasures("it lacks erasures");
        // Before the put, which may succeed without a response. Until the snapshots are written, a
        // start drops all in scope from them: only memory has later rides.
        let used = stored.version().max(self.erasures().version());
        for renewed in restored.iter().filter(|it| it.version > used) {
            self.claim_concerned_snapshots(&renewed.scope);
        }
        let condition = Precondition::IfMatch(etag.clone());
        if !self.write_erasures_again(restored, condition).await {
            let problem = "erasures that it lost are not stored again yet";
            return Err(StoreError::new("put", ObjectKey::Erasures, problem));
        }
        Ok(())
    }

    /// Reports a loss, less and less often while it lasts.
    fn report_lost_erasures(&self, problem: &str) {
        let mut reports = self.erasure_state.loss_reports.lock();
        if reports.take_due(self.clock.uptime()) {
            report_fallback(&ObjectKey::Erasures, problem);
        }
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
        if is_stored {
            *self.erasure_state.loss_reports.lock() = Reports::default();
        }
        *self.erasure_state.etag.lock() = etag;
        is_stored
    }
}

/// If the store fell back, returns the stored erasures together with the known ones that they lack.
///
/// Objects may carry a version without having applied its erasures, so these get new versions: the
/// lost ones, since other instances wrote objects with the stored version; and those that another
/// instance added since under versions that this one has used. The next `skipped` versions are left
/// out.
fn with_lost(stored: &Erasures, known: &Erasures, skipped: u64) -> Option<Erasures> {
    let mut restored = stored.clone();
    let lost = restored.merge(known);
    let added = known.clone().merge(stored).into_iter();
    let reused = added.filter(|erasure| erasure.version <= known.version());
    let mut renewed: Vec<Erasure> = lost.into_iter().chain(reused).collect();
    if renewed.is_empty() {
        return None;
    }
    renewed.sort_by_key(|erasure| erasure.version);
    restored.skip_versions(skipped);
    for Erasure {
        scope,
        until_ms,
        reason,
        ..
    } in renewed
    {
        // `None` beyond the limits: then it keeps its version.
        let next = restored.with(scope, until_ms, reason);
        restored = next.unwrap_or(restored);
    }
    Some(restored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effort::RacerId;
    use crate::domain::erasure::ErasureScope;

    fn with(erasures: &Erasures, racer: u64, until_ms: u64) -> Erasures {
        let scope = ErasureScope::all(RacerId(racer), None);
        erasures.with(scope, until_ms, None).unwrap()
    }

    fn version_of(erasures: &Erasures, racer: u64) -> u64 {
        let scope = ErasureScope::all(RacerId(racer), None);
        erasures.find(&scope).unwrap().version
    }

    #[test]
    fn lost_erasures_and_those_under_used_versions_get_new_ones() {
        let base = with(&Erasures::default(), 1, 10);
        let known = with(&with(&base, 2, 20), 3, 20);
        assert!(with_lost(&known, &known, 0).is_none());
        assert!(with_lost(&with(&known, 4, 30), &known, 0).is_none());

        // The store fell back to `base`, and another instance added an erasure.
        let stored = with(&base, 4, 30);
        assert_eq!(version_of(&stored, 4), 2);
        let restored = with_lost(&stored, &known, 0).unwrap();
        assert_eq!(version_of(&restored, 1), 1);
        for racer in 2..=4 {
            let version = version_of(&restored, racer);
            assert!(version > known.version(), "racer {racer}: {version}");
        }
        assert!(with_lost(&restored, &known, 0).is_none());
        assert!(with_lost(&restored, &stored, 0).is_none());

        // It added the lost one, with a later time.
        let stored = with(&base, 2, 30);
        let restored = with_lost(&stored, &with(&base, 2, 20), 0).unwrap();
        assert!(version_of(&restored, 2) > 2);
    }
}
