//! Imports the objects that S3 notifications name: reads each one and commits its records, part by
//! part.

use std::collections::HashSet;
use std::io::Cursor;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ingest::admission::IngestAdmission;
use crate::ingest::bucket_allowlist::BucketAllowlist;
use crate::ingest::error::DeliveryError;
use crate::ingest::object_reader::{ObjectItem, ObjectReader, ObjectReaderError};
use crate::ingest::pipeline::{DecodedBatch, IngestPipeline};
use crate::ingest::s3_notification::{S3Notification, S3ObjectRef};

/// Maximum size of an object when gunzipped, in bytes: sixteen times the 128 MiB that Firehose
/// buffers at most.
const OBJECT_BYTES_MAX: u64 = 2 << 30;

/// Maximum records and bytes of an object that are decoded and committed at a time: as much as one
/// delivery of Firehose.
const PART_RECORDS_MAX: usize = 10_000;
const PART_BYTES_MAX: usize = 64 << 20;

/// Imports objects. Clones share what is being imported.
#[derive(Clone)]
pub(crate) struct ObjectImporter {
    pipeline: IngestPipeline,
    admission: Arc<IngestAdmission>,
    buckets: Arc<BucketAllowlist>,
    in_progress: ObjectSet,
}

/// Buckets and keys of objects.
type ObjectSet = Arc<Mutex<HashSet<(String, String)>>>;

/// The result of a notification.
#[derive(Debug, Default)]
pub(crate) struct ImportResult {
    /// Number of objects that were read to their end.
    pub(crate) objects: usize,
    pub(crate) records: usize,
    pub(crate) improvements: usize,
    pub(crate) quarantined: usize,
    /// Number of entries that name no new object, and of snapshots.
    pub(crate) ignored: usize,
    /// The objects that were not read to their end, each with the reason.
    pub(crate) failed: Vec<String>,
    /// Number of failed objects whose bucket is not on the allowlist.
    pub(crate) forbidden: usize,
}

impl ObjectImporter {
    /// Returns an importer of objects from the allowed buckets.
    pub(crate) fn new(
        pipeline: IngestPipeline,
        admission: Arc<IngestAdmission>,
        buckets: BucketAllowlist,
    ) -> Self {
        Self {
            pipeline,
            admission,
            buckets: Arc::new(buckets),
            in_progress: ObjectSet::default(),
        }
    }

    /// Imports every object that a notification names. An object that cannot be read does not stop
    /// the others.
    ///
    /// # Errors
    /// The ledger does not accept records, or the memory budget is used up.
    pub(crate) async fn import(
        &self,
        notification: S3Notification,
    ) -> Result<ImportResult, DeliveryError> {
        let mut result = ImportResult {
            ignored: notification.ignored,
            failed: notification.unreadable,
            ..ImportResult::default()
        };
        for object in &notification.objects {
            let imported = if self.buckets.may_be_read(&object.bucket) {
                self.import_object(object, &mut result).await?
            } else {
                result.forbidden += 1;
                Err("the bucket may not be read; name it with --notification-bucket".to_owned())
            };
            if let Err(error) = imported {
                let S3ObjectRef { bucket, key, .. } = object;
                tracing::error!(bucket, key, error, "object not imported to its end");
                result.failed.push(format!("s3://{bucket}/{key}: {error}"));
            }
        }
        Ok(result)
    }

    /// Imports one object. The outer error is the ledger's and ends the notification; the inner one
    /// is the object's.
    async fn import_object(
        &self,
        object: &S3ObjectRef,
        result: &mut ImportResult,
    ) -> Result<Result<(), String>, DeliveryError> {
        let Some(_in_progress) = InProgress::begin(&self.in_progress, object) else {
            return Ok(Err(
                "another event imports it; send this one again later".to_owned()
            ));
        };
        let body = match self.buckets.get(object).await {
            Ok(body) => body,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let name = format!("s3://{}/{}", object.bucket, object.key);
        let mut reader = ObjectReader::open(Cursor::new(body), OBJECT_BYTES_MAX);
        let (mut is_snapshot, mut has_records) = (false, false);
        loop {
            let receipt_ms = self.pipeline.accept_at_ms()?;
            let name = name.clone();
            let (batch, snapshots, end);
            (reader, batch, snapshots, end) = (self.pipeline)
                .run(move |ledger| {
                    let part = ObjectPart::read(&mut reader);
                    let batch = DecodedBatch::of_records(name, part.records, receipt_ms, ledger);
                    (reader, batch, part.snapshots, part.end)
                })
                .await?;
            let permit = (self.admission.deliveries)
                .try_acquire(batch.memory_bytes())
                .ok_or_else(DeliveryError::memory_limit)?;
            let committed = self.pipeline.commit(batch, permit).await?;
            result.records += committed.records;
            result.improvements += committed.improvements;
            result.quarantined += committed.quarantined();
            result.ignored += snapshots;
            is_snapshot |= snapshots > 0;
            has_records |= committed.records > 0;
            match end {
                None => {}
                Some(Ok(())) => {
                    result.objects += usize::from(has_records || !is_snapshot);
                    return Ok(Ok(()));
                }
                Some(Err(error)) => return Ok(Err(error.to_string())),
            }
        }
    }
}

/// A part of an object.
#[derive(Default)]
struct ObjectPart {
    records: Vec<Vec<u8>>,
    /// Number of snapshots that were passed over.
    snapshots: usize,
    /// How the object ended, if it did.
    end: Option<Result<(), ObjectReaderError>>,
}

impl ObjectPart {
    fn read(reader: &mut ObjectReader) -> Self {
        let (mut part, mut bytes) = (Self::default(), 0);
        while part.records.len() < PART_RECORDS_MAX && bytes < PART_BYTES_MAX && part.end.is_none()
        {
            match reader.next() {
                Some(Ok(ObjectItem::Record(data))) => {
                    bytes += data.len();
                    part.records.push(data);
                }
                // This service's own quarantine would be quarantined again, and notified again, for
                // ever.
                Some(Ok(ObjectItem::Quarantined(_) | ObjectItem::Name)) => {}
                Some(Ok(ObjectItem::Snapshot)) => part.snapshots += 1,
                Some(Err(error)) => part.end = Some(Err(error)),
                None => part.end = Some(Ok(())),
            }
        }
        part
    }
}

/// Marks an object as being imported until dropped. A sender that gives up and tries again would
/// otherwise have the same work done twice at the same time.
struct InProgress {
    object: (String, String),
    in_progress: ObjectSet,
}

impl InProgress {
    /// Returns `None` while the object is imported already.
    fn begin(in_progress: &ObjectSet, object: &S3ObjectRef) -> Option<Self> {
        let object = (object.bucket.clone(), object.key.clone());
        let is_new = in_progress.lock().insert(object.clone());
        is_new.then(|| Self {
            object,
            in_progress: in_progress.clone(),
        })
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.in_progress.lock().remove(&self.object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_is_imported_once_at_a_time() {
        let in_progress = ObjectSet::default();
        let object = |key: &str| S3ObjectRef {
            bucket: "rides".to_owned(),
            key: key.to_owned(),
            decoded_key: None,
        };
        let first = InProgress::begin(&in_progress, &object("1"));
        assert!(first.is_some());
        assert!(InProgress::begin(&in_progress, &object("1")).is_none());
        assert!(InProgress::begin(&in_progress, &object("2")).is_some());
        drop(first);
        assert!(InProgress::begin(&in_progress, &object("1")).is_some());
    }
}
