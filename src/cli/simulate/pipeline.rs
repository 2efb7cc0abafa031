//! The path of a simulation's records from the races to the endpoint: paced, buffered, delivered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::{JoinError, JoinSet};

use crate::cli::progress::Progress;
use crate::cli::simulate::options::Speed;
use crate::cli::simulate::race::SimulatedRace;
use crate::cli::simulate::report::SimulationReport;
use crate::firehose_client::{Acknowledgement, DeliveryBuffer, DeliveryGivenUp, FirehoseClient};

/// Maximum number of deliveries that are sent before a late one.
const LATE_DELIVERIES_MAX: u64 = 10;

/// The moments at which a race's records are sent.
#[derive(Clone, Copy)]
pub(crate) struct RaceTiming {
    pub(crate) began: Instant,
    pub(crate) speed: Speed,
    /// From the beginning of the simulation to the race's start, in simulated time.
    pub(crate) offset_ms: u64,
}

impl RaceTiming {
    pub(crate) fn from_now(speed: Speed) -> Self {
        Self {
            began: Instant::now(),
            speed,
            offset_ms: 0,
        }
    }

    /// Returns the moment of an arrival; `None` for at once.
    pub(crate) fn due(self, at_ms: u64) -> Option<Instant> {
        match self.speed {
            Speed::Max => None,
            Speed::Factor(factor) => {
                Some(self.began + Duration::from_millis(self.offset_ms + at_ms).div_f64(factor))
            }
        }
    }
}

/// Delivers the records of races.
///
/// Its memory is bounded by the buffer, the deliveries in flight and the late ones: races wait for
/// a slow endpoint. Its futures may be dropped at any await without a loss: records that are not yet
/// in flight are in `buffer`, `ready` or `late`.
pub(crate) struct DeliveryPipeline {
    client: FirehoseClient,
    buffer: DeliveryBuffer,
    in_flight: JoinSet<DeliveryOutcome>,
    faults: f64,
    rng: StdRng,
    ready: VecDeque<Vec<Bytes>>,
    late: Vec<LateDelivery>,
    /// Number of deliveries made so far.
    deliveries: u64,
    report: SimulationReport,
    progress: Option<Progress>,
}

/// The number of a delivery's records, and its outcome.
type DeliveryOutcome = (usize, Result<Acknowledgement, DeliveryGivenUp>);

/// A delivery that is held back until that many have been made.
struct LateDelivery {
    after_deliveries: u64,
    records: Vec<Bytes>,
}

impl DeliveryPipeline {
    pub(crate) fn new(
        client: FirehoseClient,
        buffer: DeliveryBuffer,
        faults: f64,
        rng: StdRng,
    ) -> Self {
        Self {
            client,
            buffer,
            in_flight: JoinSet::new(),
            faults,
            rng,
            ready: VecDeque::new(),
            late: Vec::new(),
            deliveries: 0,
            report: SimulationReport::default(),
            progress: None,
        }
    }

    pub(crate) fn with_progress(self, progress: Progress) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }

    /// Rides a race to its end. Records left in the buffer go with the next race, or at
    /// [`finish`](Self::finish).
    pub(crate) async fn ride(&mut self, race: SimulatedRace<StdRng>, timing: RaceTiming) {
        for arrival in race {
            self.wait_until(timing.due(arrival.at_ms)).await;
            self.report.count_record(arrival.fault);
            if let Some(full) = self.buffer.push(arrival.data, Instant::now()) {
                self.dispatch(full).await;
            }
        }
        self.report.races += 1;
    }

    /// Delivers the rest, and waits until every delivery is settled.
    pub(crate) async fn finish(&mut self) {
        self.ready.extend(self.buffer.take());
        self.ready
            .extend(self.late.drain(..).map(|late| late.records));
        self.send_ready().await;
        while let Some(outcome) = self.in_flight.join_next().await {
            self.settle(outcome);
        }
    }

    /// Returns the report. Deliveries that are not settled count as unfinished.
    pub(crate) fn close(mut self, took: Duration, is_detailed: bool) -> SimulationReport {
        let buffered = usize::from(self.buffer.due().is_some());
        let unfinished = self.in_flight.len() + self.ready.len() + self.late.len() + buffered;
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        self.report.close(unfinished as u64, took, is_detailed);
        self.report
    }

    /// Waits, and meanwhile delivers the buffer when its oldest record is due.
    async fn wait_until(&mut self, due: Option<Instant>) {
        loop {
            let now = Instant::now();
            let buffer_due = self.buffer.due();
            if buffer_due.is_some_and(|due| due <= now) {
                if let Some(records) = self.buffer.take() {
                    self.dispatch(records).await;
                }
                continue;
            }
            let Some(due) = due.filter(|due| *due > now) else {
                return;
            };
            let wake = buffer_due.map_or(due, |buffer_due| buffer_due.min(due));
            tokio::select! {
                () = tokio::time::sleep_until(wake.into()) => {}
                Some(outcome) = self.in_flight.join_next() => self.settle(outcome),
            }
        }
    }

    /// Makes a delivery and sends it, unless it is to be late; sends it twice if it is a duplicate.
    async fn dispatch(&mut self, records: Vec<Bytes>) {
        self.deliveries += 1;
        if let Some(progress) = &self.progress {
            progress.advance(records.len() as u64);
        }
        if self.rng.random_bool(self.faults) {
            self.report.late += 1;
            let after_deliveries = self.deliveries + self.rng.random_range(1..=LATE_DELIVERIES_MAX);
            self.late.push(LateDelivery {
                after_deliveries,
                records,
            });
        } else {
            if self.rng.random_bool(self.faults) {
                self.report.duplicates += 1;
                self.ready.push_back(records.clone());
            }
            self.ready.push_back(records);
        }
        let deliveries = self.deliveries;
        self.ready.extend(
            self.late
                .extract_if(.., |late| late.after_deliveries <= deliveries)
                .map(|late| late.records),
        );
        self.send_ready().await;
    }

    /// Sends all deliveries that are ready, each once the concurrency limit allows it.
    async fn send_ready(&mut self) {
        while !self.ready.is_empty() {
            if self.in_flight.len() >= self.client.concurrency().get()
                && let Some(outcome) = self.in_flight.join_next().await
            {
                self.settle(outcome);
                continue;
            }
            if let Some(records) = self.ready.pop_front() {
                let client = self.client.clone();
                self.in_flight
                    .spawn(async move { (records.len(), client.deliver(records).await) });
            }
        }
        if let Some(progress) = &self.progress {
            progress.show(|| self.report.progress());
        }
        tokio::task::yield_now().await; // at full speed nothing else may wait
    }

    fn settle(&mut self, outcome: Result<DeliveryOutcome, JoinError>) {
        let (records, outcome) =
            outcome.expect("a delivery does not panic, and is not cancelled before the end");
        self.report.count_delivery(records as u64, outcome);
    }
}
