//! Alleycat's all-time rankings: a Firehose HTTP endpoint destination that keeps the personal best of every racer at
//! every second of every class, durable before it answers, and serves it.
//!
//! The way of the data:
//!
//! ```text
//! POST /firehose ─► delivery ─► telemetry ─► efforts            in parallel, on a pool of threads; pure
//!                                              │  bounded queue
//!                                              ▼
//!          ledger: compare ─► write a journal segment ─► merge ─► answer 200        one writer, strictly in turn
//!                                              │
//!                                              ▼
//!          table: per class a column per second, per racer a slot
//!             │                        │
//!        leaderboard                history ─► class-N.gz: download and snapshot in one
//! ```
//!
//! The state is a join-semilattice: merging takes the maximum, so delivery at least once, replay, recovery and any
//! number of instances on one store are safe without a leader or a lock. ARCHITECTURE.md has the map, and the
//! invariants.

pub mod cli;
pub mod config;
pub mod domain;
pub mod firehose_client;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz_targets;
mod http;
pub mod ingest;
pub mod keys;
pub mod ledger;
mod memory_budget;
pub mod server;
pub mod state;
pub mod storage;
