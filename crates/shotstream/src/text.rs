//! The text encoder as flags ask for it, and the cache of what it made.

use std::{env, path::PathBuf};

use shotstream_models::{
    fast::{Keeping, Kernels},
    stored::StoredNetwork,
    text::{BurnTextEncoder, Cut, EmbeddingCache, Holding, Identity},
};
use shotstream_plan::{recipe::Recipe, script::Script};

use crate::{
    cli::{HoldingName, TextArgs, TextCacheArg, TextPrecision},
    device::Device,
    failure::{Blame as _, WrongUse},
    model::ModelFile,
};

/// What says where embeddings are kept, where no flag does.
const CACHE: &str = "SHOTSTREAM_TEXT_CACHE";

/// Bytes of all embeddings that are kept: of the large text encoder, those of two hundred prompts
/// of full length at least.
const MOST_KEPT: u64 = 2 << 30;

/// Parameters from which on a text encoder is too large to stay beside a film that is made.
const LARGE: u64 = 1 << 28;

/// Which words of a prompt that is too long are cut.
pub(crate) fn cut(args: &TextArgs) -> Cut {
    if args.keep_shot { Cut::Global } else { Cut::End }
}

/// The text encoder of a model, for prompts that come one after another.
///
/// # Errors
/// When its weights cannot be read, or flags contradict each other.
pub(crate) fn open(file: &ModelFile, args: &TextArgs) -> anyhow::Result<BurnTextEncoder> {
    of(file, args, HoldingName::Keep)
}

/// The text encoder of a model with every prompt of a script embedded, if it is not to stay.
///
/// # Errors
/// As [`open`], or when a prompt cannot be embedded.
pub(crate) fn open_for(
    file: &ModelFile,
    args: &TextArgs,
    (script, recipe): (&Script, &Recipe),
) -> anyhow::Result<BurnTextEncoder> {
    let large =
        LARGE < stored_text(file).parameters() && args.text_precision == TextPrecision::Stored;
    let usual = if large { HoldingName::Drop } else { HoldingName::Keep };
    let text = of(file, args, usual)?;
    if args.text_encoder.unwrap_or(usual) == HoldingName::Drop {
        let mut prompts = Vec::new();
        for (number, shot) in script.shots.iter().enumerate() {
            let later = shot.then.iter().map(|rewrite| &rewrite.caption);
            let captions = std::iter::once(&shot.caption).chain(later);
            prompts.extend(captions.map(|it| recipe.prompt(&script.global, number, it)));
        }
        let prompts: Vec<_> =
            prompts.iter().map(|prompt| (script.global.as_str(), prompt.as_str())).collect();
        text.read_ahead(&prompts)?;
    }
    Ok(text)
}

/// A model's text encoder where it is stored.
fn stored_text(file: &ModelFile) -> &StoredNetwork<'static> {
    let [.., stored] = file.stored.networks();
    stored
}

fn of(file: &ModelFile, args: &TextArgs, usual: HoldingName) -> anyhow::Result<BurnTextEncoder> {
    let keep = args.text_encoder.unwrap_or(usual) == HoldingName::Keep;
    match (&file.device, args.text_precision) {
        (_, TextPrecision::Int8) if !keep => Err(WrongUse::error(
            "--text-precision int8 says how the text encoder is kept, expected --text-encoder keep",
        )),
        (Device::Cpu(cpu), TextPrecision::Int8) => {
            held(file, args, (Holding::Computed, cpu.keep(Keeping::Bytes)))
        }
        (Device::Cpu(cpu), TextPrecision::Stored) => {
            let usual = Holding::beside(stored_text(file), cpu.precision());
            let holding = if keep { usual } else { Holding::Nothing };
            held(file, args, (holding, cpu.keep(Keeping::Whole)))
        }
        #[cfg(feature = "cuda")]
        (Device::Cuda(_), TextPrecision::Int8) => Err(WrongUse::error(
            "a card keeps the text encoder in bf16, expected --text-precision stored",
        )),
        // A card has other memory than what the bytes would be kept in.
        #[cfg(feature = "cuda")]
        (Device::Cuda(cuda), TextPrecision::Stored) => {
            let holding = if keep { Holding::Computed } else { Holding::Nothing };
            held(file, args, (holding, cuda.beside()?))
        }
    }
}

fn held<K: Kernels + 'static>(
    file: &ModelFile,
    args: &TextArgs,
    (holding, kernels): (Holding, K),
) -> anyhow::Result<BurnTextEncoder> {
    let stored = file.stored.text_encoder(holding, kernels).wrong_use()?;
    let cache = match folder(file, args) {
        Some(folder) => {
            let identity = Identity::of(&stored)?;
            Some(EmbeddingCache::new(folder, MOST_KEPT, identity))
        }
        None => None,
    };
    let tokenizer = file.stored.tokenizer().clone();
    let text = BurnTextEncoder::stored(tokenizer, stored, file.stored.config().dit.text_len);
    let text = text.with_cut(cut(args));
    Ok(match cache {
        Some(cache) => text.with_cache(cache),
        None => text,
    })
}

/// Where embeddings are kept, if anywhere.
fn folder(file: &ModelFile, args: &TextArgs) -> Option<PathBuf> {
    match args.text_cache.clone().or_else(|| TextCacheArg::of_env(CACHE)) {
        Some(TextCacheArg::Off) => None,
        Some(TextCacheArg::Folder(folder)) => Some(folder),
        None if file.is_embedded() => None,
        None => {
            let own = env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty());
            let usual = || Some(env::home_dir()?.join(".cache"));
            Some(own.map(PathBuf::from).or_else(usual)?.join("shotstream/text"))
        }
    }
}
