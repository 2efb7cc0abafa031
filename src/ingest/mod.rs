//! From bytes to efforts: deliveries, Lambda events and stored objects.

pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod bucket_allowlist;
pub(crate) mod decode_pool;
pub mod envelope;
pub mod envelope_fast_path;
pub(crate) mod error;
pub(crate) mod import_object;
pub mod lambda_event;
pub mod object_reader;
pub(crate) mod pipeline;
pub mod record;
pub mod record_fast_path;
