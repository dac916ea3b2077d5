//! A model as it is stored: opened and checked, with no weight read yet.
//!
//! What a user has may be our single file, a folder with the published files of Wan2.1 and
//! ShotStream, the layout of diffusers, or a mixture. Every one of them becomes a [`StoredModel`]:
//! sizes, recipe, tokenizer, and for each network where its tensors are and what they are called.
//! After that nobody asks for the form again.

mod convert;
mod folder;
mod memory;
mod sizes;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use burn::{module::Module, tensor::Device};
use shotstream_runtime::kernels::Kernels;

use crate::{
    bundle::{Bundle, BundleConfig, BundleError, check_vocabulary, read_header},
    checkpoint::{CheckpointError, Naming, Network, Packed, Weights},
    dit::Dit,
    text::{Holding, StoredUmt5, TABLE},
    tokenizer::Tokenizer,
    umt5::Umt5,
    vae::Vae,
};

pub use self::{
    convert::Layout,
    memory::{MemoryPlan, MemoryUse},
};

/// A model whose headers have been read and whose weights have not.
#[derive(Debug)]
pub struct StoredModel<'a> {
    config: BundleConfig,
    tokenizer: Tokenizer,
    dit: StoredNetwork<'a>,
    vae: StoredNetwork<'a>,
    text: StoredNetwork<'a>,
}

/// One network of a [`StoredModel`].
#[derive(Clone, Debug)]
pub struct StoredNetwork<'a> {
    weights: Arc<Weights<'a>>,
    network: Network,
    naming: Naming,
    prefix: String,
}

impl<'a> StoredModel<'a> {
    /// Open a model: a file of ours, a folder with published files, or one of its transformers.
    ///
    /// # Errors
    /// When something is missing, damaged, or does not fit the rest.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        if path.is_dir() {
            return folder::open(path, None);
        }
        let weights = Arc::new(Weights::open(path)?);
        match Self::of_bundle(weights.clone(), path) {
            // A transformer is named, the rest lies beside it.
            Err(BundleError::NoBundle { .. }) if folder::is_transformer(&weights) => {
                folder::open(folder::of(path), Some(path))
            }
            model => model,
        }
    }

    /// A file of ours in memory, which errors call `path`.
    ///
    /// # Errors
    /// When the bytes are not one whole and consistent bundle.
    pub fn parse(bytes: &'a [u8], path: &Path) -> Result<Self, BundleError> {
        Self::of_bundle(Arc::new(Weights::parse(bytes, path)?), path)
    }

    fn of_bundle(weights: Arc<Weights<'a>>, path: &Path) -> Result<Self, BundleError> {
        let (config, tokenizer) = read_header(&weights, path)?;
        weights.check_prefixes(&Network::ALL.map(Network::prefix))?;
        let [dit, vae, text] = Network::ALL.map(|network| StoredNetwork {
            weights: weights.clone(),
            network,
            naming: Naming::Official,
            prefix: network.prefix().to_owned(),
        });
        Ok(Self { config, tokenizer, dit, vae, text })
    }

    /// The sizes of the networks, and how to generate with them.
    #[must_use]
    pub fn config(&self) -> &BundleConfig {
        &self.config
    }

    /// Text to ids.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The transformer, the VAE and the text encoder.
    #[must_use]
    pub fn networks(&self) -> [&StoredNetwork<'a>; 3] {
        [&self.dit, &self.vae, &self.text]
    }

    /// Bytes of the files its weights are in.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let mut files = Vec::new();
        for StoredNetwork { weights, .. } in self.networks() {
            if !files.iter().any(|file| Arc::ptr_eq(file, weights)) {
                files.push(weights.clone());
            }
        }
        files.iter().map(|file| file.size_bytes()).sum()
    }

    /// Read the weights, one tensor at a time, and build the networks on `device`.
    ///
    /// # Errors
    /// When the tensors are not those of the networks, a value is not finite, or a file cannot be
    /// read.
    pub fn load(&self, device: &Device) -> Result<Bundle, BundleError> {
        let (dit, vae) = self.load_without_text(device)?;
        let text = self.text.load(Umt5::new(&self.config.text, device))?;
        let (tokenizer, config) = (self.tokenizer.clone(), self.config.clone());
        let bundle = Bundle { dit, vae, text, tokenizer, config };
        bundle.check(self.dit.weights.path())?;
        Ok(bundle)
    }

    /// Read the weights of the transformer and of the VAE, and build them on `device`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_without_text(&self, device: &Device) -> Result<(Dit, Vae), BundleError> {
        let Self { config, dit, vae, .. } = self;
        let dit = dit.load(Dit::new(&config.dit, device))?;
        Ok((dit, vae.load(Vae::new(&config.vae, device))?))
    }
}

impl StoredModel<'static> {
    /// The text encoder where it is stored, to be run by `kernels`.
    ///
    /// # Errors
    /// When the tensors are not those of the network, the vocabulary does not fit, or a file cannot
    /// be read.
    pub fn text_encoder<K: Kernels>(
        &self,
        holding: Holding,
        kernels: K,
    ) -> Result<StoredUmt5<K>, BundleError> {
        let text = StoredUmt5::open(self.text.clone(), &self.config, holding, kernels)?;
        let reason = check_vocabulary(&self.tokenizer, &self.config);
        let path = || self.text.path().to_owned();
        reason.map_err(|reason| BundleError::Inconsistent { reason, path: path() })?;
        Ok(text)
    }
}

impl StoredNetwork<'_> {
    /// Which network it is.
    #[must_use]
    pub fn network(&self) -> Network {
        self.network
    }

    /// The file, or the index of several.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.weights.path()
    }

    /// Dtype and shape of every tensor as stored; those of other networks and of training are left
    /// out.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, String, &[usize])> {
        self.weights.tensors().filter(|(name, ..)| name.starts_with(&self.prefix))
    }

    /// How many numbers its tensors hold.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let sizes =
            self.tensors().map(|(.., shape)| shape.iter().map(|&side| side as u64).product());
        sizes.fold(0, |all: u64, one: u64| all.saturating_add(one))
    }

    /// What the parameters of a module are called in the file, by official name.
    pub(crate) fn names<M: Module>(
        &self,
        module: &M,
    ) -> Result<BTreeMap<String, String>, CheckpointError> {
        let Self { weights, network, naming, prefix } = self;
        let names = weights.fitting(module, *network, *naming, prefix)?;
        Ok(names.into_iter().collect())
    }

    /// Numbers of a text encoder that are kept between prompts, all but the table of tokens, and
    /// their bytes as they are stored.
    pub(crate) fn kept(&self) -> (u64, u64) {
        let table = self.naming.names(self.network, &[TABLE], &self.prefix).concat();
        let sides = self.weights.shape(&table).unwrap_or_default();
        let rows: u64 = sides.iter().map(|&side| side as u64).product();
        (self.parameters().saturating_sub(rows), self.weights.bytes_under(&self.prefix, &table))
    }

    /// Shape and values of a tensor of the file, read now, or taken from what was kept of it.
    pub(crate) fn read(
        &self,
        name: &str,
        kept: Option<&Packed>,
    ) -> Result<(Vec<usize>, Vec<f32>), CheckpointError> {
        let values = match kept.and_then(|kept| kept.values(name)) {
            Some(values) => self.weights.finite(name, values)?,
            None => self.weights.finite_values(name)?,
        };
        Ok((self.weights.shape(name).unwrap_or_default().to_vec(), values))
    }

    /// Some rows of a matrix of the file, one after another.
    pub(crate) fn rows(&self, name: &str, rows: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        self.weights.rows(name, rows)
    }

    /// Keep a tensor of the file as it is stored.
    pub(crate) fn keep(&self, packed: &mut Packed, name: &str) -> Result<(), CheckpointError> {
        packed.keep(&self.weights, name)
    }

    /// Hand what tells these weights from others to `sink`.
    pub(crate) fn fingerprint(&self, sink: &mut dyn FnMut(&[u8])) -> Result<(), CheckpointError> {
        self.weights.fingerprint(&self.prefix, sink)
    }

    fn load<M: Module>(&self, module: M) -> Result<M, BundleError> {
        let Self { weights, network, naming, prefix } = self;
        Ok(weights.load_named(module, *network, *naming, prefix)?)
    }
}
