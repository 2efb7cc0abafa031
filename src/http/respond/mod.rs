//! Responders: JSON, CSV, boards, conditional and partial responses.

pub(crate) mod board;
pub(crate) mod conditional;
pub(crate) mod format;
