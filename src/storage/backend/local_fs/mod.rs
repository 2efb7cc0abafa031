//! The store in a folder: an object is a file, durable once the file and its folder are synced.
//!
//! A body is written and synced under `tmp/` and then renamed to its name in one step. The put is
//! acknowledged after the folder is synced as well; no reader finds the object before that. One
//! process owns the folder at a time, so preconditions are checked under a lock of this process.
//!
//! Nothing is trusted after a failed sync. A file whose sync failed is removed and never gets its
//! name. When the sync of a folder fails, names may be lost or not, so the store rejects every
//! operation until it is reopened. Opening syncs everything that it finds.

mod files;
mod folder;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::storage::backend::local_fs::folder::Folder;
use crate::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
};

/// Maximum number of concurrent operations. A disk that hangs blocks this many threads instead of
/// every blocking thread of the runtime.
const OPERATIONS_MAX: usize = 16;

/// A folder that this process owns, or only reads, until the store is dropped and its last operation
/// has ended.
#[derive(Debug)]
pub struct FolderStore {
    folder: Arc<Folder>,
    operations: Arc<Semaphore>,
}

impl FolderStore {
    /// Locks the folder, creates it if necessary and syncs what it contains. Blocks on the disk.
    ///
    /// # Errors
    /// Another process owns the folder, or the disk fails. The message is one sentence for an
    /// operator.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::open_with(path, Folder::open)
    }

    /// Opens a folder that another process may own. Nothing in it is changed, and puts and deletes
    /// fail.
    ///
    /// # Errors
    /// The folder is not a store.
    pub fn open_read_only(path: &Path) -> anyhow::Result<Self> {
        Self::open_with(path, Folder::open_read_only)
    }

    fn open_with(
        path: &Path,
        open: fn(String, PathBuf) -> anyhow::Result<Folder>,
    ) -> anyhow::Result<Self> {
        let root = std::path::absolute(path)
            .with_context(|| format!("the path {} is invalid", path.display()))?;
        let folder = open(path.display().to_string(), root)
            .with_context(|| format!("the folder {} cannot be used as a store", path.display()))?;
        Ok(Self {
            folder: Arc::new(folder),
            operations: Arc::new(Semaphore::new(OPERATIONS_MAX)),
        })
    }

    /// Runs an operation on a blocking thread. It continues to its end when the caller stops
    /// waiting.
    async fn run<T, E>(
        &self,
        operation: &'static str,
        key: &str,
        work: impl FnOnce(&Folder) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let permit = Arc::clone(&self.operations)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let folder = Arc::clone(&self.folder);
        let running = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&folder)
        });
        running
            .await
            .unwrap_or_else(|error| Err(StoreError::new(operation, key, error).into()))
    }
}

#[async_trait]
impl Store for FolderStore {
    fn location(&self) -> String {
        format!("file:{}", self.folder.name())
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        let key = key.clone();
        self.run("get", &key.path(), move |folder| {
            folder
                .get(&key)
                .map_err(|error| StoreError::new("get", &key, error))
        })
        .await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError> {
        let key = key.clone();
        self.run("put", &key.path(), move |folder| {
            match folder.put(&key, &parts, &condition) {
                Ok(Some(etag)) => Ok(etag),
                Ok(None) => Err(PutError::WriteConflict),
                Err(error) => Err(StoreError::new("put", &key, error).into()),
            }
        })
        .await
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        self.run("list", scope.path(), move |folder| folder.list(scope))
            .await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.run("delete", &key.path(), move |folder| {
            folder
                .delete(&key)
                .map_err(|error| StoreError::new("delete", &key, error))
        })
        .await
    }

    async fn broken(&self) -> StoreError {
        let mut failure = self.folder.failure();
        let failed = failure.wait_for(Option::is_some).await;
        let problem = failed.expect("the folder exists").clone();
        StoreError::new("sync", self.location(), problem.unwrap_or_default())
    }
}
