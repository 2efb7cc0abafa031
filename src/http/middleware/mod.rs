//! Middleware.

pub(crate) mod around;
pub(crate) mod metrics;
