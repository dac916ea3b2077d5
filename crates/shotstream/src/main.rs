//! The command line: parse, dispatch, exit code.
//!
//! 0 is done, 1 failed, 2 wrong use: a command line, or an input file, that cannot be meant.

use std::process::ExitCode;

use clap::Parser as _;

use crate::failure::WrongUse;
pub(crate) use shotstream_train::hardware;

mod cli;
mod commands;
mod device;
mod exports;
mod failure;
mod film;
mod latents_file;
mod lora;
mod making;
mod model;
mod progress;
mod report;
mod story;
mod telling;
mod text;
mod whole_file;

fn main() -> ExitCode {
    let Err(error) = commands::run(cli::Cli::parse()) else { return ExitCode::SUCCESS };
    failure::say(&error);
    if error.is::<WrongUse>() { ExitCode::from(2) } else { ExitCode::FAILURE }
}
