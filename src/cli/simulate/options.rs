//! The options of `alleycat simulate`.

use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::BoolishValueParser;
use reqwest::Url;

use crate::config::{duration, size};
use crate::domain::effort::ClassId;
use crate::firehose_client::{AccessKey, endpoint_url};

/// Maximum number of racers per class: all their records of one second are in memory.
const RACERS_MAX: i64 = 100_000;

/// Maximum number of users to draw racers from; each takes some 100 bytes of memory.
const USERS_MAX: i64 = 1_000_000;

/// Maximum length of a race, in seconds: a day.
const SECONDS_MAX: i64 = 86_400;

/// Maximum number of races: a year of five-minute races.
const RACES_MAX: i64 = 366 * 288;

/// Maximum number of deliveries in flight; each holds up to a buffer in memory, twice.
const CONCURRENCY_MAX: u64 = 256;

/// Maximum size of the buffer: Firehose's own largest hint.
pub(crate) const BUFFER_MAX: ByteSize = ByteSize::mib(64);

/// The options of `alleycat simulate`. Each is also an environment variable,
/// `ALLEYCAT_SIMULATE_<OPTION>`; lists are comma-separated there.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct SimulateOptions {
    /// URL of the endpoint to deliver to.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_TO",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080/firehose",
        value_parser = endpoint_url
    )]
    pub to: Url,

    /// Access key of the endpoint. Without it, the first key of ALLEYCAT_ACCESS_KEY is sent.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_ACCESS_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub access_key: Option<AccessKey>,

    /// Number of racers in each class, up to 100000.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_RACERS",
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=RACERS_MAX)
    )]
    pub racers: u32,

    /// Number of users from which each race's racers are drawn [default: the number of racers].
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_USERS",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=USERS_MAX)
    )]
    pub users: Option<u32>,

    /// Classes that race, all at the same time, separated by commas.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_CLASSES",
        value_name = "LIST",
        default_value = "1,2,3,4,5,6",
        value_delimiter = ',',
        value_parser = class_id
    )]
    pub classes: Vec<ClassId>,

    /// Length of a race, in seconds.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX)
    )]
    pub seconds: u32,

    /// Speed as a multiple of real time, or "max" for as fast as the endpoint answers.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_SPEED",
        value_name = "N|max",
        default_value = "1"
    )]
    pub speed: Speed,

    /// Number of races, one after another.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_RACES",
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=RACES_MAX)
    )]
    pub races: u32,

    /// Seed of the random numbers: equal seeds give equal racers, rides and faults. Without it only
    /// the racers are the same at every run.
    #[arg(long, env = "ALLEYCAT_SIMULATE_SEED", value_name = "N")]
    pub seed: Option<u64>,

    /// Compress the deliveries with gzip.
    #[arg(long, env = "ALLEYCAT_SIMULATE_GZIP", value_parser = BoolishValueParser::new())]
    pub gzip: bool,

    /// Maximum number of deliveries in flight, up to 256.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_CONCURRENCY",
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u64).range(1..=CONCURRENCY_MAX)
    )]
    pub concurrency: u64,

    /// Size of buffered records that makes a delivery, up to 64MiB.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_BUFFER_SIZE",
        value_name = "SIZE",
        default_value = "1MiB",
        value_parser = buffer_size
    )]
    pub buffer_size: ByteSize,

    /// Age of the oldest buffered record that makes a delivery, up to 24h.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_BUFFER_INTERVAL",
        value_name = "TIME",
        default_value = "1s",
        value_parser = duration::<0, 86_400_000>
    )]
    pub buffer_interval: Duration,

    /// Maximum time in which a failed delivery is retried, up to 24h. Pauses double from 1s to
    /// 120s. 0s means no retry.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_RETRY_DURATION",
        value_name = "TIME",
        default_value = "300s",
        value_parser = duration::<0, 86_400_000>
    )]
    pub retry_duration: Duration,

    /// Share of records with a fault, and of deliveries that are sent twice or late, from 0 to 1.
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_FAULTS",
        value_name = "SHARE",
        default_value_t = 0.0,
        value_parser = share
    )]
    pub faults: f64,

    /// Send cadences and resistances as whole numbers. Without it they rise over the race as
    /// doubles of up to 17 digits.
    #[arg(long, env = "ALLEYCAT_SIMULATE_WHOLE_NUMBERS", value_parser = BoolishValueParser::new())]
    pub whole_numbers: bool,

    /// Print latencies, tries and faults at the end.
    #[arg(long, env = "ALLEYCAT_SIMULATE_REPORT", value_parser = BoolishValueParser::new())]
    pub report: bool,
}

const EXAMPLES: &str = "\
Examples:
  A race of 100 racers in each class, in real time, against a service on this machine:
    alleycat simulate
  The same records at every run, as fast as the service answers, with figures at the end:
    alleycat simulate --seed 7 --speed max --report
  A day of races of 1,000 racers per class out of 40,000 users, in 6 MiB deliveries:
    ALLEYCAT_ACCESS_KEY=… alleycat simulate --to https://alleycat.example.com/firehose \\
        --racers 1000 --users 40000 --races 288 --speed max \\
        --gzip --buffer-size 6MiB --concurrency 8 --report
  Faults in one record of a hundred: garbage, cut short, incomplete, out of bounds, from a wrong
  clock, or a glitch within the bounds (it stands until it is erased). One delivery in a hundred
  is sent twice or late:
    alleycat simulate --faults 0.01 --report

Exit status: 0 when every delivery was acknowledged; 1 when one was given up, or was unfinished \
at an interruption, or when a record was rejected without --faults.";

/// The speed of a simulation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// A multiple of real time.
    Factor(f64),
    /// As fast as the endpoint answers.
    Max,
}

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(factor) if (0.001..=1e6).contains(&factor) => Ok(Self::Factor(factor)),
            _ => Err("it must be a number from 0.001 to 1000000, or max"),
        }
    }
}

fn class_id(text: &str) -> Result<ClassId, &'static str> {
    text.trim()
        .parse()
        .ok()
        .and_then(ClassId::new)
        .ok_or("a class must be a number from 1 to 65535")
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("it must be a number from 0 to 1")
}

fn buffer_size(text: &str) -> Result<ByteSize, String> {
    size(text, ByteSize::b(0), BUFFER_MAX)
}

#[cfg(test)]
mod tests;
