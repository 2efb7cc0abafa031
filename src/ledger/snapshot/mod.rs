//! Snapshots: the journal folded into `class-N.gz` and `racers.gz`, and covered segments deleted.
//!
//! An object is written only on the condition that what it replaces is what this instance has merged, so every snapshot
//! holds all that its predecessor held and no instance undoes another's. The only tags ever sent are of a body that
//! this instance has merged, or of its own confirmed put; never one from a listing.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3;

use crate::domain::effort::{Bounds, ClassId, RacerId, Second};
use crate::domain::erasure::{self, ErasureVersion};
use crate::domain::racer_names::RacerName;
use crate::ledger::commit_loop::{MERGE_EFFORTS_MAX, Merged, WriterMessage};
use crate::ledger::journal_index::GRACE;
use crate::ledger::{Inner, lock};
use crate::state::table::{ClassTable, StateVersion};
use crate::storage::codec::journal_segment::{self, Contents};
use crate::storage::history_file::{HistoryError, StoredHistory};
use crate::storage::{ETag, ObjectKey, Precondition, PutError, StoreError};

/// To build snapshots takes at most this share of the time: the next is not sooner than so many times what the last
/// one took to build. How long a store took it says nothing of what it costs, and what is erased is not waited for.
const TIME_SHARE: u32 = 20;

/// The longest time that a build puts the next one off: a pause of the whole process that fell into it is not what it
/// costs.
const REST_MAX: Duration = Duration::from_secs(300);

/// Another instance's snapshots are taken over when segments have waited for so many intervals.
const TAKE_OVER_INTERVALS: u32 = 3;

/// How often a snapshot that others overtake is tried before it waits for its next turn.
const TRIES_MAX: usize = 5;

/// How many segments are deleted at a time.
const DELETIONS_MAX: usize = 8;

/// The most that a name may take in `racers.gz`, in bytes: a hundred characters of four, an id, a time.
const NAME_BYTES_MAX: u64 = 512;

/// What there is to take a snapshot of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Class(ClassId),
    RacerNames,
}

impl Subject {
    pub(crate) fn key(self) -> ObjectKey {
        match self {
            Self::Class(class) => ObjectKey::History(class),
            Self::RacerNames => ObjectKey::Racers,
        }
    }
}

/// What this instance knows of the stored snapshots.
#[derive(Debug)]
pub(crate) struct Snapshots {
    classes: Vec<Kept>,
    names: Kept,
    /// When something that was erased was last heard of.
    learned: Duration,
}

/// A stored body that was merged here, or put from here.
#[derive(Clone, Debug)]
struct Body {
    tag: ETag,
    hash: u128,
    /// The erasures that it has heeded.
    heeded: ErasureVersion,
}

/// What this instance knows of one stored snapshot.
#[derive(Clone, Debug)]
struct Kept {
    body: Option<Body>,
    /// Whether that body is to be merged again before its tag counts.
    forgotten: bool,
    /// Since when the object is known to be gone, where it is.
    gone: Option<Duration>,
    /// Everything merged up to this version is in a durable snapshot.
    covered: StateVersion,
    /// Whether this instance wrote it last, as far as it knows. A starting instance claims it: if another is at work,
    /// it sees the change and stands back.
    ours: bool,
    /// How much longer than needed to wait before taking over, so that not all do it at once.
    patience: Duration,
    began: Option<Duration>,
    /// How long the last one took to build.
    took: Duration,
}

impl Snapshots {
    pub(crate) fn new(classes: u16) -> Self {
        let kept = Kept {
            body: None,
            forgotten: false,
            gone: None,
            covered: 0,
            ours: true,
            patience: Duration::ZERO,
            began: None,
            took: Duration::ZERO,
        };
        Self {
            classes: vec![kept.clone(); classes.into()],
            names: kept,
            learned: Duration::ZERO,
        }
    }

    fn get(&mut self, subject: Subject) -> &mut Kept {
        match subject {
            Subject::Class(class) => &mut self.classes[class.index()],
            Subject::RacerNames => &mut self.names,
        }
    }

    /// The tag of the body that was merged or put last.
    pub(crate) fn tag(&mut self, subject: Subject) -> Option<ETag> {
        self.get(subject).body.as_ref().map(|body| body.tag.clone())
    }

    /// Notes that something was erased.
    pub(crate) fn note_learned(&mut self, now: Duration) {
        self.learned = now;
    }

    /// Whether its body is not known to be merged: it is another's, or was forgotten.
    pub(crate) fn is_unread(&mut self, subject: Subject, listed: &ETag) -> bool {
        let kept = self.get(subject);
        kept.forgotten || kept.body.as_ref().is_none_or(|body| body.tag != *listed)
    }

    /// Forgets that its body was merged, since some of it was dropped that may have to come back.
    pub(crate) fn invalidate(&mut self, subject: Subject) {
        self.get(subject).forgotten = true;
    }

    /// Notes that its object is gone: what it held is durable nowhere else.
    pub(crate) fn note_gone(&mut self, subject: Subject, now: Duration) {
        let kept = self.get(subject);
        (kept.body, kept.covered, kept.gone) = (None, 0, Some(now));
    }

    /// From now on it is this instance that writes it.
    pub(crate) fn claim(&mut self, subject: Subject) {
        self.get(subject).ours = true;
    }

    /// Notes that another instance has written it since.
    pub(crate) fn stand_back(&mut self, subject: Subject, patience: Duration) {
        let kept = self.get(subject);
        if kept.ours {
            kept.ours = false;
            kept.patience = patience;
        }
    }
}

/// What is about to be stored.
struct Built {
    parts: Vec<Bytes>,
    /// What was merged up to this version is in it.
    version: StateVersion,
    /// The erasures that it has heeded.
    heeded: ErasureVersion,
}

/// An object of the store that does not read.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {problem}")]
pub(crate) struct Unreadable {
    pub(crate) key: ObjectKey,
    pub(crate) problem: String,
    /// Whether the object itself may be broken; else it is `erasures.gz` that is broken or behind.
    pub(crate) is_damaged: bool,
}

/// Why a stored object was not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeInError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Inner {
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        self.table
            .classes()
            .map(Subject::Class)
            .chain([Subject::RacerNames])
            .collect()
    }

    /// Takes snapshots as they fall due, for ever.
    pub(crate) async fn take_snapshots(&self, adopt: &mpsc::Sender<WriterMessage>) {
        // Looking is cheap next to a snapshot, and a fresh look keeps what is stored near the interval behind.
        let look = (self.options.snapshot_interval / 4)
            .clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            self.clock.sleep(look).await;
            for subject in self.subjects() {
                if self.is_due(subject) {
                    self.take_snapshot(subject, Some(adopt)).await;
                }
            }
            self.delete_covered().await;
        }
    }

    /// Takes the snapshots that are this instance's to take, once nothing else is under way.
    pub(crate) async fn take_last_snapshot(&self) {
        for subject in self.subjects() {
            let ours = lock(&self.snapshots).get(subject).ours;
            if ours && self.waits_since(subject).is_some() {
                self.take_snapshot(subject, None).await;
            }
        }
    }

    pub(crate) fn waits_since(&self, subject: Subject) -> Option<Duration> {
        if self.is_withheld(subject) {
            return None;
        }
        let (covered, waits_since) = {
            let mut snapshots = lock(&self.snapshots);
            let learned = snapshots.learned;
            let kept = snapshots.get(subject);
            (
                kept.covered,
                self.is_unheeded(subject, kept)
                    .then_some(learned)
                    .into_iter()
                    .chain(kept.gone)
                    .min(),
            )
        };
        let segments = lock(&self.segments);
        let uncovered_since = match subject {
            Subject::Class(class) => segments.class_waits_since(class, covered),
            Subject::RacerNames => segments.names_wait_since(covered),
        };
        uncovered_since.into_iter().chain(waits_since).min()
    }

    /// Whether its body holds what is erased, as far as this instance knows.
    fn is_unheeded(&self, subject: Subject, kept: &Kept) -> bool {
        kept.body.as_ref().map_or(0, |body| body.heeded) < self.concerning(subject)
    }

    /// Whether what does not read may belong to it: its own object, or a segment, of which nobody knows what it
    /// touches.
    fn is_withheld(&self, subject: Subject) -> bool {
        let key = subject.key();
        lock(&self.unreadable)
            .keys()
            .any(|unread| *unread == key || matches!(unread, ObjectKey::Segment(_)))
    }

    /// The highest version of what was erased that concerns it.
    pub(crate) fn concerning(&self, subject: Subject) -> ErasureVersion {
        match subject {
            Subject::Class(class) => self.erasures().concerning(class),
            Subject::RacerNames => self.erasures().concerning_names(),
        }
    }

    fn is_due(&self, subject: Subject) -> bool {
        let Some(since) = self.waits_since(subject) else {
            return false;
        };
        let kept = lock(&self.snapshots).get(subject).clone();
        let now = self.clock.uptime();
        let interval = self.options.snapshot_interval;
        let rest = if self.is_unheeded(subject, &kept) {
            interval
        } else {
            interval.max((kept.took * TIME_SHARE).min(REST_MAX))
        };
        let rested = kept
            .began
            .is_none_or(|began| now.saturating_sub(began) >= rest);
        // That another has covered a segment is seen only when it is deleted, so its grace is no waiting.
        let others_turn = GRACE + interval * TAKE_OVER_INTERVALS + kept.patience;
        rested && (kept.ours || now.saturating_sub(since) >= others_turn)
    }

    async fn take_snapshot(&self, subject: Subject, adopt: Option<&mpsc::Sender<WriterMessage>>) {
        let began = self.clock.uptime();
        lock(&self.snapshots).get(subject).began = Some(began);
        let outcome = self.replace_snapshot(subject, adopt).await;
        let took = self.clock.uptime().saturating_sub(began);
        metrics::histogram!("alleycat_snapshot_duration_seconds").record(took.as_secs_f64());
        match outcome {
            Ok(()) => {}
            Err(TakeInError::Store(error)) => {
                tracing::warn!(%error, "a snapshot failed; it will be tried again");
            }
            Err(TakeInError::Unreadable(unreadable)) => {
                self.note_unreadable_snapshot(subject, &unreadable);
            }
        }
    }

    async fn replace_snapshot(
        &self,
        subject: Subject,
        adopt: Option<&mpsc::Sender<WriterMessage>>,
    ) -> Result<(), TakeInError> {
        let key = subject.key();
        for _ in 0..TRIES_MAX {
            if lock(&self.snapshots).get(subject).forgotten {
                self.take_in_snapshot(subject, adopt).await?;
            }
            // Before the build: only so is what was merged with that tag in it.
            let known = lock(&self.snapshots).get(subject).body.clone();
            let began = self.clock.uptime();
            let Built {
                parts,
                version,
                heeded,
            } = self.build_snapshot(subject).await;
            let hashed = parts.clone();
            let hash = self.offload(move || hash(&hashed)).await;
            lock(&self.snapshots).get(subject).took = self.clock.uptime().saturating_sub(began);
            let condition = match known {
                // What stands there, as far as is known still, is what would be written: it is covered as it is.
                Some(body)
                    if body.hash == hash
                        && lock(&self.snapshots).tag(subject).as_ref() == Some(&body.tag) =>
                {
                    self.note_stored(subject, body, version);
                    return Ok(());
                }
                Some(body) => Precondition::IfMatch(body.tag),
                None => Precondition::IfNoneMatch,
            };
            match self.store.put(&key, parts, condition).await {
                Ok(tag) => {
                    self.note_stored(subject, Body { tag, hash, heeded }, version);
                    lock(&self.snapshots).claim(subject);
                    return Ok(());
                }
                // Another was faster, or it was this very put, tried twice by the client: either way, read and merge.
                Err(PutError::WriteConflict) => self.take_in_snapshot(subject, adopt).await?,
                Err(PutError::Failed(error)) => return Err(error.into()),
            }
        }
        let problem = format!("overtaken {TRIES_MAX} times");
        Err(StoreError {
            operation: "put",
            key: key.path(),
            problem,
        }
        .into())
    }

    /// Notes that a body of all that was merged up to `version` is stored.
    fn note_stored(&self, subject: Subject, body: Body, version: StateVersion) {
        let mut snapshots = lock(&self.snapshots);
        let kept = snapshots.get(subject);
        // What was erased since the build had it forget what it covers.
        if body.heeded == self.concerning(subject) {
            kept.covered = version;
            kept.forgotten = false;
        }
        kept.gone = None;
        kept.body = Some(body);
    }

    async fn build_snapshot(&self, subject: Subject) -> Built {
        match subject {
            Subject::Class(class) => {
                let history = self.history_now(class).await;
                Built {
                    parts: history.chunks().collect(),
                    version: history.built_at(),
                    heeded: history.erasure_version(),
                }
            }
            Subject::RacerNames => loop {
                // As with a history: what is erased is gone before its version is known.
                let heeded = self.concerning(subject);
                let version = self.names.version();
                let names = self.names.all();
                let parts = vec![self.offload(move || encode_names(&names, heeded)).await];
                if self.concerning(subject) == heeded {
                    return Built {
                        parts,
                        version,
                        heeded,
                    };
                }
            },
        }
    }

    /// Reads a stored snapshot and merges it: through the writer, or in place where there is none.
    pub(crate) async fn take_in_snapshot(
        &self,
        subject: Subject,
        adopt: Option<&mpsc::Sender<WriterMessage>>,
    ) -> Result<(), TakeInError> {
        let key = subject.key();
        let Some(object) = self.store.get(&key).await? else {
            let mut snapshots = lock(&self.snapshots);
            let kept = snapshots.get(subject);
            (kept.forgotten, kept.covered) = (false, 0);
            if kept.body.is_some() {
                snapshots.note_gone(subject, self.clock.uptime());
            }
            drop(snapshots);
            self.note_readable(&key);
            return Ok(());
        };
        let heeded = heeded_by(&object.body);
        self.require_erasure_version(&key, heeded, adopt).await?;
        let body = object.body.clone();
        let Bounds {
            classes,
            second_max,
        } = self.options.bounds;
        // More names than racers may stand there, of racers that an earlier start had room for.
        let names_bytes_max =
            (1 << 30).max(u64::from(classes) * self.options.racers_max as u64 * NAME_BYTES_MAX);
        let (hash, read) = self
            .offload(move || {
                let read = match subject {
                    Subject::Class(id) => {
                        read_history(id, &body, second_max).map(|class| Read::Class(id, class))
                    }
                    Subject::RacerNames => {
                        read_names(&body, heeded, names_bytes_max).map(Read::RacerNames)
                    }
                };
                (hash(&[body]), read)
            })
            .await;
        let read = read.map_err(|problem| Unreadable {
            key: key.clone(),
            problem,
            is_damaged: true,
        })?;
        let erased = self.erasures().version();
        match read {
            Read::Class(id, class) => {
                self.published[id.index()].note_stored(object.body.len() as u64);
                self.take_in_class(id, class, heeded, adopt).await;
            }
            Read::RacerNames(names) => drop(self.take_in([names], adopt).await),
        }
        let mut snapshots = lock(&self.snapshots);
        // What was erased meanwhile may have taken some of it away again: then it is not merged.
        if self.erasures().version() == erased {
            let kept = snapshots.get(subject);
            (kept.body, kept.forgotten, kept.gone) = (
                Some(Body {
                    tag: object.etag,
                    hash,
                    heeded,
                }),
                false,
                None,
            );
        }
        drop(snapshots);
        self.note_readable(&key);
        Ok(())
    }

    /// Takes in what a stored history holds: at a start as it is, where nothing else is there yet.
    async fn take_in_class(
        &self,
        id: ClassId,
        mut class: ClassTable,
        heeded: ErasureVersion,
        adopt: Option<&mpsc::Sender<WriterMessage>>,
    ) {
        if adopt.is_none() && self.concerning(Subject::Class(id)) <= heeded {
            let Some(given_back) = self.table.insert_if_empty(id, class) else {
                return;
            };
            class = given_back;
        }
        let mut efforts = class.efforts(id);
        let slices = std::iter::from_fn(|| {
            let efforts: Vec<_> = efforts.by_ref().take(MERGE_EFFORTS_MAX).collect();
            (!efforts.is_empty()).then_some(Contents {
                efforts,
                names: Vec::new(),
                heeded,
            })
        });
        self.take_in(slices, adopt).await;
    }

    /// Merges what is durable: through the writer, in bounded slices, or in place where there is none yet or any more.
    pub(crate) async fn take_in(
        &self,
        contents: impl IntoIterator<Item = Contents>,
        adopt: Option<&mpsc::Sender<WriterMessage>>,
    ) -> Merged {
        let mut merged = Merged::default();
        for contents in contents {
            let Some(adopt) = adopt else {
                self.merge(&contents, &mut merged);
                continue;
            };
            let (sender, receiver) = tokio::sync::oneshot::channel();
            if adopt
                .send(WriterMessage::ApplyRemote {
                    contents,
                    merged: sender,
                })
                .await
                .is_ok()
                && let Ok(slice) = receiver.await
            {
                merged.classes.extend(slice.classes);
                merged.names = slice.names.or(merged.names);
                merged.changed |= slice.changed;
            } else {
                // The writer has ended, and with it soon this task: nothing may be taken for merged.
                std::future::pending::<()>().await;
            }
        }
        merged
    }

    async fn delete_covered(&self) {
        let now = self.clock.uptime();
        let (covered, names_covered) = {
            let snapshots = lock(&self.snapshots);
            let covered: Vec<_> = snapshots.classes.iter().map(|kept| kept.covered).collect();
            (covered, snapshots.names.covered)
        };
        let due = lock(&self.segments).due(now, |class| covered[class.index()], names_covered);
        for ids in due.chunks(DELETIONS_MAX) {
            let deletions = ids.iter().map(|&id| async move {
                match self.store.delete(&ObjectKey::Segment(id)).await {
                    Ok(()) => lock(&self.segments).remove(id),
                    Err(error) => {
                        tracing::warn!(%error, "a segment was not deleted; it will be tried again");
                    }
                }
            });
            futures_util::future::join_all(deletions).await;
        }
    }

    pub(crate) fn note_unreadable(&self, unreadable: &Unreadable) {
        tracing::error!(key = %unreadable.key, problem = %unreadable.problem, "a stored object does not read");
        metrics::counter!("alleycat_corrupt_object_reads_total").increment(1);
        lock(&self.unreadable).insert(unreadable.key.clone(), unreadable.problem.clone());
    }

    /// It covers nothing any more, and the next look reads it again.
    pub(crate) fn note_unreadable_snapshot(&self, subject: Subject, unreadable: &Unreadable) {
        self.note_unreadable(unreadable);
        let mut snapshots = lock(&self.snapshots);
        snapshots.invalidate(subject);
        snapshots.get(subject).covered = 0;
        drop(snapshots);
        self.erasing.note_forgotten();
    }

    pub(crate) fn note_readable(&self, key: &ObjectKey) {
        lock(&self.unreadable).remove(key);
    }
}

fn hash(parts: &[Bytes]) -> u128 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.digest128()
}

/// What a stored snapshot holds.
enum Read {
    Class(ClassId, ClassTable),
    RacerNames(Contents),
}

fn read_history(class: ClassId, body: &[u8], second_max: u32) -> Result<ClassTable, String> {
    let read = StoredHistory::open(body).and_then(|stored| stored.read(Second(second_max)));
    read.map_err(|error| match error {
        HistoryError::SecondBeyond(second) => beyond_options(class, second.0, second_max),
        error => error.to_string(),
    })
}

/// What is said of a stored second that the options leave out.
pub(crate) fn beyond_options(class: ClassId, second: u32, second_max: u32) -> String {
    format!(
        "it holds second {second} of class {class}, and --max-second is {second_max}: start with a greater one"
    )
}

#[derive(Serialize, Deserialize)]
struct StoredName {
    name: String,
    at: u64,
}

fn encode_names(names: &[(RacerId, RacerName)], heeded: ErasureVersion) -> Bytes {
    let stored = |name: &RacerName| StoredName {
        name: name.text.to_string(),
        at: name.at_ms,
    };
    // In the order of the ids, as numbers: serde_json writes a map in the order it is given.
    struct RacerNames<'a, F>(&'a [(RacerId, RacerName)], F);
    impl<F: Fn(&RacerName) -> StoredName> Serialize for RacerNames<'_, F> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(racer, name)| (racer.0, self.1(name))))
        }
    }
    let text = serde_json::to_vec(&RacerNames(names, stored)).expect("names always serialise");
    let header = GzBuilder::new().extra(erasure::extra_field(heeded));
    let mut encoder = header.write(Vec::with_capacity(text.len() / 3), Compression::fast());
    encoder.write_all(&text).expect("a vector takes all");
    encoder.finish().expect("a vector takes all").into()
}

/// The erasures that a snapshot's header says it has heeded. Of one that is no gzip, its reading tells.
fn heeded_by(snapshot: &[u8]) -> ErasureVersion {
    let decoder = GzDecoder::new(snapshot);
    decoder
        .header()
        .and_then(|header| header.extra())
        .and_then(erasure::version_in)
        .unwrap_or(0)
}

fn read_names(body: &[u8], heeded: ErasureVersion, bytes_max: u64) -> Result<Contents, String> {
    let text = journal_segment::gunzip(body, bytes_max).map_err(|error| error.to_string())?;
    let names: BTreeMap<u64, StoredName> =
        serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let names = names.into_iter().map(|(racer, StoredName { name, at })| {
        (
            RacerId(racer),
            RacerName {
                at_ms: at,
                text: name.into(),
            },
        )
    });
    Ok(Contents {
        efforts: Vec::new(),
        names: names.collect(),
        heeded,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_they_were_and_stand_in_order() {
        let name = |at_ms, text: &str| RacerName {
            at_ms,
            text: text.into(),
        };
        let names = vec![
            (RacerId(2), name(7, "Ä \"quoted\"")),
            (RacerId(10), name(0, "")),
        ];
        let body = encode_names(&names, 7);
        assert_eq!(heeded_by(&body), 7);
        let text = journal_segment::gunzip(&body, 1000).expect("gzip");
        let expected = r#"{"2":{"name":"Ä \"quoted\"","at":7},"10":{"name":"","at":0}}"#;
        assert_eq!(String::from_utf8(text).expect("UTF-8"), expected);
        assert_eq!(
            read_names(&body, 7, 1000).expect("ours"),
            Contents {
                names,
                heeded: 7,
                ..Contents::default()
            }
        );
    }
}
