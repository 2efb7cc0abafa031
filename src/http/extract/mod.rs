//! Extractors: the ids in a path, the query parameters, and what the client accepts.

pub(crate) mod accept;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod values;
