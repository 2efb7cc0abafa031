//! A connection to the bucket that fails in every way a real one can, as its seed determines.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alleycat::ledger::clock::Clock;
use alleycat::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
};
use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use crate::bucket::Bucket;
use crate::clock::SimulatedClock;

/// The share of calls that fail, by kind of fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Fails without effect.
    pub failed: f64,
    /// Takes effect, then reports a failure.
    pub lost_response: f64,
    /// Reports a failure, then takes effect later.
    pub late: f64,
    /// Reports a failed precondition, as 409 ConditionalRequestConflict does.
    pub conflict: f64,
    /// Does not respond for a long time.
    pub hang: f64,
}

/// One instance's connection to the bucket.
#[derive(Debug)]
pub struct FaultyStore {
    bucket: Arc<Bucket>,
    clock: Arc<SimulatedClock>,
    faults: Mutex<Faults>,
    chance: Mutex<StdRng>,
    /// Remaining steps until the crash.
    crash: Mutex<Option<u32>>,
    pub crashed: watch::Sender<bool>,
}

impl FaultyStore {
    pub fn new(bucket: Arc<Bucket>, clock: Arc<SimulatedClock>, faults: Faults, seed: u64) -> Self {
        Self {
            bucket,
            clock,
            faults: Mutex::new(faults),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            crash: Mutex::new(None),
            crashed: watch::channel(false).0,
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// Crashes at the `steps`-th step from now on.
    pub fn crash_after(&self, steps: u32) {
        *self.crash.lock().unwrap() = Some(steps);
    }

    fn happens(&self, share: f64) -> bool {
        self.chance.lock().unwrap().random_bool(share)
    }

    /// A point at which the process may crash. After a crash, nothing more runs.
    async fn step(&self) {
        let dies = {
            let mut crash = self.crash.lock().unwrap();
            match &mut *crash {
                Some(0) => true,
                Some(steps) => {
                    *steps -= 1;
                    false
                }
                None => false,
            }
        };
        if dies {
            self.crashed.send_replace(true);
            std::future::pending::<()>().await;
        }
    }

    async fn travel(&self) {
        self.step().await;
        let faults = *self.faults.lock().unwrap();
        let milliseconds = match self.happens(faults.hang) {
            true => self.chance.lock().unwrap().random_range(1_000..60_000),
            false => self.chance.lock().unwrap().random_range(1..200),
        };
        self.clock.sleep(Duration::from_millis(milliseconds)).await;
        self.step().await;
    }

    fn failure(&self, operation: &'static str, key: &impl ToString) -> StoreError {
        StoreError {
            operation,
            key: key.to_string(),
            problem: "simulated".to_owned(),
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        self.travel().await;
        let object = self.bucket.get(&key.path());
        self.travel().await;
        let faults = *self.faults.lock().unwrap();
        if self.happens(faults.failed) {
            Err(self.failure("get", key))
        } else {
            Ok(object)
        }
    }

    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError> {
        self.travel().await;
        let faults = *self.faults.lock().unwrap();
        if self.happens(faults.failed) {
            return Err(self.failure("put", key).into());
        }
        if self.happens(faults.conflict) {
            return Err(PutError::WriteConflict);
        }
        if self.happens(faults.late) {
            let (bucket, key) = (self.bucket.clone(), key.clone());
            let delay =
                Duration::from_millis(self.chance.lock().unwrap().random_range(100..20_000));
            let failure = self.failure("put", &key);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await; // takes effect even if its sender dies
                bucket.put(&key, &parts, &condition);
            });
            return Err(failure.into());
        }
        let outcome = self.bucket.put(key, &parts, &condition);
        self.travel().await;
        if self.happens(faults.lost_response) {
            return Err(self.failure("put", key).into());
        }
        outcome.ok_or(PutError::WriteConflict)
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        self.travel().await;
        let listed = self.bucket.list(scope);
        self.travel().await; // the listing may be outdated when it arrives
        let faults = *self.faults.lock().unwrap();
        if self.happens(faults.failed) {
            Err(self.failure("list", &format!("{scope:?}")))
        } else {
            Ok(listed)
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.travel().await;
        let faults = *self.faults.lock().unwrap();
        if self.happens(faults.failed) {
            return Err(self.failure("delete", key));
        }
        self.bucket.delete(key);
        self.travel().await;
        if self.happens(faults.lost_response) {
            Err(self.failure("delete", key))
        } else {
            Ok(())
        }
    }
}
