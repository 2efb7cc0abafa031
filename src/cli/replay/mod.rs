//! `alleycat replay`: delivers the records of files, folders and buckets again.
//!
//! Objects have any of the formats that `ingest::object_reader` detects. Records go through the
//! endpoint as Firehose would send them: several objects at a time, each delivery retried until it
//! is accepted. They keep their times, so erased efforts stay erased. Sources are never changed,
//! and replaying again does no harm. A dry run only counts what a real run would do, as far as it
//! can know.

mod dry_run;
mod options;
mod report;
mod source;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use crate::cli::replay::options::ReplayOptions;
pub use crate::cli::replay::report::ReplayReport;

use crate::cli::progress::{LOG_INTERVAL, Progress, ProgressUnit};
use crate::cli::replay::dry_run::DryRun;
use crate::cli::replay::source::{ObjectContent, ReplayObject};
use crate::firehose_client::{
    Acknowledgement, Backoff, ClientOptions, DeliveryBuffer, DeliveryGivenUp, FirehoseClient,
};
use crate::ingest::object_reader::{ObjectItem, ObjectReader, ObjectReaderError};

/// Maximum size of a delivery's record data, in bytes: the service decodes 4 MiB in a fraction of a
/// second.
const DELIVERY_BYTES_MAX: usize = 4 << 20;

/// Interval of the buffer, longer than any replay waits. So it is disabled: only a full delivery or
/// the last one is sent.
const NO_INTERVAL: Duration = Duration::from_hours(24);

/// Maximum number of records that the endpoint refuses as single-record deliveries. More of them
/// mean that the fault is not in the records.
const REFUSED_MAX: u64 = 100;

/// Delivers all records of the sources, until they end, a delivery is given up, or `shutdown`
/// resolves.
///
/// # Errors
/// The replay cannot begin. Unreadable objects and failed deliveries are in the report.
pub async fn run(
    options: &ReplayOptions,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<ReplayReport> {
    let concurrency = NonZeroUsize::new(options.concurrency as usize).unwrap_or(NonZeroUsize::MIN);
    let began = Instant::now();
    tokio::pin!(shutdown);
    let destination = tokio::select! {
        destination = Destination::open(options, concurrency) => destination?,
        () = &mut shutdown => anyhow::bail!("interrupted before anything was read"),
    };
    let mut report = ReplayReport::new(options.dry_run);
    let mut objects = VecDeque::new();
    for source in &options.sources {
        let listed = tokio::select! {
            listed = source.objects(&mut report) => listed,
            () = &mut shutdown => anyhow::bail!("interrupted before anything was delivered"),
        };
        objects.extend(listed.with_context(|| format!("cannot replay {source}"))?);
    }
    let replay = Replay::new(destination, objects, report);
    let mut workers: JoinSet<()> = (0..concurrency.get())
        .map(|_| replay.clone().work())
        .collect();
    let mut log_interval = tokio::time::interval(LOG_INTERVAL);
    log_interval.reset();
    let interrupted = loop {
        tokio::select! {
            worked = workers.join_next() => match worked {
                Some(worked) => worked.context("a worker failed")?,
                None => break false,
            },
            _ = log_interval.tick() => replay.show_progress(),
            () = &mut shutdown => break true,
        }
    };
    workers.shutdown().await;
    replay.progress.finish();
    let mut report = std::mem::take(&mut *replay.report.lock());
    report.close(interrupted, replay.objects.lock().len(), began.elapsed());
    Ok(report)
}

/// The place that records go to. Clones share it.
#[derive(Clone)]
enum Destination {
    Service(FirehoseClient),
    DryRun(DryRun),
}

impl Destination {
    async fn open(options: &ReplayOptions, concurrency: NonZeroUsize) -> anyhow::Result<Self> {
        if !options.dry_run {
            return Ok(Self::Service(client(options, concurrency)?));
        }
        let dry_run = DryRun::download(&options.to, options.query_key.as_ref()).await;
        Ok(Self::DryRun(dry_run.context("cannot run dry")?))
    }

    async fn deliver(&self, records: Vec<Bytes>) -> Result<Acknowledgement, DeliveryGivenUp> {
        match self {
            Self::Service(client) => client.deliver(records).await,
            Self::DryRun(dry_run) => Ok(Acknowledgement {
                counts: Some(dry_run.deliver(records).await),
                ..Acknowledgement::default()
            }),
        }
    }
}

fn client(options: &ReplayOptions, concurrency: NonZeroUsize) -> anyhow::Result<FirehoseClient> {
    FirehoseClient::new(ClientOptions {
        access_key: options.access_key.clone(),
        common_attributes: [("source".to_owned(), "alleycat replay".to_owned())].into(),
        gzip: options.gzip,
        concurrency,
        backoff: Backoff {
            total: options.retry_duration,
            ..Backoff::FIREHOSE
        },
        retries_refused: false,
        ..ClientOptions::new(options.to.clone())
    })
}

/// The state that all workers share. Clones share everything.
#[derive(Clone)]
struct Replay {
    destination: Destination,
    objects: Arc<Mutex<VecDeque<ReplayObject>>>,
    report: Arc<Mutex<ReplayReport>>,
    progress: Progress,
}

impl Replay {
    fn new(
        destination: Destination,
        objects: VecDeque<ReplayObject>,
        report: ReplayReport,
    ) -> Self {
        let bytes = objects.iter().map(|object| object.bytes).sum();
        Self {
            destination,
            objects: Arc::new(Mutex::new(objects)),
            report: Arc::new(Mutex::new(report)),
            progress: Progress::new(bytes, ProgressUnit::Bytes),
        }
    }

    /// Reads object after object and delivers their records. Records that do not fill a delivery go
    /// with those of the next object.
    async fn work(self) {
        let mut buffer = DeliveryBuffer::new(DELIVERY_BYTES_MAX, NO_INTERVAL);
        while !self.report.lock().has_given_up() {
            let Some(object) = self.objects.lock().pop_front() else {
                break;
            };
            match object.open().await {
                Ok(content) => buffer = self.deliver_object(&object, content, buffer).await,
                Err(problem) => self.count_unreadable(&object, &problem),
            }
            self.progress.advance(object.bytes);
        }
        if let Some(records) = buffer.take()
            && !self.report.lock().has_given_up()
        {
            self.deliver(records).await;
        }
    }

    async fn deliver_object(
        &self,
        object: &ReplayObject,
        content: ObjectContent,
        mut buffer: DeliveryBuffer,
    ) -> DeliveryBuffer {
        let (full, mut filled) = mpsc::channel(1);
        let reading = tokio::task::spawn_blocking(move || {
            let summary = read_object(content, &mut buffer, &full);
            (buffer, summary)
        });
        while let Some(records) = filled.recv().await {
            if !self.deliver(records).await {
                break; // without a receiver, reading ends
            }
        }
        drop(filled);
        let (buffer, summary) = reading
            .await
            .expect("reading does not panic, and is not cancelled");
        self.report.lock().count_object(&summary);
        if summary.snapshots > 0 {
            tracing::info!(object = %object.name, "snapshot skipped: it holds no records");
        }
        if let Err(error) = summary.end {
            self.count_unreadable(object, &error.to_string());
        }
        buffer
    }

    /// Delivers records, and returns whether they were settled. If not, the replay ends: the
    /// endpoint had its time to recover.
    ///
    /// A delivery that the endpoint refuses, most likely as too large, is sent in halves, down to
    /// the single records at fault. Otherwise every replay would stop at the same record.
    async fn deliver(&self, records: Vec<Bytes>) -> bool {
        self.report.lock().records += records.len() as u64;
        let mut parts = vec![records];
        while let Some(mut part) = parts.pop() {
            let outcome = self.destination.deliver(part.clone()).await;
            let mut report = self.report.lock();
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
            let has_given_up = report.has_given_up();
            drop(report);
            self.show_progress();
            if has_given_up {
                return false;
            }
        }
        true
    }

    fn count_unreadable(&self, object: &ReplayObject, problem: &str) {
        tracing::error!(object = %object.name, problem, "object is unreadable");
        let mut report = self.report.lock();
        report.count_unreadable(&object.name, problem);
    }

    fn show_progress(&self) {
        self.progress.show(|| {
            let elapsed = self.progress.elapsed();
            self.report.lock().progress(elapsed)
        });
    }
}

/// The result of reading an object, other than its records.
pub(crate) struct ObjectSummary {
    /// Racer names of a journal, which cannot be delivered without an effort.
    names: u64,
    /// Snapshots in the object, usually the whole of it.
    snapshots: u64,
    has_records: bool,
    end: Result<(), ObjectReaderError>,
}

/// Reads an object to its end, or until the receiver of `full` is gone.
fn read_object(
    content: ObjectContent,
    buffer: &mut DeliveryBuffer,
    full: &mpsc::Sender<Vec<Bytes>>,
) -> ObjectSummary {
    let mut summary = ObjectSummary {
        names: 0,
        snapshots: 0,
        has_records: false,
        end: Ok(()),
    };
    for item in ObjectReader::open(content, u64::MAX) {
        match item {
            Ok(ObjectItem::Record(data) | ObjectItem::Quarantined(data)) => {
                summary.has_records = true;
                if let Some(records) = buffer.push(data.into(), Instant::now())
                    && full.blocking_send(records).is_err()
                {
                    break;
                }
            }
            Ok(ObjectItem::Name) => summary.names += 1,
            Ok(ObjectItem::Snapshot) => summary.snapshots += 1,
            Err(error) => summary.end = Err(error),
        }
    }
    summary
}
