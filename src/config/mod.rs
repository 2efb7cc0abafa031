//! The options of `alleycat serve`, their defaults and bounds, and the parsers that other commands
//! share.

mod class_names;
mod cors_origins;
mod limits;
mod value_parsers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use clap::builder::BoolishValueParser;

pub use crate::config::class_names::ClassNames;
pub use crate::config::cors_origins::CorsOrigins;
pub use crate::config::limits::ServiceLimits;

pub(crate) use crate::config::value_parsers::{duration, size, socket_address};

use crate::config::value_parsers::{bucket_name, max_body_size, stream_arn};
use crate::keys::Secret;

/// The options of `alleycat serve`. Each is also an environment variable, `ALLEYCAT_<OPTION>`;
/// lists are comma-separated there.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Address to listen on: HOST:PORT, or :PORT for all IPv4 addresses. Any address but a loopback
    /// one needs an access key. Examples: 127.0.0.1:8080, localhost:8080, :8080, `[::1]:8080`.
    #[arg(
        long,
        env = "ALLEYCAT_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8080",
        value_parser = socket_address
    )]
    pub listen: SocketAddr,

    /// Store of all records: file:FOLDER or s3://BUCKET/PREFIX. Examples: file:/var/lib/alleycat,
    /// s3://my-bucket/history.
    #[arg(
        long,
        env = "ALLEYCAT_STORE",
        value_name = "URL",
        default_value = "file:data"
    )]
    pub store: String,

    /// Key that a delivery must carry, in X-Amz-Firehose-Access-Key or as `Authorization: Bearer
    /// KEY`. May be given several times. A comma in the environment's value makes two keys. Prefer
    /// the environment or --access-key-file: other processes see a command line.
    #[arg(
        long = "access-key",
        env = "ALLEYCAT_ACCESS_KEY",
        value_name = "KEY",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub access_keys: Vec<Secret>,

    /// File of access keys: one key per line, or Secrets Manager's {"api_key":"..."}. Read again
    /// when it changes. Example: /run/secrets/access-keys.
    #[arg(long, env = "ALLEYCAT_ACCESS_KEY_FILE", value_name = "FILE")]
    pub access_key_file: Option<PathBuf>,

    /// Key for erasing, sent as `Authorization: Bearer KEY`. May be given several times; a comma in
    /// the environment's value makes two keys. Without one nothing can be erased.
    #[arg(
        long = "admin-key",
        env = "ALLEYCAT_ADMIN_KEY",
        value_name = "KEY",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub admin_keys: Vec<Secret>,

    /// File of admin keys, in the form of --access-key-file.
    #[arg(long, env = "ALLEYCAT_ADMIN_KEY_FILE", value_name = "FILE")]
    pub admin_key_file: Option<PathBuf>,

    /// Key for reading, sent as `Authorization: Bearer KEY`. May be given several times; a comma in
    /// the environment's value makes two keys. Without one everybody may read. Health checks, the
    /// page's files, the guide and the documentation are always open.
    #[arg(
        long = "query-key",
        env = "ALLEYCAT_QUERY_KEY",
        value_name = "KEY",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub query_keys: Vec<Secret>,

    /// File of query keys, in the form of --access-key-file.
    #[arg(long, env = "ALLEYCAT_QUERY_KEY_FILE", value_name = "FILE")]
    pub query_key_file: Option<PathBuf>,

    /// Delivery stream that may deliver, by its ARN in X-Amz-Firehose-Source-Arn. May be given
    /// several times. Without one, every stream with an access key may. Example:
    /// arn:aws:firehose:us-east-1:123456789012:deliverystream/rides.
    #[arg(
        long = "source-arn",
        env = "ALLEYCAT_SOURCE_ARN",
        value_name = "ARN",
        value_delimiter = ',',
        value_parser = stream_arn
    )]
    pub source_arns: Vec<String>,

    /// File of the TLS certificate and its chain, in PEM. Read again when it changes. Example:
    /// /etc/tls/chain.pem.
    #[arg(
        long,
        env = "ALLEYCAT_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,

    /// File of the certificate's private key, in PEM. Read again when it changes. Example:
    /// /etc/tls/key.pem.
    #[arg(
        long,
        env = "ALLEYCAT_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,

    /// Number of exercise classes.
    #[arg(
        long,
        env = "ALLEYCAT_CLASSES",
        value_name = "N",
        default_value_t = 6,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub classes: u16,

    /// Names of the classes, in order, separated by commas. A class without one is "Class N".
    /// Example: `Hill climb,Sprint,Endurance`.
    #[arg(
        long,
        env = "ALLEYCAT_CLASS_NAMES",
        value_name = "NAMES",
        default_value = "",
        hide_default_value = true
    )]
    pub class_names: ClassNames,

    /// Last second of a race that is accepted.
    #[arg(
        long,
        env = "ALLEYCAT_MAX_SECOND",
        value_name = "SECOND",
        default_value_t = 600,
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub max_second: u32,

    /// Maximum number of racers of a class.
    #[arg(
        long,
        env = "ALLEYCAT_MAX_RACERS",
        value_name = "N",
        default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub max_racers: u32,

    /// Minimum time between two commits. A longer one costs fewer requests to the store. From 0s to
    /// 10s.
    #[arg(
        long,
        env = "ALLEYCAT_COMMIT_INTERVAL",
        value_name = "TIME",
        default_value = "250ms",
        value_parser = duration::<0, 10_000>
    )]
    pub commit_interval: Duration,

    /// Minimum time between two snapshots of a class. From 10ms to 1h.
    #[arg(
        long,
        env = "ALLEYCAT_SNAPSHOT_INTERVAL",
        value_name = "TIME",
        default_value = "30s",
        value_parser = duration::<10, 3_600_000>
    )]
    pub snapshot_interval: Duration,

    /// Time between two polls of the store for other instances' writes. From 10ms to 5s.
    #[arg(
        long,
        env = "ALLEYCAT_SYNC_INTERVAL",
        value_name = "TIME",
        default_value = "2s",
        value_parser = duration::<10, 5_000>
    )]
    pub sync_interval: Duration,

    /// Time for which a racer's row of a race is kept, from the row's own time. From 1s to 876000h
    /// (100 years). Example: 48h.
    #[arg(
        long,
        env = "ALLEYCAT_RACES_KEPT",
        value_name = "TIME",
        default_value = "24h",
        value_parser = duration::<1_000, 3_153_600_000_000>
    )]
    pub races_kept: Duration,

    /// Maximum size of a delivery's body, before and after decompression. From 1KiB to 1GiB.
    #[arg(
        long,
        env = "ALLEYCAT_MAX_BODY_SIZE",
        value_name = "SIZE",
        default_value = "100MiB",
        value_parser = max_body_size
    )]
    pub max_body_size: ByteSize,

    /// Origins whose pages may read the API: * for all, or origins (scheme, host, optional port),
    /// separated by commas. Example: `https://example.com,http://localhost:5173`.
    #[arg(
        long = "cors-origin",
        env = "ALLEYCAT_CORS_ORIGIN",
        value_name = "ORIGINS",
        default_value = "*"
    )]
    pub cors_origins: CorsOrigins,

    /// Address to serve Prometheus metrics on, at /metrics, in the form of --listen. Every instance
    /// on a machine needs its own. It has no key: keep it on loopback or a private network.
    #[arg(
        long,
        env = "ALLEYCAT_METRICS_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9464",
        value_parser = socket_address
    )]
    pub metrics_listen: SocketAddr,

    /// Bucket whose objects are read when an S3 notification at /events names them. May be given
    /// several times. Example: my-delivery-bucket.
    #[arg(
        long = "notification-bucket",
        env = "ALLEYCAT_NOTIFICATION_BUCKET",
        value_name = "BUCKET",
        value_delimiter = ',',
        value_parser = bucket_name
    )]
    pub notification_buckets: Vec<String>,

    /// Let this many simulated racers per class race without end, through the service's own
    /// endpoint. The page may then send rides, without a key.
    #[arg(
        long,
        env = "ALLEYCAT_DEMO",
        value_name = "RACERS",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub demo: Option<u32>,

    /// Serve what other processes write to the store, and write nothing: deliveries, rides, events
    /// and erasures get 404. Needs no access key, and of a bucket only the rights to list and get.
    /// A folder may be in use by another process.
    #[arg(long, env = "ALLEYCAT_READ_ONLY", value_parser = BoolishValueParser::new())]
    pub read_only: bool,

    /// Format of log lines.
    #[arg(long, env = "ALLEYCAT_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// Limits that are not options.
    #[arg(skip)]
    pub(crate) limits: ServiceLimits,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// For a log pipeline: one JSON object per line.
    Json,
}

impl Config {
    /// Checks options that depend on each other.
    ///
    /// # Errors
    /// They contradict each other: one line that says what to do.
    pub fn validate(&self) -> anyhow::Result<()> {
        let has_no_key = self.access_keys.is_empty() && self.access_key_file.is_none();
        if has_no_key && !self.read_only && !self.listen.ip().is_loopback() {
            anyhow::bail!(
                "{} is reachable from other machines, and there is no access key: set \
                 ALLEYCAT_ACCESS_KEY or --access-key-file, or listen on 127.0.0.1",
                self.listen
            );
        }
        let (listen, metrics) = (self.listen, self.metrics_listen);
        let is_shared = listen.ip() == metrics.ip()
            || listen.ip().is_unspecified()
            || metrics.ip().is_unspecified();
        if is_shared && listen.port() == metrics.port() && listen.port() != 0 {
            anyhow::bail!(
                "--listen {listen} and --metrics-listen {metrics} are one port: give each its own"
            );
        }
        if self.read_only && self.demo.is_some() {
            anyhow::bail!("the demo's racers deliver: no --demo with --read-only");
        }
        let (names, classes) = (self.class_names.len(), self.classes);
        if names > usize::from(classes) {
            anyhow::bail!(
                "--class-names has {names} names, but --classes is {classes}: a comma separates \
                 two names"
            );
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            anyhow::bail!("--tls-cert and --tls-key go together: set both, or neither");
        }
        if self.demo.is_some() && (self.tls_cert.is_some() || !self.source_arns.is_empty()) {
            anyhow::bail!(
                "the demo's racers speak plain HTTP and have no ARN: no --demo with --tls-cert or \
                 --source-arn"
            );
        }
        if let Some(racers) = self.demo.filter(|&racers| racers > self.max_racers) {
            anyhow::bail!(
                "--demo {racers} is over --max-racers {}: the others' records would be quarantined",
                self.max_racers
            );
        }
        Ok(())
    }

    /// Replaces the limits that are not options.
    pub fn with_limits(self, limits: ServiceLimits) -> Self {
        Self { limits, ..self }
    }

    /// Returns the maximum size of a delivery's body, in bytes.
    pub(crate) fn max_body_bytes(&self) -> usize {
        usize::try_from(self.max_body_size.as_u64()).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
pub(crate) mod tests;
