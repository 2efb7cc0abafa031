//! `alleycat replay`: delivers again what is in files, folders and buckets.
//!
//! Whatever the forms that [`crate::ingest::object_reader`] tells, records go through the endpoint as Firehose would send them, at
//! its pace: several objects at a time, each delivery tried again until it is taken. They keep their times, so what was
//! erased stays erased. Nothing is changed where it is read, and doing it again does no harm.

pub(crate) mod report;
pub(crate) mod source;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::builder::BoolishValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Url;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use crate::cli::replay::report::Report;

use crate::cli::replay::source::{Object, Source};
use crate::firehose_client::{AccessKey, Backoff, Buffer, Options, Sender};
use crate::ingest::object_reader::{ObjectItem, ObjectReader, ObjectReaderError};

/// The most objects at a time; one of a bucket is in memory as a whole while it is read.
const CONCURRENCY_MAX: u64 = 64;

/// How much record data a delivery carries, in bytes: some 4 MiB, which the service decodes in a fraction of a second.
const DELIVERY_BYTES_MAX: usize = 4 << 20;

/// Nothing waits for this long: a delivery goes when it is full, or when there is nothing left to read.
const NO_INTERVAL: Duration = Duration::from_hours(24);

/// How many records that the endpoint does not take even by themselves are passed over; with more of them it is not the
/// records that are at fault.
const REFUSED_MAX: u64 = 100;

/// How often progress is logged where there is no terminal.
const PROGRESS_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// What `alleycat replay` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ReplayOptions {
    /// What to deliver again: a file, a folder with all below it, or s3://BUCKET/PREFIX
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<Source>,
    /// The endpoint to deliver to
    #[arg(
        long,
        env = "ALLEYCAT_REPLAY_TO",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080/firehose"
    )]
    pub to: Url,
    /// The access key that the endpoint asks for
    #[arg(
        long,
        env = "ALLEYCAT_REPLAY_ACCESS_KEY",
        value_name = "K",
        hide_env_values = true
    )]
    pub access_key: Option<AccessKey>,
    /// Compress the deliveries
    #[arg(long, env = "ALLEYCAT_REPLAY_GZIP", value_parser = BoolishValueParser::new())]
    pub gzip: bool,
    /// How many objects are read and delivered at once
    #[arg(long, env = "ALLEYCAT_REPLAY_CONCURRENCY", value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u64).range(1..=CONCURRENCY_MAX))]
    pub concurrency: u64,
    /// Try a failed delivery again for this long, after pauses of 1 s doubling to 120 s; then give up altogether
    #[arg(long, env = "ALLEYCAT_REPLAY_RETRY_DURATION", value_name = "TIME", default_value = "300s", value_parser = duration)]
    pub retry_duration: Duration,
}

const EXAMPLES: &str = "\
Examples:
  What Firehose could not deliver for longer than its retry duration, from its error bucket:
    ALLEYCAT_ACCESS_KEY=… alleycat replay s3://my-failed-bucket/ --to https://alleycat.example.com/firehose
  A folder of delivery objects, whatever their forms:
    alleycat replay deliveries/
  What was quarantined, once the bounds are wider:
    alleycat replay s3://my-bucket/history/processing-failed/2026/11/

What an object is is told by its content: NDJSON or JSON objects one after another, Firehose's error output, this
project's journal and quarantine; plain or gzip. Snapshots (class-N.gz, racers.gz, erasures.gz) hold no records and are
passed over. Region, credentials and endpoint come from the usual AWS environment.

Exit status: 0 when everything was read and taken; 1 when something could not be read, was not taken, or was rejected.
Nothing is changed where it is read, and running it again does no harm.";

/// Delivers everything that the sources hold, until it is done, a delivery is given up, or `shutdown` resolves. Fails
/// only when it cannot begin; what could not be read or delivered is in the report.
pub async fn run(
    options: &ReplayOptions,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Report> {
    let concurrency = NonZeroUsize::new(options.concurrency as usize).unwrap_or(NonZeroUsize::MIN);
    let sender = Sender::new(Options {
        access_key: options.access_key.clone(),
        common_attributes: [("source".to_owned(), "alleycat replay".to_owned())].into(),
        gzip: options.gzip,
        concurrency,
        backoff: Backoff {
            total: options.retry_duration,
            ..Backoff::FIREHOSE
        },
        insistent: false,
        ..Options::new(options.to.clone())
    })?;
    let began = Instant::now();
    tokio::pin!(shutdown);
    let mut report = Report::default();
    let mut objects = VecDeque::new();
    for source in &options.sources {
        let listed = tokio::select! {
            listed = source.objects(&mut report) => listed,
            () = &mut shutdown => anyhow::bail!("interrupted before anything was delivered"),
        };
        objects.extend(listed.with_context(|| format!("{source} cannot be replayed"))?);
    }
    let replay = Replay::new(sender, objects, report);
    let mut workers: JoinSet<()> = (0..concurrency.get())
        .map(|_| replay.clone().work())
        .collect();
    let mut logging = tokio::time::interval(PROGRESS_LOG_INTERVAL);
    logging.reset();
    let interrupted = loop {
        tokio::select! {
            worked = workers.join_next() => match worked {
                Some(worked) => worked.context("a worker failed")?,
                None => break false,
            },
            _ = logging.tick() => replay.log_progress(began),
            () = &mut shutdown => break true,
        }
    };
    workers.shutdown().await;
    replay.bar.finish_and_clear();
    let mut report = std::mem::take(&mut *replay.report());
    report.close(interrupted, replay.objects().len(), began.elapsed());
    Ok(report)
}

/// What the workers share. A clone shares everything.
#[derive(Clone)]
struct Replay {
    sender: Sender,
    objects: Arc<Mutex<VecDeque<Object>>>,
    report: Arc<Mutex<Report>>,
    bar: ProgressBar,
}

impl Replay {
    fn new(sender: Sender, objects: VecDeque<Object>, report: Report) -> Self {
        let bar = ProgressBar::new(objects.iter().map(|object| object.bytes).sum());
        let template = "{bar:30} {binary_bytes}/{binary_total_bytes}, {eta} left, {msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed"));
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self {
            sender,
            objects: Arc::new(Mutex::new(objects)),
            report: Arc::new(Mutex::new(report)),
            bar,
        }
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, VecDeque<Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads object after object and delivers what is in them. What is left of one goes with the next.
    async fn work(self) {
        let mut buffer = Buffer::new(DELIVERY_BYTES_MAX, NO_INTERVAL);
        while !self.report().has_given_up() {
            let Some(object) = self.objects().pop_front() else {
                break;
            };
            match object.open().await {
                Ok(reader) => buffer = self.deliver_object(&object, reader, buffer).await,
                Err(problem) => self.note_unreadable(&object, &problem),
            }
            self.bar.inc(object.bytes);
        }
        if let Some(records) = buffer.take()
            && !self.report().has_given_up()
        {
            self.deliver(records).await;
        }
    }

    async fn deliver_object(
        &self,
        object: &Object,
        reader: source::Reader,
        mut buffer: Buffer,
    ) -> Buffer {
        let (full, mut filled) = mpsc::channel(1);
        let reading = tokio::task::spawn_blocking(move || {
            let read = Read::all(reader, &mut buffer, &full);
            (buffer, read)
        });
        while let Some(records) = filled.recv().await {
            if !self.deliver(records).await {
                break; // it reads no further without a receiver
            }
        }
        drop(filled);
        let (buffer, read) = reading
            .await
            .expect("reading does not panic, nor is it cancelled");
        let mut report = self.report();
        report.count_object(&read);
        drop(report);
        match read.end {
            Err(ObjectReaderError::Snapshot) => {
                tracing::info!(object = %object.name, "passed over: it is a snapshot");
            }
            Err(error) => self.note_unreadable(object, &error.to_string()),
            Ok(()) => {}
        }
        buffer
    }

    /// Whether it was settled. One that is not ends the replay: the endpoint had its time to come back. One that the
    /// endpoint does not take as it is, which is too large most likely, goes in halves, down to the records at fault:
    /// they would be in the way of all that follows at every replay.
    async fn deliver(&self, records: Vec<Bytes>) -> bool {
        self.report().records += records.len() as u64;
        let mut parts = vec![records];
        while let Some(mut part) = parts.pop() {
            let outcome = self.sender.deliver(part.clone()).await;
            let mut report = self.report();
            let count = part.len() as u64;
            match outcome {
                Err(given_up) if given_up.last.is_of_the_delivery() && count > 1 => {
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Err(given_up)
                    if given_up.last.is_of_the_delivery() && report.refused < REFUSED_MAX =>
                {
                    report.count_refused(&given_up);
                }
                outcome => report.count_delivery(count, outcome),
            }
            self.bar.set_message(report.progress(self.bar.elapsed()));
            if report.has_given_up() {
                return false;
            }
        }
        true
    }

    fn note_unreadable(&self, object: &Object, problem: &str) {
        tracing::error!(object = %object.name, problem, "cannot be read");
        self.report().count_unreadable(&object.name, problem);
    }

    fn log_progress(&self, began: Instant) {
        if self.bar.is_hidden() {
            let objects_left = self.objects().len();
            let (took, done) = (began.elapsed(), self.bar.position());
            let left = self.bar.length().unwrap_or(done).saturating_sub(done);
            // By bytes, as the bar has it.
            let seconds_left =
                (done > 0).then(|| (took.as_secs_f64() * left as f64 / done as f64).ceil());
            let progress = self.report().progress(took);
            tracing::info!(objects_left, seconds_left, "{progress}");
        }
    }
}

/// What was found in an object, beside its records.
pub(crate) struct Read {
    /// RacerNames of a journal that could not be sent.
    names: u64,
    end: Result<(), ObjectReaderError>,
}

impl Read {
    /// Reads an object to its end, or until nobody takes what is read.
    fn all(reader: source::Reader, buffer: &mut Buffer, full: &mpsc::Sender<Vec<Bytes>>) -> Self {
        let mut read = Self {
            names: 0,
            end: Ok(()),
        };
        for item in ObjectReader::open(reader) {
            match item {
                Ok(ObjectItem::Record(data) | ObjectItem::Quarantined(data)) => {
                    if let Some(records) = buffer.push(data.into(), Instant::now())
                        && full.blocking_send(records).is_err()
                    {
                        break;
                    }
                }
                Ok(ObjectItem::Name) => read.names += 1,
                Err(error) => read.end = Err(error),
            }
        }
        read
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text
        .parse()
        .map_err(|error: jiff::Error| error.to_string())?;
    let day = Duration::from_hours(24);
    let duration = Duration::try_from(duration)
        .ok()
        .filter(|duration| *duration <= day);
    duration.ok_or_else(|| "a duration is from 0s to 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[test]
    fn every_option_is_an_environment_variable_of_its_name() {
        let command = ReplayOptions::augment_args(clap::Command::new("replay"));
        command.clone().debug_assert();
        for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let name = arg
                .get_long()
                .expect("every option is long")
                .replace('-', "_")
                .to_uppercase();
            assert_eq!(
                arg.get_env(),
                Some(format!("ALLEYCAT_REPLAY_{name}").as_ref())
            );
        }
    }
}
