//! Flags for what else is made of a film.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What else is made of a film.
#[derive(Debug, Args)]
pub(crate) struct ExportsArgs {
    /// Write the film into a new folder instead, with chapters in it, and beside it all that editing
    /// programs, players and chats ask for.
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    pub(crate) export: Option<PathBuf>,
    /// Of what is exported beside the film, only these; all by default.
    #[arg(long, requires = "export", conflicts_with = "output")]
    #[arg(value_enum, value_delimiter = ',', value_name = "LIST")]
    pub(crate) only: Vec<ExportName>,
}

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportName {
    /// A film of every shot, cut out without a loss: clips/NAME-001.mp4 and so on.
    Clips,
    /// The captions, one a shot, as WebVTT and SubRip; chapters for the web as WebVTT.
    Subtitles,
    /// An animated picture.
    Gif,
    /// A picture of the whole story: a frame and the caption of every shot.
    Storyboard,
    /// An edit list that every editing program reads (CMX3600).
    Edl,
    /// A project for Final Cut Pro and DaVinci Resolve.
    Fcpxml,
    /// A timeline for everything that speaks OpenTimelineIO.
    Otio,
    /// The story as it was told, with lengths and seeds: it makes the same film again.
    Story,
}
