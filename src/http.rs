//! The service over HTTP: the router, and what its handlers share.

mod firehose;
mod problem;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::{Method, StatusCode, Uri};

use crate::config::Config;
use crate::ledger::Ledger;

use problem::Problem;

/// What handlers work on. A clone shares everything.
#[derive(Clone, FromRef)]
pub(crate) struct App {
    ledger: Ledger,
    config: Arc<Config>,
    gate: firehose::Gate,
}

impl App {
    /// An app over that ledger.
    pub(crate) fn new(ledger: Ledger, config: Arc<Config>) -> Self {
        Self { ledger, config, gate: firehose::Gate::default() }
    }
}

/// Every path of the service.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .merge(firehose::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}; / lists what there is", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri, State(_): State<App>) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}
