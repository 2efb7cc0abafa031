//! Middleware: counts requests and measures their duration.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use metrics::{Counter, Histogram, counter, histogram};
use parking_lot::Mutex;

use crate::observability;

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
