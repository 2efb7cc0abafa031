//! From bytes to efforts: deliveries, Lambda events and stored objects.

pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod bucket_allowlist;
pub(crate) mod decode_pool;
pub mod decoded_records;
pub mod envelope;
pub(crate) mod envelope_fast_path;
pub(crate) mod error;
pub(crate) mod import_object;
pub(crate) mod json_scan;
pub(crate) mod lambda_event;
pub(crate) mod object_reader;
pub(crate) mod pipeline;
pub(crate) mod record;
pub(crate) mod record_fast_path;
pub(crate) mod s3_notification;
pub(crate) mod transformation;
