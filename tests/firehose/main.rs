//! `POST /firehose`, as Amazon Data Firehose meets it: its conformance table row by row, against a whole service over
//! real HTTP. Every answer is held to the form that Firehose reads; see [`form`].

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
