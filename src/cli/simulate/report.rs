//! The outcome of a simulation.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::cli::simulate::race::Fault;
use crate::firehose_client::{Acknowledgement, DeliveryGivenUp};

/// Maximum number of latencies for the percentiles, 16 bytes each; a longer run keeps the newest.
const LATENCIES_MAX: usize = 1_000_000;

/// The outcome of a simulation. Its text form is the summary, with details under `--report`.
#[derive(Clone, Debug, Default)]
pub struct SimulationReport {
    /// Races that ended.
    pub races: u64,
    /// Records that were made.
    pub records: u64,
    /// Records with a fault.
    pub faults: BTreeMap<Fault, u64>,
    /// Deliveries that were sent twice.
    pub duplicates: u64,
    /// Deliveries that were sent after later ones.
    pub late: u64,
    /// Deliveries that the endpoint acknowledged.
    pub acknowledged: u64,
    /// Records in them.
    pub acknowledged_records: u64,
    /// Records that the endpoint rejected, by reason, if it sends those counts.
    pub rejected: BTreeMap<String, u64>,
    /// Deliveries that were given up.
    pub given_up: u64,
    /// Deliveries that were unfinished at an interruption.
    pub unfinished: u64,
    /// Tries of all settled deliveries.
    pub tries: u64,
    /// Maximum number of tries of one delivery.
    pub tries_max: u32,
    /// Duration of the simulation.
    pub took: Duration,
    last_given_up: Option<DeliveryGivenUp>,
    latencies: Vec<Duration>,
    is_detailed: bool,
}

impl SimulationReport {
    /// Returns whether every delivery was acknowledged, and no valid record rejected. The exit status
    /// depends on it.
    pub fn is_clean(&self) -> bool {
        let has_lost = self.faults.is_empty() && !self.rejected.is_empty();
        self.given_up == 0 && self.unfinished == 0 && !has_lost
    }

    /// Returns the latencies within which those shares (0 to 1) of the acknowledged deliveries
    /// were.
    ///
    /// A latency begins with the first try.
    pub fn latencies<const N: usize>(&self, shares: [f64; N]) -> [Duration; N] {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        shares.map(|share| {
            let rank = (share * latencies.len() as f64).ceil() as usize;
            latencies
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        })
    }

    pub(crate) fn count_record(&mut self, fault: Option<Fault>) {
        self.records += 1;
        if let Some(fault) = fault {
            *self.faults.entry(fault).or_default() += 1;
        }
    }

    pub(crate) fn count_delivery(
        &mut self,
        records: u64,
        outcome: Result<Acknowledgement, DeliveryGivenUp>,
    ) {
        let tries = match outcome {
            Ok(Acknowledgement {
                tries,
                took,
                counts,
            }) => {
                for (reason, count) in counts.unwrap_or_default().rejected {
                    *self.rejected.entry(reason).or_default() += count;
                }
                let index = self.acknowledged as usize % LATENCIES_MAX;
                match self.latencies.get_mut(index) {
                    Some(oldest) => *oldest = took,
                    None => self.latencies.push(took),
                }
                self.acknowledged += 1;
                self.acknowledged_records += records;
                tries
            }
            Err(given_up) => {
                let tries = given_up.tries;
                self.given_up += 1;
                self.last_given_up = Some(given_up);
                tries
            }
        };
        self.tries += u64::from(tries);
        self.tries_max = self.tries_max.max(tries);
    }

    pub(crate) fn close(&mut self, unfinished: u64, took: Duration, is_detailed: bool) {
        (self.unfinished, self.took, self.is_detailed) = (unfinished, took, is_detailed);
    }

    /// Returns the progress in a few words.
    pub(crate) fn progress(&self) -> String {
        let Self {
            acknowledged,
            given_up,
            ..
        } = self;
        format!("{acknowledged} deliveries acknowledged, {given_up} given up")
    }

    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settled = self.acknowledged + self.given_up + self.unfinished;
        let rate = 100.0 * self.acknowledged as f64 / settled.max(1) as f64;
        let [p50, p90, p99, max] = self.latencies([0.5, 0.9, 0.99, 1.0]).map(milliseconds);
        write!(f, "\nacknowledged  {rate:.2}% of deliveries")?;
        write!(
            f,
            "\nlatency       p50 {p50}, p90 {p90}, p99 {p99}, max {max}"
        )?;
        write!(
            f,
            "\ntries         {} for {settled} deliveries, at most {} for one",
            self.tries, self.tries_max
        )?;
        write!(
            f,
            "\ndeliveries    {} twice, {} late",
            self.duplicates, self.late
        )?;
        write!(
            f,
            "\nfaults        {} records",
            self.faults.values().sum::<u64>()
        )?;
        for (fault, count) in &self.faults {
            write!(f, "\n              {count} {fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for SimulationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        let rate = self.acknowledged_records as f64 / seconds.max(1e-9);
        write!(
            f,
            "{} races, {} records; deliveries: ",
            self.races, self.records
        )?;
        write!(
            f,
            "{} acknowledged, {} given up",
            self.acknowledged, self.given_up
        )?;
        if self.unfinished > 0 {
            write!(f, ", {} unfinished", self.unfinished)?;
        }
        write!(f, "; {seconds:.1} s, {rate:.0} records/s")?;
        if !self.rejected.is_empty() {
            let reasons = self.rejected.iter();
            let reasons = reasons.map(|(reason, count)| format!("{count} {reason}"));
            let reasons = reasons.collect::<Vec<_>>().join(", ");
            write!(f, "\nrejected      {reasons}")?;
        }
        if let Some(given_up) = &self.last_given_up {
            write!(f, "\nlast failure: {given_up}")?;
        }
        if self.is_detailed {
            self.details(f)
        } else {
            Ok(())
        }
    }
}

fn milliseconds(latency: Duration) -> String {
    format!("{:.1} ms", latency.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests;
