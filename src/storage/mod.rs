//! Where the state is durable: a flat space of objects, in a folder or in a bucket.
//!
//! [`Store`] is the little that the ledger needs: get, put with a condition, list, delete. [`ObjectKey`] is the only
//! place that makes or reads an object's name.

pub mod backend;
pub mod codec;
pub mod history_file;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;

pub use crate::storage::backend::instrumented::InstrumentedStore;
pub use crate::storage::backend::local_fs::FolderStore;
pub use crate::storage::backend::s3::{BucketObject, BucketReader, S3Store};

use crate::domain::effort::ClassId;

/// Opens the store of that name: `file:PATH`, or `s3://BUCKET/PREFIX` with an optional prefix.
///
/// # Errors
/// It is no such name, or the store cannot be used: one sentence for a person that says what to do.
pub async fn open(place: &str) -> anyhow::Result<Arc<dyn Store>> {
    if let Some(path) = place.strip_prefix("file:") {
        anyhow::ensure!(
            !path.is_empty(),
            "the store `{place}` names no folder; write it as `file:data`"
        );
        let path = PathBuf::from(path);
        let opening = tokio::task::spawn_blocking(move || FolderStore::open(&path));
        return Ok(Arc::new(
            opening
                .await
                .context("opening the folder was broken off")??,
        ));
    }
    if let Some(rest) = place.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        anyhow::ensure!(
            !bucket.is_empty(),
            "the store `{place}` names no bucket; write it as `s3://BUCKET/PREFIX`"
        );
        return Ok(Arc::new(S3Store::connect(bucket, prefix).await?));
    }
    anyhow::bail!("`{place}` is no store; write it as `file:PATH` or `s3://BUCKET/PREFIX`")
}

/// Sees that the store writes, deletes, and keeps to a put's condition, with a probe object that is deleted afterwards.
///
/// # Errors
/// What the store does not do. On a store that ignores conditions two instances would undo each other's writes, so none
/// may use it.
pub async fn probe(store: &dyn Store, id: SegmentId) -> anyhow::Result<()> {
    let key = ObjectKey::Probe(id);
    let outcome = probe_conditions(store, &key).await;
    let deleted = store.delete(&key).await;
    outcome?;
    deleted.with_context(|| {
        format!(
            "{} lets this process write but not delete; allow it to",
            store.location()
        )
    })
}

async fn probe_conditions(store: &dyn Store, key: &ObjectKey) -> anyhow::Result<()> {
    let place = store.location();
    let put = async |condition| {
        store
            .put(key, vec![Bytes::from_static(b"probe")], condition)
            .await
    };
    match put(Precondition::IfNoneMatch).await {
        // Lost can only be a hidden retry that met its own first try: the key is new.
        Ok(_) | Err(PutError::WriteConflict) => {}
        Err(PutError::Failed(error)) => {
            return Err(error).with_context(|| format!("{place} cannot be written to"));
        }
    }
    let wrong = ETag("\"00000000000000000000000000000000\"".to_owned());
    for (condition, header) in [
        (Precondition::IfNoneMatch, "If-None-Match"),
        (Precondition::IfMatch(wrong), "If-Match"),
    ] {
        match put(condition).await {
            Err(PutError::WriteConflict) => {}
            Ok(_) => {
                anyhow::bail!(
                    "{place} ignores {header}, so writes would be lost there; use a store that keeps to it"
                )
            }
            Err(PutError::Failed(error)) => {
                return Err(error).with_context(|| {
                    format!("{place} does not answer a put with {header} as S3 does")
                });
            }
        }
    }
    Ok(())
}

/// A flat space of objects. Every promise holds over a crash of this process: a put that returned `Ok` is durable.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Where it is, for a person: `file:data`, `s3://bucket/prefix/`.
    fn location(&self) -> String;

    /// The object, whole, or `None` when there is none of that key.
    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError>;

    /// Writes the object whose body is `parts` in turn; no reader ever sees a part of it. `Ok` means durable.
    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError>;

    /// Every object of that scope, in no order. An object that was there before the call began and was not deleted is
    /// in it.
    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError>;

    /// Deletes the object; deleting what is not there is no error.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;
}

/// An object's body and the tag of that very body.
#[derive(Clone, Debug)]
pub struct StoredObject {
    /// The body.
    pub body: Bytes,
    /// Its tag.
    pub etag: ETag,
}

/// The store's own tag of a body, opaque, as the store writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ETag(pub String);

/// On what a put depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Only where there is no object of that key (`If-None-Match: *`).
    IfNoneMatch,
    /// Only where the object has this tag (`If-Match`).
    IfMatch(ETag),
}

/// What a listing covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListScope {
    /// The objects at the root: the classes' histories, the names, the erasures.
    Root,
    /// The journal's segments.
    Journal,
}

impl ListScope {
    /// What the names of its objects begin with.
    fn path(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Journal => "journal/",
        }
    }
}

/// One row of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The object.
    pub key: ObjectKey,
    /// Its tag as the listing has it: for looking, never to be sent as a condition.
    pub etag: ETag,
}

/// A store did not do what it was asked, other than by a put's condition.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} {key}: {problem}")]
pub struct StoreError {
    /// `get`, `put`, `list` or `delete`.
    pub operation: &'static str,
    /// The object, or the scope.
    pub key: String,
    /// What is wrong, for a person.
    pub problem: String,
}

impl StoreError {
    /// That the operation on the object or scope met the problem.
    pub fn new(
        operation: &'static str,
        key: impl fmt::Display,
        problem: impl fmt::Display,
    ) -> Self {
        Self {
            operation,
            key: key.to_string(),
            problem: problem.to_string(),
        }
    }
}

/// A name in the journal that no segment has. It may be a segment whose name was harmed, so it is not passed over.
fn unknown_segment(name: &str) -> StoreError {
    let file = name.trim_start_matches("journal/");
    let problem = format!(
        "`{name}` is no name of a segment; move it to `quarantine/{file}` if it is not needed"
    );
    StoreError::new("list", ListScope::Journal.path(), problem)
}

/// Why a put did not succeed, by what the caller must do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PutError {
    /// The condition does not hold, or may not have held: read the object, merge, try again.
    #[error("the object has changed")]
    WriteConflict,
    /// It failed, or its outcome is not known: the object may or may not be there, now or later.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// The name of an object in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// `class-<N>.gz`: the history of a class and its snapshot in one.
    History(ClassId),
    /// `racers.gz`: the names.
    Racers,
    /// `erasures.gz`: what was erased.
    Erasures,
    /// `journal/<time>-<process>-<counter>.ndjson.gz`.
    Segment(SegmentId),
    /// `processing-failed/YYYY/MM/dd/HH/<time>-<process>-<counter>.ndjson.gz`.
    Quarantine(SegmentId),
    /// `probe/<time>-<process>-<counter>`: written and deleted at the start to see what the store can do.
    Probe(SegmentId),
}

/// What makes an object that is written once unique: when (by the writer's clock, for a person's eye), by which
/// process, its how many-th.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// 128 random bits of the process.
    pub process: u128,
    /// Counts what the process has tried to write.
    pub counter: u64,
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:013}-{:032x}-{:08}",
            self.time_ms, self.process, self.counter
        )
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SegmentId {
    /// One that no other process makes, for an object outside the ledger's own counting.
    pub fn random(time_ms: u64) -> Self {
        Self {
            time_ms,
            process: rand::random(),
            counter: 0,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let id = Self {
            time_ms: fields.next()?.parse().ok()?,
            process: u128::from_str_radix(fields.next()?, 16).ok()?,
            counter: fields.next()?.parse().ok()?,
        };
        (id.to_string() == text).then_some(id)
    }
}

const SEGMENT_ENDING: &str = ".ndjson.gz";

impl ObjectKey {
    /// The folders that keys begin with.
    const FOLDERS: [&str; 3] = ["journal", "processing-failed", "probe"];

    /// The name, below the store's folder or prefix.
    pub fn path(&self) -> String {
        match self {
            Self::History(class) => format!("class-{class}.gz"),
            Self::Racers => "racers.gz".to_owned(),
            Self::Erasures => "erasures.gz".to_owned(),
            Self::Segment(id) => format!("journal/{id}{SEGMENT_ENDING}"),
            Self::Quarantine(id) => format!(
                "processing-failed/{}/{id}{SEGMENT_ENDING}",
                hour_path(id.time_ms)
            ),
            Self::Probe(id) => format!("probe/{id}"),
        }
    }

    /// The key whose name that is; `None` for a name that none of ours has.
    pub fn parse(path: &str) -> Option<Self> {
        let key = if let Some(class) = path
            .strip_prefix("class-")
            .and_then(|rest| rest.strip_suffix(".gz"))
        {
            Self::History(ClassId::new(class.parse().ok()?)?)
        } else if let Some(id) = path
            .strip_prefix("journal/")
            .and_then(|rest| rest.strip_suffix(SEGMENT_ENDING))
        {
            Self::Segment(SegmentId::parse(id)?)
        } else if let Some(rest) = path.strip_prefix("processing-failed/") {
            Self::Quarantine(SegmentId::parse(
                rest.rsplit('/').next()?.strip_suffix(SEGMENT_ENDING)?,
            )?)
        } else if let Some(id) = path.strip_prefix("probe/") {
            Self::Probe(SegmentId::parse(id)?)
        } else {
            match path {
                "racers.gz" => Self::Racers,
                "erasures.gz" => Self::Erasures,
                _ => return None,
            }
        };
        (key.path() == path).then_some(key)
    }

    /// What the object is, as HTTP says it.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Probe(_) => "text/plain",
            _ => "application/gzip",
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// `YYYY/MM/dd/HH` in UTC.
fn hour_path(time_ms: u64) -> String {
    let time = i64::try_from(time_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .unwrap_or_default();
    time.strftime("%Y/%m/%d/%H").to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_reads_back_from_its_path(
            time_ms in 0u64..4_000_000_000_000, process: u128, counter: u64, class in 1u16..,
        ) {
            let id = SegmentId { time_ms, process, counter };
            let class = ClassId::new(class).expect("not zero");
            for key in [
                ObjectKey::History(class), ObjectKey::Racers, ObjectKey::Erasures,
                ObjectKey::Segment(id), ObjectKey::Quarantine(id), ObjectKey::Probe(id),
            ] {
                let path = key.path();
                prop_assert!(path.split_once('/').is_none_or(|(folder, _)| ObjectKey::FOLDERS.contains(&folder)));
                prop_assert_eq!(ObjectKey::parse(&path), Some(key));
            }
        }
    }

    #[test]
    fn a_name_that_is_not_ours_is_no_key() {
        for path in [
            "",
            "class-0.gz",
            "class-01.gz",
            "class-1.gz.tmp",
            "journal/",
            "journal/x.ndjson.gz",
            "notes.txt",
        ] {
            assert_eq!(ObjectKey::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_quarantined_object_stands_under_its_hour() {
        let id = SegmentId {
            time_ms: 1_619_185_789_755,
            process: 1,
            counter: 2,
        };
        let path = ObjectKey::Quarantine(id).path();
        assert!(
            path.starts_with("processing-failed/2021/04/23/13/1619185789755-"),
            "{path}"
        );
    }
}
