//! The check of the stored objects: each is read as a start reads it, and none is changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::cli::doctor::Verdict;
use crate::domain::erasure::ErasureVersion;
use crate::ledger::{LedgerOptions, check_erasure_version, check_object};
use crate::storage::{ListScope, ObjectKey, Store};

/// Maximum number of unreadable objects that are named.
const NAMED_MAX: usize = 20;

/// The place of the objects.
pub(super) enum ObjectSource {
    Store(Arc<dyn Store>),
    /// A folder that is not opened as a store.
    Folder(PathBuf),
}

/// Reads all objects that a start reads, and decodes each as a start with these options does.
pub(super) async fn check(
    source: &ObjectSource,
    options: &LedgerOptions,
    report: &mut impl FnMut(&'static str, Verdict),
) {
    const SUBJECT: &str = "stored objects";
    let mut keys = Vec::new();
    for scope in [ListScope::Root, ListScope::Journal] {
        match source.list(scope).await {
            Ok(listed) => keys.extend(listed),
            Err(error) => return report(SUBJECT, Verdict::Fail(error)),
        }
    }
    // The erasures last: an object may require some that were added meanwhile.
    keys.sort_by_key(|key| *key == ObjectKey::Erasures);
    let (mut required, mut known) = (Vec::new(), 0);
    let (mut readable, mut unreadable) = (0, Vec::new());
    for key in keys {
        match decode(source, &key, options).await {
            Ok(None) => {}
            Ok(Some(version)) if key == ObjectKey::Erasures => {
                known = version;
                readable += 1;
            }
            Ok(Some(version)) => required.push((key, version)),
            Err(problem) => unreadable.push((key, problem)),
        }
    }
    for (key, version) in required {
        match check_erasure_version(version, known) {
            Ok(()) => readable += 1,
            Err(problem) => unreadable.push((key, problem)),
        }
    }
    for (key, problem) in unreadable.iter().take(NAMED_MAX) {
        report(SUBJECT, Verdict::Fail(format!("{key}: {problem}")));
    }
    let text = format!("{readable} are readable, {} are not", unreadable.len());
    report(
        SUBJECT,
        if unreadable.is_empty() {
            Verdict::Pass(text)
        } else {
            Verdict::Fail(text)
        },
    );
}

/// Returns the erasure version of an object; `None` if it was deleted meanwhile.
async fn decode(
    source: &ObjectSource,
    key: &ObjectKey,
    options: &LedgerOptions,
) -> Result<Option<ErasureVersion>, String> {
    let Some(body) = source.get(key).await? else {
        return Ok(None);
    };
    let (key, options) = (key.clone(), options.clone());
    let decoding = tokio::task::spawn_blocking(move || check_object(&key, &body, &options));
    let decoded = decoding
        .await
        .expect("decoding does not panic, and is not cancelled");
    decoded.map(Some)
}

impl ObjectSource {
    async fn list(&self, scope: ListScope) -> Result<Vec<ObjectKey>, String> {
        match self {
            Self::Store(store) => {
                let listed = store.list(scope).await.map_err(|error| error.to_string())?;
                Ok(listed.into_iter().map(|entry| entry.key).collect())
            }
            Self::Folder(path) => {
                let below = match scope {
                    ListScope::Root => "",
                    ListScope::Journal => "journal/",
                };
                let entries = match fs::read_dir(path.join(below)) {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                    Err(error) => return Err(format!("{}: {error}", path.display())),
                };
                let names = entries.flatten().map(|entry| entry.file_name());
                let key = |name: &str| ObjectKey::parse(&format!("{below}{name}"));
                Ok(names.filter_map(|name| key(name.to_str()?)).collect())
            }
        }
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<Bytes>, String> {
        match self {
            Self::Store(store) => {
                let object = store.get(key).await.map_err(|error| error.to_string())?;
                Ok(object.map(|object| object.body))
            }
            Self::Folder(path) => match read_file(&path.join(key.path())) {
                Ok(body) => Ok(Some(body.into())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// Reads a regular file: a pipe or a device could be read for ever.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.is_file() {
        fs::read(path)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;
    use crate::domain::effort::Bounds;

    fn options() -> LedgerOptions {
        LedgerOptions {
            bounds: Bounds {
                classes: 6,
                second_max: 600,
            },
            racers_max: 10,
            commit_interval: Duration::ZERO,
            snapshot_interval: Duration::ZERO,
            sync_interval: Duration::ZERO,
            races_kept: Duration::ZERO,
            read_only: false,
        }
    }

    #[tokio::test]
    async fn pipe_in_a_folder_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("racers.gz");
        mkfifoat(CWD, &pipe, Mode::RUSR).expect("made");
        let source = ObjectSource::Folder(folder.path().to_owned());
        let mut findings = Vec::new();
        let mut report = |_, verdict| findings.push(verdict);
        check(&source, &options(), &mut report).await;
        let [Verdict::Fail(text), Verdict::Fail(_)] = &findings[..] else {
            panic!("{findings:?}")
        };
        assert_eq!(text, "racers.gz: it is not a regular file");
    }
}
