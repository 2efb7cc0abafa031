//! `GET /metrics`, in Prometheus' text format, on a listener of its own so that it is never public by accident.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

/// The router of the metrics' own listener.
pub(crate) fn router(recorded: PrometheusHandle) -> Router {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Router::new().route("/metrics", get(async move || (kind, recorded.render())))
}
