//! Reads objects of any bucket by their key.

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use bytes::Bytes;

use crate::storage::StoreError;
use crate::storage::backend::s3::body;
use crate::storage::backend::s3::client::{connect_client, load_config};
use crate::storage::backend::s3::error::{advice, problem};

/// The permissions that reading needs, for errors.
const PERMISSIONS: &str = "s3:ListBucket on the bucket, and s3:GetObject on its objects";

/// Reads objects of any bucket by their key: those that notifications name, and those to replay.
pub struct BucketReader {
    client: Client,
    server: String,
}

impl fmt::Debug for BucketReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BucketReader").field(&self.server).finish()
    }
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketObject {
    /// The object's key.
    pub key: String,
    /// The object's length in bytes.
    pub bytes: u64,
}

impl BucketReader {
    /// Connects as the AWS environment says, without a request to any bucket. `bucket` only
    /// appears in errors.
    ///
    /// # Errors
    /// Credentials or region are missing. The message is one sentence for an operator and names
    /// the fix.
    pub async fn connect(bucket: &str) -> anyhow::Result<Self> {
        let (client, server) = connect_client(&load_config().await, bucket).await?;
        Ok(Self { client, server })
    }

    /// Reads a whole object; `None` when it does not exist.
    ///
    /// # Errors
    /// The object cannot be read, or is longer than `bytes_max`.
    pub async fn get(
        &self,
        bucket: &str,
        key: &str,
        bytes_max: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let failed =
            |problem: String| StoreError::new("get", format_args!("s3://{bucket}/{key}"), problem);
        let request = self.client.get_object().bucket(bucket).key(key);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(failed(problem(&error))),
        };
        let bytes = response
            .content_length
            .and_then(|bytes| u64::try_from(bytes).ok());
        let Some(bytes) = bytes else {
            return Err(failed("the server does not send its length".to_owned()));
        };
        if bytes > bytes_max {
            return Err(failed(format!(
                "it has {bytes} bytes; the maximum is {bytes_max}"
            )));
        }
        let body = body::read(response.body, Some(bytes))
            .await
            .map_err(failed)?;
        Ok(Some(body))
    }

    /// Lists every object whose key starts with `prefix`, sorted by key.
    ///
    /// # Errors
    /// The bucket cannot be listed, or there are over `objects_max` objects. The message is one
    /// sentence for an operator and names the fix.
    pub async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        objects_max: usize,
    ) -> anyhow::Result<Vec<BucketObject>> {
        let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let mut pages = request.into_paginator().send();
        let mut objects = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => anyhow::bail!(
                    "s3://{bucket}/{prefix}: {}",
                    advice(&error, bucket, &self.server, PERMISSIONS)
                ),
            };
            for object in page.contents.unwrap_or_default() {
                let bytes = object
                    .size
                    .and_then(|bytes| u64::try_from(bytes).ok())
                    .unwrap_or_default();
                objects.extend(object.key.map(|key| BucketObject { key, bytes }));
            }
            anyhow::ensure!(
                objects.len() <= objects_max,
                "s3://{bucket}/{prefix} has over {objects_max} objects; give several longer prefixes instead"
            );
        }
        Ok(objects)
    }
}
