//! Firehose's HTTP endpoint protocol from the sender's side, as `simulate` and `replay` use it.
//!
//! It promises what Firehose promises: a delivery keeps its request id and its body over all its
//! tries. Every failure but a 413 is retried, after pauses that double, until the retry
//! duration is over. A response that is not in the protocol's form is a failure even with status
//! 200. Source: the AWS developer guide, "HTTP endpoint delivery request and response
//! specifications" and "Data delivery failure handling".

mod buffer;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};
use tokio::sync::Semaphore;

pub use crate::firehose_client::buffer::DeliveryBuffer;

pub(crate) use crate::firehose_client::wire::encode_delivery;
use crate::firehose_client::wire::{
    DeliveryRequest, RESPONSE_BYTES_MAX, check_response, constant_headers, error_message,
    record_counts,
};

/// Maximum number of records of a delivery: Firehose's own limit.
pub const RECORDS_MAX: usize = 10_000;

/// Maximum time to a response, after which Firehose counts a try as failed.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_mins(3);

/// The endpoint of deliveries, and how they are sent.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The endpoint, http or https. Its path and query are sent as they are.
    pub to: Url,
    /// The endpoint's access key.
    pub access_key: Option<AccessKey>,
    /// The stream that the deliveries claim to come from.
    pub source_arn: String,
    /// Attributes of every delivery; without one the header is not sent.
    pub common_attributes: BTreeMap<String, String>,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Maximum number of deliveries in flight, including those that wait for another try.
    pub concurrency: NonZeroUsize,
    /// Maximum time to the response of one try.
    pub response_timeout: Duration,
    /// The pauses before further tries.
    pub backoff: Backoff,
    /// Whether a proxy of the environment is bypassed, as it always is to a loopback address: the
    /// endpoint is on this machine.
    pub bypasses_proxy: bool,
    /// Whether a delivery is retried that the endpoint refuses for a reason that does not pass: a
    /// wrong key or path, an invalid body. Firehose does.
    pub retries_refused: bool,
}

impl ClientOptions {
    /// Returns Firehose's own behaviour towards that endpoint: no key, no compression, four
    /// deliveries at once.
    pub fn new(to: Url) -> Self {
        Self {
            to,
            access_key: None,
            source_arn: "arn:aws:firehose:us-east-1:000000000000:deliverystream/alleycat"
                .to_owned(),
            common_attributes: BTreeMap::new(),
            gzip: false,
            concurrency: NonZeroUsize::new(4).expect("4 is not 0"),
            response_timeout: RESPONSE_TIMEOUT,
            backoff: Backoff::FIREHOSE,
            bypasses_proxy: false,
            retries_refused: true,
        }
    }
}

/// Parses the URL of an endpoint. A user and a password in it are refused: errors would show them,
/// and they would be sent in place of a key.
///
/// # Errors
/// The text is no such URL. The message does not repeat it.
pub fn endpoint_url(text: &str) -> Result<Url, &'static str> {
    let url = text.parse::<Url>().ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or("it must be a URL such as https://alleycat.example.com/firehose")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must have no user and no password");
    }
    Ok(url)
}

/// A key that is sent and shows in no log.
#[derive(Clone)]
pub struct AccessKey(HeaderValue);

impl FromStr for AccessKey {
    type Err = &'static str;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        if key.is_empty() || key.trim() != key {
            return Err("an access key must not be empty, and have no spaces around it");
        }
        let mut value = HeaderValue::from_bytes(key.as_bytes())
            .map_err(|_| "an access key must not contain control characters")?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(hidden)")
    }
}

/// The pauses between the tries of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure; each further one is twice as long.
    pub first: Duration,
    /// Maximum pause.
    pub max: Duration,
    /// Maximum time from the first failure to the last try; 0 means one try only.
    pub total: Duration,
}

impl Backoff {
    /// Firehose's pauses, and its default retry duration.
    pub const FIREHOSE: Self = Self {
        first: Duration::from_secs(1),
        max: Duration::from_mins(2),
        total: Duration::from_mins(5),
    };

    /// Returns the pause after that many failures (from 1), between a half and the whole of its
    /// full length.
    ///
    /// `share`, 0 to 1, is the jitter: deliveries that failed together are not retried together.
    fn pause(&self, failures: u32, share: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let full = self.first.saturating_mul(doubled).min(self.max);
        full.mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0)
    }
}

/// Delivers records to one endpoint. Clones share the connections and the limit of deliveries in
/// flight.
#[derive(Clone, Debug)]
pub struct FirehoseClient {
    inner: Arc<ClientInner>,
}

#[derive(Debug)]
struct ClientInner {
    http: reqwest::Client,
    options: ClientOptions,
    permits: Semaphore,
}

/// A delivery that the endpoint acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Number of tries, from 1.
    pub tries: u32,
    /// Time from the beginning of the first try to the acknowledgement, without the wait for a
    /// permit.
    pub took: Duration,
    /// The counts of its records, if the endpoint is of this project and sends them.
    pub counts: Option<RecordCounts>,
}

/// The counts that an endpoint of this project sends in headers of its response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Efforts that were improvements.
    pub improvements: u64,
    /// Records that were quarantined, by reason.
    pub rejected: BTreeMap<String, u64>,
}

/// A delivery that was given up: another try is useless, or the retry duration is over.
///
/// Firehose would write it to its error bucket, or, after a 413, nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("given up after {tries} tries in {took:?}: {last}")]
pub struct DeliveryGivenUp {
    /// Number of tries, from 1.
    pub tries: u32,
    /// Time from the beginning of the first try to the end of the last.
    pub took: Duration,
    /// The failure of the last try.
    pub last: TryError,
}

/// The failure of one try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TryError {
    /// No connection, or no whole response in time.
    #[error("no response: {0}")]
    NoResponse(String),
    /// The endpoint does not speak TLS, or its certificate is not trusted.
    #[error("no trusted connection: {0}")]
    Tls(String),
    /// A status other than 200.
    #[error("status {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The endpoint's error message.
        message: String,
    },
    /// Status 200, but not in the protocol's form.
    #[error("status 200, but {0}")]
    Malformed(String),
}

impl TryError {
    /// Returns whether the endpoint refused the delivery itself, most likely as too large. Nothing
    /// of it was applied.
    pub fn is_of_the_delivery(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 400 | 413,
                ..
            }
        )
    }

    /// Returns whether another try is useless. Firehose drops a delivery after a 413.
    fn is_final(&self, retries_refused: bool) -> bool {
        match self {
            Self::Refused { status: 413, .. } => true,
            // Timed out, too early, too many requests: these pass.
            Self::Refused {
                status: 408 | 425 | 429,
                ..
            } => false,
            Self::Refused {
                status: 300..500, ..
            }
            | Self::Tls(_) => !retries_refused,
            _ => false,
        }
    }
}

impl FirehoseClient {
    /// Returns a client of that endpoint. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL is not http or https, or an option contains characters that a header must not.
    pub fn new(options: ClientOptions) -> anyhow::Result<Self> {
        let web = matches!(options.to.scheme(), "http" | "https");
        anyhow::ensure!(
            web && options.to.has_host(),
            "the endpoint must be an http or https URL"
        );
        constant_headers(&options)?;
        let mut client = http_client_builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(options.response_timeout)
            .pool_max_idle_per_host(options.concurrency.get());
        if options.bypasses_proxy || is_loopback(&options.to) {
            client = client.no_proxy();
        }
        let permits = Semaphore::new(options.concurrency.get().min(Semaphore::MAX_PERMITS));
        Ok(Self {
            inner: Arc::new(ClientInner {
                http: client.build().context("the HTTP client")?,
                options,
                permits,
            }),
        })
    }

    /// Returns the maximum number of deliveries in flight.
    pub fn concurrency(&self) -> NonZeroUsize {
        self.inner.options.concurrency
    }

    /// Delivers those records, in order, as one delivery, once a permit is free.
    ///
    /// Returns when it is acknowledged or given up. Dropping the future ends the tries; the
    /// endpoint may or may not have applied the delivery.
    pub async fn deliver<R>(&self, records: Vec<R>) -> Result<Acknowledgement, DeliveryGivenUp>
    where
        R: AsRef<[u8]> + Send + 'static,
    {
        let _permit = self
            .inner
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let request = DeliveryRequest::new(&self.inner.options, records).await;
        let ClientOptions {
            backoff,
            retries_refused,
            ..
        } = self.inner.options;
        let began = Instant::now();
        let mut first_failed = None;
        let mut tries = 0;
        loop {
            tries += 1;
            let last = match self.send(&request).await {
                Ok(counts) => {
                    let took = began.elapsed();
                    tracing::debug!(
                        request_id = request.id,
                        tries,
                        ?took,
                        "delivery acknowledged"
                    );
                    return Ok(Acknowledgement {
                        tries,
                        took,
                        counts,
                    });
                }
                Err(last) => last,
            };
            let failed_for = first_failed.get_or_insert_with(Instant::now).elapsed();
            let pause = backoff.pause(tries, rand::random());
            if last.is_final(retries_refused) || failed_for + pause > backoff.total {
                tracing::error!(request_id = request.id, tries, error = %last, "delivery given up");
                return Err(DeliveryGivenUp {
                    tries,
                    took: began.elapsed(),
                    last,
                });
            }
            tracing::warn!(request_id = request.id, tries, ?pause, error = %last, "delivery failed; retrying");
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends the delivery once.
    async fn send(&self, request: &DeliveryRequest) -> Result<Option<RecordCounts>, TryError> {
        let ClientInner { http, options, .. } = &*self.inner;
        let no_response = |error: reqwest::Error| {
            let is_tls = is_of_tls(&error);
            let problem = format!("{:#}", anyhow::Error::new(error.without_url()));
            if is_tls {
                TryError::Tls(problem)
            } else {
                TryError::NoResponse(problem)
            }
        };
        let post = http
            .post(options.to.clone())
            .headers(request.headers.clone())
            .body(request.body.clone());
        let mut response = post.send().await.map_err(no_response)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_response)? {
            body.extend_from_slice(&chunk);
            if body.len() > RESPONSE_BYTES_MAX {
                break;
            }
        }
        if response.status() == StatusCode::OK {
            check_response(&body, &request.id).map_err(TryError::Malformed)?;
            Ok(record_counts(response.headers()))
        } else {
            Err(TryError::Refused {
                status: response.status().as_u16(),
                message: error_message(&body),
            })
        }
    }
}

/// Returns a builder of HTTP clients. They speak HTTP/1.1 and accept no compressed response, as
/// Firehose does.
pub fn http_client_builder() -> reqwest::ClientBuilder {
    // An error says that it was installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

/// Returns whether an error comes from TLS, and not from the connection below it.
fn is_of_tls(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        // An I/O error is made of another error, and not caused by it.
        let inner = error.downcast_ref::<std::io::Error>();
        cause = match inner.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// Returns whether a URL is of this machine, for which no proxy is used. The unspecified address is
/// reached there, too.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// Returns the milliseconds since 1970, by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests;
