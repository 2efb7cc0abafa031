//! The subcommands.

pub mod doctor;
pub mod healthcheck;
pub mod replay;
pub mod simulate;
