//! The Firehose client and the simulation against a receiver with scripted replies.

#[allow(dead_code, reason = "other suites use the rest")]
#[path = "../support/builders.rs"]
mod builders;

mod client;
mod receiver;
mod simulation;
