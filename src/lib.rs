//! Alleycat's all-time rankings.

pub mod effort;
pub mod history;
pub mod names;
pub mod store;
pub mod table;
