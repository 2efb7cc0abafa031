//! The HTTP interface: the routes, and their extractors, responders and limits.

mod auth;
mod delivery;
mod error;
mod extract;
mod limits;
mod openapi;
mod request_metrics;
mod respond;
mod router;
mod routes;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use auth::RequestKeys;
pub(crate) use openapi::document_text;
pub(crate) use router::router;
pub(crate) use routes::metrics;
pub(crate) use state::{AppState, SharedState, Stopping, stopped};
