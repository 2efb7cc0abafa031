//! A store that can be broken at the flip of a switch, over one that is sound.
//!
//! What breaks are the puts that somebody waits for, of segments, the quarantine and erasures; all else is the sound
//! store's.

use std::sync::{Arc, Mutex, PoisonError};

use alleycat::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

/// What becomes of a put that begins, or waits, while the switch stands so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is done and answered.
    Sound,
    /// It is refused, and nothing is done.
    Fails,
    /// It waits for another mode.
    Hangs,
    /// It is done, and said to have failed.
    Lies,
    /// It is done, and not answered before there is another mode.
    FallsSilent,
    /// The code of the store itself is broken.
    Panics,
}

/// The store.
pub struct BrokenStore {
    sound: Arc<dyn Store>,
    mode: watch::Sender<Mode>,
    begun: watch::Sender<usize>,
    keys: Mutex<Vec<ObjectKey>>,
    gets: Mutex<Vec<ObjectKey>>,
}

impl BrokenStore {
    /// Sound, until the switch is flipped.
    pub fn over(sound: Arc<dyn Store>) -> Arc<Self> {
        let (mode, begun) = (watch::channel(Mode::Sound).0, watch::channel(0).0);
        Arc::new(Self {
            sound,
            mode,
            begun,
            keys: Mutex::default(),
            gets: Mutex::default(),
        })
    }

    /// Flips the switch; puts that wait see it.
    pub fn turn(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Every put so far, done or not, snapshots included.
    pub fn puts(&self) -> Vec<ObjectKey> {
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Every get so far.
    pub fn gets(&self) -> Vec<ObjectKey> {
        self.gets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many puts of segments there were so far.
    pub fn segments(&self) -> usize {
        self.puts()
            .iter()
            .filter(|key| matches!(key, ObjectKey::Segment(_)))
            .count()
    }

    /// Waits until so many puts have begun that somebody waits for.
    pub async fn has_begun(&self, count: usize) {
        let mut begun = self.begun.subscribe();
        begun
            .wait_for(|&begun| begun >= count)
            .await
            .expect("the store is there");
    }

    fn begin(&self, key: &ObjectKey) {
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key.clone());
    }
}

fn failure(key: &ObjectKey) -> PutError {
    StoreError {
        operation: "put",
        key: key.path(),
        problem: "broken for the test, secret-of-the-store".to_owned(),
    }
    .into()
}

#[async_trait]
impl Store for BrokenStore {
    fn location(&self) -> String {
        self.sound.location()
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        self.gets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key.clone());
        self.sound.get(key).await
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
            return self.sound.put(key, parts, condition).await;
        }
        self.begun.send_modify(|begun| *begun += 1);
        let mut modes = self.mode.subscribe();
        let mode = *modes
            .wait_for(|&mode| mode != Mode::Hangs)
            .await
            .expect("the switch is there");
        match mode {
            Mode::Sound | Mode::Hangs => self.sound.put(key, parts, condition).await,
            Mode::Fails => Err(failure(key)),
            Mode::Lies => {
                self.sound.put(key, parts, condition).await?;
                Err(failure(key))
            }
            Mode::FallsSilent => {
                let done = self.sound.put(key, parts, condition).await;
                modes
                    .wait_for(|&mode| mode != Mode::FallsSilent)
                    .await
                    .expect("the switch is there");
                done
            }
            Mode::Panics => panic!("the store's own code is broken, for the test"),
        }
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        self.sound.list(scope).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.sound.delete(key).await
    }
}
