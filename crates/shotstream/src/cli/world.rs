//! Flags of the commands under `world`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ModelArgs, size};

/// What can be done with StoryWorld.
#[derive(Debug, Subcommand)]
pub(crate) enum WorldCommand {
    /// Draw a random story as a film, and write its captions as a story file beside it.
    Draw(DrawArgs),
    /// Print a random story as a story file.
    Story(StoryArgs),
    /// Draw frames of many random stories on one picture, one story a row.
    Sheet(SheetArgs),
    /// Let a model film unseen stories, and judge whether its frames show what the captions say.
    Judge(JudgeArgs),
    /// Write raw pictures of many random stories with their captions, for a trainer in another
    /// program.
    Pictures(PicturesArgs),
}

/// Which random story.
#[derive(Debug, Args)]
pub(crate) struct StoryArgs {
    /// The seed of the story.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How many shots it has; two to six by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) shots: Option<u16>,
}

/// Flags of `world draw`.
#[derive(Debug, Args)]
pub(crate) struct DrawArgs {
    #[command(flatten)]
    pub(crate) story: StoryArgs,
    /// The film, MP4. The captions go beside it, as .json.
    #[arg(short, long, value_name = "FILM.mp4", required_unless_present = "frames")]
    pub(crate) output: Option<PathBuf>,
    /// Every frame as PNG in a new folder. Without a film, the captions go beside it.
    #[arg(long, value_name = "DIR")]
    pub(crate) frames: Option<PathBuf>,
    /// Draw pictures of another size.
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) size: Option<[usize; 2]>,
}

/// Flags of `world sheet`.
#[derive(Debug, Args)]
pub(crate) struct SheetArgs {
    /// The picture.
    #[arg(short, long, value_name = "SHEET.png")]
    pub(crate) output: PathBuf,
    /// The seed of the first story; the others follow it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// How many stories.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) stories: u16,
}

/// Flags of `world judge`.
///
/// Every combination of `--memory` and `--context` films all stories anew and fills a column of
/// the table; so does `--teacher`.
#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// How many stories.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) stories: u16,
    /// How many shots every story has; two to six by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) shots: Option<u16>,
    /// The seed of the first story; the others follow it.
    #[arg(long, value_name = "S", default_value_t = 1_000_000)]
    pub(crate) seed: u64,
    /// Drawn clips that are encoded and decoded again to measure the VAE.
    #[arg(long, value_name = "M", default_value_t = 32)]
    pub(crate) clips: u16,
    /// Name the characters in the first shot only: who the hero is must then be remembered.
    #[arg(long)]
    pub(crate) anonymous: bool,
    /// Let remembered frames read the caption of the shot to come instead of their own: with
    /// --anonymous, only the pictures of the past can then tell who the hero is.
    #[arg(long)]
    pub(crate) untold: bool,
    /// What later shots find where their past should be; several, to compare them.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "own")]
    pub(crate) context: Vec<PastName>,
    /// Which frames of the past are remembered, if not those the model is made for; several, to
    /// compare them.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) memory: Vec<MemoryName>,
    /// Follow one character through stories of --shots shots, 50 by default, and tell how often
    /// shots 2, 5, 10, 20 and 50 still show who the first one did.
    #[arg(long)]
    pub(crate) drift: bool,
    /// Also judge a bidirectional teacher on the same stories: its model file.
    #[arg(long, value_name = "PATH")]
    pub(crate) teacher: Option<String>,
    /// Steps of the teacher, from noise to clip.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) teacher_steps: u16,
    /// Guidance of the teacher; 1 is none.
    #[arg(long, value_name = "G", default_value_t = 2.5)]
    pub(crate) guidance: f32,
    /// What the teacher is guided away from; nothing in words by default.
    #[arg(long, value_name = "PROMPT", requires = "teacher")]
    pub(crate) negative: Option<String>,
    /// Two more columns, of the same stories as they are drawn, and of these put through the VAE: no
    /// model can be found to show more, with this judge and with this VAE.
    #[arg(long)]
    pub(crate) drawn: bool,
    /// Two frames of each shot of the first stories on one picture, one story a row; of several
    /// columns, the first one's.
    #[arg(long, value_name = "SHEET.png")]
    pub(crate) sheet: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What later shots find where their past should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PastName {
    /// What was filmed before.
    Own,
    /// Nothing: zeros under the shot's own caption.
    Zeroed,
    /// The past of another story, whose characters all differ.
    Swapped,
}

/// Which frames of the past are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MemoryName {
    /// Equal shares for all shots, spread over each, as in the paper.
    Spread,
    /// Equal shares, all of them the first frame of their shot.
    First,
    /// Equal shares, half of each the first frame of its shot, half the last.
    FirstLast,
    /// Equal shares; in a long story one frame of the first shot for ever.
    Anchor,
    /// Frames of the newest shot only.
    Recent,
}

/// Flags of `world pictures`.
#[derive(Debug, Args)]
pub(crate) struct PicturesArgs {
    /// Folder of the shards; those that are there are kept.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// How many stories.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) stories: u32,
    /// The seed of the first story; the others follow it.
    #[arg(long, value_name = "S", default_value_t = 1 << 32)]
    pub(crate) seed: u64,
    /// Shots of each story.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) shots: u16,
    /// Share of stories with two characters.
    #[arg(long, value_name = "P", default_value_t = 0.2)]
    pub(crate) pairs: f64,
    /// Consecutive frames of each shot; whole shots by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) frames: Option<u16>,
    /// Ways to tell each story.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) tellings: u16,
    /// The model file whose recipe says how large pictures and how long shots are, or `tiny`.
    #[arg(long, value_name = "PATH|tiny", default_value = "tiny")]
    pub(crate) model: String,
}
