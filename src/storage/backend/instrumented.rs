//! Metrics around a store: requests by operation and kind of object, which a bucket's bill is made
//! of.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::observability;
use crate::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
};

/// A store that records `alleycat_store_requests_total`, `alleycat_store_bytes_total` and
/// `alleycat_store_request_duration_seconds`.
pub(crate) struct InstrumentedStore(pub(crate) Arc<dyn Store>);

#[async_trait]
impl Store for InstrumentedStore {
    fn location(&self) -> String {
        self.0.location()
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        let start = Instant::now();
        let result = self.0.get(key).await;
        time("get", start);
        count("get", kind(key), outcome(&result));
        if let Ok(Some(object)) = &result {
            count_bytes("get", kind(key), object.body.len());
        }
        result
    }

    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError> {
        let bytes = parts.iter().map(Bytes::len).sum();
        let start = Instant::now();
        let result = self.0.put(key, parts, condition).await;
        time("put", start);
        let outcome = match &result {
            Ok(_) => "ok",
            Err(PutError::WriteConflict) => "precondition_failed",
            Err(PutError::Failed(_)) => "failed",
        };
        count("put", kind(key), outcome);
        count_bytes("put", kind(key), bytes);
        result
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        let start = Instant::now();
        let result = self.0.list(scope).await;
        time("list", start);
        let kind = match scope {
            ListScope::Root => "root",
            ListScope::Journal => "journal",
        };
        count("list", kind, outcome(&result));
        result
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let start = Instant::now();
        let result = self.0.delete(key).await;
        time("delete", start);
        count("delete", kind(key), outcome(&result));
        result
    }

    async fn broken(&self) -> StoreError {
        self.0.broken().await
    }
}

fn kind(key: &ObjectKey) -> &'static str {
    match key {
        ObjectKey::History(_) => "history",
        ObjectKey::Races(_) => "races",
        ObjectKey::Finishes(_) => "finishes",
        ObjectKey::Racers => "racers",
        ObjectKey::Erasures => "erasures",
        ObjectKey::Segment(_) => "journal",
        ObjectKey::Quarantine(_) => "quarantine",
        ObjectKey::Probe(_) => "probe",
    }
}

fn outcome<T>(result: &Result<T, StoreError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(_) => "failed",
    }
}

fn time(operation: &'static str, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    metrics::histogram!(observability::STORE_REQUEST_DURATION_SECONDS, "operation" => operation)
        .record(seconds);
}

fn count(operation: &'static str, kind: &'static str, outcome: &'static str) {
    metrics::counter!(
        observability::STORE_REQUESTS_TOTAL, "operation" => operation, "kind" => kind, "outcome" => outcome
    )
    .increment(1);
}

fn count_bytes(operation: &'static str, kind: &'static str, bytes: usize) {
    metrics::counter!(observability::STORE_BYTES_TOTAL, "operation" => operation, "kind" => kind)
        .increment(bytes as u64);
}
