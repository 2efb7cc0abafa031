//! The check of the stored objects: each is read as a start reads it, and none is changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::cli::doctor::Verdict;
use crate::domain::effort::{ClassId, Second};
use crate::storage::codec::race_rows::{self, RowsKind};
use crate::storage::codec::{erasures, journal_segment, names};
use crate::storage::history_file::StoredHistory;
use crate::storage::{ListScope, ObjectKey, Store};

/// Maximum number of unreadable objects that are named.
const NAMED_MAX: usize = 20;

/// Maximum size of the names when gunzipped, in bytes, as at a start.
const NAMES_BYTES_MAX: usize = 1 << 30;

/// The place of the objects.
pub(super) enum ObjectSource {
    Store(Arc<dyn Store>),
    /// A folder that is not opened as a store.
    Folder(PathBuf),
}

/// Reads all objects that a start reads. Seconds after `second_max` are errors, as at a start.
pub(super) async fn check(
    source: &ObjectSource,
    second_max: Second,
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
    let (mut readable, mut unreadable) = (0, 0);
    for key in keys {
        let problem = match source.get(&key).await {
            Ok(None) => continue, // deleted meanwhile
            Ok(Some(body)) => {
                let read_key = key.clone();
                let reading =
                    tokio::task::spawn_blocking(move || read(&read_key, &body, second_max));
                reading
                    .await
                    .expect("reading does not panic, and is not cancelled")
            }
            Err(error) => Err(error),
        };
        match problem {
            Ok(()) => readable += 1,
            Err(problem) => {
                unreadable += 1;
                if unreadable <= NAMED_MAX {
                    report(SUBJECT, Verdict::Fail(format!("{key}: {problem}")));
                }
            }
        }
    }
    let text = format!("{readable} are readable, {unreadable} are not");
    report(
        SUBJECT,
        if unreadable == 0 {
            Verdict::Pass(text)
        } else {
            Verdict::Fail(text)
        },
    );
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

fn read(key: &ObjectKey, body: &[u8], second_max: Second) -> Result<(), String> {
    match key {
        ObjectKey::History(_) => StoredHistory::open(body)
            .and_then(|history| history.read(second_max))
            .map(drop)
            .map_err(|error| error.to_string()),
        ObjectKey::Races(class) => read_rows(RowsKind::Races, *class, body),
        ObjectKey::Finishes(class) => read_rows(RowsKind::Finishes, *class, body),
        ObjectKey::Racers => names::decode(body, NAMES_BYTES_MAX)
            .map(drop)
            .map_err(|error| error.to_string()),
        ObjectKey::Erasures => erasures::decode(body).map(drop),
        ObjectKey::Segment(_) => journal_segment::read(body)
            .map(drop)
            .map_err(|error| error.to_string()),
        ObjectKey::Quarantine(_) | ObjectKey::Probe(_) => Ok(()), // a start reads none
    }
}

fn read_rows(kind: RowsKind, class: ClassId, body: &[u8]) -> Result<(), String> {
    race_rows::decode(kind, class, body)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pipe_in_a_folder_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("racers.gz");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo runs").success());
        let source = ObjectSource::Folder(folder.path().to_owned());
        let mut findings = Vec::new();
        let mut report = |_, verdict| findings.push(verdict);
        check(&source, Second(600), &mut report).await;
        let [Verdict::Fail(text), Verdict::Fail(_)] = &findings[..] else {
            panic!("{findings:?}")
        };
        assert_eq!(text, "racers.gz: it is not a regular file");
    }
}
