//! A store that injects faults into the puts of another store.
//!
//! Faults affect puts that a caller waits for: segments, the quarantine and erasures. Everything
//! else goes to the inner store unchanged.

use std::sync::{Arc, Mutex, PoisonError};

use alleycat::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

/// The outcome of a put that begins, or is waiting, in this mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Writes and succeeds.
    Healthy,
    /// Fails without writing.
    Fails,
    /// Waits for another mode.
    Hangs,
    /// Writes, then reports a failure.
    WritesThenFails,
    /// Writes, then waits for another mode.
    WritesThenHangs,
    /// Panics.
    Panics,
}

/// A store with injected faults.
pub struct BrokenStore {
    inner: Arc<dyn Store>,
    mode: watch::Sender<Mode>,
    begun: watch::Sender<usize>,
    keys: Mutex<Vec<ObjectKey>>,
    gets: Mutex<Vec<ObjectKey>>,
}

impl BrokenStore {
    /// Wraps `inner`, without faults.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        let (mode, begun) = (watch::channel(Mode::Healthy).0, watch::channel(0).0);
        Arc::new(Self {
            inner,
            mode,
            begun,
            keys: Mutex::default(),
            gets: Mutex::default(),
        })
    }

    /// Returns the wrapped store.
    pub fn inner(&self) -> Arc<dyn Store> {
        self.inner.clone()
    }

    /// Sets the mode. Waiting puts continue in it.
    pub fn set_mode(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Returns the key of every put so far, successful or not, including snapshots.
    pub fn puts(&self) -> Vec<ObjectKey> {
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the key of every get so far.
    pub fn gets(&self) -> Vec<ObjectKey> {
        self.gets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts the puts of segments so far.
    pub fn segments(&self) -> usize {
        self.puts()
            .iter()
            .filter(|key| matches!(key, ObjectKey::Segment(_)))
            .count()
    }

    /// Waits until `count` puts that a caller waits for have begun.
    pub async fn wait_for_puts(&self, count: usize) {
        let mut begun = self.begun.subscribe();
        begun
            .wait_for(|&begun| begun >= count)
            .await
            .expect("the store exists");
    }

    fn begin(&self, key: &ObjectKey) {
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key.clone());
    }
}

fn failure(key: &ObjectKey) -> PutError {
    StoreError::new("put", key, "injected failure, secret-of-the-store").into()
}

#[async_trait]
impl Store for BrokenStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        self.gets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key.clone());
        self.inner.get(key).await
    }

    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError> {
        self.begin(key);
        if !matches!(
            key,
            ObjectKey::Segment(_) | ObjectKey::Quarantine(_) | ObjectKey::Erasures
        ) {
            return self.inner.put(key, parts, condition).await;
        }
        self.begun.send_modify(|begun| *begun += 1);
        let mut modes = self.mode.subscribe();
        let mode = *modes
            .wait_for(|&mode| mode != Mode::Hangs)
            .await
            .expect("the store exists");
        match mode {
            Mode::Healthy | Mode::Hangs => self.inner.put(key, parts, condition).await,
            Mode::Fails => Err(failure(key)),
            Mode::WritesThenFails => {
                self.inner.put(key, parts, condition).await?;
                Err(failure(key))
            }
            Mode::WritesThenHangs => {
                let done = self.inner.put(key, parts, condition).await;
                modes
                    .wait_for(|&mode| mode != Mode::WritesThenHangs)
                    .await
                    .expect("the store exists");
                done
            }
            Mode::Panics => panic!("injected panic in the store"),
        }
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        self.inner.list(scope).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn broken(&self) -> StoreError {
        self.inner.broken().await
    }
}
