//! Middleware.

pub(crate) mod request_metrics;
