//! The state that readers read, in memory. Pure.

pub mod leaderboard;
pub mod races;
pub mod recent_bests;
pub mod table;
