//! Applying erasures: the writer removes erased efforts and names, then publishes the version.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use crate::domain::effort::{ClassId, Effort};
use crate::domain::erasure::{Erasure, ErasureScope, ErasureVersion, Erasures};
use crate::ledger::erasure::CLOCK_SKEW_MAX;
use crate::ledger::snapshot::SnapshotTarget;
use crate::ledger::unreadable::{ApplyError, UnreadableCause, UnreadableObject};
use crate::ledger::writer_message::{WriterMessage, WriterSender};
use crate::ledger::{Inner, REPLICATION_LAG_MAX};
use crate::storage::{ETag, ObjectKey, StoreError};

impl Inner {
    /// Reads `erasures.gz` and applies it.
    pub(in crate::ledger) async fn refresh_erasures(
        &self,
        writer: Option<&WriterSender>,
    ) -> Result<(), ApplyError> {
        let _exchange_lock = self.erasure_state.exchange_lock.lock().await;
        self.reload_erasures(writer).await.map(drop)
    }

    /// Reads and applies `erasures.gz` if a listing shows another ETag than the known one. Also if
    /// the last read failed, since the object may have been restored as it was. Also while the
    /// object is missing, until it is written again.
    pub(in crate::ledger) async fn refresh_erasures_if_changed(
        &self,
        listed: Option<&ETag>,
        writer: &WriterSender,
    ) -> Result<(), ApplyError> {
        let has_changed = || {
            let is_unreadable = self.unreadable.lock().contains_key(&ObjectKey::Erasures);
            let is_missing = listed.is_none() && self.erasures().version() > 0;
            self.erasure_state.etag.lock().as_ref() != listed || is_unreadable || is_missing
        };
        // Without a change, the poll does not wait for a commit, whose put may hang.
        if has_changed() {
            let _exchange_lock = self.erasure_state.exchange_lock.lock().await;
            if has_changed() {
                self.reload_erasures(Some(writer)).await?;
            }
        }
        Ok(())
    }

    /// Ensures that erasures up to the version that an object requires are applied, before the
    /// object is merged.
    pub(in crate::ledger) async fn require_erasure_version(
        &self,
        key: &ObjectKey,
        required: ErasureVersion,
        writer: Option<&WriterSender>,
    ) -> Result<(), ApplyError> {
        if required > self.erasures().version() {
            self.refresh_erasures(writer).await?;
        }
        let known = self.erasures().version();
        if required <= known {
            return Ok(());
        }
        Err(UnreadableObject {
            key: key.clone(),
            cause: UnreadableCause::ErasuresOutdated { required, known },
        }
        .into())
    }

    /// Removes what the erasures cover. Only the writer calls this, or recovery. Returns the number
    /// of removed efforts.
    pub(in crate::ledger) fn apply_erasures(&self, erasures: &Erasures) -> u64 {
        let before = self.erasures();
        let mut known = (*before).clone();
        // An erasure that the store lost returns under a new version, and is applied already. The
        // table has no times, so applying it again would also remove rides after its time.
        let was_applied = |erasure: &Erasure| {
            let known = before.find(&erasure.scope);
            known.is_some_and(|known| known.until_ms >= erasure.until_ms)
        };
        let mut new = known.merge(erasures);
        new.retain(|erasure| !was_applied(erasure));
        let now_ms = self.clock.wall_ms();
        let mut removed = 0;
        let pending_lock = self.erasure_state.pending_lock.write();
        for erasure in &new {
            let Erasure {
                scope, until_ms, ..
            } = erasure;
            for class in self.table.classes().filter(|&class| scope.concerns(class)) {
                self.erase_race_rows(class, erasure);
                removed +=
                    self.table
                        .erase(class, scope.racer_id, scope.seconds(), scope.above, now_ms);
                if scope.above.is_some() {
                    self.erasure_state
                        .note_exposed(self.remaining_in_scope(class, scope).iter());
                }
            }
            if scope.concerns_names() {
                self.names.erase(scope.racer_id, *until_ms);
            }
        }
        // Published last: an object that carries this version holds nothing that it covers.
        self.erasures.send_replace(Arc::new(known));
        drop(pending_lock);
        if self.serving.load(Ordering::Acquire) && !self.options.read_only {
            self.note_late(&new);
        }
        self.invalidate(&new, now_ms);
        removed
    }

    fn erase_race_rows(&self, class: ClassId, erasure: &Erasure) {
        let racer = erasure.scope.racer_id;
        self.races
            .erase(class, racer, |row| erasure.covers(&row.effort()));
        // Another instance may have dropped the remaining rows for the erased ones.
        if erasure.scope.is_part_of_class() {
            let left = self.races.rows_of(class, racer);
            self.erasure_state.note_exposed_rows(left.into_iter());
        }
    }

    /// Returns the racer's efforts that an erasure of higher outputs leaves in the table. A peer
    /// may have considered their segment covered, by the effort that is erased now, and deleted it.
    /// The table keeps no times, so they get time 0, which every later erasure covers.
    fn remaining_in_scope(&self, class: ClassId, scope: &ErasureScope) -> Vec<Effort> {
        let racer = scope.racer_id;
        let bests = self.table.racer_bests(class, racer).into_iter();
        bests
            .filter(|(second, _)| scope.seconds().contains(second))
            .map(|(second, output)| Effort {
                class,
                second,
                racer,
                output,
                race: None,
                time: 0,
            })
            .collect()
    }

    /// Invalidates snapshots and segments, so that they are merged again, if something must return: a
    /// lower output, if only higher ones are erased; an earlier position in a race, if only some
    /// seconds are; or a later ride, if `until` had already passed.
    fn invalidate(&self, new: &[Erasure], now_ms: u64) {
        if new.is_empty() {
            return;
        }
        let mut snapshots = self.snapshots.lock();
        snapshots.note_erasure(self.clock.uptime());
        let has_passed =
            |erasure: &Erasure| erasure.until_ms <= now_ms + CLOCK_SKEW_MAX.as_millis() as u64;
        let mut invalidating = new
            .iter()
            .filter(|erasure| has_passed(erasure) || erasure.scope.is_part_of_class())
            .peekable();
        if invalidating.peek().is_none() {
            return;
        }
        for erasure in invalidating {
            for target in self.concerned_snapshots(&erasure.scope) {
                snapshots.invalidate(target);
            }
        }
        drop(snapshots);
        self.journal.lock().invalidate();
        self.erasure_state.request_snapshot_reload();
    }

    /// Notes erasures whose `until` this instance may have passed while it accepted deliveries
    /// without knowing them: their put took long, and the instance that sent it died.
    fn note_late(&self, new: &[Erasure]) {
        let not_accepting = self.root_listing_age().saturating_sub(REPLICATION_LAG_MAX);
        let accepted_until_ms = self
            .clock
            .wall_ms()
            .saturating_sub(not_accepting.as_millis() as u64);
        // Both by this instance's clock: no ride that it accepted has a later time.
        let late = new
            .iter()
            .filter(|erasure| erasure.until_ms < accepted_until_ms);
        self.erasure_state.late.lock().extend(late.cloned());
    }

    /// Writes exposed efforts and race rows (lower bests under an erased glitch) to the journal
    /// again. A peer that did not know the erasure may have deleted their segment: the glitch
    /// covered it.
    pub(in crate::ledger) async fn rejournal_exposed_efforts(
        &self,
        writer: &WriterSender,
    ) -> Result<(), StoreError> {
        let efforts = std::mem::take(&mut *self.erasure_state.exposed.lock());
        let race_rows = std::mem::take(&mut *self.erasure_state.exposed_rows.lock());
        if (efforts.is_empty() && race_rows.is_empty()) || self.options.read_only {
            return Ok(());
        }
        let (reply, committed) = oneshot::channel();
        let message = WriterMessage::Rejournal {
            efforts: efforts.clone(),
            race_rows: race_rows.clone(),
            reply,
        };
        if writer.send(message).await.is_ok()
            && let Ok(Ok(_)) = committed.await
        {
            return Ok(());
        }
        self.erasure_state.note_exposed(efforts.iter());
        self.erasure_state.note_exposed_rows(race_rows.into_iter());
        Err(StoreError::new(
            "put",
            "journal/",
            "efforts under erased ones are not durable yet",
        ))
    }

    /// Returns the snapshots that may hold what is in scope.
    pub(super) fn concerned_snapshots(&self, scope: &ErasureScope) -> Vec<SnapshotTarget> {
        let concerned = |target: &SnapshotTarget| match target.class() {
            Some(class) => scope.concerns(class),
            None => scope.concerns_names(),
        };
        self.snapshot_targets()
            .into_iter()
            .filter(concerned)
            .collect()
    }
}
