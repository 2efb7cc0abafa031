//! Alleycat's all-time rankings.

pub mod clock;
pub mod delivery;
pub mod effort;
pub mod history;
pub mod ledger;
pub mod names;
pub mod store;
pub mod table;
pub mod telemetry;
