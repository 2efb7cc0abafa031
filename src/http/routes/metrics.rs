//! `GET /metrics`, in Prometheus' text format, on a listener of its own.
//!
//! `observability` has the list of all metrics. Gauges are set when metrics are collected, so that
//! ages grow while nothing happens.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::domain::rejection::RejectionReason;
use crate::http::delivery;
use crate::http::state::AppState;
use crate::ingest::error::DeliveryErrorCode;
use crate::ledger::{ClassGauges, LedgerGauges};
use crate::observability;

/// The operations on a store, and the kinds of objects they concern.
const STORE_REQUESTS: [(&str, &[&str]); 4] = [
    ("get", &["erasures", "history", "journal", "racers"]),
    (
        "put",
        &["erasures", "history", "journal", "quarantine", "racers"],
    ),
    ("list", &["journal", "root"]),
    ("delete", &["journal"]),
];

/// Returns the router of the metrics' own listener.
pub(crate) fn router(recorded: PrometheusHandle, app: AppState) -> Router {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    let render = async move || {
        set_gauges(&app);
        ([(header::CONTENT_TYPE, content_type)], recorded.render())
    };
    Router::new().route("/metrics", get(render))
}

/// Starts the counters with known labels at 0: a counter that appears with its first event shows no
/// increase.
pub(crate) fn init_counters() {
    counter!(observability::DELIVERIES_TOTAL, "status" => "200").absolute(0);
    for code in DeliveryErrorCode::ALL {
        let status = delivery::status(code).as_str().to_owned();
        counter!(observability::DELIVERIES_TOTAL, "status" => status).absolute(0);
        counter!(observability::DELIVERY_ERRORS_TOTAL, "code" => code.as_str()).absolute(0);
    }
    for name in [
        observability::RECORDS_TOTAL,
        observability::RECORDS_EMPTY_TOTAL,
        observability::PERSONAL_BESTS_TOTAL,
        observability::REPLICATION_ERRORS_TOTAL,
        observability::CORRUPT_OBJECT_READS_TOTAL,
        observability::STORE_FALLBACKS_TOTAL,
        observability::SEGMENTS_PASSED_OVER_TOTAL,
        observability::STRAY_NAMES_TOTAL,
    ] {
        counter!(name).absolute(0);
    }
    for name in [
        observability::RECORDS_REJECTED_TOTAL,
        observability::TRANSFORMATION_RECORDS_FAILED_TOTAL,
    ] {
        for reason in RejectionReason::ALL {
            counter!(name, "reason" => reason.as_str()).absolute(0);
        }
    }
    for (operation, kinds) in STORE_REQUESTS {
        for &kind in kinds {
            counter!(
                observability::STORE_REQUESTS_TOTAL,
                "operation" => operation, "kind" => kind, "outcome" => "failed"
            )
            .absolute(0);
        }
    }
    for reason in [
        "too_many",
        "header_timeout",
        "write_timeout",
        "response_deadline",
    ] {
        counter!(observability::CONNECTIONS_CLOSED_TOTAL, "reason" => reason).absolute(0);
    }
}

fn set_gauges(app: &AppState) {
    let LedgerGauges {
        ready,
        commit_queue_length,
        oldest_unanswered_age,
        replication_lag,
        segments,
        unread_segments,
        oldest_unread_age,
        unreadable,
        erasures,
        classes,
        memory,
    } = app.ledger.gauges();
    gauge!(observability::READY).set(f64::from(u8::from(ready)));
    gauge!(observability::COMMIT_QUEUE_LENGTH).set(commit_queue_length as f64);
    gauge!(observability::COMMIT_QUEUE_OLDEST_AGE_SECONDS).set(oldest_unanswered_age.as_secs_f64());
    gauge!(observability::REPLICATION_LAG_SECONDS).set(replication_lag.as_secs_f64());
    gauge!(observability::JOURNAL_SEGMENTS).set(segments as f64);
    gauge!(observability::UNREAD_SEGMENTS).set(unread_segments as f64);
    gauge!(observability::UNREAD_SEGMENTS_OLDEST_AGE_SECONDS).set(oldest_unread_age.as_secs_f64());
    gauge!(observability::UNREADABLE_OBJECTS).set(unreadable as f64);
    gauge!(observability::ERASURES).set(erasures as f64);
    for ClassGauges {
        class,
        efforts,
        racers,
        snapshot_lag,
    } in classes
    {
        let class = class.to_string();
        gauge!(observability::EFFORTS, "class" => class.clone()).set(efforts as f64);
        gauge!(observability::RACERS, "class" => class.clone()).set(racers as f64);
        gauge!(observability::SNAPSHOT_LAG_SECONDS, "class" => class)
            .set(snapshot_lag.as_secs_f64());
    }
    for (part, bytes) in [
        ("table", memory.table),
        ("histories", memory.histories),
        ("names", memory.names),
        ("races", memory.races),
    ] {
        gauge!(observability::MEMORY_BYTES, "part" => part).set(bytes as f64);
    }
    gauge!(observability::DELIVERIES_IN_FLIGHT).set(app.admission.deliveries_in_flight() as f64);
    gauge!(observability::SSE_SUBSCRIBERS).set(app.live.subscribers() as f64);
    gauge!(observability::DELIVERIES_IN_FLIGHT_BYTES)
        .set(app.admission.deliveries.acquired_bytes() as f64);
    if let Some(bytes) = resident_bytes() {
        gauge!(observability::PROCESS_RESIDENT_MEMORY_BYTES).set(bytes as f64);
    }
}

/// Returns the resident memory of the process, in bytes. Linux alone has it here.
fn resident_bytes() -> Option<usize> {
    let pages: usize = std::fs::read_to_string("/proc/self/statm")
        .ok()?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(pages * rustix::param::page_size())
}
