//! The encodings of stored objects. Pure: no async, IO, clock or logging.

pub(crate) mod erasures;
pub(crate) mod journal_segment;
pub(crate) mod names;
pub(crate) mod quarantine;
pub(crate) mod race_rows;
mod record_line;
