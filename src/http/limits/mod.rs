//! Bounds on memory and time.

pub(crate) mod page_budget;
