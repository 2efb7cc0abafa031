//! Middleware: counts requests and measures their duration.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use dashmap::DashMap;
use metrics::{Counter, Histogram, counter, histogram};

use crate::observability;

/// The labels of a request: its route and never its path, whose number has no bound, its method and
/// the response's status.
type Labels = (String, &'static str, StatusCode);

/// The metrics of requests by their labels, cached: looking them up there takes longer than all
/// else here.
pub(crate) type RequestMetrics = Arc<DashMap<Labels, (Counter, Histogram)>>;

/// The methods that are labels. All others share one.
static METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::DELETE,
    Method::OPTIONS,
    Method::PUT,
    Method::PATCH,
];

/// Middleware: counts a request and its response.
pub(crate) async fn count_request(
    State(metrics): State<RequestMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let method = METHODS.iter().find(|method| *method == request.method());
    let method = method.map_or("other", Method::as_str);
    let response = next.run(request).await;
    let route = match path.as_ref().map_or("none", MatchedPath::as_str) {
        // The router has a route for each class, since it knows no parameter within a segment.
        path if path.starts_with("/class-") => "/class-{classId}.gz",
        path => path,
    };
    let status = response.status();
    let labels = (route.to_owned(), method, status);
    let metrics = metrics.entry(labels).or_insert_with(|| {
        let (route, status) = (route.to_owned(), status.as_str().to_owned());
        (
            counter!(observability::HTTP_REQUESTS_TOTAL, "route" => route.clone(), "method" => method, "status" => status),
            histogram!(observability::HTTP_REQUEST_DURATION_SECONDS, "route" => route),
        )
    });
    metrics.0.increment(1);
    metrics.1.record(began.elapsed());
    response
}
