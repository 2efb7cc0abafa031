//! Responders: JSON, CSV, conditional and partial responses.

pub(crate) mod conditional;
pub(crate) mod format;
