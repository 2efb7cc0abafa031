//! A folder that the checks must leave as it is: one that the service uses, that does not exist
//! yet, or whose owner is another user.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::cli::doctor::Verdict;

/// Returns the verdict on a folder that is not opened as a store; `None` if it can be. Opening
/// makes the folder, and files in it.
pub(super) fn unopened(path: &Path, is_running: bool) -> Option<Verdict> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(missing(path)),
        Err(_) => return None, // opening says why
    };
    if is_running && is_locked(path) {
        let text = "in use by the service; its operations are checked while it is stopped";
        return Some(Verdict::Pass(text.to_owned()));
    }
    let user = rustix::process::geteuid().as_raw();
    (metadata.is_dir()).then(|| foreign(user, metadata.uid()))?
}

/// Returns the verdict on a folder that does not exist.
fn missing(path: &Path) -> Verdict {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let parent = absolute.ancestors().find(|folder| folder.exists());
    let parent = parent.unwrap_or(Path::new("/"));
    match access(parent, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if parent.is_dir() => Verdict::Pass(format!(
            "{} does not exist; the service creates it",
            path.display()
        )),
        _ => Verdict::Fail(format!(
            "{} does not exist, and cannot be created in {}",
            path.display(),
            parent.display()
        )),
    }
}

fn is_locked(path: &Path) -> bool {
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
    fn missing_folder_is_not_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b");
        assert!(matches!(unopened(&path, false), Some(Verdict::Pass(_))));
        assert!(!folder.path().join("a").exists());
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let below = unopened(&file.join("b"), false);
        assert!(matches!(below, None | Some(Verdict::Fail(_))), "{below:?}");
    }
}
