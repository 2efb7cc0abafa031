//! From bytes to efforts: deliveries, Lambda events and stored objects.

pub mod bucket_allowlist;
pub mod envelope;
pub mod envelope_fast_path;
pub mod lambda_event;
pub mod object_reader;
pub mod record;
pub mod record_fast_path;
