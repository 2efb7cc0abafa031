//! Alleycat's all-time rankings.

pub mod clock;
pub mod config;
pub mod delivery;
pub mod effort;
pub mod history;
mod http;
pub mod leaderboard;
pub mod ledger;
pub mod names;
pub mod sender;
pub mod serve;
pub mod simulate;
pub mod store;
pub mod table;
pub mod telemetry;

/// The OpenAPI 3.1 document of the HTTP API, as `openapi/openapi.json` has it.
pub fn openapi() -> String {
    http::openapi()
}
