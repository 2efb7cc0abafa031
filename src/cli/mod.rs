//! The command line: a module for each subcommand, and the progress bar that they share.

mod command_line;
pub mod doctor;
pub mod healthcheck;
mod progress;
pub mod replay;
mod run;
pub mod serve;
pub mod simulate;

pub use crate::cli::command_line::Command;
pub use crate::cli::run::run;
