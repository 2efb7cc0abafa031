//! The S3 client: endpoint, region, credentials, time limits.

use std::time::Duration;

use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    self, ProvideCredentials, Region, RequestChecksumCalculation, SharedHttpClient,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_types::service_config::ServiceConfigKey;

use crate::storage::backend::s3::error::chain;

/// Time limit of a connect. A slower endpoint is dead or behind a firewall.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time limit of one attempt without a body. S3 answers in a tenth of a second.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of a request with its retries and the pauses between them. 25 s is less than three
/// attempts of 10 s: it may end before the third attempt.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(25);

/// Attempts of a request, the first included. Callers retry after that on their own schedule.
const ATTEMPTS_MAX: u32 = 3;

/// Lowest accepted transfer rate of a body, in bytes per second: 100 MiB within 50 s.
const TRANSFER_RATE_MIN: u64 = 2 << 20;

/// Time limit for finding credentials. It may include a query to the instance's metadata service,
/// which does not exist everywhere.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(20);

/// Region for servers that have no regions.
const CUSTOM_ENDPOINT_REGION: Region = Region::from_static("us-east-1");

/// Returns the configuration of the AWS environment and profile. Unlike the SDK, it takes an empty
/// region for none, as Compose's `${NAME:-}` gives it.
pub(super) async fn load_config() -> SdkConfig {
    let of_variable = |name| {
        let region = std::env::var(name).unwrap_or_default();
        (!region.is_empty()).then(|| Region::new(region))
    };
    let http_client = http_client();
    let provider = ProviderConfig::without_region().with_http_client(http_client.clone());
    let region = RegionProviderChain::first_try(of_variable("AWS_REGION"))
        .or_else(of_variable("AWS_DEFAULT_REGION"))
        .or_else(ProfileFileRegionProvider::new())
        .or_else(ImdsRegionProvider::builder().configure(&provider).build());
    let loader = aws_config::defaults(BehaviorVersion::latest());
    loader.region(region).http_client(http_client).load().await
}

/// Returns the HTTP client of all requests to AWS. It is the SDK's own but for TLS, which is ring's.
fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let ring = Provider::Rustls(CryptoMode::Ring);
        let mut connector = ConnectorBuilder::default().tls_provider(ring);
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    })
}

/// Returns a client with the region, endpoint and credentials of the environment, and the server's
/// name for messages.
pub(super) async fn connect_client(
    aws: &SdkConfig,
    bucket: &str,
) -> anyhow::Result<(Client, String)> {
    let endpoint = custom_endpoint(aws);
    let region = aws
        .region()
        .cloned()
        .or_else(|| endpoint.is_some().then_some(CUSTOM_ENDPOINT_REGION));
    let Some(region) = region else {
        anyhow::bail!(
            "s3://{bucket}: no AWS region is configured; set AWS_REGION to the bucket's region"
        );
    };
    find_credentials(aws, bucket).await?;
    let server = endpoint
        .clone()
        .unwrap_or_else(|| format!("AWS S3 in {region}"));
    let mut config = config::Builder::from(aws)
        .region(region)
        .force_path_style(endpoint.is_some())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
        .timeout_config(timeouts(0, ATTEMPTS_MAX))
        // The checksum is sent in a header. The SDK would send it in a trailer, which some servers
        // reject.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    config.set_endpoint_url(endpoint); // else an empty variable would count
    Ok((Client::from_conf(config.build()), server))
}

/// Returns whether puts carry a checksum: unless `AWS_REQUEST_CHECKSUM_CALCULATION`, or the
/// profile, is `when_required`.
pub(super) fn sends_checksums(aws: &SdkConfig) -> bool {
    aws.request_checksum_calculation() != Some(RequestChecksumCalculation::WhenRequired)
}

/// Returns the endpoint that requests to S3 go to, or `None` for AWS's own.
pub(crate) async fn configured_endpoint() -> Option<String> {
    custom_endpoint(&load_config().await)
}

/// Returns the endpoint that the environment or the profile names for S3 or for all services, in
/// the SDK's own order.
fn custom_endpoint(aws: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let for_s3 = || {
        aws.service_config()
            .and_then(|config| config.load_config(key))
    };
    let for_all = aws.endpoint_url().map(ToOwned::to_owned);
    let endpoint = if aws.get_origin("endpoint_url").is_client_config() {
        for_all
    } else {
        for_s3().or(for_all)
    };
    endpoint.filter(|url| !url.is_empty())
}

async fn find_credentials(aws: &SdkConfig, bucket: &str) -> anyhow::Result<()> {
    let advice = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role";
    let Some(provider) = aws.credentials_provider() else {
        anyhow::bail!("s3://{bucket}: no AWS credentials are configured; {advice}");
    };
    match tokio::time::timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => anyhow::bail!(
            "s3://{bucket}: no AWS credentials were found ({}); {advice}",
            chain(&error)
        ),
        Err(_) => anyhow::bail!(
            "s3://{bucket}: no AWS credentials were found within {CREDENTIALS_TIMEOUT:?}; {advice}"
        ),
    }
}

/// Returns the time limit for the transfer of a body.
pub(super) fn transfer_time(bytes: u64) -> Duration {
    Duration::from_secs(bytes / TRANSFER_RATE_MIN)
}

/// Returns the time limits of a request with a body of that many bytes.
pub(super) fn timeouts(bytes: u64, attempts_max: u32) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT + transfer_time(bytes))
        .operation_timeout(OPERATION_TIMEOUT + transfer_time(bytes) * attempts_max)
        .build()
}
