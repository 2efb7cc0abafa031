//! `alleycat simulate`: riders in races, delivered as Firehose delivers, to rehearse with and to watch.
//!
//! [`Race`] is the pure part and makes the records. Here they are paced, buffered and sent, and what became of them is
//! counted in a [`Report`].

pub(crate) mod race;
pub(crate) mod report;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytesize::ByteSize;
use clap::builder::BoolishValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Url;
use tokio::task::JoinSet;

pub use crate::cli::simulate::race::{Arrival, Fault, Race, Rider, Setup};
pub use crate::cli::simulate::report::Report;

use crate::domain::effort::ClassId;
use crate::firehose_client::{
    AccessKey, Acknowledged, Backoff, Buffer, GivenUp, Options, Sender, now_ms,
};

/// The most racers a class: all their records of a second are held in memory.
const RACERS_MAX: i64 = 100_000;

/// The most users that riders are drawn from; each is some 100 bytes in memory.
const USERS_MAX: i64 = 1_000_000;

/// The longest race, in seconds, and the most races: a day, and a year of five-minute races.
const SECONDS_MAX: i64 = 86_400;
const RACES_MAX: i64 = 366 * 288;

/// The most deliveries under way at once; each holds up to a buffer in memory, twice.
const CONCURRENCY_MAX: u64 = 256;

/// The largest buffer, Firehose's own largest hint.
const BUFFER_MAX: ByteSize = ByteSize::mib(64);

/// The riders' abilities where no seed is given: the same at every run, so that they last.
const RIDERS_SEED: u64 = 1;

/// The length of a race of the demo, in seconds, and how long its records wait in the buffer: a page that shows it is
/// to move every second.
const DEMO_SECONDS: u32 = 300;
const DEMO_INTERVAL: Duration = Duration::from_millis(500);

/// The most racers of a class in the race that is over when the demo begins: 180,000 records in six classes, some
/// seconds' work.
const DEMO_BEFORE_RACERS_MAX: usize = 100;

/// By how many deliveries a late one is overtaken at most.
const LATE_DELIVERIES_MAX: u64 = 10;

/// How long deliveries that are under way at an interruption may still take.
const INTERRUPTION_GRACE: Duration = Duration::from_secs(5);

/// How often progress is logged where there is no terminal.
const PROGRESS_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// What `alleycat simulate` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct SimulateOptions {
    /// The endpoint to deliver to
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_TO",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080/firehose"
    )]
    pub to: Url,
    /// The access key that the endpoint asks for
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_ACCESS_KEY",
        value_name = "K",
        hide_env_values = true
    )]
    pub access_key: Option<AccessKey>,
    /// How many racers start in each class
    #[arg(long, env = "ALLEYCAT_SIMULATE_RACERS", value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=RACERS_MAX))]
    pub racers: u32,
    /// Draw the racers of each race from this many users [default: as many as racers]
    #[arg(long, env = "ALLEYCAT_SIMULATE_USERS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=USERS_MAX))]
    pub users: Option<u32>,
    /// The classes that race, all at the same time
    #[arg(long, env = "ALLEYCAT_SIMULATE_CLASSES", value_name = "LIST", default_value = "1,2,3,4,5,6", value_delimiter = ',',
          value_parser = class_id)]
    pub classes: Vec<ClassId>,
    /// How long a race lasts
    #[arg(long, env = "ALLEYCAT_SIMULATE_SECONDS", value_name = "S", default_value_t = 300,
          value_parser = clap::value_parser!(u32).range(1..=SECONDS_MAX))]
    pub seconds: u32,
    /// How many times as fast as real time, or "max": as fast as the endpoint takes it
    #[arg(
        long,
        env = "ALLEYCAT_SIMULATE_SPEED",
        value_name = "N|max",
        default_value = "1"
    )]
    pub speed: Speed,
    /// How many races, one after another
    #[arg(long, env = "ALLEYCAT_SIMULATE_RACES", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=RACES_MAX))]
    pub races: u32,
    /// Make the same riders, rides and faults at each run; without it only the riders are the same
    #[arg(long, env = "ALLEYCAT_SIMULATE_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// Compress the deliveries
    #[arg(long, env = "ALLEYCAT_SIMULATE_GZIP", value_parser = BoolishValueParser::new())]
    pub gzip: bool,
    /// How many deliveries are under way at once
    #[arg(long, env = "ALLEYCAT_SIMULATE_CONCURRENCY", value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u64).range(1..=CONCURRENCY_MAX))]
    pub concurrency: u64,
    /// Deliver when this much has been gathered …
    #[arg(long, env = "ALLEYCAT_SIMULATE_BUFFER_SIZE", value_name = "SIZE", default_value = "1MiB", value_parser = buffer_size)]
    pub buffer_size: ByteSize,
    /// … or when the oldest record has waited this long
    #[arg(long, env = "ALLEYCAT_SIMULATE_BUFFER_INTERVAL", value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub buffer_interval: Duration,
    /// Try a failed delivery again for this long, after pauses of 1 s doubling to 120 s; 0s: never
    #[arg(long, env = "ALLEYCAT_SIMULATE_RETRY_DURATION", value_name = "TIME", default_value = "300s", value_parser = duration)]
    pub retry_duration: Duration,
    /// The share of records that carry a fault, and of deliveries that come twice or late (0 to 1)
    #[arg(long, env = "ALLEYCAT_SIMULATE_FAULTS", value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub faults: f64,
    /// Print latencies, tries and faults at the end
    #[arg(long, env = "ALLEYCAT_SIMULATE_REPORT", value_parser = BoolishValueParser::new())]
    pub report: bool,
}

const EXAMPLES: &str = "\
Examples:
  A race of 100 racers in each class, in real time, against a service on this machine:
    alleycat simulate
  The same records at every run, as fast as they are taken, with figures at the end:
    alleycat simulate --seed 7 --speed max --report
  A day of races of 1,000 racers a class out of 40,000 users, in 6 MiB deliveries, through a load balancer:
    ALLEYCAT_ACCESS_KEY=… alleycat simulate --to https://alleycat.example.com/firehose --gzip \\
        --racers 1000 --users 40000 --races 288 --speed max --buffer-size 6MiB --concurrency 8 --report
  A rehearsal of trouble: one record in a hundred is garbage, cut short, incomplete, impossible, a glitch within the
  bounds (which stands, until it is erased) or from a wrong clock, and one delivery in a hundred comes twice or late:
    alleycat simulate --faults 0.01 --report

Exit status: 0 when every delivery was acknowledged, 1 when one was given up or an interruption left it open.";

/// How fast a simulation runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This many times as fast as real time.
    Times(f64),
    /// As fast as the endpoint takes it.
    Max,
}

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(times) if (0.001..=1e6).contains(&times) => Ok(Self::Times(times)),
            _ => Err("give a number from 0.001 to 1000000, or max"),
        }
    }
}

/// Runs the races and delivers them, until they are over or `shutdown` resolves. Fails only when it cannot begin;
/// deliveries that were given up are in the report.
pub async fn run(
    options: &SimulateOptions,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Report> {
    let mut classes = options.classes.clone();
    classes.sort_unstable();
    classes.dedup();
    let setup = Setup {
        classes,
        racers: options.racers as usize,
        seconds: options.seconds,
        faults: options.faults,
    };
    let backoff = Backoff {
        total: options.retry_duration,
        ..Backoff::FIREHOSE
    };
    let sender = Sender::new(Options {
        access_key: options.access_key.clone(),
        common_attributes: [("source".to_owned(), "alleycat simulate".to_owned())].into(),
        gzip: options.gzip,
        concurrency: NonZeroUsize::new(options.concurrency as usize).unwrap_or(NonZeroUsize::MIN),
        backoff,
        ..Options::new(options.to.clone())
    })?;
    let users = options.users.unwrap_or(options.racers).max(options.racers);
    let riders = Rider::draw(
        users,
        &mut StdRng::seed_from_u64(options.seed.unwrap_or(RIDERS_SEED)),
    );
    let mut chance = StdRng::seed_from_u64(options.seed.unwrap_or_else(rand::random));

    let race_ms = u64::from(setup.seconds) * 1000;
    let start_ms = now_ms().saturating_sub(head_start_ms(
        options.speed,
        race_ms * u64::from(options.races),
    ));
    let buffer = Buffer::new(
        options.buffer_size.as_u64() as usize,
        options.buffer_interval,
    );
    let mut course = Course::new(
        sender,
        buffer,
        options.faults,
        StdRng::from_rng(&mut chance),
    );
    course.progress = Some(Progress::new(setup.records() * u64::from(options.races)));
    let began = Instant::now();
    let races = async {
        for number in 0..u64::from(options.races) {
            let race = Race::new(
                &setup,
                &riders,
                start_ms + number * race_ms,
                StdRng::from_rng(&mut chance),
            );
            course
                .ride(
                    race,
                    Pace {
                        began,
                        speed: options.speed,
                        offset_ms: number * race_ms,
                    },
                )
                .await;
        }
        course.finish().await;
    };
    let interrupted = tokio::select! { () = races => false, () = shutdown => true };
    if interrupted {
        tracing::info!("interrupted: waiting for the deliveries under way");
        let _ = tokio::time::timeout(INTERRUPTION_GRACE, course.finish()).await; // what is left is counted below
    }
    let unfinished = course.unsettled();
    if let Some(progress) = &course.progress {
        progress.bar.finish_and_clear();
    }
    let mut report = course.report;
    report.close(unfinished, began.elapsed(), options.report);
    Ok(report)
}

/// Rides race after race of that many racers in classes 1 to `classes`, in real time, until `shutdown` resolves; before
/// them one that is over at once. What is under way in the end is left. Fails only when it cannot begin.
pub async fn demo(
    to: Url,
    access_key: Option<AccessKey>,
    racers: u32,
    classes: u16,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let sender = Sender::new(Options {
        access_key,
        ..Options::new(to)
    })?;
    let setup = Setup {
        classes: ClassId::all(classes).collect(),
        racers: racers as usize,
        seconds: DEMO_SECONDS,
        faults: 0.0,
    };
    let riders = Rider::draw(racers, &mut StdRng::seed_from_u64(RIDERS_SEED));
    let mut chance: StdRng = rand::make_rng();
    let buffer = Buffer::new(BUFFER_MAX.as_u64() as usize, DEMO_INTERVAL);
    let mut course = Course::new(sender, buffer, 0.0, StdRng::from_rng(&mut chance));
    let races = async {
        // One race is over already, at once: whoever comes now has somebody to beat at every second.
        let before = Setup {
            racers: setup.racers.min(DEMO_BEFORE_RACERS_MAX),
            ..setup.clone()
        };
        let over_ms = now_ms().saturating_sub(u64::from(DEMO_SECONDS) * 1000);
        let race = Race::new(&before, &riders, over_ms, StdRng::from_rng(&mut chance));
        course
            .ride(
                race,
                Pace {
                    began: Instant::now(),
                    speed: Speed::Max,
                    offset_ms: 0,
                },
            )
            .await;
        loop {
            // Each by the clock anew: a machine that slept does not catch up on the races that it missed.
            let race = Race::new(&setup, &riders, now_ms(), StdRng::from_rng(&mut chance));
            course
                .ride(
                    race,
                    Pace {
                        began: Instant::now(),
                        speed: Speed::Times(1.0),
                        offset_ms: 0,
                    },
                )
                .await;
        }
    };
    tokio::select! {
        never = races => never,
        () = shutdown => Ok(()),
    }
}

/// By how much a simulation of that length starts in the past, so that it ends now: a record is never of a time to
/// come, which a service would not believe.
fn head_start_ms(speed: Speed, length_ms: u64) -> u64 {
    match speed {
        Speed::Max => length_ms,
        Speed::Times(times) => (length_ms as f64 * (1.0 - 1.0 / times).max(0.0)) as u64,
    }
}

/// When what happens in a race happens here.
#[derive(Clone, Copy)]
struct Pace {
    began: Instant,
    speed: Speed,
    /// From the beginning of the simulation to the race's start, in its own time.
    offset_ms: u64,
}

impl Pace {
    /// `None` for at once.
    fn due(self, at_ms: u64) -> Option<Instant> {
        match self.speed {
            Speed::Max => None,
            Speed::Times(times) => {
                Some(self.began + Duration::from_millis(self.offset_ms + at_ms).div_f64(times))
            }
        }
    }
}

/// The way from races to the endpoint. What it holds is bounded by the buffer, the deliveries under way and the late
/// ones: when the endpoint does not keep up, the races wait. Its futures may be dropped at any await without a loss:
/// what is not yet under way is in `buffer`, `ready` or `late`.
struct Course {
    sender: Sender,
    buffer: Buffer,
    flights: JoinSet<Flight>,
    faults: f64,
    chance: StdRng,
    ready: VecDeque<Vec<Bytes>>,
    late: Vec<Late>,
    departures: u64,
    report: Report,
    progress: Option<Progress>,
}

/// A settled delivery of that many records.
type Flight = (usize, Result<Acknowledged, GivenUp>);

/// A delivery that is held back until so many have departed.
struct Late {
    after_departures: u64,
    records: Vec<Bytes>,
}

impl Course {
    fn new(sender: Sender, buffer: Buffer, faults: f64, chance: StdRng) -> Self {
        let (flights, ready, late) = (JoinSet::new(), VecDeque::new(), Vec::new());
        let report = Report::default();
        Self {
            sender,
            buffer,
            flights,
            faults,
            chance,
            ready,
            late,
            departures: 0,
            report,
            progress: None,
        }
    }

    /// Rides a race to its end. What it leaves in the buffer goes with the next, or at [`Course::finish`].
    async fn ride(&mut self, race: Race<StdRng>, pace: Pace) {
        for arrival in race {
            self.wait_until(pace.due(arrival.at_ms)).await;
            self.report.count_record(arrival.fault);
            if let Some(full) = self.buffer.push(arrival.data, Instant::now()) {
                self.depart(full).await;
            }
        }
        self.report.races += 1;
    }

    /// Delivers what is left and waits until everything is settled.
    async fn finish(&mut self) {
        self.ready.extend(self.buffer.take());
        self.ready
            .extend(self.late.drain(..).map(|late| late.records));
        self.fly().await;
        while let Some(flight) = self.flights.join_next().await {
            self.settle(flight);
        }
    }

    /// How many deliveries are begun or due, and not settled.
    fn unsettled(&self) -> u64 {
        let buffered = usize::from(self.buffer.due().is_some());
        (self.flights.len() + self.ready.len() + self.late.len() + buffered) as u64
    }

    /// Waits, and meanwhile delivers what has been in the buffer for long enough.
    async fn wait_until(&mut self, due: Option<Instant>) {
        loop {
            let now = Instant::now();
            let buffer_due = self.buffer.due();
            if buffer_due.is_some_and(|due| due <= now) {
                if let Some(records) = self.buffer.take() {
                    self.depart(records).await;
                }
                continue;
            }
            let Some(due) = due.filter(|due| *due > now) else {
                return;
            };
            let wake = buffer_due.map_or(due, |buffer_due| buffer_due.min(due));
            tokio::select! {
                () = tokio::time::sleep_until(wake.into()) => {}
                Some(flight) = self.flights.join_next() => self.settle(flight),
            }
        }
    }

    /// Sends a delivery on its way, unless it is one that comes late or twice.
    async fn depart(&mut self, records: Vec<Bytes>) {
        self.departures += 1;
        if self.chance.random_bool(self.faults) {
            self.report.late += 1;
            let after_departures =
                self.departures + self.chance.random_range(1..=LATE_DELIVERIES_MAX);
            self.late.push(Late {
                after_departures,
                records,
            });
        } else {
            if self.chance.random_bool(self.faults) {
                self.report.duplicates += 1;
                self.ready.push_back(records.clone());
            }
            self.ready.push_back(records);
        }
        let departures = self.departures;
        self.ready.extend(
            self.late
                .extract_if(.., |late| late.after_departures <= departures)
                .map(|late| late.records),
        );
        self.fly().await;
    }

    /// Begins all deliveries that are ready, each once fewer are under way than may be.
    async fn fly(&mut self) {
        while !self.ready.is_empty() {
            if self.flights.len() >= self.sender.concurrency().get()
                && let Some(flight) = self.flights.join_next().await
            {
                self.settle(flight);
                continue;
            }
            if let Some(records) = self.ready.pop_front() {
                let sender = self.sender.clone();
                self.flights
                    .spawn(async move { (records.len(), sender.deliver(records).await) });
            }
        }
        if let Some(progress) = &mut self.progress {
            progress.show(&self.report);
        }
        tokio::task::yield_now().await; // at full speed there may be nothing else that waits
    }

    fn settle(&mut self, flight: Result<Flight, tokio::task::JoinError>) {
        let (records, outcome) =
            flight.expect("a delivery does not panic, nor is it cancelled before the end");
        self.report.count_delivery(records as u64, outcome);
    }
}

/// A bar on a terminal, a line in the log every few seconds elsewhere.
struct Progress {
    bar: ProgressBar,
    logged: Instant,
}

impl Progress {
    fn new(records: u64) -> Self {
        let bar = ProgressBar::new(records);
        let style = ProgressStyle::with_template(
            "{bar:30} {human_pos}/{human_len} records, {eta} left, {msg}",
        );
        bar.set_style(style.expect("the template is well formed"));
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self {
            bar,
            logged: Instant::now(),
        }
    }

    fn show(&mut self, report: &Report) {
        if !self.bar.is_hidden() {
            self.bar.set_position(report.records);
            self.bar
                .set_message(format!("{} deliveries acknowledged", report.acknowledged));
        } else if self.logged.elapsed() >= PROGRESS_LOG_INTERVAL {
            self.logged = Instant::now();
            let Report {
                records,
                acknowledged,
                given_up,
                ..
            } = report;
            tracing::info!(
                records,
                of = self.bar.length(),
                acknowledged,
                given_up,
                "simulating"
            );
        }
    }
}

fn class_id(text: &str) -> Result<ClassId, &'static str> {
    text.trim()
        .parse()
        .ok()
        .and_then(ClassId::new)
        .ok_or("a class is a number from 1 to 65535")
}

fn share(text: &str) -> Result<f64, &'static str> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("a share is a number from 0 to 1")
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|error: jiff::Error| error.to_string())?;
    let day = Duration::from_secs(86_400);
    let duration = Duration::try_from(duration)
        .ok()
        .filter(|duration| *duration <= day);
    duration.ok_or_else(|| "a duration is from 0s to 24h".to_owned())
}

fn buffer_size(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size > BUFFER_MAX {
        Err(format!("a buffer is {BUFFER_MAX} at most"))
    } else {
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: SimulateOptions,
    }

    fn parse(words: &[&str]) -> Result<SimulateOptions, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"simulate").chain(words)).map(|cli| cli.options)
    }

    #[test]
    fn every_option_is_an_environment_variable_of_its_name() {
        let mut command = SimulateOptions::augment_args(clap::Command::new("simulate"));
        command.clone().debug_assert();
        for arg in command.get_arguments() {
            let name = arg
                .get_long()
                .expect("every option is long")
                .replace('-', "_")
                .to_uppercase();
            assert_eq!(
                arg.get_env(),
                Some(format!("ALLEYCAT_SIMULATE_{name}").as_ref())
            );
        }
        assert!(
            command
                .render_long_help()
                .to_string()
                .contains("alleycat simulate --seed 7")
        );
    }

    #[test]
    fn options_out_of_bounds_are_refused() {
        for words in [
            ["--racers", "0"],
            ["--classes", "1,0"],
            ["--speed", "0"],
            ["--speed", "fast"],
            ["--faults", "1.1"],
            ["--faults", "NaN"],
            ["--buffer-size", "65MiB"],
            ["--buffer-interval", "-1s"],
            ["--concurrency", "0"],
            ["--to", "127.0.0.1:8080"],
        ] {
            assert!(parse(&words).is_err(), "{words:?}");
        }
        assert_eq!(
            parse(&["--speed", "2.5"]).expect("in bounds").speed,
            Speed::Times(2.5)
        );
    }

    #[test]
    fn an_access_key_is_not_in_the_options_debug_form() {
        let options = parse(&["--access-key", "s3cret"]).expect("a key");
        assert!(!format!("{options:?}").contains("s3cret"));
    }

    #[test]
    fn no_record_is_of_a_time_to_come() {
        let now = 1_000_000_000_u64;
        let length_ms = 10 * 300_000;
        for times in [0.5, 1.0, 7.0, 1000.0] {
            let start = now - head_start_ms(Speed::Times(times), length_ms);
            let began = Instant::now();
            let pace = Pace {
                began,
                speed: Speed::Times(times),
                offset_ms: 0,
            };
            for at_ms in [0, length_ms / 3, length_ms] {
                let due = pace
                    .due(at_ms)
                    .expect("paced")
                    .duration_since(began)
                    .as_millis() as u64;
                assert!(start + at_ms <= now + due + 1, "{times} {at_ms}");
            }
        }
        assert_eq!(head_start_ms(Speed::Max, length_ms), length_ms);
    }
}
