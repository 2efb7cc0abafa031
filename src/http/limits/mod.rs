//! Bounds on memory and time.

pub(crate) mod answers;
pub(crate) mod room;
