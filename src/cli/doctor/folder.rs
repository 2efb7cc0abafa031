//! How a folder is checked without a change to it: one that the service uses, that is no store yet,
//! or whose owner is another user.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::doctor::Verdict;

/// How a folder is checked. Opening one as a store makes files in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FolderCheck {
    /// As the store that it is.
    InPlace,
    /// By a store in a temporary folder below this one: the folder is no store yet.
    Beside(PathBuf),
    /// Not at all.
    Left(Verdict),
}

impl FolderCheck {
    pub(super) fn of(path: &Path, is_running: bool) -> Self {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Self::Beside(existing_parent(path));
            }
            Err(_) => return Self::InPlace, // opening says why
        };
        if is_running && is_locked(path) {
            let text = "in use by the service; its operations are checked while it is stopped";
            return Self::Left(Verdict::Pass(text.to_owned()));
        }
        let user = rustix::process::geteuid().as_raw();
        match foreign(user, metadata.uid()) {
            _ if !metadata.is_dir() => Self::InPlace,
            Some(verdict) => Self::Left(verdict),
            None if path.join("lock").exists() => Self::InPlace,
            None => Self::Beside(path.to_owned()),
        }
    }
}

/// Returns the nearest folder above that exists.
fn existing_parent(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let parent = absolute.ancestors().find(|folder| folder.exists());
    parent.unwrap_or(Path::new("/")).to_owned()
}

/// A folder that is removed when dropped.
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(super) fn create_in(parent: &Path) -> anyhow::Result<Self> {
        let path = parent.join(format!(".alleycat-doctor-{}", std::process::id()));
        fs::create_dir(&path)
            .with_context(|| format!("cannot create a folder in {}", parent.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "folder not removed");
        }
    }
}

/// Returns whether a process uses the folder as its store.
pub(super) fn is_locked(path: &Path) -> bool {
    let path = path.join("lock");
    let is_locked = |lock: File| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock));
    path.is_file() && File::open(path).is_ok_and(is_locked) // a pipe would be opened for ever
}

/// Returns the verdict on a folder of another user: files that root makes there are not the
/// service's to replace.
fn foreign(user: u32, owner: u32) -> Option<Verdict> {
    (user == 0 && owner != 0).then(|| {
        Verdict::Skip(format!(
            "its owner is user {owner}: run doctor as that user, since root would leave files that \
             the service cannot replace"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_leaves_the_folder_of_another_user() {
        assert!(matches!(foreign(0, 1000), Some(Verdict::Skip(text)) if text.contains("1000")));
        for (user, owner) in [(0, 0), (1000, 1000), (1000, 0)] {
            assert_eq!(foreign(user, owner), None);
        }
    }

    #[test]
    fn folder_that_is_no_store_is_checked_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let beside = FolderCheck::Beside(path.to_owned());
        assert_eq!(FolderCheck::of(path, false), beside);
        assert_eq!(FolderCheck::of(&path.join("a/b"), false), beside);
        assert!(!path.join("a").exists());
        let temporary = TemporaryFolder::create_in(path).expect("created");
        fs::create_dir(temporary.path().join("journal")).expect("created");
        drop(temporary);
        assert_eq!(fs::read_dir(path).expect("readable").count(), 0);
        fs::write(path.join("lock"), "").expect("written");
        assert_eq!(FolderCheck::of(path, false), FolderCheck::InPlace);
    }
}
