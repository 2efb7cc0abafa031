//! The options of `alleycat serve`, their defaults and bounds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::domain::effort::Bounds;
use crate::keys::Secret;
use crate::ledger::LedgerOptions;

/// The options of `alleycat serve`. Each is also an environment variable, `ALLEYCAT_<OPTION>`; lists are
/// comma-separated there.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// The address to listen on. Beyond loopback an access key is needed.
    #[arg(long, env = "ALLEYCAT_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Where records are kept: `file:FOLDER` or `s3://BUCKET/PREFIX`.
    #[arg(long, env = "ALLEYCAT_STORE", default_value = "file:data")]
    pub store: String,

    /// A key that a delivery may carry in X-Amz-Firehose-Access-Key. May be given several times. Prefer the environment
    /// or a file to the command line, where other processes see it.
    #[arg(
        long = "access-key",
        env = "ALLEYCAT_ACCESS_KEY",
        value_name = "KEY",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub access_keys: Vec<Secret>,

    /// A file of such keys, a key a line, or Secrets Manager's {"api_key":"..."}; read again when it changes.
    #[arg(long, env = "ALLEYCAT_ACCESS_KEY_FILE", value_name = "FILE")]
    pub access_key_file: Option<PathBuf>,

    /// A key for erasing, to be sent as `Authorization: Bearer KEY`. May be given several times. Without one nothing
    /// can be erased.
    #[arg(
        long = "admin-key",
        env = "ALLEYCAT_ADMIN_KEY",
        value_name = "KEY",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub admin_keys: Vec<Secret>,

    /// A file of such keys, as with --access-key-file.
    #[arg(long, env = "ALLEYCAT_ADMIN_KEY_FILE", value_name = "FILE")]
    pub admin_key_file: Option<PathBuf>,

    /// A key for reading, to be sent as `Authorization: Bearer KEY`. May be given several times. Without one whoever
    /// reaches the service may read; the health checks, the guide and the documentation stay open.
    #[arg(
        long = "query-key",
        env = "ALLEYCAT_QUERY_KEY",
        value_name = "KEY",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub query_keys: Vec<Secret>,

    /// A file of such keys, as with --access-key-file.
    #[arg(long, env = "ALLEYCAT_QUERY_KEY_FILE", value_name = "FILE")]
    pub query_key_file: Option<PathBuf>,

    /// A delivery stream that may deliver, by the ARN in X-Amz-Firehose-Source-Arn. May be given several times. Without
    /// one any may that has a key.
    #[arg(
        long = "source-arn", env = "ALLEYCAT_SOURCE_ARN", value_name = "ARN",
        value_delimiter = ',', value_parser = NonEmptyStringValueParser::new(),
    )]
    pub source_arns: Vec<String>,

    /// A file of the certificate and those that it hangs on, in PEM; read again when it changes.
    #[arg(
        long,
        env = "ALLEYCAT_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,

    /// A file of the certificate's private key, in PEM; read again when it changes.
    #[arg(
        long,
        env = "ALLEYCAT_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,

    /// How many exercise classes there are.
    #[arg(long, env = "ALLEYCAT_CLASSES", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub classes: u16,

    /// The last second of a race that is taken.
    #[arg(
        long, env = "ALLEYCAT_MAX_SECOND",
        default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400),
    )]
    pub max_second: u32,

    /// The most racers of a class.
    #[arg(
        long, env = "ALLEYCAT_MAX_RACERS",
        default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..),
    )]
    pub max_racers: u32,

    /// The least time from one commit to the next; bounds what the store's requests cost.
    #[arg(long, env = "ALLEYCAT_COMMIT_INTERVAL", default_value = "250ms", value_parser = duration::<0, 10_000>)]
    pub commit_interval: Duration,

    /// The least time from one snapshot of a class to the next.
    #[arg(long, env = "ALLEYCAT_SNAPSHOT_INTERVAL", default_value = "30s", value_parser = duration::<10, 3_600_000>)]
    pub snapshot_interval: Duration,

    /// The time from one look at what other instances wrote to the next.
    #[arg(long, env = "ALLEYCAT_SYNC_INTERVAL", default_value = "2s", value_parser = duration::<10, 5_000>)]
    pub sync_interval: Duration,

    /// The largest body of a delivery, before and after decompression.
    #[arg(long, env = "ALLEYCAT_MAX_BODY_SIZE", default_value = "100MiB", value_parser = max_body_size)]
    pub max_body_size: ByteSize,

    /// The origin whose pages may read the API; `*` for any.
    #[arg(long, env = "ALLEYCAT_CORS_ORIGIN", default_value = "*", value_parser = cors_origin)]
    pub cors_origin: String,

    /// The address to serve Prometheus metrics on, at /metrics.
    #[arg(
        long,
        env = "ALLEYCAT_METRICS_LISTEN",
        default_value = "127.0.0.1:9464"
    )]
    pub metrics_listen: SocketAddr,

    /// A bucket whose objects may be read when an event that comes to /events names them. May be given several times.
    #[arg(
        long = "notification-bucket",
        env = "ALLEYCAT_NOTIFICATION_BUCKET",
        value_name = "BUCKET",
        value_delimiter = ','
    )]
    pub notification_buckets: Vec<String>,

    /// Let this many simulated racers a class race without end, through the real endpoint.
    #[arg(
        long, env = "ALLEYCAT_DEMO",
        value_name = "RACERS", value_parser = clap::value_parser!(u32).range(1..=10_000),
    )]
    pub demo: Option<u32>,

    /// How log lines are written.
    #[arg(long, env = "ALLEYCAT_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// How long a delivery may take before it is answered 503: well within Firehose's 3 minutes.
    #[arg(skip = Duration::from_secs(60))]
    pub delivery_deadline: Duration,

    /// Limits for slow clients and for many of them.
    #[arg(skip)]
    pub limits: ConnectionLimits,
}

/// Limits for slow clients and for many of them.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Maximum time from accepting a connection, or from its TLS handshake, to the end of its first
    /// request head. A client on a bad line needs a second or two.
    pub first_header_timeout: Duration,
    /// Maximum time to the end of any later request head, including the idle time before it. It is
    /// longer than a load balancer's idle timeout (60 s on AWS), or the balancer would send
    /// requests into closed connections.
    pub keep_alive_timeout: Duration,
    /// Maximum pause in a request body. The slowest useful line sends something every second.
    pub body_pause_timeout: Duration,
    /// Maximum total time of a ride's body, which has some 80 kB at most.
    pub ride_body_timeout: Duration,
    /// Maximum time in which a client reads nothing of its response. Such a client holds a
    /// connection and the response's memory.
    pub write_timeout: Duration,
    /// Maximum total time of a response, to which its length adds a second for every 32 KiB.
    pub response_timeout: Duration,
    /// Maximum number of connections. Each costs some 10 KB when idle; what is sent over them has
    /// limits of its own.
    pub connections_max: usize,
    /// Maximum number of subscribers to live events, of all classes together. Each costs its
    /// connection and some 20 KB.
    pub subscribers_max: usize,
    /// Memory budget of all deliveries together, in bytes: bodies, decoded efforts, and those that
    /// wait for their commit. It is at least eight of the largest bodies, so any one delivery fits.
    pub deliveries_bytes_max: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            first_header_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            body_pause_timeout: Duration::from_secs(10),
            ride_body_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
            response_timeout: Duration::from_secs(60),
            connections_max: 10_000,
            subscribers_max: 4096,
            deliveries_bytes_max: 1 << 30,
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// For a log pipeline: a JSON object a line.
    Json,
}

impl Config {
    /// Says what is wrong with options that clap takes one by one, and what to do.
    pub fn validate(&self) -> anyhow::Result<()> {
        let has_no_key = self.access_keys.is_empty() && self.access_key_file.is_none();
        if has_no_key && !self.listen.ip().is_loopback() {
            anyhow::bail!(
                "{} is reachable from other machines, and there is no access key: set ALLEYCAT_ACCESS_KEY or \
                 --access-key-file, or listen on 127.0.0.1",
                self.listen
            );
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            anyhow::bail!("--tls-cert and --tls-key go together: set both, or none");
        }
        if self.demo.is_some() && (self.tls_cert.is_some() || !self.source_arns.is_empty()) {
            anyhow::bail!(
                "the demo's racers speak plain HTTP and have no ARN: no --demo with --tls-cert or --source-arn"
            );
        }
        Ok(())
    }

    /// The largest body of a delivery, in bytes.
    pub(crate) fn max_body_bytes(&self) -> usize {
        usize::try_from(self.max_body_size.as_u64()).unwrap_or(usize::MAX)
    }

    /// The ledger's share of the options.
    pub fn ledger(&self) -> LedgerOptions {
        LedgerOptions {
            bounds: Bounds {
                classes: self.classes,
                second_max: self.max_second,
            },
            racers_max: usize::try_from(self.max_racers).unwrap_or(usize::MAX),
            commit_interval: self.commit_interval,
            snapshot_interval: self.snapshot_interval,
            sync_interval: self.sync_interval,
        }
    }
}

/// A duration such as `250ms` or `2s`, within `MIN_MS` and `MAX_MS` milliseconds.
fn duration<const MIN_MS: u64, const MAX_MS: u64>(text: &str) -> Result<Duration, String> {
    let duration = text
        .parse::<jiff::SignedDuration>()
        .map_err(|error| error.to_string())
        .and_then(|duration| Duration::try_from(duration).map_err(|error| error.to_string()))
        .map_err(|error| format!("{error}: it must be a duration such as 250ms or 2s"))?;
    let (min, max) = (Duration::from_millis(MIN_MS), Duration::from_millis(MAX_MS));
    if (min..=max).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("it must be from {min:?} to {max:?}"))
    }
}

fn max_body_size(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    let (min, max) = (ByteSize::kib(1), ByteSize::gib(1));
    if (min..=max).contains(&size) {
        Ok(size)
    } else {
        Err(format!("it must be from {min} to {max}"))
    }
}

fn cors_origin(text: &str) -> Result<String, String> {
    axum::http::HeaderValue::from_str(text)
        .map_err(|_| "it must be * or an origin such as https://example.com")?;
    Ok(text.to_owned())
}
