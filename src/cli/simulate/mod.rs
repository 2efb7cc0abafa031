//! `alleycat simulate`: simulates races and delivers their records as Firehose does.
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
pub use crate::cli::simulate::race::{Arrival, Fault, RaceSetup, Racer, SimulatedRace};
pub use crate::cli::simulate::report::SimulationReport;

use crate::cli::progress::{Progress, ProgressUnit};
use crate::cli::simulate::options::BUFFER_MAX;
use crate::cli::simulate::pipeline::{DeliveryPipeline, RaceTiming};
use crate::domain::effort::ClassId;
use crate::firehose_client::{
    AccessKey, Backoff, ClientOptions, DeliveryBuffer, FirehoseClient, now_ms,
};

/// Seed of the racers' abilities when none is given. Fixed, so that the same racers return at every
/// run.
const RACERS_SEED: u64 = 1;

/// Length of a race of the demo, in seconds, unless the service accepts fewer.
const DEMO_SECONDS: u32 = 300;

/// Maximum time that records of the demo are buffered. Short, so that the page changes every
/// second.
const DEMO_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum number of racers per class in the demo's first race, which is sent at once. 100 give
/// 180,000 records in six classes: some seconds.
const DEMO_PAST_RACERS_MAX: usize = 100;

/// Maximum wait for deliveries in flight after an interruption.
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
    let users = options.users.unwrap_or(options.racers);
    anyhow::ensure!(
        users >= options.racers,
        "--users {users} is below --racers {}: each racer of a race is another user",
        options.racers
    );
    let racers_seed = options.seed.unwrap_or(RACERS_SEED);
    let racers = Racer::draw(users, &mut StdRng::seed_from_u64(racers_seed));
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
            let race = SimulatedRace::new(&setup, &racers, start_ms + offset_ms, race_rng);
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

/// Runs races of `racers` racers in classes 1 to `classes`, in real time, one after another. No
/// race has a second after `second_max`.
///
/// A race that is already over is delivered first, at once. Ends only when it is dropped, without
/// waiting for deliveries in flight.
///
/// # Errors
/// The URL or the access key is unusable.
pub async fn demo(
    to: Url,
    access_key: Option<AccessKey>,
    racers: u32,
    classes: u16,
    second_max: u32,
) -> anyhow::Result<()> {
    let client = FirehoseClient::new(ClientOptions {
        access_key,
        bypasses_proxy: true,
        ..ClientOptions::new(to)
    })?;
    let setup = RaceSetup {
        classes: ClassId::all(classes).collect(),
        racers: racers as usize,
        seconds: DEMO_SECONDS.min(second_max),
        faults: 0.0,
        whole_numbers: false,
    };
    let racers = Racer::draw(racers, &mut StdRng::seed_from_u64(RACERS_SEED));
    let mut rng: StdRng = rand::make_rng();
    let buffer = DeliveryBuffer::new(BUFFER_MAX.as_u64() as usize, DEMO_INTERVAL);
    let mut pipeline = DeliveryPipeline::new(client, buffer, 0.0, StdRng::from_rng(&mut rng));
    // The first visitor has somebody to beat at every second.
    let past_setup = RaceSetup {
        racers: setup.racers.min(DEMO_PAST_RACERS_MAX),
        ..setup.clone()
    };
    let past_start_ms = now_ms().saturating_sub(u64::from(setup.seconds) * 1000);
    let race_rng = StdRng::from_rng(&mut rng);
    let race = SimulatedRace::new(&past_setup, &racers, past_start_ms, race_rng);
    pipeline.ride(race, RaceTiming::from_now(Speed::Max)).await;
    loop {
        // Each race reads the clock: a machine that slept does not make up for missed races.
        let race_rng = StdRng::from_rng(&mut rng);
        let race = SimulatedRace::new(&setup, &racers, now_ms(), race_rng);
        let timing = RaceTiming::from_now(Speed::Factor(1.0));
        pipeline.ride(race, timing).await;
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
        whole_numbers: options.whole_numbers,
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

/// Returns how far in the past the simulation must start so that it ends now, in ms.
///
/// So no record has a time in the future. The service would replace such a time by its own, or
/// ignore it if it is over 5 minutes ahead.
fn head_start_ms(speed: Speed, length_ms: u64) -> u64 {
    match speed {
        Speed::Max => length_ms,
        Speed::Factor(factor) => (length_ms as f64 * (1.0 - 1.0 / factor).max(0.0)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_record_has_a_future_time() {
        let now = 1_000_000_000_u64;
        let length_ms = 10 * 300_000;
        for factor in [0.5, 1.0, 7.0, 1000.0] {
            let start = now - head_start_ms(Speed::Factor(factor), length_ms);
            let timing = RaceTiming::from_now(Speed::Factor(factor));
            for at_ms in [0, length_ms / 3, length_ms] {
                let due = timing.due(at_ms).expect("paced");
                let elapsed_ms = due.duration_since(timing.began).as_millis() as u64;
                assert!(start + at_ms <= now + elapsed_ms + 1, "{factor} {at_ms}");
            }
        }
        assert_eq!(head_start_ms(Speed::Max, length_ms), length_ms);
    }
}
