//! Alleycat's all-time rankings.

pub mod effort;
pub mod names;
pub mod sender;
pub mod simulate;
pub mod store;
pub mod table;
