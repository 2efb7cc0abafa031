//! `serve --read-only`: it serves what others write, and never writes.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use alleycat::storage::{
    self, ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError,
    StoredObject,
};
use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::instance::Instance;
use support::test_store::TestStore;
use support::{Service, alleycat, firehose_body, record, until};

const QUICK: [&str; 6] = [
    "--commit-interval",
    "0ms",
    "--sync-interval",
    "20ms",
    "--snapshot-interval",
    "50ms",
];

/// A store that refuses every put and delete, and notes them.
struct RefusingStore {
    inner: Arc<dyn Store>,
    refused: Mutex<Vec<String>>,
    listings: AtomicUsize,
}

impl RefusingStore {
    fn refuse(&self, operation: &'static str, key: &ObjectKey) -> StoreError {
        let mut refused = self.refused.lock().unwrap();
        refused.push(format!("{operation} {key}"));
        StoreError::new(operation, key, "access denied")
    }

    /// Waits until polls that begin after this call have ended.
    async fn wait_for_polls(&self) {
        let before = self.listings.load(Ordering::Relaxed);
        until("it polls", async || {
            self.listings.load(Ordering::Relaxed) > before + 6 // two a poll
        })
        .await;
    }
}

#[async_trait]
impl Store for RefusingStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        self.inner.get(key).await
    }

    async fn put(&self, key: &ObjectKey, _: Vec<Bytes>, _: Precondition) -> Result<ETag, PutError> {
        Err(self.refuse("put", key).into())
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        let listed = self.inner.list(scope).await;
        self.listings.fetch_add(1, Ordering::Relaxed);
        listed
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        Err(self.refuse("delete", key))
    }
}

async fn best(service: &Service, racer: u64) -> Option<f64> {
    let board = service
        .json(&format!("/classes/1/leaderboard?second=1&racers={racer}"))
        .await;
    board["standings"][0]["output"].as_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_follows_a_writer_and_never_puts_or_deletes() {
    let test_store = TestStore::folder();
    let options = [&QUICK[..], &["--admin-key", "admin"]].concat();
    let writer = Service::start_on(&test_store, &options).await;
    writer.deliver(&[record(1, 1, 1, 100.0)]).await;
    // The writer's lock stays: both use the folder.
    let inner = storage::open_read_only(&test_store.url()).await.unwrap();
    let store = Arc::new(RefusingStore {
        inner,
        refused: Mutex::default(),
        listings: AtomicUsize::default(),
    });
    let options = [&options[..], &["--read-only"]].concat();
    let reader = Service::start_with(store.clone(), &options, |_| {}).await;
    assert_eq!(best(&reader, 1).await, Some(100.0));
    writer
        .deliver(&[record(1, 1, 1, 120.0), record(1, 1, 2, 90.0)])
        .await;
    until("the reader has the delivery", async || {
        best(&reader, 1).await == Some(120.0) && best(&reader, 2).await == Some(90.0)
    })
    .await;
    // A lower best under an erased one is exposed: an instance that writes journals it again.
    let erase = writer
        .request(Method::DELETE, "/classes/1/racers/1?above=110")
        .bearer_auth("admin");
    assert_eq!(erase.send().await.unwrap().status(), StatusCode::OK);
    until("the reader has the erasure", async || {
        best(&reader, 1).await == best(&writer, 1).await && best(&writer, 1).await != Some(120.0)
    })
    .await;
    until("the snapshot has everything", async || {
        test_store.get("class-1.gz").await.is_some()
    })
    .await;
    writer.stop().await;
    // The store falls back. An instance that writes would restore all of it.
    for name in ["erasures.gz", "class-1.gz"] {
        test_store.remove(name).await;
        store.wait_for_polls().await;
    }
    test_store
        .put(
            "erasures.gz",
            &support::gzip(r#"{"format":1,"version":0,"erasures":[]}"#),
        )
        .await;
    store.wait_for_polls().await;
    assert_eq!(reader.get("/readyz").await.status(), StatusCode::OK);
    assert_eq!(best(&reader, 2).await, Some(90.0));
    assert_ne!(best(&reader, 1).await, Some(120.0));
    reader.stop().await;
    assert_eq!(*store.refused.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_write_are_not_found() {
    let test_store = TestStore::folder();
    let _writer = Service::start_on(&test_store, &[]).await;
    let store = storage::open_read_only(&test_store.url()).await.unwrap();
    let options = ["--read-only", "--admin-key", "admin", "--access-key", "k3y"];
    let reader = Service::start_with(store, &options, |_| {}).await;
    let body = firehose_body(&[record(1, 1, 1, 1.0)]);
    for (method, path) in [
        (Method::POST, "/firehose"),
        (Method::POST, "/events"),
        (Method::POST, "/rides"),
        (Method::DELETE, "/racers/1"),
        (Method::DELETE, "/classes/1/racers/1"),
        (Method::GET, "/erasures"),
    ] {
        let needs_admin = method == Method::DELETE || method == Method::GET;
        let key = if needs_admin { "admin" } else { "k3y" };
        let request = reader.request(method, path).bearer_auth(key);
        let request = if needs_admin {
            request
        } else {
            request.body(body.clone())
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        let problem: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let field = if path == "/firehose" {
            "errorMessage"
        } else {
            "detail"
        };
        let text = problem[field].as_str().unwrap_or_default();
        assert!(text.contains("--read-only"), "{path}: {problem}");
        if path == "/firehose" {
            assert!(problem["timestamp"].is_number(), "{problem}");
        }
    }
    assert_eq!(reader.json("/classes").await[0]["efforts"], json!(0));
}

/// As processes: over a folder that another one holds, without a key on any address.
#[tokio::test(flavor = "multi_thread")]
async fn process_reads_a_folder_that_another_process_holds() {
    let test_store = TestStore::folder();
    let writer = Instance::start(&test_store, &QUICK).await;
    let reader = Instance::start(&test_store, &[&QUICK[..], &["--read-only"]].concat()).await;
    assert_eq!(writer.deliver(&[record(1, 1, 1, 100.0)]).await, 200);
    let board = "/classes/1/leaderboard?second=1";
    until("the reader shows it", async || {
        reader.json(board).await["total"] == 1
    })
    .await;
    assert_eq!(reader.deliver(&[record(1, 1, 2, 100.0)]).await, 404);
    reader.terminate();
    reader.wait_for_exit().await;
    // The writer's lock was never touched.
    assert_eq!(writer.deliver(&[record(1, 1, 3, 100.0)]).await, 200);

    let empty = TestStore::folder();
    let output = alleycat(&[
        "doctor",
        "--read-only",
        "--listen",
        "0.0.0.0:0",
        "--metrics-listen",
    ])
    .args(["127.0.0.1:0", "--store", &test_store.url()])
    .output()
    .unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    assert!(!report.contains("store: put"), "{report}");
    let log = support::instance::startup_error(
        &[("ALLEYCAT_READ_ONLY", "true".to_owned())],
        &empty.url(),
    )
    .await;
    assert!(log.contains("it is not a store yet"), "{log}");
    assert_eq!(empty.list("").await, Vec::<String>::new());
}
