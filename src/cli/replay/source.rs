//! Where objects to be replayed come from: files, folders, buckets.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;

use crate::cli::replay::Report;
use crate::storage::BucketReader;

/// The most objects of one source: some 200 MB of names.
const OBJECTS_MAX: usize = 1_000_000;

/// The largest object of a bucket, as it is stored, in bytes: twice the 128 MiB that Firehose buffers at most. It is
/// held in memory while it is read; a file may be of any size.
const OBJECT_BYTES_MAX: u64 = 256 << 20;

/// How deep folders are looked into: more than keys have levels.
const FOLDERS_MAX: usize = 64;

/// A file, a folder, or a bucket and prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or a folder.
    Path(PathBuf),
    /// All objects whose key begins with the prefix.
    Bucket {
        /// The bucket.
        bucket: String,
        /// Empty for all.
        prefix: String,
    },
}

impl FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text
            .strip_prefix("s3://")
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        {
            Some(("", _)) => Err("write it as s3://BUCKET/PREFIX"),
            Some((bucket, prefix)) => Ok(Self::Bucket {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            }),
            None => Ok(Self::Path(PathBuf::from(
                text.strip_prefix("file:").unwrap_or(text),
            ))),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Something to read.
pub(crate) struct Object {
    /// Its name, for people.
    pub(crate) name: String,
    /// Its length as it is stored, in bytes.
    pub(crate) bytes: u64,
    place: Place,
}

enum Place {
    File(PathBuf),
    Bucket {
        reader: Arc<BucketReader>,
        bucket: String,
        key: String,
    },
}

/// Reads an object; it may block.
pub(crate) type Reader = Box<dyn Read + Send>;

impl Source {
    /// Everything there is to read. Folders that do not read are noted in the report.
    ///
    /// # Errors
    /// The source itself cannot be read: one sentence for a person.
    pub(crate) async fn objects(&self, report: &mut Report) -> anyhow::Result<Vec<Object>> {
        let (bucket, prefix) = match self {
            Self::Path(path) => return files(path, report),
            Self::Bucket { bucket, prefix } => (bucket, directory(prefix)),
        };
        let reader = Arc::new(BucketReader::connect(bucket).await?);
        let mut listed = reader.list(bucket, &prefix, OBJECTS_MAX).await?;
        if listed.is_empty() && !prefix.is_empty() {
            // It may be the key of one object.
            let key = prefix.trim_end_matches('/');
            listed = reader.list(bucket, key, OBJECTS_MAX).await?;
            listed.retain(|object| object.key == key);
            anyhow::ensure!(
                !listed.is_empty(),
                "there is no such object, nor one below it"
            );
        }
        // A console makes an empty object of a prefix itself, to show a folder.
        listed.retain(|object| object.bytes > 0 || !object.key.ends_with('/'));
        let objects = listed.into_iter().map(|object| Object {
            name: format!("s3://{bucket}/{}", object.key),
            bytes: object.bytes,
            place: Place::Bucket {
                reader: reader.clone(),
                bucket: bucket.clone(),
                key: object.key,
            },
        });
        Ok(objects.collect())
    }
}

/// A prefix with a `/` at its end.
fn directory(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('/') {
        prefix.to_owned()
    } else {
        format!("{prefix}/")
    }
}

/// The file, or all files below the folder, by name. What a store keeps for itself (its lock, its temporary files) and
/// hidden files are no objects.
fn files(path: &Path, report: &mut Report) -> anyhow::Result<Vec<Object>> {
    let of = |path: PathBuf, bytes| Object {
        name: path.display().to_string(),
        bytes,
        place: Place::File(path),
    };
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(vec![of(path.to_owned(), metadata.len())]);
    }
    let is_store = path.join("lock").is_file();
    let mut files = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) if depth <= FOLDERS_MAX => entries,
            Ok(_) => anyhow::bail!("{} is over {FOLDERS_MAX} folders deep", folder.display()),
            Err(error) if depth == 0 => return Err(error.into()),
            Err(error) => {
                tracing::error!(folder = %folder.display(), %error, "cannot be read");
                report.count_unreadable(&folder.display().to_string(), &error.to_string());
                continue;
            }
        };
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (name, path) = (entry.file_name(), entry.path());
            let is_own = is_store && depth == 0 && (name == "lock" || name == "tmp");
            if is_own || name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            match (entry.file_type(), fs::metadata(&path)) {
                (Ok(kind), _) if kind.is_dir() => folders.push((path, depth + 1)),
                (Ok(_), Ok(metadata)) if metadata.is_file() => files.push(of(path, metadata.len())),
                (Ok(_), Ok(_)) => {} // a folder elsewhere, a socket
                (Err(error), _) | (_, Err(error)) => {
                    tracing::error!(file = %path.display(), %error, "cannot be read");
                    report.count_unreadable(&path.display().to_string(), &error.to_string());
                }
            }
            anyhow::ensure!(
                files.len() <= OBJECTS_MAX,
                "it has over {OBJECTS_MAX} files; name folders below it"
            );
        }
    }
    files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

impl Object {
    /// Begins to read it.
    pub(crate) async fn open(&self) -> Result<Reader, String> {
        match &self.place {
            Place::File(path) => {
                let path = path.clone();
                let opening = tokio::task::spawn_blocking(move || {
                    File::open(&path).context("it does not open")
                });
                let file = opening
                    .await
                    .expect("opening does not panic, nor is it cancelled");
                Ok(Box::new(BufReader::new(
                    file.map_err(|error| format!("{error:#}"))?,
                )))
            }
            Place::Bucket {
                reader,
                bucket,
                key,
            } => match reader.get(bucket, key, OBJECT_BYTES_MAX).await {
                Ok(Some(body)) => Ok(Box::new(Cursor::new(body))),
                Ok(None) => Err("it is gone".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_path_or_a_bucket() {
        let bucket = |bucket: &str, prefix: &str| {
            Ok(Source::Bucket {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            })
        };
        assert_eq!("s3://b".parse(), bucket("b", ""));
        assert_eq!("s3://b/a/c".parse(), bucket("b", "a/c"));
        assert_eq!("a/b".parse(), Ok(Source::Path("a/b".into())));
        assert_eq!("file:a".parse(), Ok(Source::Path("a".into())));
        assert!("s3:///a".parse::<Source>().is_err());
        assert_eq!(["", "a", "a/"].map(directory), ["", "a/", "a/"]);
    }
}
