//! The buckets whose objects events may import: those of `--notification-bucket`, and no others.

use std::fmt;

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::ingest::s3_notification::S3ObjectRef;
use crate::storage::BucketReader;

/// Maximum stored size of an object, in bytes: twice the 128 MiB that Firehose buffers at most.
const OBJECT_BYTES_MAX: u64 = 256 << 20;

/// Buckets that may be read. The connection is made at the first event.
#[derive(Debug, Default)]
pub(crate) struct BucketAllowlist {
    names: Vec<String>,
    reader: OnceCell<BucketReader>,
}

/// The reason why an object is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BucketError {
    /// The bucket has no object of that key.
    Missing,
    /// The bucket does not respond with the object. The log has the cause.
    Unreadable,
}

impl fmt::Display for BucketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "object not found",
            Self::Unreadable => "the object cannot be read; the log has the cause",
        })
    }
}

impl BucketAllowlist {
    /// Returns the buckets of these names.
    pub(crate) fn new(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            reader: OnceCell::new(),
        }
    }

    /// Returns whether the bucket may be read.
    pub(crate) fn may_be_read(&self, bucket: &str) -> bool {
        self.names.iter().any(|name| name == bucket)
    }

    /// Returns an object of a bucket that may be read.
    pub(crate) async fn get(&self, object: &S3ObjectRef) -> Result<Bytes, BucketError> {
        let S3ObjectRef {
            bucket,
            key,
            decoded_key,
            ..
        } = object;
        if !self.may_be_read(bucket) {
            return Err(BucketError::Unreadable);
        }
        let unreadable = |error: String| {
            tracing::error!(bucket, key, error, "object of an event cannot be read");
            BucketError::Unreadable
        };
        let reader = self
            .reader
            .get_or_try_init(|| BucketReader::connect(bucket))
            .await;
        let reader = reader.map_err(|error| unreadable(format!("{error:#}")))?;
        for key in std::iter::once(key).chain(decoded_key) {
            match reader.get(bucket, key, OBJECT_BYTES_MAX).await {
                Ok(Some(body)) => return Ok(body),
                Ok(None) => {}
                Err(error) => return Err(unreadable(error.to_string())),
            }
        }
        Err(BucketError::Missing)
    }
}
