//! Speaks Firehose's HTTP endpoint protocol, as the sending side: `simulate` and `replay` deliver through it.
//!
//! It promises what Firehose promises: a delivery keeps its request id and its body over all its tries; every failure
//! but a 413 is tried again, after pauses that double, until the retry duration is over; an answer of another form than
//! the protocol's is a failure even with status 200. Source of the facts: the AWS developer guide, "HTTP endpoint
//! delivery request and response specifications" and "Data delivery failure handling".

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// The most records that one delivery carries: Firehose's own limit.
pub const RECORDS_MAX: usize = 10_000;

/// How long Firehose waits for an answer before it counts a try as failed.
pub const ANSWER_WITHIN: Duration = Duration::from_mins(3);

/// The longest answer that is read, in bytes: Firehose reads no more.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How much of an endpoint's own words a failure keeps, in characters: enough for a person, little enough for a log.
const MESSAGE_CHARS_MAX: usize = 500;

/// Of how many reasons of rejection an endpoint may tell.
const REASONS_MAX: usize = 32;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-amz-firehose-protocol-version");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-firehose-request-id");
const SOURCE_ARN: HeaderName = HeaderName::from_static("x-amz-firehose-source-arn");
const ACCESS_KEY: HeaderName = HeaderName::from_static("x-amz-firehose-access-key");
const COMMON_ATTRIBUTES: HeaderName = HeaderName::from_static("x-amz-firehose-common-attributes");

/// To whom deliveries go, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The endpoint, http or https; sent to verbatim.
    pub to: Url,
    /// The key that the endpoint asks for.
    pub access_key: Option<AccessKey>,
    /// The stream that the deliveries claim to come from.
    pub source_arn: String,
    /// Attributes that go with every delivery; none sends no header.
    pub common_attributes: BTreeMap<String, String>,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// How many deliveries are under way at once, those that pause before another try included.
    pub concurrency: NonZeroUsize,
    /// How long one try waits for its answer.
    pub answer_within: Duration,
    /// When a failed delivery is tried again.
    pub backoff: Backoff,
    /// Whether one that the endpoint does not take as it is (400) is tried again all the same, as Firehose does.
    pub insistent: bool,
}

impl Options {
    /// Firehose's own behaviour towards that endpoint: no key, no compression, four deliveries at once.
    pub fn new(to: Url) -> Self {
        Self {
            to,
            access_key: None,
            source_arn: "arn:aws:firehose:us-east-1:000000000000:deliverystream/alleycat"
                .to_owned(),
            common_attributes: BTreeMap::new(),
            gzip: false,
            concurrency: NonZeroUsize::new(4).expect("4 is not 0"),
            answer_within: ANSWER_WITHIN,
            backoff: Backoff::FIREHOSE,
            insistent: true,
        }
    }
}

/// A key that is sent and never shown.
#[derive(Clone)]
pub struct AccessKey(HeaderValue);

impl FromStr for AccessKey {
    type Err = &'static str;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        let mut value = HeaderValue::from_bytes(key.as_bytes())
            .map_err(|_| "an access key has no control characters")?;
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
    /// No pause is longer.
    pub max: Duration,
    /// No try begins later than this after the first failure; 0 means one try only.
    pub total: Duration,
}

impl Backoff {
    /// Firehose's pauses, and its default retry duration.
    pub const FIREHOSE: Self = Self {
        first: Duration::from_secs(1),
        max: Duration::from_mins(2),
        total: Duration::from_mins(5),
    };

    /// The pause after that many failures (from 1). `share`, 0 to 1, is the jitter: the pause lies between a half and
    /// the whole of its full length, so that deliveries that failed together do not come back together.
    fn pause(&self, failures: u32, share: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let full = self.first.saturating_mul(doubled).min(self.max);
        full.mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0)
    }
}

/// Delivers records to one endpoint. Cloning is cheap; clones share their connections and the bound on deliveries under
/// way.
#[derive(Clone, Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: reqwest::Client,
    options: Options,
    slots: Semaphore,
}

/// A delivery that the endpoint has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// How many tries it took, from 1.
    pub tries: u32,
    /// From the beginning of the first try to the acknowledgement; without the wait for other deliveries.
    pub took: Duration,
    /// What became of its records, where the endpoint is of this project and says so.
    pub told: Option<Told>,
}

/// What an endpoint of this project tells in headers of what it has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How many efforts were improvements.
    pub improvements: u64,
    /// How many records were quarantined for which reason.
    pub rejected: BTreeMap<String, u64>,
}

/// A delivery that was tried until there was no use or no time left. Firehose would write it to its error bucket, or,
/// after a 413, nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("given up after {tries} tries in {took:?}: {last}")]
pub struct GivenUp {
    /// How many tries it took, from 1.
    pub tries: u32,
    /// From the beginning of the first try to the end of the last.
    pub took: Duration,
    /// Why the last try failed.
    pub last: Failure,
}

/// Why a try failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no answer: no connection, no end, or not in time.
    #[error("no answer: {0}")]
    Unanswered(String),
    /// Another status than 200.
    #[error("status {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The endpoint's own words.
        message: String,
    },
    /// Status 200, but not the protocol's form.
    #[error("status 200, but {0}")]
    Malformed(String),
}

impl Failure {
    /// Whether the endpoint does not take the delivery as it is, and none of it was applied: too large, most likely.
    pub fn is_of_the_delivery(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 400 | 413,
                ..
            }
        )
    }

    /// Whether another try is of use. Firehose drops a delivery that is answered 413.
    fn is_final(&self, insistent: bool) -> bool {
        matches!(self, Self::Refused { status: 413, .. }) || !insistent && self.is_of_the_delivery()
    }
}

impl Sender {
    /// A sender to that endpoint; nothing is sent yet. Fails when the URL is not http or https, or an option does not
    /// fit into a header.
    pub fn new(options: Options) -> anyhow::Result<Self> {
        let web = matches!(options.to.scheme(), "http" | "https");
        anyhow::ensure!(
            web && options.to.has_host(),
            "the endpoint must be an http or https URL"
        );
        lasting_headers(&options)?;
        let mut client = reqwest::Client::builder()
            .http1_only()
            .no_gzip() // Firehose takes no compressed answer, so neither do we
            .redirect(reqwest::redirect::Policy::none())
            .timeout(options.answer_within)
            .pool_max_idle_per_host(options.concurrency.get());
        if is_this_machine(&options.to) {
            client = client.no_proxy();
        }
        let client = client.build().context("the HTTP client")?;
        let slots = Semaphore::new(options.concurrency.get().min(Semaphore::MAX_PERMITS));
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                options,
                slots,
            }),
        })
    }

    /// How many deliveries are under way at most.
    pub fn concurrency(&self) -> NonZeroUsize {
        self.shared.options.concurrency
    }

    /// Delivers those records, in order, as one delivery, once a place is free. Returns when it is settled; dropping
    /// the future ends the tries, and the endpoint may or may not have taken it.
    pub async fn deliver<R>(&self, records: Vec<R>) -> Result<Acknowledged, GivenUp>
    where
        R: AsRef<[u8]> + Send + 'static,
    {
        let _slot = self
            .shared
            .slots
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let request = Request::new(&self.shared.options, records).await;
        let Options {
            backoff, insistent, ..
        } = self.shared.options;
        let began = Instant::now();
        let mut first_failed = None;
        let mut tries = 0;
        loop {
            tries += 1;
            let last = match self.send(&request).await {
                Ok(told) => {
                    let took = began.elapsed();
                    tracing::debug!(request_id = request.id, tries, ?took, "acknowledged");
                    return Ok(Acknowledged { tries, took, told });
                }
                Err(last) => last,
            };
            let failed_for = first_failed.get_or_insert_with(Instant::now).elapsed();
            let pause = backoff.pause(tries, rand::random());
            if last.is_final(insistent) || failed_for + pause > backoff.total {
                tracing::error!(request_id = request.id, tries, error = %last, "a delivery is given up");
                return Err(GivenUp {
                    tries,
                    took: began.elapsed(),
                    last,
                });
            }
            tracing::warn!(request_id = request.id, tries, ?pause, error = %last, "a delivery will be tried again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One try.
    async fn send(&self, request: &Request) -> Result<Option<Told>, Failure> {
        let Shared {
            client, options, ..
        } = &*self.shared;
        let unanswered = |error: reqwest::Error| Failure::Unanswered(causes(&error.without_url()));
        let post = client
            .post(options.to.clone())
            .headers(request.headers.clone())
            .body(request.body.clone());
        let mut response = post.send().await.map_err(unanswered)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                break;
            }
        }
        if response.status() == StatusCode::OK {
            check_answer(&body, &request.id).map_err(Failure::Malformed)?;
            Ok(told_in(response.headers()))
        } else {
            Err(Failure::Refused {
                status: response.status().as_u16(),
                message: words_of(&body),
            })
        }
    }
}

/// What is sent at every try of a delivery.
struct Request {
    id: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    async fn new<R>(options: &Options, records: Vec<R>) -> Self
    where
        R: AsRef<[u8]> + Send + 'static,
    {
        let id = request_id(rand::random());
        let mut headers =
            lasting_headers(options).expect("these headers were made when the sender was");
        headers.insert(
            REQUEST_ID,
            HeaderValue::from_str(&id).expect("an id is of letters, digits and hyphens"),
        );
        let (body_id, gzip) = (id.clone(), options.gzip);
        // Base64 and gzip of up to 64 MiB would hold up a thread that drives other deliveries.
        let encoding =
            tokio::task::spawn_blocking(move || encode(&body_id, now_ms(), &records, gzip));
        Self {
            id,
            headers,
            body: encoding
                .await
                .expect("encoding does not panic, nor is it cancelled"),
        }
    }
}

/// The headers that are the same for every delivery.
fn lasting_headers(options: &Options) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static("1.0"));
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static("Amazon Kinesis Data Firehose Agent/1.0"),
    );
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        SOURCE_ARN,
        HeaderValue::from_str(&options.source_arn).context("the source's ARN")?,
    );
    if options.gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Some(AccessKey(key)) = &options.access_key {
        headers.insert(ACCESS_KEY, key.clone());
    }
    if !options.common_attributes.is_empty() {
        let attributes =
            serde_json::json!({ "commonAttributes": options.common_attributes }).to_string();
        let value =
            HeaderValue::from_bytes(attributes.as_bytes()).context("the common attributes")?;
        headers.insert(COMMON_ATTRIBUTES, value);
    }
    Ok(headers)
}

/// The body: `{"requestId":…,"timestamp":…,"records":[{"data":…},…]}`, compressed where asked.
fn encode<R: AsRef<[u8]>>(id: &str, timestamp_ms: u64, records: &[R], gzip: bool) -> Bytes {
    let base64_bytes: usize = records
        .iter()
        .map(|record| record.as_ref().len().div_ceil(3) * 4 + 12)
        .sum();
    let mut body = Vec::with_capacity(base64_bytes + id.len() + 64);
    body.extend_from_slice(
        format!(r#"{{"requestId":"{id}","timestamp":{timestamp_ms},"records":["#).as_bytes(),
    );
    for (index, record) in records.iter().enumerate() {
        body.extend_from_slice(if index == 0 {
            br#"{"data":""#
        } else {
            br#",{"data":""#
        });
        base64_simd::STANDARD.encode_append(record, &mut body);
        body.extend_from_slice(br#""}"#);
    }
    body.extend_from_slice(b"]}");
    if !gzip {
        return body.into();
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder
        .write_all(&body)
        .and_then(|()| encoder.finish())
        .expect("writing to memory does not fail")
        .into()
}

/// What an endpoint answers. Firehose's specification names these keys and no others.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Answer {
    request_id: String,
    timestamp: u64,
    error_message: Option<String>,
}

/// Whether that is the protocol's answer to that request; else what is wrong with it.
fn check_answer(body: &[u8], id: &str) -> Result<(), String> {
    if body.len() > ANSWER_BYTES_MAX {
        return Err(format!(
            "the answer is longer than {ANSWER_BYTES_MAX} bytes"
        ));
    }
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| format!("the answer is no such JSON: {error}"))?;
    if answer.request_id != id {
        return Err("the answer is to another request".to_owned());
    }
    Ok(())
}

/// What the endpoint tells of what it has taken: `alleycat-improvements: 3`, `alleycat-rejected: json=1,missing=2`.
fn told_in(headers: &HeaderMap) -> Option<Told> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let improvements = text("alleycat-improvements")?.parse().ok()?;
    let rejected = text("alleycat-rejected")
        .unwrap_or_default()
        .split(',')
        .take(REASONS_MAX)
        .filter_map(|reason| {
            let (reason, count) = reason.split_once('=')?;
            let is_reason = !reason.is_empty()
                && reason
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            Some((reason.to_owned(), count.parse().ok()?)).filter(|_| is_reason)
        });
    Some(Told {
        improvements,
        rejected: rejected.collect(),
    })
}

/// What an endpoint says of its refusal: its `errorMessage`, or the body as it is.
fn words_of(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Answer>(body)
        .ok()
        .and_then(|answer| answer.error_message);
    let words = said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    words
        .chars()
        .filter(|char| !char.is_control())
        .take(MESSAGE_CHARS_MAX)
        .collect()
}

/// An error with all that caused it; reqwest's own words are only the outermost.
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Whether a URL is of this machine, where a proxy is never meant.
fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// An id in the form of Firehose's: a random UUID.
fn request_id(random: u128) -> String {
    let hex = format!("{random:032x}");
    format!(
        "{}-{}-4{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

/// Milliseconds since 1970, by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Gathers records until they are worth a delivery, as Firehose's buffering hints do: by size, by number or by age.
#[derive(Debug)]
pub struct Buffer {
    bytes_max: usize,
    interval: Duration,
    records: Vec<Bytes>,
    bytes: usize,
    due: Option<Instant>,
}

impl Buffer {
    /// An empty buffer whose deliveries carry at most `bytes_max` bytes of record data and at most [`RECORDS_MAX`]
    /// records, the oldest at most `interval` old. One record over `bytes_max` makes a delivery of its own.
    pub fn new(bytes_max: usize, interval: Duration) -> Self {
        Self {
            bytes_max,
            interval,
            records: Vec::new(),
            bytes: 0,
            due: None,
        }
    }

    /// Takes in a record. Returns the records before it when there is no room for it beside them.
    pub fn push(&mut self, record: Bytes, now: Instant) -> Option<Vec<Bytes>> {
        let is_full =
            self.bytes + record.len() > self.bytes_max || self.records.len() == RECORDS_MAX;
        let full = if is_full { self.take() } else { None };
        self.bytes += record.len();
        self.records.push(record);
        self.due.get_or_insert(now + self.interval);
        full
    }

    /// When the records in it should be on their way, whatever their size; `None` while it is empty.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes all records out; `None` when there are none.
    pub fn take(&mut self) -> Option<Vec<Bytes>> {
        self.due = None;
        self.bytes = 0;
        Some(std::mem::take(&mut self.records)).filter(|records| !records.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_maximum_and_jitter_at_most_halves_them() {
        let full: Vec<u64> = (1..=9)
            .map(|failures| Backoff::FIREHOSE.pause(failures, 1.0).as_secs())
            .collect();
        assert_eq!(full, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        assert_eq!(Backoff::FIREHOSE.pause(3, 0.0), Duration::from_secs(2));
        assert_eq!(
            Backoff::FIREHOSE.pause(u32::MAX, 1.0),
            Backoff::FIREHOSE.max
        );
    }

    #[test]
    fn a_buffer_gives_its_records_before_they_are_too_many_bytes() {
        let now = Instant::now();
        let mut buffer = Buffer::new(10, Duration::from_secs(1));
        assert_eq!(buffer.push(Bytes::from_static(b"12345"), now), None);
        assert_eq!(buffer.push(Bytes::from_static(b"67890"), now), None);
        let full = buffer
            .push(Bytes::from_static(b"x"), now)
            .expect("the third does not fit");
        assert_eq!(full, ["12345", "67890"]);
        assert_eq!(
            buffer
                .push(Bytes::from_static(b"longer than the bound"), now)
                .expect("no room beside it"),
            ["x"]
        );
        assert_eq!(
            buffer.take().expect("it is alone"),
            ["longer than the bound"]
        );
        assert_eq!(buffer.take(), None);
    }

    #[test]
    fn a_buffer_gives_its_records_before_they_are_too_many() {
        let now = Instant::now();
        let mut buffer = Buffer::new(usize::MAX, Duration::from_secs(1));
        for _ in 0..RECORDS_MAX {
            assert_eq!(buffer.push(Bytes::new(), now), None);
        }
        assert_eq!(
            buffer.push(Bytes::new(), now).map(|records| records.len()),
            Some(RECORDS_MAX)
        );
    }

    #[test]
    fn a_buffer_is_due_an_interval_after_its_oldest_record() {
        let now = Instant::now();
        let interval = Duration::from_secs(60);
        let mut buffer = Buffer::new(100, interval);
        assert_eq!(buffer.due(), None);
        buffer.push(Bytes::from_static(b"1"), now);
        buffer.push(Bytes::from_static(b"2"), now + Duration::from_secs(30));
        assert_eq!(buffer.due(), Some(now + interval));
        buffer.take();
        assert_eq!(buffer.due(), None);
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        let long = format!(
            r#"{{"requestId":"a","timestamp":1}}{}"#,
            " ".repeat(ANSWER_BYTES_MAX)
        );
        assert_eq!(
            check_answer(br#"{"requestId":"a","timestamp":1578090903599}"#, "a"),
            Ok(())
        );
        for wrong in [
            "",
            "ok",
            "{}",
            r#"{"requestId":"a"}"#,
            r#"{"requestId":"b","timestamp":1}"#,
            r#"{"requestId":"a","timestamp":"1"}"#,
            r#"{"requestId":"a","timestamp":1,"more":true}"#,
            &long,
        ] {
            assert!(check_answer(wrong.as_bytes(), "a").is_err(), "{wrong:.100}");
        }
    }

    #[test]
    fn what_an_endpoint_tells_of_its_records_is_read() {
        let headers = |rejected: &'static str| {
            let headers = [
                ("alleycat-improvements", "3"),
                ("alleycat-rejected", rejected),
            ];
            headers
                .into_iter()
                .map(|(name, value)| {
                    (
                        HeaderName::from_static(name),
                        HeaderValue::from_static(value),
                    )
                })
                .collect()
        };
        let told = told_in(&headers("json=1,class_full=2,odd,No=1,x=y")).expect("it tells");
        let rejected = [("class_full".to_owned(), 2), ("json".to_owned(), 1)].into();
        assert_eq!(
            told,
            Told {
                improvements: 3,
                rejected
            }
        );
        assert_eq!(told_in(&headers("")).expect("it tells").rejected.len(), 0);
        assert_eq!(told_in(&HeaderMap::new()), None);
    }

    #[test]
    fn only_this_machine_is_reached_without_a_proxy() {
        let is_here = |url: &str| is_this_machine(&Url::parse(url).expect("a URL"));
        assert!(
            is_here("http://127.0.0.1:8080/firehose")
                && is_here("http://[::1]:1/")
                && is_here("http://localhost/")
        );
        assert!(!is_here("https://127.0.0.1.example.com/") && !is_here("http://10.0.0.1/"));
    }
}
