//! `GET /metrics`, in Prometheus' text format, on a listener of its own so that it is never public by accident; and
//! what is counted of every request.
//!
//! [`describe`] is the list of all metrics there are. What has no event of its own, ages above all, is looked up when
//! it is asked for, so that it goes on growing while nothing happens.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::get;
use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::domain::rejection::RejectionReason;
use crate::http::state::AppState;
use crate::ingest::error::DeliveryErrorCode;
use crate::ledger::{ClassGauges, LedgerGauges};

/// The statuses of deliveries.
const DELIVERY_STATUSES: [&str; 7] = ["200", "400", "401", "403", "415", "500", "503"];

/// What is asked of a store, and of which kinds of objects.
const STORE_REQUESTS: [(&str, &[&str]); 4] = [
    ("get", &["erasures", "history", "journal", "racers"]),
    (
        "put",
        &["erasures", "history", "journal", "quarantine", "racers"],
    ),
    ("list", &["journal", "root"]),
    ("delete", &["journal"]),
];

/// The router of the metrics' own listener.
pub(crate) fn router(recorded: PrometheusHandle, app: AppState) -> Router {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    let render = async move || {
        set_gauges(&app);
        (kind, recorded.render())
    };
    Router::new().route("/metrics", get(render))
}

/// Says of every metric what it is, and begins those with nothing to count yet at 0: a counter that comes into being
/// with its first event shows no increase.
pub(crate) fn describe() {
    describe_deliveries();
    describe_ledger();
    describe_store();
    describe_readers();
    describe_process();
    gauge!("alleycat_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

fn describe_deliveries() {
    describe_counter!(
        "alleycat_deliveries_total",
        Unit::Count,
        "Deliveries answered, by the answer's status."
    );
    for status in DELIVERY_STATUSES {
        counter!("alleycat_deliveries_total", "status" => status).absolute(0);
    }
    describe_counter!(
        "alleycat_delivery_errors_total",
        Unit::Count,
        "Deliveries that were not acknowledged, by error code."
    );
    for code in DeliveryErrorCode::ALL {
        counter!("alleycat_delivery_errors_total", "code" => code.as_str()).absolute(0);
    }
    describe_histogram!(
        "alleycat_delivery_duration_seconds",
        Unit::Seconds,
        "From a delivery's headers to its answer, whatever that was."
    );
    describe_gauge!(
        "alleycat_deliveries_in_flight",
        Unit::Count,
        "Deliveries that are being read or decoded, those whose sender has gone included."
    );
    describe_gauge!(
        "alleycat_deliveries_in_flight_bytes",
        Unit::Bytes,
        "What deliveries that are being read, decoded or committed take up, as counted against their limit."
    );
    for (name, help) in [
        (
            "alleycat_records_total",
            "Records of deliveries that came to be committed, whatever became of them.",
        ),
        ("alleycat_records_empty_total", "Records without data."),
        (
            "alleycat_personal_bests_total",
            "Efforts that were new personal bests.",
        ),
    ] {
        describe_counter!(name, Unit::Count, help);
        counter!(name).absolute(0);
    }
    for (name, help) in [
        (
            "alleycat_records_rejected_total",
            "Records quarantined, by reason.",
        ),
        (
            "alleycat_transformation_records_failed_total",
            "Records answered ProcessingFailed by a transformation, by reason.",
        ),
    ] {
        describe_counter!(name, Unit::Count, help);
        for reason in RejectionReason::ALL {
            counter!(name, "reason" => reason.as_str()).absolute(0);
        }
    }
}

fn describe_ledger() {
    describe_gauge!(
        "alleycat_ready",
        Unit::Count,
        "1 while the service should be sent traffic, as /readyz says."
    );
    describe_gauge!(
        "alleycat_commit_queue_length",
        Unit::Count,
        "Deliveries that wait for the writer to take them."
    );
    describe_gauge!(
        "alleycat_commit_queue_oldest_age_seconds",
        Unit::Seconds,
        "How long the oldest delivery has waited that is decoded and not yet durable; 0 where none waits."
    );
    describe_histogram!(
        "alleycat_commit_duration_seconds",
        Unit::Seconds,
        "What a commit took, done or failed."
    );
    describe_gauge!(
        "alleycat_journal_segments",
        Unit::Count,
        "Segments in the journal."
    );
    describe_gauge!(
        "alleycat_snapshot_lag_seconds",
        Unit::Seconds,
        "How long efforts have waited that the stored class-N.gz does not have; 0 where it has all."
    );
    describe_histogram!(
        "alleycat_snapshot_duration_seconds",
        Unit::Seconds,
        "What a snapshot took, done or failed."
    );
    describe_gauge!(
        "alleycat_replication_lag_seconds",
        Unit::Seconds,
        "How long ago the last complete look at the store began; 0 before the first."
    );
    describe_counter!(
        "alleycat_replication_errors_total",
        Unit::Count,
        "Looks at the store that failed."
    );
    counter!("alleycat_replication_errors_total").absolute(0);
    describe_counter!(
        "alleycat_corrupt_object_reads_total",
        Unit::Count,
        "Stored objects met that do not read."
    );
    counter!("alleycat_corrupt_object_reads_total").absolute(0);
    describe_gauge!("alleycat_efforts", Unit::Count, "Efforts, by class.");
    describe_gauge!(
        "alleycat_racers",
        Unit::Count,
        "Racers with an effort, by class."
    );
    describe_gauge!("alleycat_erasures", Unit::Count, "Erasures that are kept.");
}

fn describe_store() {
    describe_counter!(
        "alleycat_store_requests_total",
        Unit::Count,
        "Requests to the store, by operation, kind of object and outcome."
    );
    describe_counter!(
        "alleycat_store_bytes_total",
        Unit::Bytes,
        "Bodies got and put, by operation and kind."
    );
    describe_histogram!(
        "alleycat_store_request_duration_seconds",
        Unit::Seconds,
        "What a request to the store took, the client's own retries included, by operation."
    );
    for (operation, kinds) in STORE_REQUESTS {
        for &kind in kinds {
            counter!("alleycat_store_requests_total", "operation" => operation, "kind" => kind, "outcome" => "failed")
                .absolute(0);
        }
    }
}

fn describe_readers() {
    describe_counter!(
        "alleycat_http_requests_total",
        Unit::Count,
        "Requests, by route, method and status."
    );
    describe_histogram!(
        "alleycat_http_request_duration_seconds",
        Unit::Seconds,
        "From a request's headers to the beginning of its answer, by route."
    );
    describe_counter!(
        "alleycat_connections_closed_total",
        Unit::Count,
        "Connections that the service closed, by reason."
    );
    for reason in [
        "too_many",
        "header_timeout",
        "write_timeout",
        "response_deadline",
    ] {
        counter!("alleycat_connections_closed_total", "reason" => reason).absolute(0);
    }
    describe_gauge!(
        "alleycat_sse_subscribers",
        Unit::Count,
        "Listeners of the classes' live events."
    );
}

fn describe_process() {
    describe_gauge!(
        "alleycat_memory_bytes",
        Unit::Bytes,
        "What the state takes up, by part; estimated from counts."
    );
    describe_gauge!(
        "process_resident_memory_bytes",
        Unit::Bytes,
        "Memory of the process that is resident."
    );
    describe_gauge!(
        "alleycat_build_info",
        Unit::Count,
        "1; the version is in the label."
    );
}

fn set_gauges(app: &AppState) {
    let LedgerGauges {
        ready,
        commit_queue_length,
        oldest_unanswered_age,
        replication_lag,
        segments,
        erasures,
        classes,
        memory,
    } = app.ledger.gauges();
    gauge!("alleycat_ready").set(f64::from(u8::from(ready)));
    gauge!("alleycat_commit_queue_length").set(commit_queue_length as f64);
    gauge!("alleycat_commit_queue_oldest_age_seconds").set(oldest_unanswered_age.as_secs_f64());
    gauge!("alleycat_replication_lag_seconds").set(replication_lag.as_secs_f64());
    gauge!("alleycat_journal_segments").set(segments as f64);
    gauge!("alleycat_erasures").set(erasures as f64);
    for ClassGauges {
        class,
        efforts,
        racers,
        snapshot_lag,
    } in classes
    {
        let class = class.to_string();
        gauge!("alleycat_efforts", "class" => class.clone()).set(efforts as f64);
        gauge!("alleycat_racers", "class" => class.clone()).set(racers as f64);
        gauge!("alleycat_snapshot_lag_seconds", "class" => class).set(snapshot_lag.as_secs_f64());
    }
    for (part, bytes) in [
        ("table", memory.table),
        ("histories", memory.histories),
        ("names", memory.names),
    ] {
        gauge!("alleycat_memory_bytes", "part" => part).set(bytes as f64);
    }
    gauge!("alleycat_deliveries_in_flight").set(app.admission.deliveries_in_flight() as f64);
    gauge!("alleycat_sse_subscribers").set(app.live.listeners() as f64);
    gauge!("alleycat_deliveries_in_flight_bytes")
        .set(app.admission.deliveries.acquired_bytes() as f64);
    if let Some(bytes) = resident_bytes() {
        gauge!("process_resident_memory_bytes").set(bytes as f64);
    }
}

/// The process' resident memory, in bytes, where the system tells it as Linux does.
fn resident_bytes() -> Option<usize> {
    let pages: usize = std::fs::read_to_string("/proc/self/statm")
        .ok()?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(pages * rustix::param::page_size())
}

/// The metrics of requests, by route and never by path, whose number has no bound. Counters are
/// cached: to look one up by its labels takes longer than all else here.
#[derive(Clone, Default)]
pub(crate) struct RequestMetrics(Arc<Mutex<HashMap<String, RouteMetrics>>>);

/// The metrics of one route.
struct RouteMetrics {
    duration: Histogram,
    /// By method and status: a few.
    responses: Vec<(&'static str, StatusCode, Counter)>,
}

/// Middleware: counts a request and its response.
pub(crate) async fn count_request(
    State(metrics): State<RequestMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let method = method(request.method());
    let response = next.run(request).await;
    let route = match path.as_ref().map(MatchedPath::as_str) {
        None => "none",
        // The router has a route for each class, since it knows no parameter within a segment.
        Some(path) if path.starts_with("/class-") => "/class-{classId}.gz",
        Some(path) => path,
    };
    metrics.record(route, method, response.status(), began.elapsed());
    response
}

impl RequestMetrics {
    fn record(&self, route: &str, method: &'static str, status: StatusCode, took: Duration) {
        let mut routes = self.0.lock();
        let metrics = match routes.get_mut(route) {
            Some(metrics) => metrics,
            None => routes.entry(route.to_owned()).or_insert(RouteMetrics {
                duration: histogram!("alleycat_http_request_duration_seconds", "route" => route.to_owned()),
                responses: Vec::new(),
            }),
        };
        metrics.duration.record(took);
        let responses = &mut metrics.responses;
        let index = responses
            .iter()
            .position(|it| (it.0, it.1) == (method, status));
        let index = index.unwrap_or_else(|| {
            let (route, status_text) = (route.to_owned(), status.as_str().to_owned());
            let counter = counter!(
                "alleycat_http_requests_total", "route" => route, "method" => method, "status" => status_text
            );
            responses.push((method, status, counter));
            responses.len() - 1
        });
        responses[index].2.increment(1);
    }
}

/// Returns the method's label, of a bounded set.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}
