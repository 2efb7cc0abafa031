//! The store in a folder: an object is a file, durable once the file and its folder are synced.
//!
//! A body is written and synced under `tmp/`, then renamed to its name in one step, and the folder synced before
//! the put is acknowledged; nobody finds an object before that. One process has the folder at a time, so conditions
//! are checked under a lock of this process. After a failed sync nothing is trusted: a file whose sync failed is
//! removed and never gets its name; when a folder's sync fails, names may be lost or not, so the store does nothing
//! more until it is opened anew, and opening syncs all that it finds.

use std::collections::HashMap;
use std::fs::{self, DirEntry, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
    unknown_segment,
};

/// Operations at once: a disk that hangs holds this many blocking threads, and not every one that the runtime has.
const OPERATIONS_MAX: usize = 16;

const LOCK: &str = "lock";
const TEMPORARY: &str = "tmp";
/// What ends the name of a file that has not got its own yet; before it stands a number.
const UNFINISHED: &str = ".unfinished";
const JOURNAL: &str = "journal";

/// A folder, for this process alone until it is dropped and its last operation has ended.
#[derive(Debug)]
pub struct FolderStore {
    folder: Arc<Folder>,
    turns: Arc<Semaphore>,
}

impl FolderStore {
    /// Takes the folder, making it where there is none, and syncs what it finds. It blocks on the disk.
    ///
    /// # Errors
    /// Another process has the folder, or the disk fails: one sentence for a person.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let root = std::path::absolute(path)
            .with_context(|| format!("{}: no such path can be", path.display()))?;
        let folder = Folder::open(path.display().to_string(), root)
            .with_context(|| format!("the folder {} cannot be used as a store", path.display()))?;
        Ok(Self {
            folder: Arc::new(folder),
            turns: Arc::new(Semaphore::new(OPERATIONS_MAX)),
        })
    }

    /// Does the work on a thread that may block. It goes on to its end when the caller no longer waits.
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
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let folder = Arc::clone(&self.folder);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&folder)
        });
        done.await
            .unwrap_or_else(|error| Err(StoreError::new(operation, key, error).into()))
    }
}

#[async_trait]
impl Store for FolderStore {
    fn location(&self) -> String {
        format!("file:{}", self.folder.name)
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
}

#[derive(Debug)]
struct Folder {
    /// As it was given, for a person.
    name: String,
    root: PathBuf,
    /// Held for its lock.
    _lock: File,
    /// RacerNames the next temporary file.
    next: AtomicU64,
    state: Mutex<State>,
    /// Makes a file or a folder durable; tests put a failing one here.
    sync: Sync,
}

type Sync = fn(&File) -> io::Result<()>;

#[derive(Debug, Default)]
struct State {
    /// Why nothing is to be trusted any more.
    broken: Option<String>,
    /// The tags of the objects that listings show, each as long as its file is the same: a body is not hashed twice.
    tags: HashMap<ObjectKey, (Stamp, ETag)>,
}

/// Tells one file of a name from the next.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Folder {
    fn open(name: String, root: PathBuf) -> anyhow::Result<Self> {
        make_folders(&root, &mut sync_folder)?;
        let lock = File::options()
            .create(true)
            .append(true)
            .open(root.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!(
                    "another process has it; stop that process, or give this one a folder of its own"
                )
            }
            Err(TryLockError::Error(error)) => return Err(error).context("it cannot be locked"),
        }
        for inner in [JOURNAL, TEMPORARY] {
            make_folders(&root.join(inner), &mut sync_folder)?;
        }
        for entry in entries(&root.join(TEMPORARY))?
            .iter()
            .filter(|entry| is_unfinished(entry))
        {
            fs::remove_file(entry.path())
                .with_context(|| format!("{} cannot be removed", entry.path().display()))?;
        }
        sync_all_below(&root, &root)?;
        let (next, state) = (AtomicU64::new(0), Mutex::default());
        Ok(Self {
            name,
            root,
            _lock: lock,
            next,
            state,
            sync: File::sync_all,
        })
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.path())
    }

    /// The state, held by one operation at a time, from its check to its sync; an error once the store is broken.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.broken {
            None => Ok(state),
            Some(why) => Err(io::Error::other(format!(
                "{why}; the store does nothing more until it is opened anew"
            ))),
        }
    }

    fn get(&self, key: &ObjectKey) -> io::Result<Option<StoredObject>> {
        let opened = {
            // Whoever finds an object finds it durable: not between a rename and its sync.
            let _state = self.state()?;
            open_if_there(&self.path(key))?
        };
        let Some(mut file) = opened else {
            return Ok(None);
        };
        let stamp = Stamp::of(&file)?;
        let mut body = Vec::with_capacity(usize::try_from(stamp.bytes).unwrap_or_default());
        file.read_to_end(&mut body)?;
        let etag = tag(xxh3_128(&body));
        self.state()?.remember(key, stamp, &etag);
        Ok(Some(StoredObject {
            body: body.into(),
            etag,
        }))
    }

    /// `None` when the condition does not hold.
    fn put(
        &self,
        key: &ObjectKey,
        parts: &[Bytes],
        condition: &Precondition,
    ) -> io::Result<Option<ETag>> {
        drop(self.state()?);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .root
            .join(TEMPORARY)
            .join(format!("{number}{UNFINISHED}"));
        let put = self.write(&temporary, parts).and_then(|(stamp, etag)| {
            let published = self.publish(&temporary, key, condition, stamp, &etag)?;
            Ok(published.then_some(etag))
        });
        if !matches!(put, Ok(Some(_))) {
            // What cannot be removed now is when the folder is opened the next time.
            let _ = fs::remove_file(&temporary);
        }
        put
    }

    fn write(&self, path: &Path, parts: &[Bytes]) -> io::Result<(Stamp, ETag)> {
        let mut file = File::create_new(path)?;
        let mut hash = Xxh3::new();
        for part in parts {
            hash.update(part);
            file.write_all(part)?;
        }
        (self.sync)(&file)?;
        Ok((Stamp::of(&file)?, tag(hash.digest128())))
    }

    /// Gives a durable file its name, if the condition holds.
    fn publish(
        &self,
        file: &Path,
        key: &ObjectKey,
        condition: &Precondition,
        stamp: Stamp,
        etag: &ETag,
    ) -> io::Result<bool> {
        let path = self.path(key);
        let folder = path.parent().expect("an object is in a folder");
        let mut state = self.state()?;
        let held = match condition {
            Precondition::IfNoneMatch => !fs::exists(&path)?,
            Precondition::IfMatch(wanted) => state.tag_of(key, &path)?.as_ref() == Some(wanted),
        };
        if !held {
            return Ok(false);
        }
        make_folders(folder, &mut |above| state.sync(above, self.sync))?;
        fs::rename(file, &path)?;
        state.sync(folder, self.sync)?;
        state.remember(key, stamp, etag);
        Ok(true)
    }

    fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        let failed = |error: io::Error| StoreError::new("list", scope.path(), error);
        let mut state = self.state().map_err(failed)?;
        let mut listed = Vec::new();
        for entry in entries(&self.root.join(scope.path())).map_err(failed)? {
            let name = format!("{}{}", scope.path(), entry.file_name().to_string_lossy());
            let Some(key) = ObjectKey::parse(&name) else {
                if scope == ListScope::Root {
                    continue;
                }
                return Err(unknown_segment(&name));
            };
            let etag = state
                .tag_of(&key, &entry.path())
                .map_err(|error| StoreError::new("list", &key, error))?;
            // `None`: removed by hand just now.
            if let Some(etag) = etag {
                listed.push(ListEntry { key, etag });
            }
        }
        Ok(listed)
    }

    fn delete(&self, key: &ObjectKey) -> io::Result<()> {
        let path = self.path(key);
        let folder = path.parent().expect("an object is in a folder");
        let mut state = self.state()?;
        state.tags.remove(key);
        match fs::remove_file(&path) {
            Ok(()) => state.sync(folder, self.sync),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl State {
    /// The tag of the object in that file; `None` when there is none.
    fn tag_of(&mut self, key: &ObjectKey, path: &Path) -> io::Result<Option<ETag>> {
        let Some(mut file) = open_if_there(path)? else {
            return Ok(None);
        };
        let stamp = Stamp::of(&file)?;
        if let Some((known, etag)) = self.tags.get(key)
            && *known == stamp
        {
            return Ok(Some(etag.clone()));
        }
        let mut hash = Hashing(Xxh3::new());
        io::copy(&mut file, &mut hash)?;
        let etag = tag(hash.0.digest128());
        self.remember(key, stamp, &etag);
        Ok(Some(etag))
    }

    fn remember(&mut self, key: &ObjectKey, stamp: Stamp, etag: &ETag) {
        if !matches!(key, ObjectKey::Quarantine(_) | ObjectKey::Probe(_)) {
            self.tags.insert(key.clone(), (stamp, etag.clone()));
        }
    }

    /// Makes a folder's names durable. When that fails they may be lost, and asking again would not tell.
    fn sync(&mut self, folder: &Path, sync: Sync) -> io::Result<()> {
        File::open(folder)
            .and_then(|folder| sync(&folder))
            .map_err(|error| {
                let why = format!(
                    "the folder {} could not be made durable ({error})",
                    folder.display()
                );
                self.broken = Some(why.clone());
                io::Error::other(why)
            })
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

struct Hashing(Xxh3);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tag(hash: u128) -> ETag {
    ETag(format!("\"{hash:032x}\""))
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an earlier process left it; somebody else's file may lie beside it.
fn is_unfinished(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let number = name.to_str().and_then(|name| name.strip_suffix(UNFINISHED));
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    fs::read_dir(folder)?.collect()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the folder and those above it that are missing; `sync` makes a folder durable that has a new one in it.
fn make_folders(folder: &Path, sync: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(above) = folder.parent() else {
        return Ok(());
    };
    make_folders(above, sync)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => {
            Err(error)
        }
        _ => sync(above),
    }
}

/// Syncs every folder of the store's, and every file that a start reads: what an earlier process left may be in memory
/// only. Beside them there may be others that are none of its business, a volume's `lost+found` for one.
fn sync_all_below(root: &Path, folder: &Path) -> io::Result<()> {
    for entry in entries(folder)? {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if folder != root
                || ObjectKey::FOLDERS
                    .iter()
                    .any(|ours| entry.file_name() == *ours)
            {
                sync_all_below(root, &path)?;
            }
        } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && !matches!(
                ObjectKey::parse(name),
                None | Some(ObjectKey::Quarantine(_) | ObjectKey::Probe(_))
            )
        {
            File::open(&path)?.sync_all()?;
        }
    }
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

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
        let store = FolderStore::open(&folder.path().join("made/anew")).unwrap();
        (folder, store)
    }

    #[test]
    fn what_is_not_the_stores_stays_as_it_is() {
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

    /// Opens a store whose syncs fail from then on.
    fn open_failing(sync: Sync) -> (TempDir, FolderStore) {
        let (folder, mut store) = open();
        Arc::get_mut(&mut store.folder).unwrap().sync = sync;
        (folder, store)
    }

    fn files_in(folder: &Path) -> usize {
        entries(folder).unwrap().len()
    }

    #[tokio::test]
    async fn a_second_store_on_the_folder_is_refused_until_the_first_is_gone() {
        let (_folder, store) = open();
        store
            .put(&ObjectKey::Racers, body("{}"), Precondition::IfNoneMatch)
            .await
            .unwrap();
        let root = store.folder.root.clone();
        let refused = format!("{:#}", FolderStore::open(&root).unwrap_err());
        assert!(
            refused.contains(root.to_str().unwrap()) && refused.contains("another process has it"),
            "{refused}"
        );
        drop(store);
        let again = FolderStore::open(&root).unwrap();
        assert_eq!(
            again.get(&ObjectKey::Racers).await.unwrap().unwrap().body,
            "{}"
        );
    }

    #[test]
    fn what_a_crash_left_half_written_is_removed_at_the_start() {
        let (_folder, store) = open();
        let root = store.folder.root.clone();
        drop(store);
        fs::write(root.join(TEMPORARY).join("7.unfinished"), "half").unwrap();
        let _store = FolderStore::open(&root).unwrap();
        assert_eq!(files_in(&root.join(TEMPORARY)), 0);
    }

    #[tokio::test]
    async fn a_file_that_does_not_sync_never_gets_its_name() {
        let (_folder, mut store) = open_failing(|_| Err(io::Error::other("worn out")));
        let failed = store
            .put(&segment(0), body("1"), Precondition::IfNoneMatch)
            .await
            .unwrap_err();
        assert!(
            matches!(&failed, PutError::Failed(error) if error.problem.contains("worn out")),
            "{failed}"
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
    async fn a_folder_that_does_not_sync_ends_all_trust_until_the_store_is_opened_anew() {
        let (_folder, mut store) = open_failing(|file| match file.metadata()?.is_dir() {
            true => Err(io::Error::other("worn out")),
            false => file.sync_all(),
        });
        let failed = store
            .put(&segment(0), body("1"), Precondition::IfNoneMatch)
            .await
            .unwrap_err();
        assert!(matches!(failed, PutError::Failed(_)), "{failed}");
        Arc::get_mut(&mut store.folder).unwrap().sync = File::sync_all;
        for refused in [
            store.get(&segment(0)).await.unwrap_err(),
            store.list(ListScope::Journal).await.unwrap_err(),
            store.delete(&segment(0)).await.unwrap_err(),
        ] {
            assert!(
                refused.problem.contains("worn out") && refused.problem.contains("opened anew"),
                "{refused}"
            );
        }
        let refused = store
            .put(&segment(1), body("2"), Precondition::IfNoneMatch)
            .await
            .unwrap_err();
        assert!(matches!(refused, PutError::Failed(_)), "{refused}");
        let root = store.folder.root.clone();
        drop(store);
        let again = FolderStore::open(&root).unwrap();
        assert_eq!(again.get(&segment(0)).await.unwrap().unwrap().body, "1");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_fails_that_put_alone() {
        let (_folder, store) = open();
        fs::write(store.folder.root.join("probe"), "a file in the way").unwrap();
        let probe = ObjectKey::Probe(SegmentId {
            time_ms: 1,
            process: 2,
            counter: 3,
        });
        let failed = store
            .put(&probe, body("1"), Precondition::IfNoneMatch)
            .await
            .unwrap_err();
        assert!(matches!(failed, PutError::Failed(_)), "{failed}");
        store
            .put(&segment(0), body("1"), Precondition::IfNoneMatch)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_strange_name_stops_a_listing_of_the_journal_and_none_of_the_root() {
        let (_folder, store) = open();
        fs::write(store.folder.root.join("notes.txt"), "mine").unwrap();
        assert_eq!(store.list(ListScope::Root).await.unwrap(), []);
        fs::write(store.folder.root.join(JOURNAL).join("notes.txt"), "mine").unwrap();
        let refused = store
            .list(ListScope::Journal)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("journal/notes.txt") && refused.contains("quarantine/"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn a_file_changed_by_hand_is_seen() {
        let (_folder, store) = open();
        let etag = store
            .put(&ObjectKey::Racers, body("{}"), Precondition::IfNoneMatch)
            .await
            .unwrap();
        fs::write(store.folder.path(&ObjectKey::Racers), "{\"1\":{}}").unwrap();
        let lost = store
            .put(&ObjectKey::Racers, body("{}"), Precondition::IfMatch(etag))
            .await
            .unwrap_err();
        assert!(matches!(lost, PutError::WriteConflict), "{lost}");
        let listed = store.list(ListScope::Root).await.unwrap();
        assert_eq!(
            listed[0].etag,
            store.get(&ObjectKey::Racers).await.unwrap().unwrap().etag
        );
    }
}
