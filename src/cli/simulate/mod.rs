//! `alleycat simulate`: riders in races, delivered as Firehose delivers them.
//!
//! [`SimulatedRace`] is the pure part and makes the records. `pipeline` paces, buffers and sends
//! them, and counts the outcomes in a [`SimulationReport`].

mod options;
mod pipeline;
mod race;
mod report;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::Url;

pub use crate::cli::simulate::options::{SimulateOptions, Speed};
pub use crate::cli::simulate::race::{Arrival, Fault, RaceSetup, Rider, SimulatedRace};
pub use crate::cli::simulate::report::SimulationReport;

use crate::cli::progress::{Progress, ProgressUnit};
use crate::cli::simulate::options::BUFFER_MAX;
use crate::cli::simulate::pipeline::{DeliveryPipeline, RaceTiming};
use crate::domain::effort::ClassId;
use crate::firehose_client::{
    AccessKey, Backoff, ClientOptions, DeliveryBuffer, FirehoseClient, now_ms,
};

/// Seed of the riders' abilities when none is given: the same at every run, so that they last.
const RIDERS_SEED: u64 = 1;

/// Length of a race of the demo, in seconds.
const DEMO_SECONDS: u32 = 300;

/// Maximum time that records of the demo are buffered: a page that shows them moves every second.
const DEMO_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum number of racers a class in the race that is over when the demo begins: 180,000 records
/// in six classes, some seconds' work.
const DEMO_PAST_RACERS_MAX: usize = 100;

/// Maximum time that deliveries in flight take after an interruption.
const INTERRUPTION_GRACE: Duration = Duration::from_secs(5);

/// Runs the races and delivers them, until they are over or `shutdown` resolves.
///
/// Deliveries that were given up are no error; the report counts them.
///
/// # Errors
/// The options are unusable: the URL, or the access key.
pub async fn run(
    options: &SimulateOptions,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<SimulationReport> {
    let setup = race_setup(options);
    let users = options.users.unwrap_or(options.racers).max(options.racers);
    let riders_seed = options.seed.unwrap_or(RIDERS_SEED);
    let riders = Rider::draw(users, &mut StdRng::seed_from_u64(riders_seed));
    let mut rng = StdRng::seed_from_u64(options.seed.unwrap_or_else(rand::random));

    let race_ms = u64::from(setup.seconds) * 1000;
    let length_ms = race_ms * u64::from(options.races);
    let start_ms = now_ms().saturating_sub(head_start_ms(options.speed, length_ms));
    let buffer = DeliveryBuffer::new(
        options.buffer_size.as_u64() as usize,
        options.buffer_interval,
    );
    let records = setup.records() * u64::from(options.races);
    let mut pipeline = DeliveryPipeline::new(
        client(options)?,
        buffer,
        options.faults,
        StdRng::from_rng(&mut rng),
    )
    .with_progress(Progress::new(records, ProgressUnit::Records));
    let began = Instant::now();
    let races = async {
        for number in 0..u64::from(options.races) {
            let offset_ms = number * race_ms;
            let race_rng = StdRng::from_rng(&mut rng);
            let race = SimulatedRace::new(&setup, &riders, start_ms + offset_ms, race_rng);
            let timing = RaceTiming {
                began,
                speed: options.speed,
                offset_ms,
            };
            pipeline.ride(race, timing).await;
        }
        pipeline.finish().await;
    };
    let interrupted = tokio::select! { () = races => false, () = shutdown => true };
    if interrupted {
        tracing::info!("interrupted; waiting for the deliveries in flight");
        // After a timeout the rest counts as unfinished.
        let _ = tokio::time::timeout(INTERRUPTION_GRACE, pipeline.finish()).await;
    }
    Ok(pipeline.close(began.elapsed(), options.report))
}

/// Rides races of that many racers in classes 1 to `classes`, in real time, one after another.
///
/// A race that is already over is delivered first, at once. Ends when `shutdown` resolves, without
/// waiting for deliveries in flight.
///
/// # Errors
/// The URL or the access key is unusable.
pub async fn demo(
    to: Url,
    access_key: Option<AccessKey>,
    racers: u32,
    classes: u16,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let client = FirehoseClient::new(ClientOptions {
        access_key,
        ..ClientOptions::new(to)
    })?;
    let setup = RaceSetup {
        classes: ClassId::all(classes).collect(),
        racers: racers as usize,
        seconds: DEMO_SECONDS,
        faults: 0.0,
    };
    let riders = Rider::draw(racers, &mut StdRng::seed_from_u64(RIDERS_SEED));
    let mut rng: StdRng = rand::make_rng();
    let buffer = DeliveryBuffer::new(BUFFER_MAX.as_u64() as usize, DEMO_INTERVAL);
    let mut pipeline = DeliveryPipeline::new(client, buffer, 0.0, StdRng::from_rng(&mut rng));
    let races = async {
        // The first visitor has somebody to beat at every second.
        let past_setup = RaceSetup {
            racers: setup.racers.min(DEMO_PAST_RACERS_MAX),
            ..setup.clone()
        };
        let past_start_ms = now_ms().saturating_sub(u64::from(DEMO_SECONDS) * 1000);
        let race_rng = StdRng::from_rng(&mut rng);
        let race = SimulatedRace::new(&past_setup, &riders, past_start_ms, race_rng);
        pipeline.ride(race, RaceTiming::from_now(Speed::Max)).await;
        loop {
            // Each race reads the clock: a machine that slept does not make up for missed races.
            let race_rng = StdRng::from_rng(&mut rng);
            let race = SimulatedRace::new(&setup, &riders, now_ms(), race_rng);
            let timing = RaceTiming::from_now(Speed::Times(1.0));
            pipeline.ride(race, timing).await;
        }
    };
    tokio::select! {
        never = races => never,
        () = shutdown => Ok(()),
    }
}

fn race_setup(options: &SimulateOptions) -> RaceSetup {
    let mut classes = options.classes.clone();
    classes.sort_unstable();
    classes.dedup();
    RaceSetup {
        classes,
        racers: options.racers as usize,
        seconds: options.seconds,
        faults: options.faults,
    }
}

fn client(options: &SimulateOptions) -> anyhow::Result<FirehoseClient> {
    FirehoseClient::new(ClientOptions {
        access_key: options.access_key.clone(),
        common_attributes: [("source".to_owned(), "alleycat simulate".to_owned())].into(),
        gzip: options.gzip,
        concurrency: NonZeroUsize::new(options.concurrency as usize).unwrap_or(NonZeroUsize::MIN),
        backoff: Backoff {
            total: options.retry_duration,
            ..Backoff::FIREHOSE
        },
        ..ClientOptions::new(options.to.clone())
    })
}

/// Returns the time by which a simulation of that length starts in the past, in milliseconds, so
/// that it ends now.
///
/// No record has a future time: the service would not believe it.
fn head_start_ms(speed: Speed, length_ms: u64) -> u64 {
    match speed {
        Speed::Max => length_ms,
        Speed::Times(times) => (length_ms as f64 * (1.0 - 1.0 / times).max(0.0)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_record_has_a_future_time() {
        let now = 1_000_000_000_u64;
        let length_ms = 10 * 300_000;
        for times in [0.5, 1.0, 7.0, 1000.0] {
            let start = now - head_start_ms(Speed::Times(times), length_ms);
            let timing = RaceTiming::from_now(Speed::Times(times));
            for at_ms in [0, length_ms / 3, length_ms] {
                let due = timing.due(at_ms).expect("paced");
                let elapsed_ms = due.duration_since(timing.began).as_millis() as u64;
                assert!(start + at_ms <= now + elapsed_ms + 1, "{times} {at_ms}");
            }
        }
        assert_eq!(head_start_ms(Speed::Max, length_ms), length_ms);
    }
}
