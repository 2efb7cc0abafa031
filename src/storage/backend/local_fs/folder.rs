//! The operations of the folder store, blocking.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::storage::backend::local_fs::files::{
    UNFINISHED, check_regular, create_folders, entries, is_unfinished, open_if_exists,
    sync_all_below, sync_folder,
};
use crate::storage::backend::stray_names::StrayNames;
use crate::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, StoreError, StoredObject,
};

const LOCK: &str = "lock";
pub(super) const TEMPORARY: &str = "tmp";
pub(super) const JOURNAL: &str = "journal";

/// A folder of objects.
#[derive(Debug)]
pub(super) struct Folder {
    /// The path as the operator gave it, for messages.
    name: String,
    pub(super) root: PathBuf,
    /// Kept open for its lock. `None` if the folder is only read.
    lock: Option<File>,
    /// Number of the next temporary file.
    next: AtomicU64,
    state: Mutex<FolderState>,
    stray_names: StrayNames,
    /// Makes a file or a folder durable. Tests inject a failing one.
    pub(super) sync: SyncFn,
}

pub(super) type SyncFn = fn(&File) -> io::Result<()>;

#[derive(Debug, Default)]
struct FolderState {
    /// Why the folder is not trusted any more.
    failure: watch::Sender<Option<String>>,
    /// The tags of the objects that listings show, valid while the stamp of the file is the same.
    /// They save hashing a body twice.
    tags: HashMap<ObjectKey, (FileStamp, ETag)>,
}

/// Distinguishes successive files of one name.
#[derive(Debug, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Folder {
    pub(super) fn open(name: String, root: PathBuf) -> anyhow::Result<Self> {
        create_folders(&root, &mut sync_folder)?;
        let lock_path = root.join(LOCK);
        if fs::exists(&lock_path)? {
            check_regular(&lock_path)?;
        }
        let lock = File::options().create(true).append(true).open(lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                anyhow::bail!(
                    "another process uses it; stop that process, or give this one its own folder"
                )
            }
            Err(TryLockError::Error(error)) => return Err(error).context("it cannot be locked"),
        }
        for inner in [JOURNAL, TEMPORARY] {
            create_folders(&root.join(inner), &mut sync_folder)?;
        }
        for entry in entries(&root.join(TEMPORARY))? {
            if is_unfinished(&entry) {
                fs::remove_file(entry.path())
                    .with_context(|| format!("{} cannot be removed", entry.path().display()))?;
            }
        }
        sync_all_below(&root, &root)?;
        Ok(Self::new(name, root, Some(lock)))
    }

    /// Opens a folder without its lock.
    pub(super) fn open_read_only(name: String, root: PathBuf) -> anyhow::Result<Self> {
        anyhow::ensure!(
            root.join(JOURNAL).is_dir(),
            "it is not a store yet: start the service that writes to it first"
        );
        Ok(Self::new(name, root, None))
    }

    fn new(name: String, root: PathBuf, lock: Option<File>) -> Self {
        Self {
            name,
            root,
            lock,
            next: AtomicU64::new(0),
            state: Mutex::default(),
            stray_names: StrayNames::default(),
            sync: File::sync_all,
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        let problem = || io::Error::other("the folder was opened to read only");
        self.lock.as_ref().map(drop).ok_or_else(problem)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.path())
    }

    /// Locks the state. An operation holds the lock from its check to its sync. Fails once a sync
    /// of a folder has failed.
    fn state(&self) -> io::Result<MutexGuard<'_, FolderState>> {
        let state = self.state.lock();
        let failure = state.failure.borrow().clone();
        match failure {
            None => Ok(state),
            Some(failure) => Err(io::Error::other(format!(
                "{failure}; the store rejects every operation until it is reopened"
            ))),
        }
    }

    /// Returns a receiver of the reason why the folder is not trusted any more.
    pub(super) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.state.lock().failure.subscribe()
    }

    pub(super) fn get(&self, key: &ObjectKey) -> io::Result<Option<StoredObject>> {
        let opened = {
            // Under the lock, so that a reader never finds an object between rename and sync.
            let _state = self.state()?;
            open_if_exists(&self.path(key))?
        };
        let Some(mut file) = opened else {
            return Ok(None);
        };
        let stamp = FileStamp::of(&file)?;
        let mut body = Vec::with_capacity(usize::try_from(stamp.bytes).unwrap_or_default());
        file.read_to_end(&mut body)?;
        let etag = etag(xxh3_128(&body));
        self.state()?.remember(key, stamp, &etag);
        Ok(Some(StoredObject {
            body: body.into(),
            etag,
        }))
    }

    /// Writes an object; `None` when the precondition fails.
    pub(super) fn put(
        &self,
        key: &ObjectKey,
        parts: &[Bytes],
        condition: &Precondition,
    ) -> io::Result<Option<ETag>> {
        self.check_writable()?;
        drop(self.state()?);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .root
            .join(TEMPORARY)
            .join(format!("{number}{UNFINISHED}"));
        let put = self.write(&temporary, parts).and_then(|(stamp, etag)| {
            let is_published = self.publish(&temporary, key, condition, stamp, &etag)?;
            Ok(is_published.then_some(etag))
        });
        if !matches!(put, Ok(Some(_))) {
            // A file that cannot be removed now is removed when the folder is opened again.
            let _ = fs::remove_file(&temporary);
        }
        put
    }

    fn write(&self, path: &Path, parts: &[Bytes]) -> io::Result<(FileStamp, ETag)> {
        let mut file = File::create_new(path)?;
        let mut hash = Xxh3::new();
        for part in parts {
            hash.update(part);
            file.write_all(part)?;
        }
        (self.sync)(&file)?;
        Ok((FileStamp::of(&file)?, etag(hash.digest128())))
    }

    /// Renames a durable file to its object's name if the precondition holds. Returns whether it
    /// did.
    fn publish(
        &self,
        file: &Path,
        key: &ObjectKey,
        condition: &Precondition,
        stamp: FileStamp,
        etag: &ETag,
    ) -> io::Result<bool> {
        let path = self.path(key);
        let folder = path.parent().expect("an object is in a folder");
        let mut state = self.state()?;
        let holds = match condition {
            Precondition::IfNoneMatch => !fs::exists(&path)?,
            Precondition::IfMatch(expected) => state.tag_of(key, &path)?.as_ref() == Some(expected),
        };
        if !holds {
            return Ok(false);
        }
        create_folders(folder, &mut |parent| state.sync(parent, self.sync))?;
        fs::rename(file, &path)?;
        state.sync(folder, self.sync)?;
        state.remember(key, stamp, etag);
        Ok(true)
    }

    pub(super) fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        let failed = |error: io::Error| StoreError::new("list", scope.path(), error);
        let mut state = self.state().map_err(failed)?;
        let mut objects = Vec::new();
        for entry in entries(&self.root.join(scope.path())).map_err(failed)? {
            let name = format!("{}{}", scope.path(), entry.file_name().to_string_lossy());
            let Some(key) = ObjectKey::parse(&name) else {
                if scope == ListScope::Journal {
                    self.stray_names.note(&name);
                }
                continue;
            };
            let etag = state
                .tag_of(&key, &entry.path())
                .map_err(|error| StoreError::new("list", &key, error))?;
            // `None` when somebody removed the file meanwhile.
            if let Some(etag) = etag {
                objects.push(ListEntry { key, etag });
            }
        }
        Ok(objects)
    }

    pub(super) fn delete(&self, key: &ObjectKey) -> io::Result<()> {
        self.check_writable()?;
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

impl FolderState {
    /// Returns the tag of the object in a file; `None` when the file does not exist.
    fn tag_of(&mut self, key: &ObjectKey, path: &Path) -> io::Result<Option<ETag>> {
        let Some(mut file) = open_if_exists(path)? else {
            return Ok(None);
        };
        let stamp = FileStamp::of(&file)?;
        if let Some((known, etag)) = self.tags.get(key)
            && *known == stamp
        {
            return Ok(Some(etag.clone()));
        }
        let mut hash = HashWriter(Xxh3::new());
        io::copy(&mut file, &mut hash)?;
        let etag = etag(hash.0.digest128());
        self.remember(key, stamp, &etag);
        Ok(Some(etag))
    }

    fn remember(&mut self, key: &ObjectKey, stamp: FileStamp, etag: &ETag) {
        if !matches!(key, ObjectKey::Quarantine(_) | ObjectKey::Probe(_)) {
            self.tags.insert(key.clone(), (stamp, etag.clone()));
        }
    }

    /// Makes a folder's entries durable. After a failure they may be lost, and a second sync would
    /// not show it, so the folder is not trusted any more.
    fn sync(&mut self, folder: &Path, sync: SyncFn) -> io::Result<()> {
        File::open(folder)
            .and_then(|folder| sync(&folder))
            .map_err(|error| {
                let failure = format!("syncing the folder {} failed ({error})", folder.display());
                self.failure.send_replace(Some(failure.clone()));
                io::Error::other(failure)
            })
    }
}

impl FileStamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

struct HashWriter(Xxh3);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn etag(hash: u128) -> ETag {
    ETag(format!("\"{hash:032x}\""))
}
