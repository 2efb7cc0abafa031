//! From bytes to efforts: deliveries, Lambda events and stored objects.

pub(crate) mod bucket_allowlist;
pub mod decoded_records;
pub mod envelope;
pub(crate) mod envelope_fast_path;
pub(crate) mod json_scan;
pub(crate) mod lambda_event;
pub(crate) mod object_reader;
pub(crate) mod record;
pub(crate) mod record_fast_path;
pub(crate) mod s3_notification;
pub(crate) mod transformation;
