//! The cost of a commit of 22,000 improvements without the disk: compare, sort, encode, compress,
//! merge.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alleycat::domain::effort::{Bounds, ClassId, Effort, Output, Second};
use alleycat::ledger::clock::SystemClock;
use alleycat::ledger::{Ledger, LedgerOptions, WriteBatch};
use alleycat::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
};
use async_trait::async_trait;
use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::load;

const CLASS: ClassId = ClassId::new(1).expect("1 is not 0");
const RACERS: u64 = 22_000;

/// Accepts every put, and stores the keys of segments only.
#[derive(Default)]
struct Nowhere(Mutex<Vec<ObjectKey>>);

#[async_trait]
impl Store for Nowhere {
    fn location(&self) -> String {
        "nowhere".to_owned()
    }

    async fn get(&self, _: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        Ok(None)
    }

    async fn put(&self, key: &ObjectKey, _: Vec<Bytes>, _: Precondition) -> Result<ETag, PutError> {
        if matches!(key, ObjectKey::Segment(_)) {
            self.0.lock().expect("no panic").push(key.clone());
        }
        Ok(ETag(String::new()))
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        if scope == ListScope::Root {
            return Ok(Vec::new());
        }
        let keys = self.0.lock().expect("no panic").clone();
        let entry = |key| ListEntry {
            key,
            etag: ETag(String::new()),
        };
        Ok(keys.into_iter().map(entry).collect())
    }

    async fn delete(&self, _: &ObjectKey) -> Result<(), StoreError> {
        Ok(())
    }
}

#[divan::bench]
fn commit(bencher: Bencher<'_, '_>) {
    let never = Duration::from_secs(3600);
    let options = LedgerOptions {
        bounds: Bounds {
            classes: 1,
            second_max: 600,
        },
        racers_max: usize::MAX,
        commit_interval: Duration::ZERO,
        snapshot_interval: never,
        sync_interval: Duration::from_secs(2),
        races_kept: Duration::from_secs(24 * 60 * 60),
        read_only: false,
    };
    let (ledger, worker) = Ledger::new(
        options,
        Arc::new(Nowhere::default()),
        Arc::new(SystemClock),
        [1; 32],
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be made");
    runtime.spawn(worker.run(std::future::pending()));
    while ledger.accepts().is_err() {
        std::thread::yield_now();
    }

    let mut random = StdRng::seed_from_u64(1);
    let efforts = load::second_of_all(
        CLASS,
        RACERS,
        Second(0),
        &mut random,
        load::Numbers::Doubles,
    );
    let mut round = 0;
    let raised = || {
        round += 1;
        let raise = |effort: &Effort| Effort {
            output: Output::new(effort.output.get() + f64::from(round) * 1000.0).expect("finite"),
            ..*effort
        };
        WriteBatch {
            efforts: efforts.iter().map(raise).collect(),
            ..WriteBatch::default()
        }
    };
    let committing = bencher
        .counter(ItemsCount::new(efforts.len()))
        .with_inputs(raised);
    committing.bench_local_values(|submission| {
        let committed = runtime
            .block_on(ledger.commit(submission))
            .expect("nothing fails");
        assert_eq!(committed.improvements, efforts.len());
    });
}
