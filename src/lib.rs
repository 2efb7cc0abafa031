//! Alleycat: all-time rankings for home fitness races.
//!
//! A Firehose HTTP endpoint destination. It keeps every racer's personal best at every second of
//! every class, acknowledges a delivery when it is durable, and serves leaderboards and histories.
//!
//! # The flow
//!
//! ```text
//! POST /firehose ─► envelope ─► records ─► efforts             ingest: parallel, pure
//!                                            │ bounded queue
//!                                            ▼
//!   ledger: compare ─► write a journal segment ─► merge ─► respond 200     one task, in order
//!                                            │
//!                                            ▼
//!   state: a table per class, a column per second, a slot per racer
//!            │                          │
//!       leaderboard                  history ─► class-N.gz: download and snapshot in one
//! ```
//!
//! # The rules
//!
//! - The state is a join-semilattice: merging two states takes the maximum of each key. Delivery at
//!   least once, replay, recovery and any number of instances on one store are therefore safe
//!   without a leader or a lock.
//! - One task orders all commits. Readers never see what a crash could take back, except a racer's
//!   latest position in a race. A delivery that improves nothing costs no write.
//! - `domain`, `state`, the parsers of `ingest`, `storage::codec` and `storage::history_file` are
//!   pure: no async, IO, clock, logging or randomness.
//! - Every queue, body, page, cache and retry has a limit with a name, a unit and a reason.
//!
//! # The modules
//!
//! `http` → `ingest` → `ledger` → `storage` and `state` → `domain`; `server` is above `http`, and
//! [`cli`] above all. `tests/dependency_rules.rs` holds these arrows. ARCHITECTURE.md has the map
//! and the invariants.

pub mod cli;
pub mod config;
pub mod domain;
pub mod firehose_client;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz_targets;
pub mod gzip;
mod http;
pub mod ingest;
pub mod keys;
pub mod ledger;
mod memory_budget;
pub mod observability;
pub mod server;
pub mod state;
pub mod storage;
mod watched_file;
