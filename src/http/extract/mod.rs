//! Extractors: what a request names and what it accepts.

pub(crate) mod accept;
pub(crate) mod params;
