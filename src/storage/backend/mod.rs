//! The stores: a folder, a bucket, and metrics around either.

pub(crate) mod instrumented;
pub(crate) mod local_fs;
pub(crate) mod s3;
mod stray_names;
