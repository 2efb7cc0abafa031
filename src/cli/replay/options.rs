//! Options, defaults and help of `alleycat replay`.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use reqwest::Url;

use crate::cli::replay::source::ReplaySource;
use crate::config::duration;
use crate::firehose_client::{AccessKey, endpoint_url};
use crate::keys::Secret;

/// Maximum number of concurrent objects. An object of a bucket is in memory as a whole while it is
/// read.
const CONCURRENCY_MAX: u64 = 64;

/// The options of `alleycat replay`. Each is also an environment variable,
/// `ALLEYCAT_REPLAY_<OPTION>`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ReplayOptions {
    /// Files, folders with all that is below them but hidden files, or s3://BUCKET/PREFIX.
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<ReplaySource>,

    /// URL of the endpoint to deliver to.
    #[arg(
        long,
        env = "ALLEYCAT_REPLAY_TO",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080/firehose",
        value_parser = endpoint_url
    )]
    pub to: Url,

    /// Access key of the endpoint. Without it, the first key of ALLEYCAT_ACCESS_KEY is sent.
    #[arg(
        long,
        env = "ALLEYCAT_REPLAY_ACCESS_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub access_key: Option<AccessKey>,

    /// Send nothing: download the service's histories, decode and compare here, and count what would
    /// improve and what would be rejected. The histories are in memory. A real run may count fewer
    /// improvements and more rejections: efforts that were erased, racers over --max-racers, bodies
    /// over --max-body-size. Of several records of one racer and second, the counts depend on the
    /// order of deliveries: with --concurrency 1, both runs have the same.
    #[arg(long, env = "ALLEYCAT_REPLAY_DRY_RUN", value_parser = BoolishValueParser::new())]
    pub dry_run: bool,

    /// Query key of the service, for --dry-run, if it has one.
    #[arg(
        long,
        env = "ALLEYCAT_REPLAY_QUERY_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub query_key: Option<Secret>,

    /// Compress the deliveries with gzip.
    #[arg(long, env = "ALLEYCAT_REPLAY_GZIP", value_parser = BoolishValueParser::new())]
    pub gzip: bool,

    /// Maximum number of objects that are read and delivered at once, up to 64.
    #[arg(
        long,
        env = "ALLEYCAT_REPLAY_CONCURRENCY",
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u64).range(1..=CONCURRENCY_MAX)
    )]
    pub concurrency: u64,

    /// Maximum time in which a failed delivery is retried, up to 24h; then the replay ends. Pauses
    /// double from 1s to 120s.
    #[arg(
        long,
        env = "ALLEYCAT_REPLAY_RETRY_DURATION",
        value_name = "TIME",
        default_value = "300s",
        value_parser = duration::<0, 86_400_000>
    )]
    pub retry_duration: Duration,
}

const EXAMPLES: &str = "\
Examples:
  Deliveries that Firehose gave up, from its error bucket:
    ALLEYCAT_ACCESS_KEY=… alleycat replay s3://my-failed-bucket/ \\
        --to https://alleycat.example.com/firehose
  A folder of delivery objects, of any of the formats below:
    alleycat replay deliveries/
  What a replay would change:
    alleycat replay deliveries/ --dry-run
  Quarantined records, after the bounds were widened:
    alleycat replay s3://my-bucket/history/processing-failed/2026/11/

The content decides the format: NDJSON or JSON objects one after another, Firehose's error output, \
this project's journal and quarantine; plain or gzip. Snapshots (class-N.gz, races-N.gz and so on) \
hold no records and are skipped. Region, credentials and endpoint come from the usual AWS environment.

Exit status: 0 when everything was read and accepted; 1 when anything was unreadable, not accepted, \
or rejected. Sources are never changed, and running it again does no harm.";

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;
    use crate::config::tests::assert_options_have_variables;

    #[test]
    fn every_option_is_an_environment_variable_of_its_name() {
        let command = ReplayOptions::augment_args(clap::Command::new("replay"));
        command.clone().debug_assert();
        let options = command.get_arguments().filter(|it| !it.is_positional());
        assert_options_have_variables(options, "ALLEYCAT_REPLAY_");
    }
}
