//! The in-memory state that readers query. Pure: no async, IO, clock or logging.

pub mod leaderboard;
pub mod pace;
pub mod races;
pub mod recent_bests;
pub mod table;
