use super::*;
use crate::firehose_client::TryError;

#[test]
fn percentiles_are_by_nearest_rank() {
    let mut report = SimulationReport::default();
    assert_eq!(report.latencies([0.5, 1.0]), [Duration::ZERO; 2]);
    for ms in (1..=100).rev() {
        report.count_delivery(
            1,
            Ok(Acknowledgement {
                tries: 1,
                took: Duration::from_millis(ms),
                counts: None,
            }),
        );
    }
    assert_eq!(
        report.latencies([0.5, 0.9, 0.99, 1.0]),
        [50, 90, 99, 100].map(Duration::from_millis)
    );
}

#[test]
fn report_shows_its_counts() {
    let mut report = SimulationReport {
        races: 1,
        ..SimulationReport::default()
    };
    report.count_record(None);
    report.count_record(Some(Fault::Glitch));
    report.count_delivery(
        2,
        Ok(Acknowledgement {
            tries: 1,
            took: Duration::from_millis(20),
            counts: None,
        }),
    );
    report.close(0, Duration::from_secs(2), false);
    assert!(report.is_clean());
    assert_eq!(
        report.to_string(),
        "1 races, 2 records; deliveries: 1 acknowledged, 0 given up; 2.0 s, 1 records/s"
    );

    let last = TryError::Refused {
        status: 503,
        message: "commit queue is full".to_owned(),
    };
    report.count_delivery(
        2,
        Err(DeliveryGivenUp {
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
        "last failure: given up after 4 tries in 1s: status 503: commit queue is full",
        "acknowledged  33.33% of deliveries",
        "latency       p50 20.0 ms, p90 20.0 ms, p99 20.0 ms, max 20.0 ms",
        "tries         5 for 3 deliveries, at most 4 for one",
        "1 glitch within bounds",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
