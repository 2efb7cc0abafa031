//! The command line of `alleycat`.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use alleycat::cli::doctor;
use alleycat::cli::healthcheck::{self, HealthcheckOptions};
use alleycat::cli::replay::{self, ReplayOptions};
use alleycat::cli::simulate::{self, SimulateOptions};
use alleycat::config::{Config, LogFormat};
use alleycat::firehose_client::AccessKey;
use alleycat::ledger::clock::{Clock, SystemClock};
use alleycat::server;
use alleycat::storage;
use anyhow::Context;
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// All-time rankings for home fitness races: every rider's personal best at every second, durable and at once.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service.
    ///
    /// Set it as the HTTP endpoint destination of an Amazon Data Firehose stream, or send deliveries with
    /// `alleycat simulate`.
    #[command(after_help = "Examples:\n  alleycat serve --demo 100\n  \
        ALLEYCAT_ACCESS_KEY=secret alleycat serve --listen 0.0.0.0:8080 --store s3://my-bucket/history")]
    Serve(Box<Config>),
    /// Ride races and deliver them as Firehose does.
    Simulate(Box<SimulateOptions>),
    /// Deliver again what is in files, folders and buckets.
    Replay(Box<ReplayOptions>),
    /// Print the OpenAPI document of the HTTP API.
    Openapi,
    /// Check whether the service would run with these options here, and say what to fix.
    ///
    /// Takes the options of `alleycat serve`, from the command line or the environment. Ends with 1 when anything is
    /// wrong.
    Doctor(Box<Config>),
    /// Ask the service on this machine whether it is ready, for a container's health check.
    Healthcheck(HealthcheckOptions),
}

/// How long work that nobody waits for any more may go on once a command has ended. To cut it off does no harm.
const LEFT_OVER: Duration = Duration::from_millis(500);

fn main() -> anyhow::Result<ExitCode> {
    let cli = parse().unwrap_or_else(|error| without_key(error).exit());
    let runtime = tokio::runtime::Runtime::new().context("there are no threads to work on")?;
    let ended = runtime.block_on(run(cli.command));
    runtime.shutdown_timeout(LEFT_OVER);
    ended
}

/// Parses the command line and the environment. An empty variable counts as not set, as Compose's `${NAME:-}` gives it.
fn parse() -> Result<Cli, clap::Error> {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let without_empty = |argument: Arg| match argument.get_env().is_some_and(is_empty) {
        true => argument.env(Resettable::Reset),
        false => argument,
    };
    let command = Cli::command().mut_subcommands(|subcommand| subcommand.mut_args(without_empty));
    Cli::from_arg_matches(&command.try_get_matches()?)
}

/// Returns the first of the keys in `ALLEYCAT_ACCESS_KEY`, for a sender that has no key of its own.
fn first_access_key() -> anyhow::Result<Option<AccessKey>> {
    let keys = std::env::var("ALLEYCAT_ACCESS_KEY").unwrap_or_default();
    let first = keys.split(',').next().filter(|key| !key.is_empty());
    let key = first.map(str::parse).transpose();
    key.map_err(|error| anyhow::anyhow!("ALLEYCAT_ACCESS_KEY: {error}"))
}

/// The error, without the value of an option that takes a key: it may be most of one.
fn without_key(mut error: clap::Error) -> clap::Error {
    let is_key = |argument: &ContextValue| matches!(argument, ContextValue::String(text) if text.contains("-key <"));
    if error.get(ContextKind::InvalidArg).is_some_and(is_key) {
        error.insert(
            ContextKind::InvalidValue,
            ContextValue::String("…".to_owned()),
        );
    }
    error
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(config) => {
            let is_json = matches!(config.log_format, LogFormat::Json);
            log_as(config.log_format);
            match serve(*config).await {
                // Who reads the log reads it there, unless RUST_LOG hides it.
                Err(error) if is_json && tracing::enabled!(tracing::Level::ERROR) => {
                    tracing::error!("{error:#}");
                    Ok(ExitCode::FAILURE)
                }
                ended => ended.map(|()| ExitCode::SUCCESS),
            }
        }
        Command::Simulate(mut options) => {
            if options.access_key.is_none() {
                options.access_key = first_access_key()?;
            }
            log_as(LogFormat::Text);
            let report = simulate::run(&options, interrupted()).await?;
            println!("{report}");
            Ok(if report.is_clean() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Replay(mut options) => {
            if options.access_key.is_none() {
                options.access_key = first_access_key()?;
            }
            log_as(LogFormat::Text);
            let report = replay::run(&options, interrupted()).await?;
            println!("{report}");
            Ok(if report.is_clean() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Openapi => {
            print!("{}", alleycat::server::openapi());
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(config) => {
            let mut status = ExitCode::SUCCESS;
            let each = |finding: doctor::Finding| {
                println!("{finding}");
                if finding.is_wrong() {
                    status = ExitCode::FAILURE;
                }
            };
            doctor::examine(&config, each).await;
            Ok(status)
        }
        Command::Healthcheck(options) => match healthcheck::ask(&options).await {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => {
                eprintln!("{error:#}");
                Ok(ExitCode::FAILURE)
            }
        },
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = interrupted();
    config.validate()?;
    let store = storage::open(&config.store).await?;
    storage::probe(&*store, storage::SegmentId::random(SystemClock.wall_ms())).await?;
    let listener = server::listen(config.listen)
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let metrics = server::Metrics::listen(config.metrics_listen)?;
    server::serve_seen(config, listener, store, Some(metrics), stop).await
}

fn log_as(format: LogFormat) {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    let colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

/// Resolves on SIGINT or SIGTERM, from this call on.
fn interrupted() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let [mut interrupt, mut terminate] = [SignalKind::interrupt(), SignalKind::terminate()]
        .map(|kind| signal(kind).expect("a signal handler can be set"));
    async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
