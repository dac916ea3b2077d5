//! One command, one file.

use std::io::{self, Write as _};

use crate::cli::{Cli, Command};

mod bench;
mod convert;
mod draft;
mod export;
mod generate;
mod inspect;
mod plan;
mod play;
mod prepare;
mod pull;
mod serve;
mod story;
mod train;
mod world;

/// Run what was asked for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Generate(args) => generate::run(&args),
        Command::Play(args) => play::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Story(command) => story::run(&command),
        Command::Plan(args) => plan::run(&args),
        Command::Draft(args) => draft::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::World(command) => world::run(&command),
        Command::Pull(args) => pull::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Prepare(args) => prepare::run(&args),
        Command::Train(args) => train::run(&args),
    }
}

/// Text to standard output; whoever reads it may stop early.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::anyhow!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}
