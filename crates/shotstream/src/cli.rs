//! Every command and flag, once.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Streaming multi-shot video: type what happens next, and the film goes on.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One command, one file under `commands/`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a stage of a model, from and to a model file.
    Train(TrainArgs),
}

/// Flags of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Which stage.
    pub stage: StageName,
    /// The stage's recipe, a TOML file.
    #[arg(long)]
    pub recipe: PathBuf,
    /// The model to start from; `fresh` needs none.
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// Folder of checkpoints, log and contact sheets; the finished model is `model.safetensors` in it.
    #[arg(long)]
    pub dir: PathBuf,
    /// Continue the run that the folder holds.
    #[arg(long)]
    pub resume: bool,
    /// Threads at most; the machine's cores by default.
    #[arg(long)]
    pub threads: Option<usize>,
}

/// The stages of training, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StageName {
    /// An untrained model of given dimensions.
    Fresh,
    /// The VAE.
    Vae,
    /// The bidirectional teacher, with the text encoder.
    Teacher,
    /// The teacher's trajectories.
    OdePairs,
    /// The causal few-step student.
    OdeInit,
}
