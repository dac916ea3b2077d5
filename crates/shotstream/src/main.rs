//! The command line: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser as _;

mod cli;
mod commands;
mod progress;

#[expect(clippy::print_stderr, reason = "the one place where an error reaches the user")]
fn main() -> ExitCode {
    match commands::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
