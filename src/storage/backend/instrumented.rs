//! A store whose requests are counted, by operation and kind of object: what a bucket's bill is made of.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::observability;
use crate::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
};

/// Any store, counted in `alleycat_store_requests_total` and `alleycat_store_bytes_total`, and timed in
/// `alleycat_store_request_duration_seconds`.
pub struct InstrumentedStore(pub Arc<dyn Store>);

#[async_trait]
impl Store for InstrumentedStore {
    fn location(&self) -> String {
        self.0.location()
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        let began = Instant::now();
        let got = self.0.get(key).await;
        time("get", began);
        count("get", kind(key), if got.is_ok() { "ok" } else { "failed" });
        if let Ok(Some(object)) = &got {
            count_bytes("get", kind(key), object.body.len());
        }
        got
    }

    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError> {
        let length = parts.iter().map(Bytes::len).sum();
        let began = Instant::now();
        let put = self.0.put(key, parts, condition).await;
        time("put", began);
        let outcome = match &put {
            Ok(_) => "ok",
            Err(PutError::WriteConflict) => "precondition_failed",
            Err(PutError::Failed(_)) => "failed",
        };
        count("put", kind(key), outcome);
        count_bytes("put", kind(key), length);
        put
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        let began = Instant::now();
        let listed = self.0.list(scope).await;
        time("list", began);
        let kind = match scope {
            ListScope::Root => "root",
            ListScope::Journal => "journal",
        };
        count("list", kind, if listed.is_ok() { "ok" } else { "failed" });
        listed
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let began = Instant::now();
        let deleted = self.0.delete(key).await;
        time("delete", began);
        count(
            "delete",
            kind(key),
            if deleted.is_ok() { "ok" } else { "failed" },
        );
        deleted
    }
}

fn kind(key: &ObjectKey) -> &'static str {
    match key {
        ObjectKey::History(_) => "history",
        ObjectKey::Racers => "racers",
        ObjectKey::Erasures => "erasures",
        ObjectKey::Segment(_) => "journal",
        ObjectKey::Quarantine(_) => "quarantine",
        ObjectKey::Probe(_) => "probe",
    }
}

fn time(operation: &'static str, began: Instant) {
    let took = began.elapsed().as_secs_f64();
    metrics::histogram!(observability::STORE_REQUEST_DURATION_SECONDS, "operation" => operation)
        .record(took);
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
