//! The whole program: reads the command line and runs the subcommand.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::cli::{self, Command};
use crate::config::{Config, LogFormat};
use crate::observability::init_logging;
use crate::server;

/// Maximum time that background work continues after a command has ended. It is safe to cut off.
const BACKGROUND_GRACE: Duration = Duration::from_millis(500);

/// Number of tasks that a worker runs before it looks for input of connections. With tokio's default, 61,
/// queries wait longer for large deliveries: their p99 is 1.7 times as long (docs/decisions/0005-speed.md).
const TASKS_BETWEEN_INPUT: u32 = 8;

/// Runs the subcommand that the command line names, and returns the exit status.
pub fn run() -> ExitCode {
    let command = Command::parse().unwrap_or_else(|error| error.exit());
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .event_interval(TASKS_BETWEEN_INPUT)
        .build()
        .context("cannot start worker threads")
        .and_then(|runtime| {
            let result = runtime.block_on(execute(command));
            runtime.shutdown_timeout(BACKGROUND_GRACE);
            result
        });
    // One line, also under RUST_BACKTRACE: the error is for an operator.
    result.unwrap_or_else(|error| {
        // Where nobody reads it, the exit status says enough.
        let _ = writeln!(io::stderr(), "Error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(config) => serve(*config).await,
        Command::Simulate(options) => {
            init_logging(LogFormat::Text, false);
            let report = cli::simulate::run(&options, interrupted()).await?;
            print_line(&report)?;
            Ok(exit_code(report.is_clean()))
        }
        Command::Replay(options) => {
            init_logging(LogFormat::Text, false);
            let report = cli::replay::run(&options, interrupted()).await?;
            print_line(&report)?;
            Ok(exit_code(report.is_clean()))
        }
        Command::Openapi => {
            print_line(server::openapi().trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(options) => {
            let (mut has_passed, mut printed) = (true, Ok(()));
            let report = |finding: cli::doctor::Finding| {
                has_passed &= !finding.is_failure();
                if printed.is_ok() {
                    printed = print_line(&finding);
                }
            };
            cli::doctor::run(&options, report).await;
            printed.map(|()| exit_code(has_passed))
        }
        Command::Healthcheck(options) => {
            cli::healthcheck::run(&options).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes a line to standard output. A reader that has gone wants no more of it, which is no error.
fn print_line(line: impl Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let is_json = config.log_format == LogFormat::Json;
    init_logging(config.log_format, config.demo.is_some());
    match cli::serve::run(config, interrupted()).await {
        // A log pipeline gets the error as a log line, unless RUST_LOG hides it.
        Err(error) if is_json && tracing::enabled!(tracing::Level::ERROR) => {
            tracing::error!("{error:#}");
            Ok(ExitCode::FAILURE)
        }
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn exit_code(is_success: bool) -> ExitCode {
    if is_success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
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
