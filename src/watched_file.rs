//! A small regular file that is read again when it changes: keys and certificates are replaced
//! without a restart.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;

/// Interval at which a user of a file calls [`WatchedFile::refresh`]: a new key works after a
/// second.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum size of a file, in bytes: a certificate chain has some 10 KB, 200 keys of the longest
/// kind 800 KB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A regular file and its content when it was last readable.
pub(crate) struct WatchedFile {
    path: PathBuf,
    content: Vec<u8>,
    /// `None` while the file is missing or not a regular file.
    version: Option<FileVersion>,
}

/// The metadata by which a change is seen without reading the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileVersion {
    inode: u64,
    modified: SystemTime,
    bytes: u64,
}

impl WatchedFile {
    /// Reads the file.
    ///
    /// # Errors The file is missing, unreadable, too large, or not a regular file. A pipe or a
    /// device is never opened: reading one could wait for ever.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let (content, version) = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            content,
            version: Some(version),
        })
    }

    /// Returns the content when the file was last readable.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again if it changed. Returns whether it did.
    ///
    /// # Errors As of [`open`](Self::open); the content stays as it was. An error is returned once
    /// for each change.
    pub(crate) fn refresh(&mut self) -> anyhow::Result<bool> {
        let version = version(&self.path).ok();
        if version == self.version {
            return Ok(false);
        }
        self.version = version;
        let (content, version) = read(&self.path)?;
        self.content = content;
        self.version = Some(version);
        Ok(true)
    }
}

/// The path only: the content is often a secret.
impl fmt::Debug for WatchedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatchedFile({})", self.path.display())
    }
}

fn version(path: &Path) -> io::Result<FileVersion> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(FileVersion {
        inode: metadata.ino(),
        modified: metadata.modified()?,
        bytes: metadata.len(),
    })
}

/// Returns the content and a version that is no newer: a file that changes meanwhile is read again.
fn read(path: &Path) -> anyhow::Result<(Vec<u8>, FileVersion)> {
    let cannot_read = || format!("cannot read {}", path.display());
    let version = version(path).with_context(cannot_read)?;
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content))
        .with_context(cannot_read)?;
    anyhow::ensure!(
        content.len() as u64 <= FILE_BYTES_MAX,
        "{} is larger than {FILE_BYTES_MAX} bytes",
        path.display()
    );
    Ok((content, version))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn debug_form_has_no_content() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "hush").expect("written");
        let watched = WatchedFile::open(file.path()).expect("readable");
        assert_eq!(
            format!("{watched:?}"),
            format!("WatchedFile({})", file.path().display())
        );
    }

    #[test]
    fn changed_file_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "old").expect("written");
        let mut watched = WatchedFile::open(file.path()).expect("readable");
        assert!(!watched.refresh().expect("readable"));
        fs::write(file.path(), "newer").expect("written");
        assert!(watched.refresh().expect("readable"));
        assert_eq!(watched.content(), b"newer");
    }

    #[test]
    fn file_of_equal_length_that_replaces_another_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let [path, next] = ["file", "next"].map(|name| folder.path().join(name));
        fs::write(&path, "old").expect("written");
        let mut watched = WatchedFile::open(&path).expect("readable");
        fs::write(&next, "new").expect("written");
        fs::rename(&next, &path).expect("renamed");
        assert!(watched.refresh().expect("readable"));
        assert_eq!(watched.content(), b"new");
    }

    #[test]
    fn missing_file_keeps_the_content_and_errs_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "old").expect("written");
        let mut watched = WatchedFile::open(&path).expect("readable");
        fs::remove_file(&path).expect("there");
        watched.refresh().expect_err("missing");
        assert!(!watched.refresh().expect("no further change"));
        assert_eq!(watched.content(), b"old");
    }

    #[test]
    fn file_over_the_limit_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), vec![b'x'; FILE_BYTES_MAX as usize + 1]).expect("written");
        let error = WatchedFile::open(file.path()).expect_err("too large");
        assert!(error.to_string().contains("larger than"), "{error:#}");
    }

    fn make_pipe(path: &Path) {
        mkfifoat(CWD, path, Mode::RUSR).expect("made");
    }

    #[test]
    fn pipe_in_place_of_the_file_keeps_the_content_and_errs_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "old").expect("written");
        let mut watched = WatchedFile::open(&path).expect("readable");
        fs::remove_file(&path).expect("there");
        make_pipe(&path);
        let error = watched.refresh().expect_err("a pipe");
        assert!(format!("{error:#}").contains("not a regular file"));
        assert!(!watched.refresh().expect("no further change"));
        assert_eq!(watched.content(), b"old");
    }

    #[test]
    fn pipe_and_device_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        make_pipe(&pipe);
        for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
            let error = WatchedFile::open(path).expect_err("not a regular file");
            let text = format!("{error:#}");
            assert!(text.contains("not a regular file"), "{text}");
        }
    }
}
