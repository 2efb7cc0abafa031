//! The buckets whose objects events may have read: those that the operator names, and no others.

use std::fmt;

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::ingest::s3_notification::S3ObjectRef;
use crate::storage::BucketReader;

/// The largest object that is read, as it is stored, in bytes: twice the 128 MiB that Firehose buffers at most.
const OBJECT_BYTES_MAX: u64 = 256 << 20;

/// BucketAllowlist that may be read. They are connected to when the first event comes.
#[derive(Debug, Default)]
pub struct BucketAllowlist {
    names: Vec<String>,
    reader: OnceCell<BucketReader>,
}

/// An object is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketError {
    /// There is none of that key.
    Missing,
    /// The bucket does not answer, or not with the object; the log tells more.
    Unreadable,
}

impl fmt::Display for BucketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is no such object",
            Self::Unreadable => "it cannot be read; the service's log tells why",
        })
    }
}

impl BucketAllowlist {
    /// Those of these names.
    pub fn new(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            reader: OnceCell::new(),
        }
    }

    /// Whether the bucket may be read.
    pub fn may_be_read(&self, bucket: &str) -> bool {
        self.names.iter().any(|name| name == bucket)
    }

    /// The object, from a bucket that may be read.
    pub async fn get(&self, object: &S3ObjectRef) -> Result<Bytes, BucketError> {
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
            tracing::error!(
                bucket,
                key,
                error,
                "an object that an event names cannot be read"
            );
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
