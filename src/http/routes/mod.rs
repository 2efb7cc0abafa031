//! The handlers, one file per resource.

pub(crate) mod assets;
pub(crate) mod classes;
pub(crate) mod erasures;
pub(crate) mod events;
pub(crate) mod firehose;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod leaderboard;
pub(crate) mod live;
pub(crate) mod metrics;
pub(crate) mod pace;
pub(crate) mod racers;
pub(crate) mod races;
pub(crate) mod rides;
pub(crate) mod root;
