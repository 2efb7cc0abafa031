//! The HTTP interface: the routes, and their extractors, responders and middleware.

mod auth;
mod delivery;
mod error;
mod extract;
mod openapi;
mod page_budget;
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
