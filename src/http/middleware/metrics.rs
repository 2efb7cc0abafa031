//! `GET /metrics`, in Prometheus' text format, on a listener of its own so that it is never public by accident; and
//! what is counted of every request.
//!
//! `observability` lists all metrics there are. What has no event of its own, ages above all, is looked up when
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
use metrics::{Counter, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::domain::rejection::RejectionReason;
use crate::http::state::AppState;
use crate::ingest::error::DeliveryErrorCode;
use crate::ledger::{ClassGauges, LedgerGauges};
use crate::observability;

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

/// Starts the counters with known labels at 0: a counter that appears with its first event shows no increase.
pub(crate) fn init_counters() {
    for status in DELIVERY_STATUSES {
        counter!(observability::DELIVERIES_TOTAL, "status" => status).absolute(0);
    }
    for code in DeliveryErrorCode::ALL {
        counter!(observability::DELIVERY_ERRORS_TOTAL, "code" => code.as_str()).absolute(0);
    }
    for name in [
        observability::RECORDS_TOTAL,
        observability::RECORDS_EMPTY_TOTAL,
        observability::PERSONAL_BESTS_TOTAL,
        observability::REPLICATION_ERRORS_TOTAL,
        observability::CORRUPT_OBJECT_READS_TOTAL,
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
        erasures,
        classes,
        memory,
    } = app.ledger.gauges();
    gauge!(observability::READY).set(f64::from(u8::from(ready)));
    gauge!(observability::COMMIT_QUEUE_LENGTH).set(commit_queue_length as f64);
    gauge!(observability::COMMIT_QUEUE_OLDEST_AGE_SECONDS).set(oldest_unanswered_age.as_secs_f64());
    gauge!(observability::REPLICATION_LAG_SECONDS).set(replication_lag.as_secs_f64());
    gauge!(observability::JOURNAL_SEGMENTS).set(segments as f64);
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
    ] {
        gauge!(observability::MEMORY_BYTES, "part" => part).set(bytes as f64);
    }
    gauge!(observability::DELIVERIES_IN_FLIGHT).set(app.admission.deliveries_in_flight() as f64);
    gauge!(observability::SSE_SUBSCRIBERS).set(app.live.listeners() as f64);
    gauge!(observability::DELIVERIES_IN_FLIGHT_BYTES)
        .set(app.admission.deliveries.acquired_bytes() as f64);
    if let Some(bytes) = resident_bytes() {
        gauge!(observability::PROCESS_RESIDENT_MEMORY_BYTES).set(bytes as f64);
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
                duration: histogram!(observability::HTTP_REQUEST_DURATION_SECONDS, "route" => route.to_owned()),
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
                observability::HTTP_REQUESTS_TOTAL, "route" => route, "method" => method, "status" => status_text
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
