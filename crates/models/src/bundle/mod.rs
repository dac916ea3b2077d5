//! A whole model in one file: three networks, how to generate with them, and a vocabulary.
//!
//! The file is a safetensors file. Tensors carry their official names after `dit.`, `vae.` and
//! `text.`; the header carries the configuration and the tokenizer as JSON. Nothing in a bundle is
//! trusted: it is checked as a whole before the first network is built.

mod config;

use std::{
    io,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use shotstream_plan::recipe::Recipe;
use shotstream_runtime::weights::WeightsError;
use thiserror::Error;

use crate::{
    checkpoint::{CheckpointError, Network, StoredDtype, Weights, WeightsWriter},
    dit::Dit,
    stored::StoredModel,
    tokenizer::{Tokenizer, TokenizerError},
    umt5::Umt5,
    vae::Vae,
};

pub use self::config::BundleConfig;

/// What the header calls the layout of the file.
const FORMAT: (&str, &str) = ("format", "shotstream-bundle-1");

/// Where the header keeps the [`BundleConfig`].
const CONFIG: &str = "config";

/// Where the header keeps the tokenizer.
const TOKENIZER: &str = "tokenizer";

/// Everything it takes to turn prompts into films.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The sizes of the networks, and the recipe they were trained for.
    pub config: BundleConfig,
    /// Noisy latents to velocity.
    pub dit: Dit,
    /// Frames to latents and back.
    pub vae: Vae,
    /// Ids to embeddings.
    pub text: Umt5,
    /// Text to ids.
    pub tokenizer: Tokenizer,
}

/// Why a bundle cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The weights are at fault.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The runtime cannot be made of the weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A file of the model cannot be read.
    #[error("cannot read a file of the model ({source}): {}", path.display())]
    Unreadable {
        /// What the system said.
        source: io::Error,
        /// The file.
        path: PathBuf,
    },
    /// A file of the model cannot be written.
    #[error("cannot write a file of the model ({source}): {}", path.display())]
    Unwritable {
        /// What the system said.
        source: io::Error,
        /// The file.
        path: PathBuf,
    },
    /// A folder lacks a part of a model.
    #[error("the folder holds no {what}, expected {expected} or its like: {}", path.display())]
    NoPart {
        /// Which part.
        what: &'static str,
        /// What its file is called where it was published.
        expected: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// A safetensors file, but not one of ours.
    #[error("the file is no bundle, its header has no {key}: {}", path.display())]
    NoBundle {
        /// What the header should have had.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The configuration is not one.
    #[error("cannot read the configuration of the bundle ({source}): {}", path.display())]
    Config {
        /// What is wrong, and where in the JSON.
        source: serde_json::Error,
        /// The file.
        path: PathBuf,
    },
    /// The parts do not fit each other.
    #[error("the parts of the bundle do not fit together ({reason}): {}", path.display())]
    Inconsistent {
        /// What contradicts what.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// The vocabulary is at fault.
    #[error("{source}: {}", path.display())]
    Tokenizer {
        /// What the tokenizer said.
        source: TokenizerError,
        /// The file.
        path: PathBuf,
    },
}

impl Bundle {
    /// A bundle from a file or a folder, with its networks on `device`.
    ///
    /// # Errors
    /// When there is no whole and consistent model.
    pub fn from_file(path: &Path, device: &Device) -> Result<Self, BundleError> {
        StoredModel::open(path)?.load(device)
    }

    /// Write the bundle; `path` holds the old file or the whole new one.
    ///
    /// # Errors
    /// When the parts do not fit together, a weight is not finite or the file cannot be written.
    pub fn save(&self, path: &Path, dtype: StoredDtype) -> Result<(), BundleError> {
        self.check(path)?;
        let metadata = metadata(&self.config, &self.tokenizer, path)?;
        let mut writer = WeightsWriter::new(dtype);
        writer.add(&self.dit, Network::Dit, Network::Dit.prefix());
        writer.add(&self.vae, Network::Vae, Network::Vae.prefix());
        writer.add(&self.text, Network::Umt5, Network::Umt5.prefix());
        Ok(writer.write(path, &metadata)?)
    }

    /// How to generate with the networks.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.config.recipe
    }

    /// Refuse a bundle whose parts do not fit together.
    pub(crate) fn check(&self, path: &Path) -> Result<(), BundleError> {
        self.check_parts()
            .map_err(|reason| BundleError::Inconsistent { reason, path: path.to_owned() })
    }

    /// Whether the networks are those the configuration describes, and the vocabulary fits.
    fn check_parts(&self) -> Result<(), String> {
        self.config.check()?;
        let Self { config, dit, vae, text, tokenizer } = self;
        let network = if dit.config() != &config.dit {
            "the diffusion transformer"
        } else if vae.config() != &config.vae {
            "the VAE"
        } else if text.config() != &config.text {
            "the text encoder"
        } else {
            return check_vocabulary(tokenizer, config);
        };
        Err(format!("{network} was not made with the sizes in the configuration"))
    }
}

/// Whether the embedding has a row for every word.
pub(crate) fn check_vocabulary(tokenizer: &Tokenizer, config: &BundleConfig) -> Result<(), String> {
    match (tokenizer.vocab_size(), config.text.vocab_size) {
        (words, rows) if words <= rows => Ok(()),
        (words, rows) => Err(format!("{words} words, but the embedding has {rows} rows")),
    }
}

/// What the header of a bundle says beside its tensors.
pub(crate) fn metadata(
    config: &BundleConfig,
    tokenizer: &Tokenizer,
    path: &Path,
) -> Result<[(&'static str, String); 3], BundleError> {
    let config = serde_json::to_string(config)
        .map_err(|source| BundleError::Config { source, path: path.to_owned() })?;
    let tokenizer = tokenizer
        .to_json()
        .map_err(|source| BundleError::Tokenizer { source, path: path.to_owned() })?;
    let (key, format) = FORMAT;
    Ok([(key, format.to_owned()), (CONFIG, config), (TOKENIZER, tokenizer)])
}

/// The configuration and the tokenizer of a bundle; `path` is what errors call the file.
///
/// # Errors
/// When the file is no bundle, or its header makes no sense.
pub(crate) fn read_header(
    weights: &Weights<'_>,
    path: &Path,
) -> Result<(BundleConfig, Tokenizer), BundleError> {
    let entry = |key: &'static str| {
        let no_bundle = || BundleError::NoBundle { key, path: path.to_owned() };
        weights.metadata().get(key).ok_or_else(no_bundle)
    };
    let inconsistent = |reason| BundleError::Inconsistent { reason, path: path.to_owned() };
    let (key, expected) = FORMAT;
    let format = entry(key)?;
    if format != expected {
        return Err(inconsistent(format!("format {format:?}, expected {expected:?}")));
    }
    let config: BundleConfig = serde_json::from_str(entry(CONFIG)?)
        .map_err(|source| BundleError::Config { source, path: path.to_owned() })?;
    config.check().map_err(inconsistent)?;
    let tokenizer = Tokenizer::from_json(entry(TOKENIZER)?)
        .map_err(|source| BundleError::Tokenizer { source, path: path.to_owned() })?;
    Ok((config, tokenizer))
}
