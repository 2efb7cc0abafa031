//! The `alleycat` binary. The program is in the library, so that it is compiled once.

use std::process::ExitCode;

fn main() -> ExitCode {
    alleycat::cli::run()
}
