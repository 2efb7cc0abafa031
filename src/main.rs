//! The command line.

use std::process::ExitCode;

use alleycat::simulate::{self, SimulateOptions};
use clap::{Parser, Subcommand};

/// All-time rankings for home fitness races.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ride races and deliver them as Firehose does
    Simulate(SimulateOptions),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match Cli::parse().command {
        Command::Simulate(options) => {
            let interruption = async {
                let _ = tokio::signal::ctrl_c().await;
            };
            let report = simulate::run(&options, interruption).await?;
            println!("{report}");
            Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
