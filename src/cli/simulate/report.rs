//! What became of a simulation.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::cli::simulate::Fault;
use crate::firehose_client::{Acknowledged, GivenUp};

/// How many latencies are kept for the percentiles, 16 bytes each: of a longer run the latest.
const LATENCIES_MAX: usize = 1_000_000;

/// What became of a simulation. Its text form is the summary, with the details where they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Races that were ridden to their end.
    pub races: u64,
    /// Records that were made.
    pub records: u64,
    /// Records with a fault.
    pub faults: BTreeMap<Fault, u64>,
    /// Deliveries that were made twice.
    pub duplicates: u64,
    /// Deliveries that were held back until later ones had gone.
    pub late: u64,
    /// Deliveries that the endpoint acknowledged.
    pub acknowledged: u64,
    /// Records in them.
    pub acknowledged_records: u64,
    /// Deliveries that were given up.
    pub given_up: u64,
    /// Deliveries that an interruption left unsettled.
    pub unfinished: u64,
    /// Tries of all settled deliveries.
    pub tries: u64,
    /// Tries of the delivery that took most.
    pub tries_max: u32,
    /// How long all of it took.
    pub took: Duration,
    last_given_up: Option<GivenUp>,
    latencies: Vec<Duration>,
    is_detailed: bool,
}

impl Report {
    /// Whether every delivery was acknowledged: what the exit status tells.
    pub fn is_clean(&self) -> bool {
        self.given_up == 0 && self.unfinished == 0
    }

    /// The time within which that share (0 to 1) of the acknowledged deliveries was, from the first try on.
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

    pub(crate) fn count_delivery(&mut self, records: u64, outcome: Result<Acknowledged, GivenUp>) {
        let tries = match outcome {
            Ok(Acknowledged { tries, took, .. }) => {
                let place = self.acknowledged as usize % LATENCIES_MAX;
                match self.latencies.get_mut(place) {
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

impl fmt::Display for Report {
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
        if let Some(given_up) = &self.last_given_up {
            write!(f, "\nthe last was {given_up}")?;
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
mod tests {
    use super::*;
    use crate::firehose_client::Failure;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut report = Report::default();
        assert_eq!(report.latencies([0.5, 1.0]), [Duration::ZERO; 2]);
        for ms in (1..=100).rev() {
            report.count_delivery(
                1,
                Ok(Acknowledged {
                    tries: 1,
                    took: Duration::from_millis(ms),
                    told: None,
                }),
            );
        }
        assert_eq!(
            report.latencies([0.5, 0.9, 0.99, 1.0]),
            [50, 90, 99, 100].map(Duration::from_millis)
        );
    }

    #[test]
    fn a_report_tells_what_it_counted() {
        let mut report = Report {
            races: 1,
            ..Report::default()
        };
        report.count_record(None);
        report.count_record(Some(Fault::Glitch));
        report.count_delivery(
            2,
            Ok(Acknowledged {
                tries: 1,
                took: Duration::from_millis(20),
                told: None,
            }),
        );
        report.close(0, Duration::from_secs(2), false);
        assert!(report.is_clean());
        assert_eq!(
            report.to_string(),
            "1 races, 2 records; deliveries: 1 acknowledged, 0 given up; 2.0 s, 1 records/s"
        );

        let last = Failure::Refused {
            status: 503,
            message: "the queue is full".to_owned(),
        };
        report.count_delivery(
            2,
            Err(GivenUp {
                tries: 4,
                took: Duration::from_secs(1),
                last,
            }),
        );
        report.close(1, Duration::from_secs(2), true);
        assert!(!report.is_clean());
        let text = report.to_string();
        for line in [
            "1 acknowledged, 1 given up, 1 unfinished; ",
            "the last was given up after 4 tries in 1s: status 503: the queue is full",
            "acknowledged  33.33% of deliveries",
            "latency       p50 20.0 ms, p90 20.0 ms, p99 20.0 ms, max 20.0 ms",
            "tries         5 for 3 deliveries, at most 4 for one",
            "1 glitch within bounds",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
