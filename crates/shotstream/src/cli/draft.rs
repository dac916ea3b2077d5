//! Flags of `draft`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flags of `draft`.
#[derive(Debug, Args)]
pub(crate) struct DraftArgs {
    /// The idea, in a sentence or two.
    pub(crate) idea: String,
    /// The address of a chat endpoint in OpenAI's form, such as http://localhost:11434/v1. The idea
    /// is sent there, and to nobody else.
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: String,
    /// The name of the chat model at that endpoint.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: String,
    /// Write the story into a new file, JSON or TOML by its ending.
    #[arg(short, long, value_name = "STORY")]
    pub(crate) output: Option<PathBuf>,
    /// How many shots to ask for; three to six by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) shots: Option<u16>,
    /// The words in which the story may be told.
    #[arg(long, value_enum, default_value_t = Words::World)]
    pub(crate) words: Words,
    /// How long the answer is waited for, in seconds.
    #[arg(long, value_name = "SECS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) patience: u64,
}

/// The words in which a story may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Words {
    /// Those of the cartoon world, which the tiny model knows.
    World,
    /// All of them, for a large model.
    Any,
}
