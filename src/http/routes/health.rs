//! `/healthz` and `/readyz`, for supervisors and load balancers.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::state::AppState;

/// Liveness
#[utoipa::path(
    get, path = "/healthz", tag = "Health", operation_id = "getHealth",
    responses((status = 200, description = "The process is alive.", body = String, example = "ok"))
)]
pub(crate) async fn healthz() -> Response {
    plain(StatusCode::OK, "ok".to_owned())
}

/// Readiness
///
/// Not ready before recovery is done, while shutting down, while the replication lag is too long, and while the store
/// holds an object of a newer program or one that requires unknown erasures.
#[utoipa::path(
    get, path = "/readyz", tag = "Health", operation_id = "getReadiness",
    responses(
        (status = 200, description = "The service is ready for traffic.", body = String, example = "ok"),
        (status = 503, description = "The service is not ready; the body gives the reason.", body = String,
            example = "the service is starting or stopping"),
    )
)]
pub(crate) async fn readyz(State(app): State<AppState>) -> Response {
    match app.ledger.ready() {
        Ok(()) => plain(StatusCode::OK, "ok".to_owned()),
        Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

fn plain(status: StatusCode, text: String) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], text).into_response()
}
