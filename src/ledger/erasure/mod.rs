//! Erasing: an erasure made durable in `erasures.gz` and heeded here, and hearing of those that others made.
//!
//! An erasure holds until a time that lies ahead of its writing. By that time every instance has heard of it, or is so
//! far behind that it takes no deliveries: so whatever is ridden later is taken by an instance that knows, and is not
//! measured against what is erased. docs/decisions/0004-erasures.md has the whole argument.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::domain::effort::{ClassId, Effort};
use crate::domain::erasure::{Erasure, ErasureScope, ErasureVersion, Erasures};
use crate::ledger::commit_loop::WriterMessage;
use crate::ledger::snapshot::{Subject, TakeInError, Unreadable};
use crate::ledger::{BEHIND_MAX, CommitError, Inner, Ledger, lock};
use crate::storage::codec::journal_segment;
use crate::storage::{ETag, ObjectKey, Precondition, PutError, StoreError, StoredObject};

/// How far ahead an erasure's time lies: 30 s.
const AHEAD: Duration =
    Duration::from_secs(PUT_WITHIN.as_secs() + BEHIND_MAX.as_secs() + CLOCKS_DIFFER_MAX.as_secs());

/// An erasure that took longer to write is written again with a new time.
const PUT_WITHIN: Duration = Duration::from_secs(10);

/// How long writing them again, where their object is gone, may keep this instance from following the others.
const WRITE_AGAIN_WITHIN: Duration = Duration::from_secs(3);

/// How far the clocks of two instances may be apart.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(5);

/// After this an erasure is given up, and answered as failed.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// How long to wait before a store that failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// The most that `erasures.gz` may hold when gunzipped, in bytes: over what [`ERASURES_MAX`] of them take with reasons
/// of the greatest length.
///
/// [`ERASURES_MAX`]: crate::domain::erasure::ERASURES_MAX
const STORED_BYTES_MAX: u64 = 1 << 30;

/// What is known of `erasures.gz`.
#[derive(Debug, Default)]
pub(crate) struct Erasing {
    /// Held by whoever erases: the others wait here, so that a look waits for one of them at most.
    turn: tokio::sync::Mutex<()>,
    /// Held while erasures are written or read, so that none is learned twice.
    exchange: tokio::sync::Mutex<()>,
    /// The tag of the body that was heeded or put last.
    tag: Mutex<Option<ETag>>,
    /// Erasures that were heard of so late that this instance may have taken later rides without knowing of them.
    unsettled: Mutex<Vec<Erasure>>,
    /// Whether snapshots are to be read again.
    forgotten: AtomicBool,
    /// Efforts that were taken in from under what is erased, and are to be journaled anew.
    uncovered: Mutex<Vec<Effort>>,
}

impl Erasing {
    pub(crate) fn take_forgotten(&self) -> bool {
        self.forgotten.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn note_uncovered<'a>(&self, efforts: impl Iterator<Item = &'a Effort>) {
        let mut efforts = efforts.copied().peekable();
        if efforts.peek().is_some() {
            lock(&self.uncovered).extend(efforts);
        }
    }

    /// Notes that snapshots are to be read again in the next look.
    pub(crate) fn note_forgotten(&self) {
        self.forgotten.store(true, Ordering::Release);
    }
}

/// What an erasure did.
#[derive(Clone, Debug, PartialEq)]
pub struct Erased {
    /// The erasure as it holds.
    pub erasure: Erasure,
    /// How many efforts it took from this instance's table.
    pub efforts: u64,
}

/// Why nothing was erased, as far as this instance knows.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EraseError {
    /// It may be well again soon.
    #[error(transparent)]
    Failed(#[from] CommitError),
    /// There are as many erasures as there may be.
    #[error("there are too many erasures already, of this racer or in all")]
    TooMany,
}

impl From<TakeInError> for EraseError {
    fn from(error: TakeInError) -> Self {
        Self::Failed(CommitError::Store(error.to_string()))
    }
}

impl Ledger {
    /// Takes away what is in scope and was ridden up to half a minute from now, for ever, and returns once that is
    /// durable and gone from this instance. After an error it may be or become so.
    pub async fn erase(
        &self,
        scope: ErasureScope,
        reason: Option<Arc<str>>,
    ) -> Result<Erased, EraseError> {
        self.accepts()?;
        self.inner.erase(&scope, reason.as_ref(), &self.adopt).await
    }
}

impl Inner {
    async fn erase(
        &self,
        scope: &ErasureScope,
        reason: Option<&Arc<str>>,
        adopt: &mpsc::Sender<WriterMessage>,
    ) -> Result<Erased, EraseError> {
        let _turn = self.erasing.turn.lock().await;
        let began = self.clock.uptime();
        let mut efforts = 0;
        let mut failure = StoreError::new("put", ObjectKey::Erasures, "not durable in time");
        while self.clock.uptime().saturating_sub(began) < GIVE_UP_AFTER {
            // Given back between one try and the next: who only looks must not wait for all of them.
            let exchange = self.erasing.exchange.lock().await;
            let put_began = self.clock.uptime();
            let until_ms = self.clock.wall_ms() + AHEAD.as_millis() as u64;
            let next = self
                .erasures()
                .with(scope.clone(), until_ms, reason.cloned())
                .ok_or(EraseError::TooMany)?;
            let condition = lock(&self.erasing.tag)
                .clone()
                .map_or(Precondition::IfNoneMatch, Precondition::IfMatch);
            let (next, body) = self
                .offload(move || {
                    let body = encode(&next);
                    (next, body)
                })
                .await;
            let put = tokio::select! {
                biased;
                put = self.store.put(&ObjectKey::Erasures, vec![body], condition) => put,
                () = self.clock.sleep(PUT_WITHIN) => Err(failure.clone().into()),
            };
            let mut has_failed = false;
            match put {
                Ok(new) => {
                    let took = self.clock.uptime().saturating_sub(put_began);
                    efforts += self.learn_in_turn(next, adopt).await?;
                    *lock(&self.erasing.tag) = Some(new);
                    if took <= PUT_WITHIN {
                        lock(&self.erasing.unsettled).retain(|unsettled| unsettled.scope != *scope);
                        self.claim(scope);
                        let known = self.erasures();
                        let erasure = known.find(scope).expect("it was just learned").clone();
                        tracing::info!(racer = %scope.racer_id, version = erasure.version, efforts, "erased");
                        return Ok(Erased { erasure, efforts });
                    }
                }
                // Another was faster, or it was this very put, tried twice by the client.
                Err(PutError::WriteConflict) => {}
                // It may be there all the same, now or later: then its tag is another than is known.
                Err(PutError::Failed(error)) => {
                    tracing::warn!(%error, "an erasure failed; trying again");
                    failure = error;
                    has_failed = true;
                }
            }
            match self.hear_anew(Some(adopt)).await {
                Ok(heard) => efforts += heard,
                Err(error) => {
                    failure = StoreError::new("get", ObjectKey::Erasures, error);
                    has_failed = true;
                }
            }
            drop(exchange);
            if has_failed {
                self.clock.sleep(PAUSE).await;
            }
        }
        Err(CommitError::Store(failure.to_string()).into())
    }

    /// Reads what was erased, and heeds it.
    pub(crate) async fn refresh_erasures(
        &self,
        adopt: Option<&mpsc::Sender<WriterMessage>>,
    ) -> Result<(), TakeInError> {
        let _exchange = self.erasing.exchange.lock().await;
        self.hear_anew(adopt).await.map(drop)
    }

    /// Heeds what was erased if a listing shows another tag than is known. Also where what was there last did not read,
    /// for it may have been put back as it was, and where nothing is there, until it is written again.
    pub(crate) async fn hear_if_changed(
        &self,
        listed: Option<&ETag>,
        adopt: &mpsc::Sender<WriterMessage>,
    ) -> Result<(), TakeInError> {
        let has_changed = || {
            let is_unread = lock(&self.unreadable).contains_key(&ObjectKey::Erasures);
            let is_gone = listed.is_none() && self.erasures().version() > 0;
            lock(&self.erasing.tag).as_ref() != listed || is_unread || is_gone
        };
        // Where there is nothing to hear, whoever is erasing is not waited for: their store may hang.
        if has_changed() {
            let _exchange = self.erasing.exchange.lock().await;
            if has_changed() {
                self.hear_anew(Some(adopt)).await?;
            }
        }
        Ok(())
    }

    /// Sees that the erasures which an object has heeded are known here, before it is merged.
    pub(crate) async fn require_erasure_version(
        &self,
        key: &ObjectKey,
        heeded: ErasureVersion,
        adopt: Option<&mpsc::Sender<WriterMessage>>,
    ) -> Result<(), TakeInError> {
        if heeded > self.erasures().version() {
            self.refresh_erasures(adopt).await?;
        }
        let known = self.erasures().version();
        if heeded > known {
            let problem = format!(
                "it heeds erasure {heeded}, and erasures.gz has {known}: put back the newest one"
            );
            return Err(Unreadable {
                key: key.clone(),
                problem,
                is_damaged: false,
            }
            .into());
        }
        Ok(())
    }

    /// Writes anew, with a later time, what was heard of too late.
    pub(crate) async fn extend_late_erasures(
        &self,
        adopt: &mpsc::Sender<WriterMessage>,
    ) -> Result<(), StoreError> {
        while let Some(Erasure { scope, reason, .. }) =
            { lock(&self.erasing.unsettled).last().cloned() }
        {
            tracing::warn!(racer = %scope.racer_id, "heard of an erasure too late; writing it anew with a later time");
            let settled = self.erase(&scope, reason.as_ref(), adopt).await;
            settled.map_err(|error| StoreError::new("put", ObjectKey::Erasures, error))?;
        }
        Ok(())
    }

    /// Journals anew what was taken in from under what is erased. Where it stood, an instance that had not heard of the
    /// erasure may have held it for covered by what is gone, and may have deleted it.
    pub(crate) async fn journal_uncovered(
        &self,
        adopt: &mpsc::Sender<WriterMessage>,
    ) -> Result<(), StoreError> {
        let efforts = std::mem::take(&mut *lock(&self.erasing.uncovered));
        if efforts.is_empty() {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let journaling = WriterMessage::Rejournal {
            efforts: efforts.clone(),
            answer,
        };
        if adopt.send(journaling).await.is_ok()
            && let Ok(Ok(_)) = answered.await
        {
            return Ok(());
        }
        self.erasing.note_uncovered(efforts.iter());
        Err(StoreError::new(
            "put",
            "journal/",
            "what stood under what is erased is not durable yet",
        ))
    }

    /// Reads and heeds `erasures.gz`; how many efforts that took away.
    async fn hear_anew(
        &self,
        adopt: Option<&mpsc::Sender<WriterMessage>>,
    ) -> Result<u64, TakeInError> {
        let Some(object) = self.store.get(&ObjectKey::Erasures).await? else {
            *lock(&self.erasing.tag) = None;
            self.note_readable(&ObjectKey::Erasures);
            if adopt.is_some() && self.erasures().version() > 0 {
                tracing::warn!("erasures.gz is gone; writing it again as it is known here");
                let known = self.erasures();
                let body = self.offload(move || encode(&known)).await;
                let put =
                    self.store
                        .put(&ObjectKey::Erasures, vec![body], Precondition::IfNoneMatch);
                let put = tokio::select! {
                    biased;
                    put = put => put.ok(),
                    () = self.clock.sleep(WRITE_AGAIN_WITHIN) => None,
                };
                *lock(&self.erasing.tag) = put;
            }
            return Ok(0);
        };
        if lock(&self.erasing.tag).as_ref() == Some(&object.etag) {
            self.note_readable(&ObjectKey::Erasures);
            return Ok(0);
        }
        let StoredObject { body, etag } = object;
        let heard = self.offload(move || decode(&body)).await;
        let heard = heard.map_err(|problem| Unreadable {
            key: ObjectKey::Erasures,
            problem,
            is_damaged: false,
        })?;
        let efforts = match adopt {
            Some(adopt) => {
                let learned = self.learn_in_turn(heard, adopt).await;
                learned.map_err(|error| StoreError::new("get", ObjectKey::Erasures, error))?
            }
            None => self.apply_erasures(&heard),
        };
        *lock(&self.erasing.tag) = Some(etag);
        self.note_readable(&ObjectKey::Erasures);
        Ok(efforts)
    }

    async fn learn_in_turn(
        &self,
        erasures: Erasures,
        adopt: &mpsc::Sender<WriterMessage>,
    ) -> Result<u64, CommitError> {
        let (learned, answer) = oneshot::channel();
        adopt
            .send(WriterMessage::ApplyErasures { erasures, learned })
            .await
            .map_err(|_| CommitError::NotReady)?;
        answer.await.map_err(|_| CommitError::NotReady)
    }

    /// Takes away what is erased, in the writer's turn; how many efforts that were.
    pub(crate) fn apply_erasures(&self, heard: &Erasures) -> u64 {
        let mut known = (*self.erasures()).clone();
        let news = known.merge(heard);
        let now_ms = self.clock.wall_ms();
        let mut efforts = 0;
        for Erasure {
            scope, until_ms, ..
        } in &news
        {
            for class in self.table.classes().filter(|&class| scope.concerns(class)) {
                efforts +=
                    self.table
                        .erase(class, scope.racer_id, scope.seconds(), scope.above, now_ms);
                if scope.above.is_some() {
                    self.erasing
                        .note_uncovered(self.beneath(class, scope).iter());
                }
            }
            if scope.concerns_names() {
                self.names.erase(scope.racer_id, *until_ms);
            }
        }
        // Only now is the version known: whatever names it holds nothing that it covers.
        self.erasures.send_replace(Arc::new(known));
        for Erasure { scope, .. } in &news {
            let is_gone = |second, output| {
                scope.seconds().contains(&second) && scope.above.is_none_or(|above| output > above)
            };
            self.races.erase(scope.racer_id, scope.class_id, is_gone);
        }
        if self.serving.load(Ordering::Acquire) {
            self.note_late(&news);
        }
        self.invalidate(&news, now_ms);
        efforts
    }

    /// What stands here in reach of an erasure of what is above. Elsewhere it may have been held for covered, by what
    /// is gone now, and be gone with it. The table keeps no times, so it has the one that every later erasure covers.
    fn beneath(&self, class: ClassId, scope: &ErasureScope) -> Vec<Effort> {
        let racer = scope.racer_id;
        let stands = self
            .table
            .racer_bests(class, racer)
            .into_iter()
            .filter(|(second, _)| scope.seconds().contains(second));
        stands
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

    /// What was dropped may have to come back: a lesser output where only those above are erased, and a later ride
    /// where the erasure is heard of when its time has passed.
    fn invalidate(&self, news: &[Erasure], now_ms: u64) {
        if news.is_empty() {
            return;
        }
        let mut snapshots = lock(&self.snapshots);
        snapshots.note_learned(self.clock.uptime());
        let has_passed =
            |it: &Erasure| it.until_ms <= now_ms + CLOCKS_DIFFER_MAX.as_millis() as u64;
        let mut forgets = news
            .iter()
            .filter(|it| has_passed(it) || it.scope.above.is_some())
            .peekable();
        if forgets.peek().is_none() {
            return;
        }
        for erasure in forgets {
            for subject in self.concerned(&erasure.scope) {
                snapshots.invalidate(subject);
            }
        }
        drop(snapshots);
        lock(&self.segments).invalidate();
        self.erasing.note_forgotten();
    }

    /// Keeps those in mind whose time this instance may have passed, taking deliveries, before it heard of them: an
    /// erasure whose writing took long, and whose writer died of it.
    fn note_late(&self, news: &[Erasure]) {
        let unaware = self
            .clock
            .uptime()
            .saturating_sub(self.listed())
            .saturating_sub(BEHIND_MAX);
        let took_until = self
            .clock
            .wall_ms()
            .saturating_sub(unaware.as_millis() as u64);
        // Both by this instance's own clock: no ride that it took has a later time than that.
        let late = news.iter().filter(|it| it.until_ms < took_until);
        lock(&self.erasing.unsettled).extend(late.cloned());
    }

    /// What an erasure changes, this instance writes: soon, whoever wrote it last.
    fn claim(&self, scope: &ErasureScope) {
        let mut snapshots = lock(&self.snapshots);
        for subject in self.concerned(scope) {
            snapshots.claim(subject);
        }
    }

    fn concerned(&self, scope: &ErasureScope) -> Vec<Subject> {
        let concerned = |subject: &Subject| match *subject {
            Subject::Class(class) => scope.concerns(class),
            Subject::RacerNames => scope.concerns_names(),
        };
        self.subjects().into_iter().filter(concerned).collect()
    }
}

fn encode(erasures: &Erasures) -> Bytes {
    journal_segment::gzip(&erasures.to_json())
}

fn decode(body: &[u8]) -> Result<Erasures, String> {
    let json =
        journal_segment::gunzip(body, STORED_BYTES_MAX).map_err(|error| error.to_string())?;
    Erasures::from_json(&json)
}
