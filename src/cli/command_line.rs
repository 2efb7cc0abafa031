//! The command line: subcommands, and how they are read from arguments and environment.

use std::env;
use std::ffi::OsStr;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cli::doctor::DoctorOptions;
use crate::cli::healthcheck::HealthcheckOptions;
use crate::cli::replay::ReplayOptions;
use crate::cli::simulate::SimulateOptions;
use crate::config::Config;
use crate::firehose_client::AccessKey;

/// All-time rankings for home fitness races.
///
/// Receives telemetry from an Amazon Data Firehose stream over HTTP, keeps every racer's personal
/// best at every second of every class, and serves leaderboards and histories. A delivery is
/// acknowledged when it is durable.
#[derive(Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "Try it, then open http://127.0.0.1:8080/ :\n  \
    alleycat serve --demo 100"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// A subcommand with its options.
#[derive(Subcommand)]
pub enum Command {
    /// Run the service.
    ///
    /// Make its /firehose the HTTP endpoint destination of an Amazon Data Firehose stream, or send
    /// deliveries with `alleycat simulate`.
    #[command(
        after_help = "Durations are written as 250ms, 30s or 1h, sizes as 512KiB or 100MiB. An empty variable \
        counts as not set.\n\nExamples:\n  alleycat serve --demo 100\n  ALLEYCAT_ACCESS_KEY=secret alleycat serve \
        --listen :8080 --store s3://my-bucket/history"
    )]
    Serve(Box<Config>),

    /// Ride simulated races, and deliver them as Firehose does.
    Simulate(Box<SimulateOptions>),

    /// Deliver the records of files, folders and buckets again.
    Replay(Box<ReplayOptions>),

    /// Print the OpenAPI document of the HTTP API.
    #[command(after_help = "Example:\n  alleycat openapi > openapi.json")]
    Openapi,

    /// Check whether the service would run here with these options, and say what to fix.
    ///
    /// Takes the options of `alleycat serve`, from the command line or the environment.
    #[command(
        after_help = "Exit status: 0 when no check failed, else 1.\n\nExample:\n  \
        alleycat doctor --store s3://my-bucket/history --read-objects"
    )]
    Doctor(Box<DoctorOptions>),

    /// Ask the service on this machine whether it is ready, for a container's health check.
    Healthcheck(HealthcheckOptions),
}

impl Command {
    /// Reads the command line and the environment.
    ///
    /// An empty variable counts as not set, as Compose's `${NAME:-}` gives it. `simulate` and
    /// `replay` take the first of `ALLEYCAT_ACCESS_KEY`'s keys if they have no key of their own.
    ///
    /// # Errors
    /// Help was requested, or an option is invalid. The error never shows a key.
    pub fn parse() -> Result<Self, clap::Error> {
        let command = CommandLine::command();
        let command =
            command.mut_subcommands(|subcommand| subcommand.mut_args(without_empty_variable));
        let matches = command
            .clone()
            .try_get_matches()
            .map_err(|error| explained(error, command))?;
        let mut command = CommandLine::from_arg_matches(&matches)?.command;
        match &mut command {
            Self::Simulate(options) if options.access_key.is_none() => {
                options.access_key = first_access_key()?;
            }
            Self::Replay(options) if options.access_key.is_none() => {
                options.access_key = first_access_key()?;
            }
            _ => {}
        }
        Ok(command)
    }
}

fn without_empty_variable(argument: Arg) -> Arg {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    if argument.get_env().is_some_and(is_empty) {
        argument.env(Resettable::Reset)
    } else {
        argument
    }
}

/// Returns the first key of `ALLEYCAT_ACCESS_KEY`, which may have several.
fn first_access_key() -> Result<Option<AccessKey>, clap::Error> {
    const VARIABLE: &str = "ALLEYCAT_ACCESS_KEY";
    let keys = env::var(VARIABLE).unwrap_or_default();
    let first = (!keys.is_empty()).then(|| keys.split(',').next().unwrap_or_default());
    first.map(str::parse).transpose().map_err(|error| {
        let message = format!("invalid value for {VARIABLE}: {error}");
        CommandLine::command().error(ErrorKind::ValueValidation, message)
    })
}

/// Returns the error with the option's environment variable if that is set, and without the value
/// if it is a key, or most of one, or a URL with a password.
fn explained(mut error: clap::Error, mut command: clap::Command) -> clap::Error {
    if error.kind() == ErrorKind::InvalidUtf8
        && let Some(variable) = variable_without_utf8(&command)
    {
        let message = format!("the value of {variable} is not UTF-8");
        return command.error(ErrorKind::InvalidUtf8, message);
    }
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let option = option.clone();
    let value = error.get(ContextKind::InvalidValue);
    let has_user = value.is_some_and(|value| value.to_string().contains('@'));
    if option.contains("-key <") || (option.starts_with("--to <") && has_user) {
        error.insert(
            ContextKind::InvalidValue,
            ContextValue::String("…".to_owned()),
        );
    }
    command.build(); // else arguments have no text form
    let variable = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter(|argument| argument.to_string() == option)
        .filter_map(Arg::get_env)
        .find(|variable| env::var_os(variable).is_some());
    if let Some(variable) = variable {
        let option = format!("{option} [env: {}]", variable.display());
        error.insert(ContextKind::InvalidArg, ContextValue::String(option));
    }
    error
}

/// Returns the environment variable of an option whose value is set, and not UTF-8.
fn variable_without_utf8(command: &clap::Command) -> Option<String> {
    let arguments = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    let is_invalid =
        |name: &&OsStr| env::var_os(name).is_some_and(|value| value.to_str().is_none());
    let variable = arguments.filter_map(Arg::get_env).find(is_invalid)?;
    Some(variable.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_an_example() {
        for command in CommandLine::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{}: {help}", command.get_name());
        }
    }

    #[test]
    fn every_option_is_described_by_a_sentence() {
        for command in CommandLine::command().get_subcommands() {
            for argument in command.get_arguments().filter(|it| it.get_id() != "help") {
                let help = argument.get_long_help().or(argument.get_help());
                let help = help.map(ToString::to_string).unwrap_or_default();
                assert!(help.starts_with(char::is_uppercase), "{argument}: {help}");
            }
        }
    }
}
