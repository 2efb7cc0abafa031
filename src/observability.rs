//! Logging, and the name and description of every metric.
//!
//! A metric is recorded under a constant of this file and nowhere described elsewhere. The recorder
//! is the process's: `install_recorder` is called once, and what is recorded before it is lost.

use std::io::IsTerminal;

use metrics::Unit;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// Upper bounds of the duration buckets, in seconds: from a commit on a fast disk to a delivery's
/// deadline.
const DURATION_BUCKETS_SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0,
];

/// Defines a constant for each metric, and `describe`, which registers all descriptions.
macro_rules! metrics {
    ($($describe:ident($constant:ident, $name:literal, $unit:ident, $description:literal);)*) => {
        $(
            #[doc = $description]
            pub(crate) const $constant: &str = $name;
        )*

        /// Registers the unit and description of every metric with the recorder.
        fn describe() {
            $(metrics::$describe!($constant, Unit::$unit, $description);)*
        }
    };
}

metrics! {
    // Deliveries
    describe_counter(DELIVERIES_TOTAL, "alleycat_deliveries_total", Count,
        "Deliveries answered, by response status.");
    describe_counter(DELIVERY_ERRORS_TOTAL, "alleycat_delivery_errors_total", Count,
        "Deliveries not acknowledged, by error code.");
    describe_histogram(DELIVERY_DURATION_SECONDS, "alleycat_delivery_duration_seconds", Seconds,
        "Time from a delivery's headers to its response, of any status.");
    describe_gauge(DELIVERIES_IN_FLIGHT, "alleycat_deliveries_in_flight", Count,
        "Deliveries being read or decoded, including those whose sender has disconnected.");
    describe_gauge(DELIVERIES_IN_FLIGHT_BYTES, "alleycat_deliveries_in_flight_bytes", Bytes,
        "Memory of deliveries being read, decoded or committed, as charged to their budget.");
    describe_counter(RECORDS_TOTAL, "alleycat_records_total", Count,
        "Records of deliveries that reached the commit, accepted or not.");
    describe_counter(RECORDS_EMPTY_TOTAL, "alleycat_records_empty_total", Count,
        "Records without data.");
    describe_counter(RECORDS_REJECTED_TOTAL, "alleycat_records_rejected_total", Count,
        "Records quarantined, by reason.");
    describe_counter(PERSONAL_BESTS_TOTAL, "alleycat_personal_bests_total", Count,
        "Efforts that were new personal bests.");
    describe_counter(TRANSFORMATION_RECORDS_FAILED_TOTAL,
        "alleycat_transformation_records_failed_total", Count,
        "Records for which a transformation returned ProcessingFailed, by reason.");

    // Ledger
    describe_gauge(READY, "alleycat_ready", Count,
        "1 while the service should receive traffic, as /readyz says.");
    describe_gauge(COMMIT_QUEUE_LENGTH, "alleycat_commit_queue_length", Count,
        "Deliveries in the commit queue.");
    describe_gauge(COMMIT_QUEUE_OLDEST_AGE_SECONDS, "alleycat_commit_queue_oldest_age_seconds", Seconds,
        "Age of the oldest delivery that is decoded and not yet durable; 0 without one.");
    describe_histogram(COMMIT_DURATION_SECONDS, "alleycat_commit_duration_seconds", Seconds,
        "Duration of a commit, successful or failed.");
    describe_gauge(JOURNAL_SEGMENTS, "alleycat_journal_segments", Count,
        "Segments in the journal.");
    describe_gauge(SNAPSHOT_LAG_SECONDS, "alleycat_snapshot_lag_seconds", Seconds,
        "Age of the oldest effort missing from the stored class-N.gz, or final from finishes-N.gz, by class; 0 without one.");
    describe_histogram(SNAPSHOT_DURATION_SECONDS, "alleycat_snapshot_duration_seconds", Seconds,
        "Duration of a snapshot, successful or failed.");
    describe_gauge(REPLICATION_LAG_SECONDS, "alleycat_replication_lag_seconds", Seconds,
        "Time since the last complete listing of the store began; 0 before the first.");
    describe_gauge(UNREAD_SEGMENTS, "alleycat_unread_segments", Count,
        "Listed segments that are not merged yet, without those that do not exist.");
    describe_gauge(UNREAD_SEGMENTS_OLDEST_AGE_SECONDS, "alleycat_unread_segments_oldest_age_seconds", Seconds,
        "Time since the oldest unread segment was listed first; 0 without one.");
    describe_counter(REPLICATION_ERRORS_TOTAL, "alleycat_replication_errors_total", Count,
        "Polls of the store, and reads of what they listed, that failed.");
    describe_counter(STORE_FALLBACKS_TOTAL, "alleycat_store_fallbacks_total", Count,
        "Times that the store lost what it had, and memory was written again.");
    describe_counter(SEGMENTS_PASSED_OVER_TOTAL, "alleycat_segments_passed_over_total", Count,
        "Segments that were listed and could not be used: they do not exist, or a start found them damaged.");
    describe_counter(STRAY_NAMES_TOTAL, "alleycat_stray_names_total", Count,
        "Objects under journal/ whose names are no segment's.");
    describe_gauge(UNREADABLE_OBJECTS, "alleycat_unreadable_objects", Count,
        "Stored objects that cannot be read now. While it is over 0, snapshots wait and the journal grows.");
    describe_counter(CORRUPT_OBJECT_READS_TOTAL, "alleycat_corrupt_object_reads_total", Count,
        "Reads of stored objects with invalid content.");
    describe_gauge(EFFORTS, "alleycat_efforts", Count,
        "Efforts, by class.");
    describe_counter(EFFORTS_ERASED_TOTAL, "alleycat_efforts_erased_total", Count,
        "Efforts removed by erasures.");
    describe_gauge(RACERS, "alleycat_racers", Count,
        "Racers with an effort, by class.");
    describe_gauge(ERASURES, "alleycat_erasures", Count,
        "Stored erasures.");

    // Store
    describe_counter(STORE_REQUESTS_TOTAL, "alleycat_store_requests_total", Count,
        "Requests to the store, by operation, kind of object and outcome.");
    describe_counter(STORE_BYTES_TOTAL, "alleycat_store_bytes_total", Bytes,
        "Bytes read from and written to the store, by operation and kind of object.");
    describe_histogram(STORE_REQUEST_DURATION_SECONDS, "alleycat_store_request_duration_seconds", Seconds,
        "Duration of a request to the store, including the client's own retries, by operation.");

    // HTTP
    describe_counter(HTTP_REQUESTS_TOTAL, "alleycat_http_requests_total", Count,
        "HTTP requests, by route, method and status.");
    describe_histogram(HTTP_REQUEST_DURATION_SECONDS, "alleycat_http_request_duration_seconds", Seconds,
        "Time from a request's headers to its response's headers, by route.");
    describe_counter(CONNECTIONS_CLOSED_TOTAL, "alleycat_connections_closed_total", Count,
        "Connections closed by the service, by reason.");
    describe_gauge(SSE_SUBSCRIBERS, "alleycat_sse_subscribers", Count,
        "Subscribers of the classes' live events.");

    // Process
    describe_gauge(MEMORY_BYTES, "alleycat_memory_bytes", Bytes,
        "Memory of the state, by part; estimated from counts.");
    describe_gauge(PROCESS_RESIDENT_MEMORY_BYTES, "process_resident_memory_bytes", Bytes,
        "Resident memory of the process.");
    describe_gauge(BUILD_INFO, "alleycat_build_info", Count,
        "Always 1; the label is the version.");
}

/// Starts to record metrics, and describes all of them.
///
/// # Errors
/// A recorder is installed already.
pub(crate) fn install_recorder() -> anyhow::Result<PrometheusHandle> {
    let recorded = PrometheusBuilder::new()
        .set_buckets(&DURATION_BUCKETS_SECONDS)?
        .install_recorder()?;
    describe();
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(recorded)
}

/// Returns the log filter: `RUST_LOG`'s, or the level INFO. The demo's deliveries are not logged,
/// else they hide the address to open.
fn log_filter(rust_log: &str, is_demo: bool) -> Result<Targets, ParseError> {
    // The SDK warns of every object that was uploaded in parts: it cannot check their sums.
    const ALWAYS: &str = "aws_sdk_s3::http_response_checksum=error";
    let directives = match (rust_log, is_demo) {
        ("", false) => format!("info,{ALWAYS}"),
        ("", true) => format!("info,{ALWAYS},alleycat::http::routes::firehose=warn"),
        _ => format!("{ALWAYS},{rust_log}"),
    };
    directives.parse()
}

/// Starts to write log lines to standard error, from the level INFO on or as `RUST_LOG` says: levels
/// and `target=level`, with commas between them.
///
/// Colours are used on a terminal only, and never under `NO_COLOR`.
pub fn init_logging(format: LogFormat, is_demo: bool) {
    let rust_log = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, error) = match log_filter(&rust_log, is_demo) {
        Ok(filter) => (filter, None),
        Err(error) => {
            let default = log_filter("", is_demo).expect("the default is valid");
            (default, Some(error))
        }
    };
    let colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(lines).init(),
        LogFormat::Json => registry.with(lines.json()).init(),
    }
    if let Some(error) = error {
        tracing::warn!("RUST_LOG is ignored: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_filter_is_of_the_environment_or_the_default() {
        let filter = |rust_log: &str, is_demo| {
            let filter = log_filter(rust_log, is_demo).expect("valid directives");
            let mut directives: Vec<_> = filter.to_string().split(',').map(str::to_owned).collect();
            directives.sort();
            directives.join(",")
        };
        let sdk = "aws_sdk_s3::http_response_checksum=error";
        assert_eq!(filter("", false), format!("{sdk},info"));
        assert_eq!(
            filter("", true),
            format!("alleycat::http::routes::firehose=warn,{sdk},info")
        );
        assert_eq!(filter("debug", true), format!("{sdk},debug"));
        let own = "aws_sdk_s3::http_response_checksum=warn";
        assert_eq!(filter(own, false), own);
        assert!(log_filter("alleycat=loud", false).is_err());
    }
}
