//! Alleycat's all-time rankings: a Firehose HTTP endpoint destination that keeps the personal best of every racer at
//! every second of every class, durable before it answers, and serves it.
//!
//! The way of the data:
//!
//! ```text
//! POST /firehose ─► delivery ─► telemetry ─► efforts            in parallel, a thread per delivery; pure
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

pub mod archive;
pub mod buckets;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod doctor;
pub mod effort;
pub mod erasures;
pub mod events;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod history;
mod http;
pub mod keys;
pub mod leaderboard;
pub mod ledger;
pub mod names;
mod plain;
pub mod races;
pub mod ready;
pub mod replay;
pub mod sender;
pub mod serve;
pub mod simulate;
pub mod store;
pub mod table;
pub mod telemetry;
