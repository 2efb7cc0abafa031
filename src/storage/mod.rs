//! Durable storage: a flat space of objects, in a folder or in a bucket.
//!
//! [`Store`] is the small interface that the ledger needs: get, conditional put, list, delete.
//! [`ObjectKey`] alone builds and parses the names of objects.

mod backend;
pub(crate) mod codec;
pub mod history_file;
mod keys;
mod probe;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use crate::storage::backend::instrumented::InstrumentedStore;
pub use crate::storage::backend::local_fs::FolderStore;
pub(crate) use crate::storage::backend::s3::configured_endpoint;
pub use crate::storage::backend::s3::{BucketObject, BucketReader, S3Store};
pub use crate::storage::keys::{ObjectKey, SegmentId};
pub use crate::storage::probe::{probe, probe_steps};

/// Opens the store at a location: `file:PATH`, or `s3://BUCKET/PREFIX` with an optional prefix.
///
/// # Errors
/// The location is invalid, or the store cannot be used. The message is one sentence for an
/// operator and names the fix.
pub async fn open(location: &str) -> anyhow::Result<Arc<dyn Store>> {
    open_with(location, FolderStore::open).await
}

/// Opens a store to read it. A folder may be in use by another process, and nothing in it is changed.
///
/// # Errors
/// As [`open`]. Also if the folder is no store yet.
pub async fn open_read_only(location: &str) -> anyhow::Result<Arc<dyn Store>> {
    open_with(location, FolderStore::open_read_only).await
}

/// Returns the folder of a store; `None` if the location is not of the form `file:PATH`.
///
/// # Errors
/// It names no folder of this machine.
pub(crate) fn folder_of(location: &str) -> anyhow::Result<Option<&Path>> {
    let Some(path) = location.strip_prefix("file:") else {
        return Ok(None);
    };
    anyhow::ensure!(
        !path.is_empty(),
        "the store `{location}` names no folder; write it as `file:data`"
    );
    // `file:///data` names no host.
    anyhow::ensure!(
        !path.starts_with("//") || path.starts_with("///"),
        "the store `{location}` names a host; write a folder as `file:/PATH`"
    );
    Ok(Some(Path::new(path)))
}

async fn open_with(
    location: &str,
    open_folder: fn(&Path) -> anyhow::Result<FolderStore>,
) -> anyhow::Result<Arc<dyn Store>> {
    if let Some(path) = folder_of(location)? {
        let path = path.to_owned();
        let opening = tokio::task::spawn_blocking(move || open_folder(&path));
        let store = opening.await.context("opening the folder was aborted")??;
        return Ok(Arc::new(store));
    }
    if let Some(rest) = location.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        anyhow::ensure!(
            !bucket.is_empty(),
            "the store `{location}` names no bucket; write it as `s3://BUCKET/PREFIX`"
        );
        return Ok(Arc::new(S3Store::connect(bucket, prefix).await?));
    }
    anyhow::bail!(
        "the store `{location}` is invalid; write it as `file:PATH` or `s3://BUCKET/PREFIX`"
    )
}

/// A flat space of objects. Every promise survives a crash of this process.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Returns the store's location for messages: `file:data`, `s3://bucket/prefix/`.
    fn location(&self) -> String;

    /// Reads a whole object; `None` when it does not exist.
    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError>;

    /// Writes an object whose body is the concatenation of `parts`. No reader ever sees a partial
    /// object. `Ok` means that the object is durable.
    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError>;

    /// Lists every object of a scope, in no order. The result contains each object that existed
    /// before the call and was not deleted meanwhile.
    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError>;

    /// Deletes an object. A missing object is no error.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// Resolves when the store cannot be used until it is opened again. Most stores never get there.
    async fn broken(&self) -> StoreError {
        std::future::pending().await
    }
}

/// An object's body with its tag.
#[derive(Clone, Debug)]
pub struct StoredObject {
    /// The body.
    pub body: Bytes,
    /// The tag of exactly this body.
    pub etag: ETag,
}

/// The store's own tag of a body. It is opaque and kept as the store writes it. Tags are equal if
/// their values are: some servers write quotes around it in one response and none in another.
#[derive(Clone, Debug)]
pub struct ETag(pub String);

impl ETag {
    fn value(&self) -> &str {
        self.0.trim_matches('"')
    }
}

impl PartialEq for ETag {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

impl Eq for ETag {}

impl Hash for ETag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value().hash(state);
    }
}

/// The condition of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// The object must not exist (`If-None-Match: *`).
    IfNoneMatch,
    /// The object must have this tag (`If-Match`).
    IfMatch(ETag),
}

/// The part of the store that a listing covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListScope {
    /// The objects at the root: histories, names, erasures.
    Root,
    /// The journal's segments.
    Journal,
}

impl ListScope {
    /// Returns the common prefix of the scope's object names.
    fn path(self) -> &'static str {
        match self {
            Self::Root => "",
            Self::Journal => "journal/",
        }
    }
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The object's key.
    pub key: ObjectKey,
    /// The tag in the listing. It only shows changes and is never sent as a precondition.
    pub etag: ETag,
}

/// A failed operation of the store. Unmet preconditions are [`PutError::WriteConflict`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} {key}: {problem}")]
pub struct StoreError {
    /// `get`, `put`, `list` or `delete`; `apply` if the object was read, but could not be applied.
    pub operation: &'static str,
    /// The object or the listed scope.
    pub key: String,
    /// The cause, for an operator.
    pub problem: String,
    /// Whether the server did not answer, or has a fault of its own. It may pass.
    pub is_outage: bool,
}

impl StoreError {
    /// Creates the error of an operation on an object or a scope.
    pub fn new(
        operation: &'static str,
        key: impl fmt::Display,
        problem: impl fmt::Display,
    ) -> Self {
        Self {
            operation,
            key: key.to_string(),
            problem: problem.to_string(),
            is_outage: false,
        }
    }
}

/// Returns whether an operation failed because of an outage of the store, which may pass.
pub(crate) fn is_outage(error: &anyhow::Error) -> bool {
    let failed = match error.downcast_ref() {
        Some(PutError::Failed(failed)) => Some(failed),
        _ => error.downcast_ref::<StoreError>(),
    };
    failed.is_some_and(|failed| failed.is_outage)
}

/// Errors of a put, by what the caller must do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PutError {
    /// The precondition failed (412) or another write was under way (409): read the object, merge,
    /// try again.
    #[error("the object has changed")]
    WriteConflict,
    /// The put failed, or its outcome is unknown: the object may exist now, or later, or never.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tags_with_and_without_quotes_are_equal() {
        let tag = |text: &str| ETag(text.to_owned());
        assert_eq!(tag("\"a\""), tag("a"));
        assert_ne!(tag("\"a\""), tag("b"));
        let tags = HashSet::from([tag("\"a\""), tag("a"), tag("b")]);
        assert_eq!(tags.len(), 2);
        assert_eq!(
            Precondition::IfMatch(tag("\"a\"")),
            Precondition::IfMatch(tag("a"))
        );
    }
}
