//! The service as processes on a bucket of a real S3 server: one instance, and several that share
//! the bucket.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

#[path = "../support/mod.rs"]
mod support;

mod bucket;
mod instances;
mod load;
mod model;
mod outages;
mod progress;
mod races;
mod start;

/// Classes with rides, out of six.
const CLASSES: u16 = 2;

/// The shortest intervals that the options allow: tests see many commits, listings and snapshots.
const QUICK: [&str; 6] = [
    "--commit-interval",
    "10ms",
    "--sync-interval",
    "200ms",
    "--snapshot-interval",
    "1s",
];
