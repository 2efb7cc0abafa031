//! Middleware.

pub(crate) mod metrics;
