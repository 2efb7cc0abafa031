//! The command line of `alleycat`.

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use alleycat::clock::{Clock, SystemClock};
use alleycat::config::{Config, LogFormat};
use alleycat::doctor;
use alleycat::ready::{self, ReadyOptions};
use alleycat::replay::{self, ReplayOptions};
use alleycat::serve;
use alleycat::simulate::{self, SimulateOptions};
use alleycat::store;
use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::net::TcpSocket;
use tracing_subscriber::EnvFilter;

/// Connections that wait to be accepted, at most: a thousand riders' pages come at once before a race, and whom there is no
/// room for asks again after a second. The standard library makes room for 128; Linux has a limit of its own, 4,096
/// unless `net.core.somaxconn` says otherwise.
const CONNECTIONS_WAITING_MAX: u32 = 4096;

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
    #[command(hide = true)]
    Ready(ReadyOptions),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Serve(config) => {
            log_as(config.log_format);
            let format = config.log_format;
            match (serve(*config).await, format) {
                (Ok(()), _) => Ok(ExitCode::SUCCESS),
                (Err(error), LogFormat::Text) => Err(error),
                // Who reads the log reads it there.
                (Err(error), LogFormat::Json) => {
                    tracing::error!("{error:#}");
                    Ok(ExitCode::FAILURE)
                }
            }
        }
        Command::Simulate(options) => {
            log_as(LogFormat::Text);
            let report = simulate::run(&options, interrupted()).await?;
            println!("{report}");
            Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Replay(options) => {
            log_as(LogFormat::Text);
            let report = replay::run(&options, interrupted()).await?;
            println!("{report}");
            Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Openapi => {
            print!("{}", alleycat::serve::openapi());
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
        Command::Ready(options) => match ready::ask(&options).await {
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
    let store = store::open(&config.store).await?;
    store::probe(&*store, store::SegmentId::random(SystemClock.wall_ms())).await?;
    let listener = listen(config.listen).with_context(|| format!("cannot listen on {}", config.listen))?;
    let metrics = serve::Metrics::listen(config.metrics_listen)?;
    serve::serve_seen(config, listener, store, Some(metrics), stop).await
}

/// Opens the port, with room for [`CONNECTIONS_WAITING_MAX`].
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?; // a service that is started again need not wait for its old connections
    socket.bind(address)?;
    socket.listen(CONNECTIONS_WAITING_MAX)?.into_std()
}

fn log_as(format: LogFormat) {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
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
