//! Bounds on memory and time.

pub(crate) mod answers;
pub(crate) mod long;
pub(crate) mod pace;
pub(crate) mod room;
