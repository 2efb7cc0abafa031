//! The contract of every store, tested on the folder and on a real S3 server, and the errors of an
//! unusable store.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use alleycat::domain::effort::ClassId;
use alleycat::storage::{
    self, ETag, FolderStore, ListEntry, ListScope, ObjectKey, Precondition, PutError, S3Store,
    SegmentId, Store, StoreError, StoredObject,
};
use async_trait::async_trait;
use aws_sdk_s3::config::RequestChecksumCalculation;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use support::s3_server::{self, BUCKET, S3Server, start_canned};
use tempfile::TempDir;

fn id(counter: u64) -> SegmentId {
    SegmentId {
        time_ms: 1_619_185_789_755,
        process: 17,
        counter,
    }
}

fn history(class: u16) -> ObjectKey {
    ObjectKey::History(ClassId::new(class).unwrap())
}

fn body(text: &str) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(text.as_bytes())]
}

fn is_conflict(put: &Result<ETag, PutError>) -> bool {
    matches!(put, Err(PutError::WriteConflict))
}

async fn get(store: &dyn Store, key: &ObjectKey) -> StoredObject {
    store.get(key).await.unwrap().unwrap()
}

/// Checks the contract, each promise on an empty store of its own.
async fn meets_the_contract(empty: impl AsyncFn() -> Arc<dyn Store>) {
    object_reads_back_as_its_parts_in_order(&*empty().await).await;
    object_may_be_empty(&*empty().await).await;
    missing_objects_are_none_and_listings_empty(&*empty().await).await;
    existing_object_fails_if_none_match(&*empty().await).await;
    only_the_current_etag_replaces_an_object(&*empty().await).await;
    listing_shows_its_scope(&*empty().await).await;
    listing_shows_over_a_thousand_segments(&*empty().await).await;
    deleting_twice_succeeds(&*empty().await).await;
    one_of_two_racing_puts_wins(&empty().await).await;
    storage::probe(&*empty().await, id(0)).await.unwrap();
}

async fn object_reads_back_as_its_parts_in_order(store: &dyn Store) {
    let parts: Vec<_> = (0..700)
        .map(|n| Bytes::from(vec![n as u8; n * 7]))
        .collect();
    for key in [
        history(1),
        ObjectKey::Segment(id(1)),
        ObjectKey::Quarantine(id(2)),
        ObjectKey::Probe(id(3)),
    ] {
        let etag = store
            .put(&key, parts.clone(), Precondition::IfNoneMatch)
            .await
            .unwrap();
        let object = get(store, &key).await;
        assert!(object.body == parts.concat(), "{key}");
        assert_eq!(object.etag, etag, "{key}");
    }
}

async fn object_may_be_empty(store: &dyn Store) {
    for (key, parts) in [
        (ObjectKey::Racers, vec![]),
        (ObjectKey::Erasures, vec![Bytes::new()]),
    ] {
        store
            .put(&key, parts, Precondition::IfNoneMatch)
            .await
            .unwrap();
        assert_eq!(get(store, &key).await.body, "");
    }
}

async fn missing_objects_are_none_and_listings_empty(store: &dyn Store) {
    assert!(store.get(&ObjectKey::Racers).await.unwrap().is_none());
    assert_eq!(store.list(ListScope::Root).await.unwrap(), []);
    assert_eq!(store.list(ListScope::Journal).await.unwrap(), []);
}

async fn existing_object_fails_if_none_match(store: &dyn Store) {
    store
        .put(&ObjectKey::Racers, body("first"), Precondition::IfNoneMatch)
        .await
        .unwrap();
    assert!(is_conflict(
        &store
            .put(
                &ObjectKey::Racers,
                body("second"),
                Precondition::IfNoneMatch
            )
            .await
    ));
    assert_eq!(get(store, &ObjectKey::Racers).await.body, "first");
}

async fn only_the_current_etag_replaces_an_object(store: &dyn Store) {
    let key = history(3);
    let first = store
        .put(&key, body("first"), Precondition::IfNoneMatch)
        .await
        .unwrap();
    let second = store
        .put(&key, body("second"), Precondition::IfMatch(first.clone()))
        .await
        .unwrap();
    assert_ne!(first, second);
    assert!(is_conflict(
        &store
            .put(&key, body("third"), Precondition::IfMatch(first))
            .await
    ));
    assert_eq!(get(store, &key).await.body, "second");
    let missing = store
        .put(&history(4), body("third"), Precondition::IfMatch(second))
        .await;
    assert!(is_conflict(&missing), "{missing:?}");
    assert!(store.get(&history(4)).await.unwrap().is_none());
}

async fn listing_shows_its_scope(store: &dyn Store) {
    let mut tags = HashMap::new();
    let root = [
        history(1),
        history(12),
        ObjectKey::Racers,
        ObjectKey::Erasures,
    ];
    let journal = [ObjectKey::Segment(id(1)), ObjectKey::Segment(id(2))];
    let elsewhere = [ObjectKey::Quarantine(id(1)), ObjectKey::Probe(id(1))];
    for key in root.iter().chain(&journal).chain(&elsewhere) {
        tags.insert(
            key.clone(),
            store
                .put(key, body(&key.path()), Precondition::IfNoneMatch)
                .await
                .unwrap(),
        );
    }
    for (scope, keys) in [
        (ListScope::Root, &root[..]),
        (ListScope::Journal, &journal[..]),
    ] {
        let listed: HashMap<_, _> = store
            .list(scope)
            .await
            .unwrap()
            .into_iter()
            .map(|ListEntry { key, etag }| (key, etag))
            .collect();
        assert_eq!(
            listed,
            keys.iter()
                .map(|key| (key.clone(), tags[key].clone()))
                .collect(),
            "{scope:?}"
        );
    }
}

async fn listing_shows_over_a_thousand_segments(store: &dyn Store) {
    let keys: HashSet<_> = (0..1_050).map(|n| ObjectKey::Segment(id(n))).collect();
    let puts = keys
        .iter()
        .map(|key| store.put(key, body("1"), Precondition::IfNoneMatch));
    let _tags: Vec<ETag> = stream::iter(puts)
        .buffer_unordered(16)
        .map(Result::unwrap)
        .collect()
        .await;
    let listed: Vec<_> = store
        .list(ListScope::Journal)
        .await
        .unwrap()
        .into_iter()
        .map(|listed| listed.key)
        .collect();
    assert_eq!(listed.len(), keys.len());
    assert_eq!(HashSet::from_iter(listed), keys);
}

async fn deleting_twice_succeeds(store: &dyn Store) {
    let key = ObjectKey::Segment(id(1));
    store
        .put(&key, body("1"), Precondition::IfNoneMatch)
        .await
        .unwrap();
    for _ in 0..2 {
        store.delete(&key).await.unwrap();
        assert!(store.get(&key).await.unwrap().is_none());
    }
    assert_eq!(store.list(ListScope::Journal).await.unwrap(), []);
    store
        .put(&key, body("2"), Precondition::IfNoneMatch)
        .await
        .unwrap();
}

async fn one_of_two_racing_puts_wins(store: &Arc<dyn Store>) {
    for class in 1..30 {
        let mut condition = Precondition::IfNoneMatch;
        for round in 0..2 {
            let racers = ["a", "b"].map(|racer| {
                let (store, condition) = (Arc::clone(store), condition.clone());
                let text = format!("{racer}{round}");
                tokio::spawn(async move {
                    (
                        store.put(&history(class), body(&text), condition).await,
                        text,
                    )
                })
            });
            let (mut successes, mut conflicts) = (vec![], 0);
            for racer in racers {
                match racer.await.unwrap() {
                    (Ok(etag), text) => successes.push((etag, text)),
                    (Err(PutError::WriteConflict), _) => conflicts += 1,
                    (Err(error), _) => panic!("{error}"),
                }
            }
            let [(etag, text)] = &successes[..] else {
                panic!("{} puts succeeded", successes.len())
            };
            assert_eq!(conflicts, 1);
            assert_eq!(get(&**store, &history(class)).await.body, text.as_str());
            condition = Precondition::IfMatch(etag.clone());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_meets_the_contract() {
    let (folder, next) = (TempDir::new().unwrap(), AtomicU32::new(0));
    meets_the_contract(async || {
        let path = folder
            .path()
            .join(next.fetch_add(1, Ordering::Relaxed).to_string());
        storage::open(&format!("file:{}", path.display()))
            .await
            .unwrap()
    })
    .await;
}

#[tokio::test]
async fn folder_works_on_a_single_thread() {
    let folder = TempDir::new().unwrap();
    let store: Arc<dyn Store> = Arc::new(FolderStore::open(folder.path()).unwrap());
    one_of_two_racing_puts_wins(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_meets_the_contract() {
    let server = S3Server::start().await;
    let (config, next) = (server.config().await, AtomicU32::new(0));
    meets_the_contract(async || {
        let prefix = format!("some/{}", next.fetch_add(1, Ordering::Relaxed));
        let store: Arc<dyn Store> = Arc::new(
            S3Store::connect_with(&config, BUCKET, &prefix)
                .await
                .unwrap(),
        );
        store
    })
    .await;
    // Without a prefix, objects under prefixes do not belong to the store.
    let whole = S3Store::connect_with(&config, BUCKET, "").await.unwrap();
    assert_eq!(whole.location(), "s3://races/");
    only_the_current_etag_replaces_an_object(&whole).await;
    assert_eq!(whole.list(ListScope::Root).await.unwrap().len(), 1);
}

#[tokio::test]
async fn killed_server_keeps_acknowledged_objects() {
    let server = S3Server::start().await;
    let store = S3Store::connect_with(&server.config().await, BUCKET, "p")
        .await
        .unwrap();
    let etag = store
        .put(&ObjectKey::Racers, body("{}"), Precondition::IfNoneMatch)
        .await
        .unwrap();
    server.kill();
    let failed = store
        .put(&history(1), body("1"), Precondition::IfNoneMatch)
        .await;
    assert!(matches!(failed, Err(PutError::Failed(_))), "{failed:?}");
    server.restart().await;
    assert_eq!(get(&store, &ObjectKey::Racers).await.etag, etag);
}

#[tokio::test]
async fn unknown_objects_are_passed_over() {
    let server = S3Server::start().await;
    let config = server.config().await;
    let store = S3Store::connect_with(&config, BUCKET, "p").await.unwrap();
    let client = server.client().await;
    let segment = ObjectKey::Segment(id(1));
    let put = store.put(&segment, body("1"), Precondition::IfNoneMatch);
    put.await.unwrap();
    for name in ["p/notes.txt", "p/journal/", "p/journal/.DS_Store"] {
        let put = client.put_object().bucket(BUCKET).key(name);
        put.send().await.unwrap();
    }
    assert_eq!(store.list(ListScope::Root).await.unwrap(), []);
    let listed = store.list(ListScope::Journal).await.unwrap();
    let keys: Vec<ObjectKey> = listed.into_iter().map(|listed| listed.key).collect();
    assert_eq!(keys, [segment]);
}

/// Returns the error of connecting to a store at that endpoint.
async fn connect_error(endpoint: &str, bucket: &str) -> String {
    S3Store::connect_with(&s3_server::config(endpoint).await, bucket, "p")
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn missing_bucket_and_dead_endpoint_differ() {
    let server = S3Server::start().await;
    let missing = connect_error(&server.endpoint(), "elsewhere").await;
    assert!(
        missing.contains("no bucket `elsewhere`; create it"),
        "{missing}"
    );
    let endpoint = server.endpoint();
    drop(server);
    let dead = connect_error(&endpoint, BUCKET).await;
    assert!(
        dead.contains(&format!("{endpoint} does not answer; correct the endpoint")),
        "{dead}"
    );
}

#[tokio::test]
async fn start_errors_contain_advice() {
    for (status, code, advice) in [
        (403, "AccessDenied", "allow s3:ListBucket"),
        (
            403,
            "InvalidAccessKeyId",
            "rejects the credentials; correct or renew them",
        ),
        (
            403,
            "SignatureDoesNotMatch",
            "rejects the credentials; correct or renew them",
        ),
        (
            400,
            "ExpiredToken",
            "rejects the credentials; correct or renew them",
        ),
        (403, "RequestTimeTooSkewed", "clock is wrong; set it"),
        (301, "PermanentRedirect", "set AWS_REGION to eu-north-1"),
        (
            400,
            "AuthorizationHeaderMalformed",
            "set AWS_REGION to eu-north-1",
        ),
        (404, "NoSuchBucket", "no bucket `races`; create it"),
        (404, "Strange", "does not answer as S3 does"),
        (503, "SlowDown", "overloaded or has an internal error"),
        (502, "Strange", "overloaded or has an internal error"),
    ] {
        let error = connect_error(&start_canned(false, status, code).await, BUCKET).await;
        assert!(error.starts_with("list s3://races/p/: "), "{code}: {error}");
        assert!(error.contains(advice), "{code}: {error}");
        assert!(!error.contains('\n'), "{code}: {error}");
    }
    let anonymous = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url("http://127.0.0.1:1")
        .no_credentials()
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .load()
        .await;
    let error = S3Store::connect_with(&anonymous, BUCKET, "p")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no AWS credentials are configured; set AWS_PROFILE"),
        "{error}"
    );
}

#[tokio::test]
async fn puts_carry_a_checksum_unless_only_required_ones_are_wanted() {
    let (endpoint, puts) = s3_server::start_recording().await;
    let given = s3_server::config(&endpoint).await;
    for calculation in [
        RequestChecksumCalculation::WhenSupported,
        RequestChecksumCalculation::WhenRequired,
    ] {
        let mut config = given.clone().into_builder();
        config.set_request_checksum_calculation(Some(calculation));
        let store = S3Store::connect_with(&config.build(), BUCKET, "").await;
        let store = store.unwrap();
        let put = store.put(&ObjectKey::Racers, body("{}"), Precondition::IfNoneMatch);
        put.await.unwrap();
        let headers = puts.lock().unwrap().pop().unwrap();
        let names = headers.keys().map(|name| name.as_str());
        let is_of_a_sum =
            |name: &&str| name.starts_with("x-amz-checksum") || *name == "x-amz-trailer";
        let names: Vec<_> = names.filter(is_of_a_sum).collect();
        let expected: &[&str] = match calculation {
            RequestChecksumCalculation::WhenRequired => &[],
            _ => &["x-amz-checksum-crc32"],
        };
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn put_conflicts_only_if_the_object_may_have_changed() {
    let matches = || Precondition::IfMatch(ETag("\"1\"".to_owned()));
    for (status, code, condition, conflicts) in [
        (412, "PreconditionFailed", Precondition::IfNoneMatch, true),
        (
            409,
            "ConditionalRequestConflict",
            Precondition::IfNoneMatch,
            true,
        ),
        (409, "ConditionalRequestConflict", matches(), true),
        (404, "NoSuchKey", matches(), true),
        (404, "NoSuchBucket", matches(), false),
        (404, "NoSuchKey", Precondition::IfNoneMatch, false),
        (403, "AccessDenied", matches(), false),
        (503, "SlowDown", Precondition::IfNoneMatch, false),
    ] {
        let config = s3_server::config(&start_canned(true, status, code).await).await;
        let store = S3Store::connect_with(&config, BUCKET, "").await.unwrap();
        let put = store.put(&ObjectKey::Racers, body("{}"), condition).await;
        assert_eq!(is_conflict(&put), conflicts, "{code}: {put:?}");
        assert!(conflicts || put.unwrap_err().to_string().contains(code));
    }
}

/// A store that ignores preconditions, but for `If-None-Match` if `honors_if_none_match`.
struct UnconditionalStore {
    honors_if_none_match: bool,
    objects: Mutex<HashMap<ObjectKey, Vec<Bytes>>>,
}

#[async_trait]
impl Store for UnconditionalStore {
    fn location(&self) -> String {
        "careless".to_owned()
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        let objects = self.objects.lock().unwrap();
        Ok(objects.get(key).map(|parts| StoredObject {
            body: parts.concat().into(),
            etag: ETag("\"1\"".to_owned()),
        }))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError> {
        let mut objects = self.objects.lock().unwrap();
        if self.honors_if_none_match
            && condition == Precondition::IfNoneMatch
            && objects.contains_key(key)
        {
            return Err(PutError::WriteConflict);
        }
        objects.insert(key.clone(), parts);
        Ok(ETag("\"1\"".to_owned()))
    }

    async fn list(&self, _: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        unreachable!("a probe lists nothing")
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.objects.lock().unwrap().remove(key);
        Ok(())
    }
}

#[tokio::test]
async fn store_ignoring_preconditions_is_refused_and_left_clean() {
    for (honors_if_none_match, header) in [(false, "If-None-Match"), (true, "If-Match")] {
        let store = UnconditionalStore {
            honors_if_none_match,
            objects: Mutex::default(),
        };
        let error = storage::probe(&store, id(1)).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("careless ignores {header}")),
            "{error}"
        );
        assert!(store.objects.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn invalid_store_url_is_refused_with_advice() {
    for (url, advice) in [
        ("data", "write it as `file:PATH` or `s3://BUCKET/PREFIX`"),
        (
            "http://127.0.0.1/x",
            "write it as `file:PATH` or `s3://BUCKET/PREFIX`",
        ),
        ("file:", "write it as `file:data`"),
        ("s3://", "write it as `s3://BUCKET/PREFIX`"),
        ("s3:///prefix", "write it as `s3://BUCKET/PREFIX`"),
    ] {
        let error = storage::open(url).await.err().unwrap().to_string();
        assert!(error.contains(url), "{error}");
        assert!(error.contains(advice), "{error}");
    }
}
