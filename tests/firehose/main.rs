//! Conformance of `POST /firehose` with Amazon Data Firehose, one test per row of the project's
//! table of requests and responses. Every response is checked for Firehose's form; see [`form`].

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect should stop there"
)]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod faults;
mod form;
mod headers;
mod large;
mod processes;
mod records;
