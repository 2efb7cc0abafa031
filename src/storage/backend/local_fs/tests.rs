//! Tests of the folder store: foreign files, locks, failed syncs.

use std::fs::{self, File};
use std::io;

use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use super::files::entries;
use super::folder::{JOURNAL, SyncFn, TEMPORARY};
use super::*;
use crate::storage::SegmentId;

fn segment(counter: u64) -> ObjectKey {
    ObjectKey::Segment(SegmentId {
        time_ms: 1,
        process: 2,
        counter,
    })
}

fn body(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

fn open() -> (TempDir, FolderStore) {
    let folder = TempDir::new().unwrap();
    let store = FolderStore::open(&folder.path().join("new/folder")).unwrap();
    (folder, store)
}

#[test]
fn foreign_files_are_not_touched() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("tmp")).unwrap();
    let foreign = [
        "lock",
        "notes",
        "tmp/7",
        "tmp/mine",
        "tmp/.unfinished",
        "tmp/a7.unfinished",
    ];
    foreign
        .iter()
        .for_each(|name| fs::write(path(name), *name).unwrap());
    fs::write(path("tmp/7.unfinished"), "ours").unwrap();
    drop(FolderStore::open(folder.path()).unwrap());
    assert!(
        foreign
            .iter()
            .all(|name| fs::read(path(name)).unwrap() == name.as_bytes())
    );
    assert!(!path("tmp/7.unfinished").exists());
}

/// Opens a store and replaces its sync function.
fn open_failing(sync: SyncFn) -> (TempDir, FolderStore) {
    let (folder, mut store) = open();
    Arc::get_mut(&mut store.folder).unwrap().sync = sync;
    (folder, store)
}

fn files_in(folder: &Path) -> usize {
    entries(folder).unwrap().len()
}

// A process that another unit test starts inherits the lock for a moment. So none starts one.
#[tokio::test]
async fn second_store_on_the_folder_fails_until_the_first_is_dropped() {
    let (_folder, store) = open();
    store
        .put(&ObjectKey::Racers, body("{}"), Precondition::IfNoneMatch)
        .await
        .unwrap();
    let root = store.folder.root.clone();
    let error = format!("{:#}", FolderStore::open(&root).unwrap_err());
    assert!(
        error.contains(root.to_str().unwrap()) && error.contains("another process uses it"),
        "{error}"
    );
    drop(store);
    let reopened = FolderStore::open(&root).unwrap();
    assert_eq!(
        reopened
            .get(&ObjectKey::Racers)
            .await
            .unwrap()
            .unwrap()
            .body,
        "{}"
    );
}

#[test]
fn unfinished_files_are_removed_on_open() {
    let (_folder, store) = open();
    let root = store.folder.root.clone();
    drop(store);
    fs::write(root.join(TEMPORARY).join("7.unfinished"), "half").unwrap();
    let _store = FolderStore::open(&root).unwrap();
    assert_eq!(files_in(&root.join(TEMPORARY)), 0);
}

#[tokio::test]
async fn file_whose_sync_fails_never_gets_its_name() {
    let (_folder, mut store) = open_failing(|_| Err(io::Error::other("worn out")));
    let error = store
        .put(&segment(0), body("1"), Precondition::IfNoneMatch)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, PutError::Failed(error) if error.problem.contains("worn out")),
        "{error}"
    );
    assert_eq!(store.list(ListScope::Journal).await.unwrap(), []);
    assert_eq!(files_in(&store.folder.root.join(TEMPORARY)), 0);
    Arc::get_mut(&mut store.folder).unwrap().sync = File::sync_all;
    store
        .put(&segment(0), body("1"), Precondition::IfNoneMatch)
        .await
        .unwrap();
}

#[tokio::test]
async fn failed_folder_sync_disables_the_store_until_it_is_reopened() {
    let (_folder, mut store) = open_failing(|file| match file.metadata()?.is_dir() {
        true => Err(io::Error::other("worn out")),
        false => file.sync_all(),
    });
    let error = store
        .put(&segment(0), body("1"), Precondition::IfNoneMatch)
        .await
        .unwrap_err();
    assert!(matches!(error, PutError::Failed(_)), "{error}");
    let broken = store.broken().await;
    assert!(broken.problem.contains("worn out"), "{broken}");
    Arc::get_mut(&mut store.folder).unwrap().sync = File::sync_all;
    for error in [
        store.get(&segment(0)).await.unwrap_err(),
        store.list(ListScope::Journal).await.unwrap_err(),
        store.delete(&segment(0)).await.unwrap_err(),
    ] {
        assert!(
            error.problem.contains("worn out") && error.problem.contains("reopened"),
            "{error}"
        );
    }
    let error = store
        .put(&segment(1), body("2"), Precondition::IfNoneMatch)
        .await
        .unwrap_err();
    assert!(matches!(error, PutError::Failed(_)), "{error}");
    let root = store.folder.root.clone();
    drop(store);
    let reopened = FolderStore::open(&root).unwrap();
    assert_eq!(reopened.get(&segment(0)).await.unwrap().unwrap().body, "1");
}

#[tokio::test]
async fn failed_folder_creation_fails_only_that_put() {
    let (_folder, store) = open();
    fs::write(store.folder.root.join("probe"), "a file in the way").unwrap();
    let probe = ObjectKey::Probe(SegmentId {
        time_ms: 1,
        process: 2,
        counter: 3,
    });
    let error = store
        .put(&probe, body("1"), Precondition::IfNoneMatch)
        .await
        .unwrap_err();
    assert!(matches!(error, PutError::Failed(_)), "{error}");
    store
        .put(&segment(0), body("1"), Precondition::IfNoneMatch)
        .await
        .unwrap();
}

#[tokio::test]
async fn unknown_names_are_passed_over() {
    let (_folder, store) = open();
    fs::write(store.folder.root.join("notes.txt"), "mine").unwrap();
    assert_eq!(store.list(ListScope::Root).await.unwrap(), []);
    fs::write(store.folder.root.join(JOURNAL).join(".DS_Store"), "mine").unwrap();
    store
        .put(&segment(0), body("1"), Precondition::IfNoneMatch)
        .await
        .unwrap();
    let listed = store.list(ListScope::Journal).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].key, segment(0));
}

#[tokio::test]
async fn pipe_among_the_objects_is_an_error() {
    let make_pipe = |path: &Path| mkfifoat(CWD, path, Mode::RUSR).unwrap();
    let (_folder, store) = open();
    let (root, path) = (
        store.folder.root.clone(),
        store.folder.path(&ObjectKey::Racers),
    );
    make_pipe(&path);
    for error in [
        store.get(&ObjectKey::Racers).await.unwrap_err(),
        store.list(ListScope::Root).await.unwrap_err(),
    ] {
        assert!(error.problem.contains("not a regular file"), "{error}");
    }
    drop(store);
    let error = FolderStore::open(&root).unwrap_err();
    assert!(
        format!("{error:#}").contains("racers.gz is not a regular file"),
        "{error:#}"
    );
    fs::remove_file(path).unwrap();
    fs::remove_file(root.join("lock")).unwrap();
    make_pipe(&root.join("lock"));
    let error = FolderStore::open(&root).unwrap_err();
    assert!(
        format!("{error:#}").contains("lock is not a regular file"),
        "{error:#}"
    );
}

/// A start that waits for a store would try such an object again for minutes.
#[test]
fn folder_or_dangling_link_with_the_name_of_an_object_stops_the_start() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    drop(FolderStore::open(folder.path()).unwrap());
    let error = || format!("{:#}", FolderStore::open(folder.path()).unwrap_err());
    let segment = segment(0).path();
    for name in ["class-2.gz", &*segment] {
        fs::create_dir(path(name)).unwrap();
        let expected = format!("{name} is not a regular file");
        assert!(error().contains(&expected), "{}", error());
        fs::remove_dir(path(name)).unwrap();
    }
    std::os::unix::fs::symlink("nowhere", path("class-2.gz")).unwrap();
    assert!(error().contains("class-2.gz cannot be read"), "{}", error());
}

#[tokio::test]
async fn file_changed_by_hand_gets_a_new_tag() {
    let (_folder, store) = open();
    let etag = store
        .put(&ObjectKey::Racers, body("{}"), Precondition::IfNoneMatch)
        .await
        .unwrap();
    fs::write(store.folder.path(&ObjectKey::Racers), "{\"1\":{}}").unwrap();
    let error = store
        .put(&ObjectKey::Racers, body("{}"), Precondition::IfMatch(etag))
        .await
        .unwrap_err();
    assert!(matches!(error, PutError::WriteConflict), "{error}");
    let entries = store.list(ListScope::Root).await.unwrap();
    assert_eq!(
        entries[0].etag,
        store.get(&ObjectKey::Racers).await.unwrap().unwrap().etag
    );
}
