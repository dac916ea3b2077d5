//! Every command and flag, once.

mod draft;
mod exports;
mod model;
mod pull;
mod serve;
mod world;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::draft::{DraftArgs, Words};
pub(crate) use self::exports::{ExportName, ExportsArgs};
pub(crate) use self::model::{
    DecoderArg, DecoderArgs, DeviceName, HoldingName, ModelArgs, PrecisionName, TextArgs,
    TextCacheArg, TextPrecision,
};
pub(crate) use self::pull::{PartName, PullArgs};
pub(crate) use self::serve::{
    ExportStoryArgs, FolderArgs, ImportStoryArgs, MemoryArgs, ReplayArgs, ServeArgs, StoryCommand,
};
pub(crate) use self::world::{
    DrawArgs, JudgeArgs, MemoryName, PastName, PicturesArgs, SheetArgs, StoryArgs, WorldCommand,
};
use crate::lora::LoraArgs;

/// Streaming multi-shot video: type what happens next, and the film goes on.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One command, one file under `commands/`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a film of a story file.
    Generate(GenerateArgs),
    /// Make a film of the lines that come on standard input, while they come.
    ///
    /// Every line is the caption of a shot. It is accepted at any moment and takes effect at the
    /// next shot. `/now WORDS` changes the words of the running shot at the next chunk; `/cut` ends it
    /// with the chunk that is being made; `/quit`, or the end of the input, ends the film after the
    /// shots asked for.
    Play(PlayArgs),
    /// Direct stories in the browser while they play, and serve them to programs.
    ///
    /// The studio opens at the address that is printed. Every chunk is saved before it is shown, so
    /// a story goes on where it stopped, whatever stopped it.
    Serve(ServeArgs),
    /// List, carry away, take in and replay the stories that were directed.
    #[command(subcommand)]
    Story(StoryCommand),
    /// Print what would happen for a story, without weights. Everything counts from 0 there.
    Plan(PlanArgs),
    /// Draft a story file from an idea, with a chat model of your choice.
    ///
    /// The idea is sent to the endpoint that is named, with the key in SHOTSTREAM_CHAT_KEY if there
    /// is one. The story is printed; it is written only with -o. Nothing else here asks anybody.
    Draft(DraftArgs),
    /// Measure speed and memory over a story.
    Bench(BenchArgs),
    /// Draw, tell and judge stories of StoryWorld, the cartoon world the tiny model knows.
    #[command(subcommand)]
    World(WorldCommand),
    /// Fetch the published weights of Wan2.1 and ShotStream into a folder that `--model` takes.
    ///
    /// They come from the hub that HF_ENDPOINT names, with the token in HF_TOKEN if there is one,
    /// into its cache (HF_HUB_CACHE, HF_HOME); the folder holds links to it. What was interrupted
    /// goes on where it stopped. With HF_HUB_OFFLINE=1 nobody is asked.
    Pull(PullArgs),
    /// Tell what a file of weights holds.
    Inspect(InspectArgs),
    /// Write a model file again: with its weights stored in another form, with adapters merged.
    Export(ExportArgs),
    /// Copy a model into another layout, bit for bit.
    Convert(ConvertArgs),
    /// Turn videos, or stories of StoryWorld, into shards of latents to train from.
    ///
    /// The videos are named by a table: a CSV with the columns `json_path`, `video_path` and
    /// `frame_number`. What was interrupted goes on where it stopped.
    Prepare(PrepareArgs),
    /// Train a stage of a model, from and to a model file.
    Train(TrainArgs),
}

/// What a film looks like.
#[derive(Debug, Args)]
pub(crate) struct PictureArgs {
    /// The seed of all noise: the same seed, story and model give the same film.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Generate pictures of another size than the model was made for.
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) size: Option<[usize; 2]>,
    /// Enlarge the film's pictures smoothly. Without it, pictures less than 256 pixels wide become
    /// as large as fits 512: films store colour at half size, which spoils small pictures.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) scale: Option<u16>,
}

/// Flags of `generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The story file, JSON or TOML.
    pub(crate) story: PathBuf,
    /// The film, MP4; `-` for standard output. By default the story's name with .mp4, here.
    #[arg(short, long, value_name = "FILM.mp4")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    #[command(flatten)]
    pub(crate) decoder: DecoderArgs,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
    /// Write times, memory and a hash of all frames, JSON.
    #[arg(long, value_name = "R.json")]
    pub(crate) report: Option<PathBuf>,
    /// Take the noise from a safetensors file: `shot{g}.initial`, `shot{g}.chunk{c}.step{k}`.
    #[arg(long, value_name = "N.safetensors")]
    pub(crate) noise: Option<PathBuf>,
    /// Write every shot's latents: `shot{g}.latents`, `shot{g}.context`.
    #[arg(long, value_name = "L.safetensors")]
    pub(crate) save_latents: Option<PathBuf>,
    /// Also write every frame as PNG, at the size the model makes, into a new folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) frames: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) exports: ExportsArgs,
}

/// Flags of `play`.
#[derive(Debug, Args)]
pub(crate) struct PlayArgs {
    /// The film, MP4; `-` for standard output, to pipe it into a player.
    #[arg(short, long, value_name = "FILM.mp4|-", required_unless_present = "export")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) exports: ExportsArgs,
    /// What holds for the whole story; opens every prompt.
    #[arg(long, value_name = "CAPTION", default_value = "")]
    pub(crate) global: String,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    #[command(flatten)]
    pub(crate) decoder: DecoderArgs,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
    /// Write times, memory and a hash of all frames, JSON.
    #[arg(long, value_name = "R.json")]
    pub(crate) report: Option<PathBuf>,
}

/// Flags of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The story file, JSON or TOML.
    pub(crate) story: PathBuf,
    /// The model file whose recipe is followed, or `tiny`. Its weights are not read.
    #[arg(long, value_name = "PATH|tiny", default_value = "tiny")]
    pub(crate) model: String,
    /// Follow this recipe instead of the model's own, TOML.
    #[arg(long, value_name = "R.toml")]
    pub(crate) recipe: Option<PathBuf>,
    /// Generate pictures of another size than the model was made for.
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) size: Option<[usize; 2]>,
}

/// Flags of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// How many shots the story has.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) shots: u16,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    #[command(flatten)]
    pub(crate) decoder: DecoderArgs,
    #[command(flatten)]
    pub(crate) picture: PictureArgs,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A model file, a folder with the published files of a model, `tiny`, or any file of weights.
    pub(crate) file: String,
    /// List name, form and shape of every tensor.
    #[arg(long)]
    pub(crate) tensors: bool,
    /// Tell how much memory the model takes, part by part, and what would lower it. No weight is
    /// read for it.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Plan for pictures of another size than the model was made for.
    #[arg(long, value_name = "WxH", value_parser = size, requires = "plan")]
    pub(crate) size: Option<[usize; 2]>,
}

/// Flags of `convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The model to read: a file, a folder, or `tiny`.
    pub(crate) from: String,
    /// The new file, or the new folder.
    pub(crate) to: PathBuf,
    /// How the files of the model are laid out and what their tensors are called.
    #[arg(long, value_enum)]
    pub(crate) layout: LayoutName,
}

/// How the files of a model are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// One file of ours.
    Bundle,
    /// A folder with the files and names of Wan2.1's release, in safetensors.
    Official,
    /// A folder as diffusers and transformers read it.
    Diffusers,
}

/// Flags of `export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The model file to read.
    pub(crate) from: PathBuf,
    /// The model file to write.
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) loras: LoraArgs,
    /// How weights are stored.
    #[arg(long, value_enum, default_value_t = Stored::F16)]
    pub(crate) dtype: Stored,
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stored {
    /// As they are computed.
    F32,
    /// In half the space, rounded to eleven bits.
    F16,
}

/// Flags of `prepare`.
#[derive(Debug, Args)]
pub(crate) struct PrepareArgs {
    /// The table of the videos: a CSV, or a folder with one in it.
    #[arg(required_unless_present = "world", conflicts_with = "world")]
    pub(crate) table: Option<PathBuf>,
    /// The folder of the shards.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Where the table's paths start; the table's own folder by default.
    #[arg(long, value_name = "DIR", conflicts_with = "world")]
    pub(crate) root: Option<PathBuf>,
    /// Draw this many stories of StoryWorld instead of reading a table.
    #[arg(long, value_name = "N")]
    pub(crate) world: Option<usize>,
    /// Which stories are drawn; the same number in a recipe stands for the same stories.
    #[arg(long, requires = "world", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 32))]
    pub(crate) seed: u64,
    /// Shots of each drawn story.
    #[arg(long, requires = "world", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) shots: u8,
    /// The share of drawn stories with two characters.
    #[arg(long, requires = "world", value_name = "SHARE", default_value_t = 0.2, value_parser = share)]
    pub(crate) pairs: f64,
    /// Ways to tell each drawn story.
    #[arg(long, requires = "world", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) wordings: u8,
    /// Cut longer shots to this many frames; the model's shot by default. Drawn shots have as many.
    #[arg(long, value_name = "N")]
    pub(crate) frames: Option<usize>,
    /// Stories in a shard.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) shard: u16,
    /// Stop at the first story that cannot be learnt from, instead of leaving it out.
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// Flags of `train`.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Which stage.
    pub(crate) stage: StageName,
    /// The stage's recipe, the road of `all` or the variants of `ablate`: a TOML file. `report` needs
    /// none.
    #[arg(long)]
    pub(crate) recipe: Option<PathBuf>,
    /// The model to start from; `fresh` needs none.
    #[arg(long)]
    pub(crate) from: Option<PathBuf>,
    /// Folder of checkpoints, log and contact sheets; the finished model is `model.safetensors` in
    /// it. Of `all` and `ablate`, the folder of all these folders; of `report`, either.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Continue the run that the folder holds; `all` and `ablate` always do.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Threads at most; the machine's cores by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

/// The stages of training, in order, and all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StageName {
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
    /// The student, learning from its own films.
    SelfForcing,
    /// Every stage of a road file, from wherever an earlier walk stopped.
    All,
    /// Short trainings under changed rules, side by side in a table.
    Ablate,
    /// No training: a page about the run, or the runs, that the folder holds.
    Report,
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// `832x480` to width and height.
fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once(['x', 'X', '×']);
    let sides = sides.map(|(width, height)| [width.parse(), height.parse()]);
    match sides {
        Some([Ok(width), Ok(height)]) => Ok([width, height]),
        _ => Err("expected width x height, such as 128x80".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_commands_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_size_is_width_and_height() {
        assert_eq!(size("128x80"), Ok([128, 80]));
        assert!(["128", "x80", "128x", "-1x80", "128x80x3", ""].iter().all(|s| size(s).is_err()));
    }
}
