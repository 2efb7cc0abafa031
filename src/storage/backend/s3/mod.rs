//! The store in an S3 bucket. Each stored object is one S3 object. The server checks preconditions.
//!
//! Region, credentials, endpoint and profile come from the usual AWS environment. Each request has
//! a time limit, which grows with its body. The SDK retries reads, listings and deletes. It does
//! not retry puts: the ledger repeats failed puts itself. If the SDK repeated a conditional put
//! whose first try succeeded, the second would get 412.

mod body;
mod bucket_reader;
mod client;
mod error;
#[cfg(test)]
mod tests;

use std::fmt;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Config;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::ProvideErrorMetadata;
use bytes::Bytes;

pub use crate::storage::backend::s3::bucket_reader::{BucketObject, BucketReader};
pub(crate) use crate::storage::backend::s3::client::configured_endpoint;

use crate::storage::backend::s3::client::{connect_client, load_config, sends_checksums, timeouts};
use crate::storage::backend::s3::error::{advice, status, store_error};
use crate::storage::backend::stray_names::StrayNames;
use crate::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
};

/// The permissions that the store needs, for errors.
const PERMISSIONS: &str = "s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject on its objects";

/// A bucket with a prefix in it.
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or ends with a `/`.
    prefix: String,
    /// Whether puts carry a checksum, which some servers refuse.
    sends_checksums: bool,
    stray_names: StrayNames,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3Store").field(&self.location()).finish()
    }
}

impl S3Store {
    /// Configures a client from the AWS environment, and checks that the bucket can be listed.
    ///
    /// # Errors
    /// Credentials, region, bucket or permission are missing, the region is wrong, or the endpoint
    /// is dead. The message is one sentence for an operator and names the fix.
    pub async fn connect(bucket: &str, prefix: &str) -> anyhow::Result<Self> {
        Self::connect_with(&load_config().await, bucket, prefix).await
    }

    /// Connects like [`connect`](Self::connect), with a given configuration.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(aws: &SdkConfig, bucket: &str, prefix: &str) -> anyhow::Result<Self> {
        let (client, server) = connect_client(aws, bucket).await?;
        let mut prefix = prefix.to_owned();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        let store = Self {
            client,
            bucket: bucket.to_owned(),
            prefix,
            sends_checksums: sends_checksums(aws),
            stray_names: StrayNames::default(),
        };
        let listing = store
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(&store.prefix)
            .max_keys(1)
            .send()
            .await;
        match listing {
            Ok(_) => Ok(store),
            Err(error) => Err(StoreError {
                problem: advice(&error, bucket, &server, PERMISSIONS),
                ..store_error("list", store.location(), &error)
            }
            .into()),
        }
    }

    fn path(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.prefix)
    }
}

#[async_trait]
impl Store for S3Store {
    fn location(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    async fn get(&self, key: &ObjectKey) -> Result<Option<StoredObject>, StoreError> {
        let failed = |problem: String| StoreError::new("get", key, problem);
        let request = self.client.get_object().bucket(&self.bucket);
        let response = match request.key(self.path(key)).send().await {
            Ok(response) => response,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(store_error("get", key, &error)),
        };
        let Some(etag) = response.e_tag else {
            return Err(failed("the server sent no ETag".to_owned()));
        };
        let bytes = response
            .content_length
            .and_then(|bytes| u64::try_from(bytes).ok());
        let body = body::read(response.body, bytes).await.map_err(failed)?;
        Ok(Some(StoredObject {
            body,
            etag: ETag(etag),
        }))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError> {
        let failed = |problem: String| PutError::Failed(StoreError::new("put", key, problem));
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.path(key))
            .content_type(key.content_type())
            .set_checksum_crc32(match self.sends_checksums {
                true => Some(body::checksum(&parts).await),
                false => None,
            })
            .body(body::from_parts(parts));
        let may_be_missing = condition == Precondition::IfNoneMatch;
        let request = match condition {
            Precondition::IfNoneMatch => request.if_none_match("*"),
            Precondition::IfMatch(ETag(etag)) => request.if_match(etag),
        };
        let single_attempt = Config::builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(bytes, 1));
        let sending = request.customize().config_override(single_attempt).send();
        match sending.await {
            Ok(response) => response
                .e_tag
                .map(ETag)
                .ok_or_else(|| failed("the server sent no ETag".to_owned())),
            Err(error) => match status(&error) {
                Some(412 | 409) => Err(PutError::WriteConflict),
                // With If-Match, 404 means that the object was deleted: a conflict.
                Some(404) if !may_be_missing && error.code() != Some("NoSuchBucket") => {
                    Err(PutError::WriteConflict)
                }
                _ => Err(PutError::Failed(store_error("put", key, &error))),
            },
        }
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(format!("{}{}", self.prefix, scope.path()));
        let mut pages = request.delimiter("/").into_paginator().send();
        let mut entries = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| store_error("list", scope.path(), &error))?;
            for object in page.contents.unwrap_or_default() {
                let name = object
                    .key
                    .as_deref()
                    .and_then(|name| name.strip_prefix(&self.prefix))
                    .unwrap_or_default();
                match ObjectKey::parse(name) {
                    Some(key) => entries.push(ListEntry {
                        key,
                        etag: ETag(object.e_tag.unwrap_or_default()),
                    }),
                    // Consoles create an empty object with the name of the prefix.
                    None if scope == ListScope::Journal && name != scope.path() => {
                        self.stray_names.note(name);
                    }
                    None => {}
                }
            }
        }
        Ok(entries)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket);
        match request.key(self.path(key)).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("NoSuchKey") => Ok(()),
            Err(error) => Err(store_error("delete", key, &error)),
        }
    }
}
