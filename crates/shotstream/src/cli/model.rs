//! Flags that say which model is run, and how.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::lora::LoraArgs;

/// Which model, and how it is run.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// A model file, a folder with the published files of a model, or `tiny` for the model this
    /// program carries.
    #[arg(long, value_name = "PATH|tiny", default_value = "tiny")]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) loras: LoraArgs,
    /// Follow this recipe instead of the model's own, TOML: models of other makers on the same
    /// networks are in recipes/generation.
    #[arg(long, value_name = "R.toml")]
    pub(crate) recipe: Option<PathBuf>,
    /// Where the networks run.
    #[arg(long, value_enum, default_value_t = DeviceName::Auto)]
    pub(crate) device: DeviceName,
    /// What the networks multiply in: f32 is exact, bf16 takes half the memory and, on processors
    /// with instructions for it, about half the time; int8 is bf16 with the transformer's weights in
    /// one byte each, half of their memory again. Sums are f32 in any case. By default f32 on the
    /// processor; a card has bf16 only.
    #[arg(long, value_enum)]
    pub(crate) precision: Option<PrecisionName>,
    /// Threads at most; the machine's cores by default. The film is the same with any number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

/// Where a device works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeviceName {
    /// A card, in programs built for one, where there is one; otherwise the processor.
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA graphics card.
    Cuda,
}

/// How numbers are kept while networks compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionName {
    /// 32 bits.
    F32,
    /// 16 bits with a short mantissa.
    Bf16,
    /// The same, and the transformer's weights in 8 bits with a factor for every row.
    Int8,
    /// 16 bits with a short exponent; no build has it yet.
    F16,
}

/// How prompts are embedded.
#[derive(Debug, Args)]
pub(crate) struct TextArgs {
    /// Whether the text encoder stays in memory between prompts. By default it does, but for large
    /// ones in `generate`, which embeds all prompts before anything else is loaded.
    #[arg(long, value_enum, value_name = "keep|drop")]
    pub(crate) text_encoder: Option<HoldingName>,
    /// How the text encoder's weights are kept: as they are stored, or in one byte each, in half of
    /// bf16's memory and with a little less accuracy.
    #[arg(long, value_enum, default_value_t = TextPrecision::Stored)]
    pub(crate) text_precision: TextPrecision,
    /// Where embeddings are kept for the next time, or `off`. By default SHOTSTREAM_TEXT_CACHE, or
    /// `shotstream/text` in the user's cache; the model this program carries needs none.
    #[arg(long, value_name = "DIR|off", value_parser = text_cache)]
    pub(crate) text_cache: Option<TextCacheArg>,
    /// Of a prompt that is too long, cut the global caption instead of the shot's own words.
    #[arg(long)]
    pub(crate) keep_shot: bool,
}

/// What makes frames.
#[derive(Debug, Args)]
pub(crate) struct DecoderArgs {
    /// What makes frames of latents: the model's own decoder, or a small one, taew2_1, for quick
    /// previews: `tiny` for the file beside the model, or a file.
    #[arg(long, value_name = "vae|tiny|FILE", default_value = "vae", value_parser = decoder)]
    pub(crate) decoder: DecoderArg,
}

/// What makes frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DecoderArg {
    /// The model's own.
    Vae,
    /// The small one beside the model.
    Tiny,
    /// The small one in this file.
    File(PathBuf),
}

/// `vae`, `tiny` or a file.
fn decoder(text: &str) -> Result<DecoderArg, String> {
    match text {
        "" => Err("expected vae, tiny or a file".to_owned()),
        "vae" => Ok(DecoderArg::Vae),
        "tiny" => Ok(DecoderArg::Tiny),
        file => Ok(DecoderArg::File(file.into())),
    }
}

/// What becomes of the text encoder between prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HoldingName {
    /// It stays in memory.
    Keep,
    /// It is read block by block when it is needed, and nothing of it stays.
    Drop,
}

/// How the text encoder's weights are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextPrecision {
    /// As they are stored.
    Stored,
    /// In one byte a number, with a scale for every row.
    Int8,
}

/// Where embeddings are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextCacheArg {
    /// Nowhere.
    Off,
    /// In this folder.
    Folder(PathBuf),
}

/// `off` or a folder.
fn text_cache(text: &str) -> Result<TextCacheArg, String> {
    match text {
        "" => Err("expected a folder, or off".to_owned()),
        "off" => Ok(TextCacheArg::Off),
        folder => Ok(TextCacheArg::Folder(folder.into())),
    }
}

impl TextCacheArg {
    /// What an environment variable says, if it says anything.
    pub(crate) fn of_env(key: &str) -> Option<Self> {
        text_cache(&std::env::var(key).ok()?).ok()
    }
}
