//! The sources of a replay: files, folders and buckets.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;

use crate::cli::replay::report::ReplayReport;
use crate::storage::BucketReader;

/// Maximum number of objects of a source: some 200 MB of names.
const OBJECTS_MAX: usize = 1_000_000;

/// Maximum size of a stored object of a bucket, in bytes: twice the 128 MiB that Firehose buffers.
///
/// It is in memory while it is read. A file may have any size.
const OBJECT_BYTES_MAX: u64 = 256 << 20;

/// Maximum depth of folders. S3 keys are never that deep.
const FOLDER_DEPTH_MAX: usize = 64;

/// A file, a folder, or a bucket and prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplaySource {
    /// A file or a folder.
    Path(PathBuf),
    /// All objects whose key begins with the prefix.
    Bucket {
        /// Name of the bucket.
        bucket: String,
        /// Empty for all.
        prefix: String,
    },
}

impl FromStr for ReplaySource {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text
            .strip_prefix("s3://")
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        {
            Some(("", _)) => Err("it must be s3://BUCKET/PREFIX"),
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

impl fmt::Display for ReplaySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// An object to replay.
pub(crate) struct ReplayObject {
    /// Path or URL, for messages.
    pub(crate) name: String,
    /// Stored size, in bytes.
    pub(crate) bytes: u64,
    location: ObjectLocation,
}

enum ObjectLocation {
    File(PathBuf),
    Bucket {
        reader: Arc<BucketReader>,
        bucket: String,
        key: String,
    },
}

/// An object's content. Reading may block.
pub(crate) type ObjectContent = Box<dyn Read + Send>;

impl ReplaySource {
    /// Returns all objects of the source. Unreadable folders are counted in the report.
    ///
    /// # Errors
    /// The source itself is unreadable.
    pub(crate) async fn objects(
        &self,
        report: &mut ReplayReport,
    ) -> anyhow::Result<Vec<ReplayObject>> {
        let (bucket, prefix) = match self {
            Self::Path(path) => return files(path, report),
            Self::Bucket { bucket, prefix } => (bucket, directory(prefix)),
        };
        let reader = Arc::new(BucketReader::connect(bucket).await?);
        let mut listed = reader.list(bucket, &prefix, OBJECTS_MAX).await?;
        if listed.is_empty() && !prefix.is_empty() {
            // The prefix may be the key of one object.
            let key = prefix.trim_end_matches('/');
            listed = reader.list(bucket, key, OBJECTS_MAX).await?;
            listed.retain(|object| object.key == key);
            anyhow::ensure!(!listed.is_empty(), "no object has this key or prefix");
        }
        anyhow::ensure!(!listed.is_empty(), "the bucket holds no object");
        // The S3 console makes an empty object of a prefix itself, to show a folder.
        listed.retain(|object| object.bytes > 0 || !object.key.ends_with('/'));
        let objects = listed.into_iter().map(|object| ReplayObject {
            name: format!("s3://{bucket}/{}", object.key),
            bytes: object.bytes,
            location: ObjectLocation::Bucket {
                reader: reader.clone(),
                bucket: bucket.clone(),
                key: object.key,
            },
        });
        Ok(objects.collect())
    }
}

/// Returns the prefix with a `/` at its end.
fn directory(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('/') {
        prefix.to_owned()
    } else {
        format!("{prefix}/")
    }
}

/// Returns the file, or all files below the folder, by name.
///
/// A store's lock and temporary files are skipped. Hidden files and folders, and what is neither a
/// file nor a folder, are counted as passed over.
fn files(path: &Path, report: &mut ReplayReport) -> anyhow::Result<Vec<ReplayObject>> {
    let object = |path: PathBuf, bytes| ReplayObject {
        name: path.display().to_string(),
        bytes,
        location: ObjectLocation::File(path),
    };
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(vec![object(path.to_owned(), metadata.len())]);
    }
    let is_store = path.join("lock").is_file();
    let mut files = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = fs::read_dir(&folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match entries {
            Ok(entries) if depth <= FOLDER_DEPTH_MAX => entries,
            Ok(_) => anyhow::bail!(
                "{} is more than {FOLDER_DEPTH_MAX} folders deep",
                folder.display()
            ),
            Err(error) if depth == 0 => return Err(error.into()),
            Err(error) => {
                tracing::error!(folder = %folder.display(), %error, "folder or file is unreadable");
                report.count_unreadable(&folder.display().to_string(), &error.to_string());
                continue;
            }
        };
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (name, path) = (entry.file_name(), entry.path());
            let is_own = is_store && depth == 0 && (name == "lock" || name == "tmp");
            if is_own {
                continue;
            }
            if name.as_encoded_bytes().starts_with(b".") {
                report.passed_over += 1;
                continue;
            }
            match (entry.file_type(), fs::metadata(&path)) {
                (Ok(kind), _) if kind.is_dir() => folders.push((path, depth + 1)),
                (Ok(_), Ok(metadata)) if metadata.is_file() => {
                    files.push(object(path, metadata.len()));
                }
                (Ok(_), Ok(_)) => report.passed_over += 1, // a folder elsewhere, a socket
                (Err(error), _) | (_, Err(error)) => {
                    tracing::error!(file = %path.display(), %error, "folder or file is unreadable");
                    report.count_unreadable(&path.display().to_string(), &error.to_string());
                }
            }
            anyhow::ensure!(
                files.len() <= OBJECTS_MAX,
                "it has over {OBJECTS_MAX} files; give folders below it"
            );
        }
    }
    anyhow::ensure!(
        !files.is_empty() || report.unreadable > 0,
        "it holds no file"
    );
    files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

impl ReplayObject {
    /// Opens the object for reading.
    ///
    /// # Errors
    /// The object is missing or unreadable. The message is one line.
    pub(crate) async fn open(&self) -> Result<ObjectContent, String> {
        match &self.location {
            ObjectLocation::File(path) => {
                let path = path.clone();
                let opening = tokio::task::spawn_blocking(move || {
                    File::open(&path).context("cannot open the file")
                });
                let file = opening
                    .await
                    .expect("opening does not panic, and is not cancelled");
                Ok(Box::new(BufReader::new(
                    file.map_err(|error| format!("{error:#}"))?,
                )))
            }
            ObjectLocation::Bucket {
                reader,
                bucket,
                key,
            } => match reader.get(bucket, key, OBJECT_BYTES_MAX).await {
                Ok(Some(body)) => Ok(Box::new(Cursor::new(body))),
                Ok(None) => Err("the object was deleted".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

#[cfg(test)]
mod tests;
