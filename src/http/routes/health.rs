//! `/healthz` and `/readyz`: for whoever starts, stops and routes to the service.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::state::AppState;

/// Whether the process answers
#[utoipa::path(
    get, path = "/healthz", tag = "Health",
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain", example = "ok"))
)]
pub(crate) async fn healthz() -> Response {
    plain(StatusCode::OK, "ok".to_owned())
}

/// Whether the service should be sent traffic
///
/// It is not ready before what the store holds is read, while it is stopping, while it cannot see what other instances
/// wrote, and while there is an object that it cannot read.
#[utoipa::path(
    get, path = "/readyz", tag = "Health",
    responses(
        (status = 200, description = "It should.", body = String, content_type = "text/plain", example = "ok"),
        (status = 503, description = "It should not; the body says why.", body = String, content_type = "text/plain",
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
