//! Alleycat's all-time rankings.

pub mod delivery;
pub mod effort;
pub mod names;
pub mod store;
pub mod table;
pub mod telemetry;
