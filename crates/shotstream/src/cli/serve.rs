//! Flags of `serve` and `story`.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use clap::{Args, Subcommand};

use super::{DecoderArgs, ModelArgs, TextArgs};

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen. Beyond this machine keys are needed, or `--open`.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) host: IpAddr,
    /// The port to listen on; 0 takes one that is free.
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub(crate) port: u16,
    /// Where the stories lie.
    #[arg(long, value_name = "DIR", default_value = "stories")]
    pub(crate) stories: PathBuf,
    /// A file with the keys that let in, one a line; behind a key may stand how many frames it may
    /// have made a day.
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// Let everybody in who reaches the server.
    #[arg(long, conflicts_with = "keys")]
    pub(crate) open: bool,
    /// A page elsewhere that may use the server, as `https://host:port`; may be repeated.
    #[arg(long = "origin", value_name = "ORIGIN")]
    pub(crate) origins: Vec<String>,
    /// Stories that may be directed at once; never more than the model keeps up with, which is
    /// measured at the start and while they run.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) sessions: Option<u16>,
    /// Lines of directors and viewers that may be open at once.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) viewers: u16,
    /// Connections that may be open at once; fewer where the system has no files for them.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) connections: u16,
    /// Requests a second that one caller may make, on average; 0 for any number.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) rate: u32,
    /// Seconds for which a story keeps its slot when its last director has left.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) linger: u16,
    /// Seconds for which a connection may stay open without a request.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) keep_alive: u16,
    /// Send traces of requests, sessions and chunks to the `OpenTelemetry` collector at this address
    /// (OTLP over HTTP), as `OTEL_EXPORTER_OTLP_ENDPOINT` in the environment does.
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL")]
    pub(crate) otlp: Option<String>,
    /// Where viewers over WebRTC reach this machine, if that is not the address they came to, as
    /// behind a router; their port is the server's, of UDP.
    #[cfg(feature = "whep")]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) whep_address: Option<IpAddr>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    #[command(flatten)]
    pub(crate) decoder: DecoderArgs,
    /// Generate pictures of another size than the model was made for.
    #[arg(long, value_name = "WxH", value_parser = super::size)]
    pub(crate) size: Option<[usize; 2]>,
}

/// What can be done with stories that were directed; no server may use them meanwhile.
#[derive(Debug, Subcommand)]
pub(crate) enum StoryCommand {
    /// List them.
    List(FolderArgs),
    /// Write one, with everything that belongs to it, into a file.
    Export(ExportStoryArgs),
    /// Take one from a file.
    Import(ImportStoryArgs),
    /// Print what every shot of one was shown: pinned, of the cast, or chosen.
    Memory(MemoryArgs),
    /// Make one again from its words and seeds, and compare every chunk.
    Replay(ReplayArgs),
    /// Remove what belongs to no story any more.
    Gc(FolderArgs),
}

/// Where the stories lie.
#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// Where the stories lie.
    #[arg(long, value_name = "DIR", default_value = "stories")]
    pub(crate) stories: PathBuf,
}

/// Flags of `story export`.
#[derive(Debug, Args)]
pub(crate) struct ExportStoryArgs {
    /// The story's name.
    pub(crate) story: String,
    /// The file to write.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
}

/// Flags of `story memory`.
#[derive(Debug, Args)]
pub(crate) struct MemoryArgs {
    /// The story's name.
    pub(crate) story: String,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
}

/// Flags of `story import`.
#[derive(Debug, Args)]
pub(crate) struct ImportStoryArgs {
    /// The file to read.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
}

/// Flags of `story replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The story's name.
    pub(crate) story: String,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    #[command(flatten)]
    pub(crate) decoder: DecoderArgs,
    /// The size of the pictures, where it is not the model's.
    #[arg(long, value_name = "WxH", value_parser = super::size)]
    pub(crate) size: Option<[usize; 2]>,
}
