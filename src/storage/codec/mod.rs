//! The forms of stored objects. Pure.

pub(crate) mod journal_segment;
pub(crate) mod names;
