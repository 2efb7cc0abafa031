//! The store in a bucket.

/// A bucket and a prefix in it.
#[derive(Debug)]
pub struct S3Store;
