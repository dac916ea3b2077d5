//! Finding the published files of a model in a folder.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use shotstream_plan::recipe::Recipe;

use super::{StoredModel, StoredNetwork, sizes};
use crate::{
    bundle::{BundleConfig, BundleError},
    checkpoint::{Naming, Network, Weights},
    tokenizer::Tokenizer,
};

/// Where the files of one release lie under the folder: in it, or as they were published together.
const ROOTS: [&str; 4] = ["", "ckpts", "wan_models/Wan2.1-T2V-1.3B", "Wan2.1-T2V-1.3B"];

/// The transformer, the student before what it learnt from.
const DIT: &[&str] = &[
    "shotstream_merged.pt",
    "ode_init.pt",
    "bidirectional_teacher.pt",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
];

const VAE: &[&str] = &[
    "Wan2.1_VAE.pth",
    "Wan2.1_VAE.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors.index.json",
];

const TEXT: &[&str] = &[
    "models_t5_umt5-xxl-enc-bf16.pth",
    "models_t5_umt5-xxl-enc-bf16.safetensors",
    "text_encoder/model.safetensors",
    "text_encoder/model.safetensors.index.json",
    "umt5-xxl-encoder-F16.gguf",
    "umt5-xxl-encoder-BF16.gguf",
    "umt5-xxl-encoder-Q8_0.gguf",
    "umt5-xxl-encoder-Q6_K.gguf",
    "umt5-xxl-encoder-Q5_K_M.gguf",
    "umt5-xxl-encoder-Q5_K_S.gguf",
    "umt5-xxl-encoder-Q4_K_M.gguf",
    "umt5-xxl-encoder-Q4_K_S.gguf",
    "umt5-xxl-encoder-Q4_0.gguf",
];

const TOKENIZER: &[&str] =
    &["google/umt5-xxl/tokenizer.json", "tokenizer/tokenizer.json", "tokenizer.json"];

/// How to generate, where it is not as published.
const RECIPE: &[&str] = &["recipe.toml"];

const CONFIG: &str = "config.json";

/// What stands before a transformer's names in the files of training, and in some others'.
const DIT_PREFIXES: [&str; 5] =
    ["generator.model.", "generator_ema.model.", "generator.", "model.diffusion_model.", ""];

/// Whose names may be in a file.
const NAMINGS: [Naming; 3] = [Naming::Official, Naming::HuggingFace, Naming::LlamaCpp];

/// A larger configuration, recipe or tokenizer is damage or malice.
const LARGEST_TEXT: u64 = 128 << 20;

/// The folder of a file.
pub(super) fn of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The model in a folder, its transformer from the file `dit` if one is named.
pub(super) fn open(folder: &Path, dit: Option<&Path>) -> Result<StoredModel<'static>, BundleError> {
    let dit = dit.map_or_else(|| find(folder, "transformer", DIT), |dit| Ok(dit.to_owned()))?;
    let dit = network(&dit, Network::Dit)?;
    let vae = network(&find(folder, "VAE", VAE)?, Network::Vae)?;
    let text = network(&find(folder, "text encoder", TEXT)?, Network::Umt5)?;
    let tokenizer = find(folder, "tokenizer", TOKENIZER)?;
    let tokenizer = Tokenizer::from_json(&read(&tokenizer)?)
        .map_err(|source| BundleError::Tokenizer { source, path: tokenizer })?;
    let recipe = match find(folder, "recipe", RECIPE) {
        Ok(path) => Recipe::from_toml(&read(&path)?)
            .map_err(|error| BundleError::Inconsistent { reason: error.to_string(), path })?,
        Err(_) => Recipe::wan(),
    };
    let found = |path: &Path| settings(&path.with_file_name(CONFIG));
    let dit_settings = match find(folder, "configuration", &[CONFIG]) {
        Ok(path) if !dit.path().with_file_name(CONFIG).exists() => settings(&path)?,
        _ => found(dit.path())?,
    };
    let config = BundleConfig {
        dit: sizes::dit(&dit, &dit_settings, recipe.shot_phase_radians())?,
        vae: sizes::vae(&vae, &found(vae.path())?)?,
        text: sizes::text(&text, &found(text.path())?)?,
        recipe,
    };
    config
        .check()
        .map_err(|reason| BundleError::Inconsistent { reason, path: folder.to_owned() })?;
    Ok(StoredModel { config, tokenizer, dit, vae, text })
}

/// The first of some files that is there.
fn find(folder: &Path, what: &'static str, names: &'static [&str]) -> Result<PathBuf, BundleError> {
    let places = names.iter().flat_map(|name| ROOTS.map(|root| folder.join(root).join(name)));
    let mut places = places.filter(|place| place.is_file());
    places.next().ok_or_else(|| BundleError::NoPart {
        what,
        expected: names[0],
        path: folder.to_owned(),
    })
}

/// One network's file, and what its tensors are called in it.
fn network(path: &Path, network: Network) -> Result<StoredNetwork<'static>, BundleError> {
    let mut weights = Weights::open(path)?;
    // The embedding is stored under its second name where a library says so.
    weights.untie("shared.weight", "encoder.embed_tokens.weight");
    // Which tensor is missing is told when it is looked for.
    let (prefix, naming) = named(&weights, network).unwrap_or(("", Naming::Official));
    Ok(StoredNetwork { weights: Arc::new(weights), network, naming, prefix: prefix.to_owned() })
}

/// Whether a file holds a transformer, with or without more.
pub(super) fn is_transformer(weights: &Weights<'_>) -> bool {
    named(weights, Network::Dit).is_some()
}

/// What stands before the names of a network's tensors, and whose names they are.
fn named(weights: &Weights<'_>, network: Network) -> Option<(&'static str, Naming)> {
    let prefixes: &[&str] = if network == Network::Dit { &DIT_PREFIXES } else { &[""] };
    let mut candidates = prefixes.iter().flat_map(|&prefix| NAMINGS.map(|naming| (prefix, naming)));
    candidates.find(|&(prefix, naming)| {
        let telling = naming.names(network, &[network.telling_name()], prefix);
        weights.shape(&telling.concat()).is_some()
    })
}

/// A configuration, if there is one.
fn settings(path: &Path) -> Result<Value, BundleError> {
    if !path.exists() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&read(path)?)
        .map_err(|source| BundleError::Config { source, path: path.to_owned() })
}

fn read(path: &Path) -> Result<String, BundleError> {
    let unreadable = |source| BundleError::Unreadable { source, path: path.to_owned() };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if LARGEST_TEXT < size {
        let reason = format!("a text of {size} bytes, expected at most {LARGEST_TEXT}");
        return Err(BundleError::Inconsistent { reason, path: path.to_owned() });
    }
    fs::read_to_string(path).map_err(unreadable)
}
