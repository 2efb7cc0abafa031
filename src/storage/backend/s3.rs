//! The store in a bucket: an object is an S3 object, and a put's condition is the server's to check.
//!
//! Region, credentials, endpoint and profile are those of the usual AWS environment. Each request is bounded: by so
//! long, and longer by what its body takes on a slow line. The SDK's own retries are few and hidden, with one trap:
//! a put whose first try was done, its answer lost, meets its own object at the second and is [`PutError::WriteConflict`].
//! The caller of a put that is lost reads the object and compares, and so finds it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, Config, ProvideCredentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::storage::{
    ETag, ListEntry, ListScope, ObjectKey, Precondition, PutError, Store, StoreError, StoredObject,
    unknown_segment,
};

/// An endpoint that takes longer to accept a connection is dead or behind a firewall.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// One try of a request without a body; S3 answers in a tenth of a second.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// A request with its retries and the pauses between them.
const OPERATION_MAX: Duration = Duration::from_secs(25);
/// Tries of a request, the first with them; who waits longer asks again himself.
const ATTEMPTS_MAX: u32 = 3;
/// The slowest line that a body may take: 100 MiB within 50 s.
const BYTES_PER_SECOND_MIN: u64 = 2 << 20;
/// Room made for a body before it comes, on the server's word for its length.
const BODY_ROOM_MAX_BYTES: usize = 1 << 30;
/// Finding credentials may ask an instance's metadata service, which is not everywhere.
const CREDENTIALS_MAX: Duration = Duration::from_secs(20);
/// For servers that have no regions.
const REGION_OF_A_CUSTOM_ENDPOINT: Region = Region::from_static("us-east-1");

/// A bucket and a prefix in it.
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or with a `/` at its end.
    prefix: String,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3Store").field(&self.location()).finish()
    }
}

impl S3Store {
    /// Connects as the AWS environment says, and sees that the bucket can be listed.
    ///
    /// # Errors
    /// One sentence for a person that says what to do: there are no credentials, no region, no such bucket, no
    /// permission, it is another region, or the endpoint is dead.
    pub async fn connect(bucket: &str, prefix: &str) -> anyhow::Result<Self> {
        Self::connect_with(
            &aws_config::load_defaults(BehaviorVersion::latest()).await,
            bucket,
            prefix,
        )
        .await
    }

    /// As [`connect`](Self::connect), with a configuration that is already there.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(aws: &SdkConfig, bucket: &str, prefix: &str) -> anyhow::Result<Self> {
        let (client, server) = client(aws, bucket).await?;
        let mut prefix = prefix.to_owned();
        if !prefix.is_empty() && !prefix.ends_with('/') {
            prefix.push('/');
        }
        let store = Self {
            client,
            bucket: bucket.to_owned(),
            prefix,
        };
        let listed = store
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(&store.prefix)
            .max_keys(1)
            .send()
            .await;
        match listed {
            Ok(_) => Ok(store),
            Err(error) => {
                anyhow::bail!("{}: {}", store.location(), advice(&error, bucket, &server))
            }
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
        let got = match self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.path(key))
            .send()
            .await
        {
            Ok(got) => got,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(failed(problem(&error))),
        };
        let Some(etag) = got.e_tag else {
            return Err(failed("the server gave no ETag".to_owned()));
        };
        let bytes = got
            .content_length
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or_default();
        match tokio::time::timeout(ATTEMPT_MAX + time_for(bytes), read(got.body, bytes)).await {
            Ok(Ok(body)) => Ok(Some(StoredObject {
                body,
                etag: ETag(etag),
            })),
            Ok(Err(error)) => Err(failed(chain(&error))),
            Err(_) => Err(failed(format!("its {bytes} bytes came too slowly"))),
        }
    }

    async fn put(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        condition: Precondition,
    ) -> Result<ETag, PutError> {
        let failed = |problem: String| PutError::Failed(StoreError::new("put", key, problem));
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.path(key));
        let put = put
            .content_type(key.content_type())
            .checksum_crc32(checksum(&parts).await)
            .body(body(parts));
        let may_be_missing = condition == Precondition::IfNoneMatch;
        let put = match condition {
            Precondition::IfNoneMatch => put.if_none_match("*"),
            Precondition::IfMatch(ETag(etag)) => put.if_match(etag),
        };
        let patient = Config::builder().timeout_config(timeouts(bytes));
        match put.customize().config_override(patient).send().await {
            Ok(done) => done
                .e_tag
                .map(ETag)
                .ok_or_else(|| failed("the server gave no ETag".to_owned())),
            Err(error) => match status(&error) {
                Some(412 | 409) => Err(PutError::WriteConflict),
                Some(404) if !may_be_missing && error.code() != Some("NoSuchBucket") => {
                    Err(PutError::WriteConflict)
                }
                _ => Err(failed(problem(&error))),
            },
        }
    }

    async fn list(&self, scope: ListScope) -> Result<Vec<ListEntry>, StoreError> {
        let failed = |problem: String| StoreError::new("list", scope.path(), problem);
        let list = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(format!("{}{}", self.prefix, scope.path()));
        let mut pages = list.delimiter("/").into_paginator().send();
        let mut listed = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page
                .map_err(|error| failed(problem(&error)))?
                .contents
                .unwrap_or_default()
            {
                let name = object
                    .key
                    .as_deref()
                    .and_then(|name| name.strip_prefix(&self.prefix))
                    .unwrap_or_default();
                match ObjectKey::parse(name) {
                    Some(key) => listed.push(ListEntry {
                        key,
                        etag: ETag(object.e_tag.unwrap_or_default()),
                    }),
                    // A console makes an empty object of the prefix itself, to show a folder.
                    None if scope == ListScope::Journal && name != scope.path() => {
                        return Err(unknown_segment(name));
                    }
                    None => {}
                }
            }
        }
        Ok(listed)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        match self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.path(key))
            .send()
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("NoSuchKey") => Ok(()),
            Err(error) => Err(StoreError::new("delete", key, problem(&error))),
        }
    }
}

/// Reads objects of buckets that are not the store's own: those that events name, and those to be replayed.
pub struct BucketReader {
    client: Client,
    server: String,
}

impl fmt::Debug for BucketReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BucketReader").field(&self.server).finish()
    }
}

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketObject {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
}

impl BucketReader {
    /// As the AWS environment says; nothing is asked of a bucket yet. `bucket` is the one that an error names.
    ///
    /// # Errors
    /// There are no credentials or no region: one sentence for a person that says what to do.
    pub async fn connect(bucket: &str) -> anyhow::Result<Self> {
        let (client, server) = client(
            &aws_config::load_defaults(BehaviorVersion::latest()).await,
            bucket,
        )
        .await?;
        Ok(Self { client, server })
    }

    /// The object, whole; `None` when there is none of that key.
    ///
    /// # Errors
    /// It cannot be read, or has over `bytes_max` bytes.
    pub async fn get(
        &self,
        bucket: &str,
        key: &str,
        bytes_max: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let failed =
            |problem: String| StoreError::new("get", format_args!("s3://{bucket}/{key}"), problem);
        let got = match self
            .client
            .get_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
        {
            Ok(got) => got,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(failed(problem(&error))),
        };
        let bytes = got
            .content_length
            .and_then(|bytes| u64::try_from(bytes).ok());
        let Some(bytes) = bytes.filter(|&bytes| bytes <= bytes_max) else {
            return Err(failed(format!(
                "it has over {bytes_max} bytes, or the server does not say how many"
            )));
        };
        match tokio::time::timeout(ATTEMPT_MAX + time_for(bytes), read(got.body, bytes)).await {
            Ok(Ok(body)) => Ok(Some(body)),
            Ok(Err(error)) => Err(failed(chain(&error))),
            Err(_) => Err(failed(format!("its {bytes} bytes came too slowly"))),
        }
    }

    /// Every object whose key begins with that, by key, `objects_max` at most.
    ///
    /// # Errors
    /// The bucket cannot be listed, or there are more: one sentence for a person that says what to do.
    pub async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        objects_max: usize,
    ) -> anyhow::Result<Vec<BucketObject>> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .into_paginator()
            .send();
        let mut listed = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => anyhow::bail!(
                    "s3://{bucket}/{prefix}: {}",
                    advice(&error, bucket, &self.server)
                ),
            };
            for object in page.contents.unwrap_or_default() {
                let bytes = object
                    .size
                    .and_then(|bytes| u64::try_from(bytes).ok())
                    .unwrap_or_default();
                listed.extend(object.key.map(|key| BucketObject { key, bytes }));
            }
            anyhow::ensure!(
                listed.len() <= objects_max,
                "s3://{bucket}/{prefix} has over {objects_max} objects; name longer prefixes, and several"
            );
        }
        Ok(listed)
    }
}

/// A client for the buckets that the AWS environment leads to, and what answers there, for a person.
async fn client(aws: &SdkConfig, bucket: &str) -> anyhow::Result<(Client, String)> {
    let endpoint = custom_endpoint(aws);
    let region = aws
        .region()
        .cloned()
        .or_else(|| endpoint.is_some().then_some(REGION_OF_A_CUSTOM_ENDPOINT));
    let Some(region) = region else {
        anyhow::bail!(
            "s3://{bucket}: no AWS region is configured; set AWS_REGION to the bucket's region"
        );
    };
    find_credentials(aws, bucket).await?;
    let server = endpoint
        .clone()
        .unwrap_or_else(|| format!("AWS S3 in {region}"));
    let config = Builder::from(aws)
        .region(region)
        .force_path_style(endpoint.is_some())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
        .timeout_config(timeouts(0))
        // The checksum goes in a header of ours: not every server knows the SDK's own, which trails the body.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .build();
    Ok((Client::from_conf(config), server))
}

/// The endpoint that the environment or the profile names for S3 or for all services, as the SDK looks for it.
fn custom_endpoint(aws: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let of_s3 = || {
        aws.service_config()
            .and_then(|config| config.load_config(key))
    };
    let of_all = aws.endpoint_url().map(ToOwned::to_owned);
    if aws.get_origin("endpoint_url").is_client_config() {
        of_all
    } else {
        of_s3().or(of_all)
    }
}

async fn find_credentials(aws: &SdkConfig, bucket: &str) -> anyhow::Result<()> {
    let advice = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role";
    let Some(provider) = aws.credentials_provider() else {
        anyhow::bail!("s3://{bucket}: no AWS credentials are configured; {advice}");
    };
    match tokio::time::timeout(CREDENTIALS_MAX, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => anyhow::bail!(
            "s3://{bucket}: no AWS credentials were found ({}); {advice}",
            chain(&error)
        ),
        Err(_) => anyhow::bail!(
            "s3://{bucket}: no AWS credentials were found within {CREDENTIALS_MAX:?}; {advice}"
        ),
    }
}

fn time_for(bytes: u64) -> Duration {
    Duration::from_secs(bytes / BYTES_PER_SECOND_MIN)
}

/// What a request with a body of that many bytes may take.
fn timeouts(bytes: u64) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_MAX)
        .operation_attempt_timeout(ATTEMPT_MAX + time_for(bytes))
        .operation_timeout(OPERATION_MAX + time_for(bytes) * ATTEMPTS_MAX)
        .build()
}

/// The CRC-32 of the body, as S3 takes it: a body that was harmed on its way is refused.
async fn checksum(parts: &[Bytes]) -> String {
    let mut crc = crc32fast::Hasher::new();
    for part in parts {
        crc.update(part);
        // Some milliseconds for a large body; others take their turns.
        tokio::task::yield_now().await;
    }
    base64_simd::STANDARD.encode_to_string(crc.finalize().to_be_bytes())
}

/// A body that is sent part by part, without a joined copy, and again from the start when the SDK tries again.
fn body(parts: Vec<Bytes>) -> ByteStream {
    ByteStream::new(SdkBody::retryable(move || {
        SdkBody::from_body_1_x(Parts(parts.clone().into()))
    }))
}

struct Parts(VecDeque<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|part| part.len() as u64).sum())
    }
}

async fn read(
    mut body: ByteStream,
    bytes: u64,
) -> Result<Bytes, aws_sdk_s3::primitives::ByteStreamError> {
    let mut whole = Vec::with_capacity(
        usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(BODY_ROOM_MAX_BYTES),
    );
    while let Some(part) = body.next().await {
        whole.extend_from_slice(&part?);
    }
    Ok(whole.into())
}

/// What an operator does about the first request's failure.
fn advice<E>(error: &SdkError<E, HttpResponse>, bucket: &str, server: &str) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let problem = problem(error);
    match (error.code().unwrap_or_default(), status(error)) {
        ("NoSuchBucket", _) => {
            format!("{server} has no bucket `{bucket}`; create it, or correct its name")
        }
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken", _) => {
            format!("{server} refuses the credentials; correct or renew them ({problem})")
        }
        ("RequestTimeTooSkewed", _) => format!("this machine's clock is wrong; set it ({problem})"),
        (
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IncorrectEndpoint",
            _,
        )
        | (_, Some(301 | 307)) => {
            let headers = error.raw_response().map(HttpResponse::headers);
            let region = headers
                .and_then(|headers| headers.get("x-amz-bucket-region"))
                .unwrap_or("the bucket's region");
            format!(
                "the bucket is not in the configured region; set AWS_REGION to {region} ({problem})"
            )
        }
        (_, Some(401 | 403)) => format!(
            "access is denied; allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject \
             on its objects ({problem})"
        ),
        (_, None) => format!(
            "{server} does not answer; correct the endpoint and the network's path to it ({problem})"
        ),
        (_, Some(_)) => {
            format!("{server} does not answer as S3 does; correct the endpoint ({problem})")
        }
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

/// What is wrong, in one line: what the server says, or why it did not say anything.
fn problem<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (Some(service), Some(status)) = (error.as_service_error(), status(error)) else {
        return chain(error);
    };
    let (code, message) = (
        service.code().unwrap_or("no code"),
        service.message().unwrap_or("no message"),
    );
    let request = error
        .request_id()
        .map(|id| format!(", request {id}"))
        .unwrap_or_default();
    one_line(&format!("{code}: {message}, status {status}{request}"))
}

/// The error and its causes in one line, outermost first, each said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = one_line(&error.to_string());
        if said.last() != Some(&text) {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_sent_anew_from_its_start() {
        let whole = body(vec![
            Bytes::from_static(b"one"),
            Bytes::new(),
            Bytes::from_static(b"two"),
        ])
        .into_inner();
        for _ in 0..2 {
            let again = whole.try_clone().expect("it can be tried again");
            assert_eq!(again.content_length(), Some(6));
            let read = futures_util::FutureExt::now_or_never(read(ByteStream::new(again), 6));
            assert_eq!(read.expect("it never waits").unwrap(), "onetwo");
        }
    }

    #[test]
    fn the_time_for_a_request_grows_with_its_body() {
        assert_eq!(
            timeouts(0).operation_attempt_timeout(),
            Some(Duration::from_secs(10))
        );
        assert_eq!(
            timeouts(150 << 20).operation_attempt_timeout(),
            Some(Duration::from_secs(85))
        );
    }

    #[test]
    fn an_error_is_told_in_one_line_with_its_causes() {
        let error = anyhow::anyhow!("tried:\n - this\n - that")
            .context("no way")
            .context("no way");
        assert_eq!(chain(&*error), "no way: tried: - this - that");
    }
}
