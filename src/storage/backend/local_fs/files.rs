//! Files and folders on disk: creating, listing and syncing them.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::Path;

use crate::storage::ObjectKey;

/// Suffix of a temporary file's name, after its number.
pub(super) const UNFINISHED: &str = ".unfinished";

/// Opens a regular file. A pipe or a device is never opened: that could wait for ever.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    check_regular(path)?;
    File::open(path)
}

/// Fails if there is anything but a regular file.
pub(super) fn check_regular(path: &Path) -> io::Result<()> {
    let named = |kind, problem| io::Error::new(kind, format!("{} {problem}", path.display()));
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(named(
            io::ErrorKind::Other,
            "is not a regular file; move it away".to_owned(),
        )),
        Err(error) => Err(named(error.kind(), format!("cannot be read: {error}"))),
    }
}

/// Opens a regular file; `None` when it does not exist.
pub(super) fn open_if_exists(path: &Path) -> io::Result<Option<File>> {
    match open_regular(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns true for a temporary file of an earlier process. Foreign files may lie beside it.
pub(super) fn is_unfinished(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let number = name.to_str().and_then(|name| name.strip_suffix(UNFINISHED));
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

pub(super) fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    fs::read_dir(folder)?.collect()
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates the folder and its missing parents. `sync` makes each folder durable that got a new
/// entry.
pub(super) fn create_folders(
    folder: &Path,
    sync: &mut dyn FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else {
        return Ok(());
    };
    create_folders(parent, sync)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => {
            Err(error)
        }
        _ => sync(parent),
    }
}

/// Syncs the store's folders, and every file that recovery reads: an earlier process may have left
/// them in memory only. Foreign folders, such as a volume's `lost+found`, are skipped.
pub(super) fn sync_all_below(root: &Path, folder: &Path) -> io::Result<()> {
    for entry in entries(folder)? {
        let path = entry.path();
        let name = path.strip_prefix(root).ok().and_then(Path::to_str);
        let is_read = !matches!(
            name.and_then(ObjectKey::parse),
            None | Some(ObjectKey::Quarantine(_) | ObjectKey::Probe(_))
        );
        if is_read {
            open_regular(&path)?.sync_all()?; // a folder of that name stops the start
        } else if entry.file_type()?.is_dir()
            && (folder != root
                || ObjectKey::FOLDERS
                    .iter()
                    .any(|ours| entry.file_name() == *ours))
        {
            sync_all_below(root, &path)?;
        }
    }
    sync_folder(folder)
}
