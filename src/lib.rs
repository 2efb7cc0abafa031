//! Alleycat's all-time rankings.

pub mod effort;
pub mod leaderboard;
pub mod names;
pub mod store;
pub mod table;
