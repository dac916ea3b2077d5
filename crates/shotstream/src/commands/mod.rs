//! One command, one file.

use crate::cli::{Cli, Command};

mod train;

/// Run what was asked for.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Train(args) => train::run(&args),
    }
}
