//! The model a film is made with: the one this program carries, a file, or a folder.

use std::{fs, path::Path};

use burn::tensor::Device;
use shotstream_models::{
    bundle::{Bundle, BundleConfig},
    stored::StoredModel,
};
use shotstream_plan::recipe::{Recipe, RecipeFile};

use crate::{
    cli::{DeviceName, ModelArgs, Precision},
    failure::{Blame as _, WrongUse},
    lora::{LoraArg, merged},
};

/// The model this program carries.
const TINY: &[u8] = include_bytes!("../../../weights/tiny.safetensors");

/// What `--model` calls it.
pub(crate) const TINY_NAME: &str = "tiny";

/// A model whose header has been read and whose networks have not been built.
#[derive(Debug)]
pub(crate) struct ModelFile {
    /// What the user calls it, adapters included.
    pub(crate) name: String,
    loras: Vec<LoraArg>,
    /// What the user wants it to follow in place of its own.
    recipe: Option<Recipe>,
    pub(crate) stored: StoredModel<'static>,
}

impl ModelFile {
    /// Find a model: `tiny` or a path.
    ///
    /// # Errors
    /// When there is no such file or folder, or it is no model.
    pub(crate) fn open(name: &str) -> anyhow::Result<Self> {
        let path = Path::new(name);
        let stored = match name {
            TINY_NAME => StoredModel::parse(TINY, path),
            _ => StoredModel::open(path),
        };
        let (name, loras) = (name.to_owned(), Vec::new());
        Ok(Self { name, loras, recipe: None, stored: stored.wrong_use()? })
    }

    /// The same model by the recipe of a file, if one is named.
    ///
    /// # Errors
    /// When the file is no recipe, or none that the networks can follow.
    pub(crate) fn by_recipe(mut self, path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(self) };
        let place = path.display();
        let text = fs::read_to_string(path);
        let text =
            text.map_err(|e| format!("cannot read the recipe ({e}): {place}")).wrong_use()?;
        let recipe = Recipe::from_toml(&text).map_err(|e| format!("{e}: {place}")).wrong_use()?;
        let config = BundleConfig { recipe, ..self.stored.config().clone() };
        config.check().map_err(|reason| format!("{reason}: {place}")).wrong_use()?;
        self.recipe = Some(config.recipe);
        Ok(self)
    }

    /// The model's recipe or the one it is to follow, for pictures of another `size` (width, height) if one is asked for.
    ///
    /// # Errors
    /// When the networks cannot make pictures of this size.
    pub(crate) fn recipe(&self, size: Option<[usize; 2]>) -> anyhow::Result<Recipe> {
        let recipe = self.recipe.as_ref().unwrap_or(&self.stored.config().recipe).clone();
        let Some([width, height]) = size else { return Ok(recipe) };
        let geometry = recipe.geometry().with_pixels([height, width]).wrong_use()?;
        RecipeFile { geometry, ..recipe.into() }.resolve().wrong_use()
    }

    /// Channels of a latent frame.
    pub(crate) fn latent_channels(&self) -> usize {
        self.stored.config().vae.z_dim
    }

    /// The same model with adapters to be merged into it.
    fn with_loras(mut self, loras: &[LoraArg]) -> Self {
        self.name.extend(loras.iter().map(|lora| format!(" + {lora}")));
        self.loras = loras.to_vec();
        self
    }

    /// Build the networks, and merge the adapters.
    ///
    /// # Errors
    /// When the weights are not those the headers promise, or an adapter does not fit them.
    pub(crate) fn load(&self) -> anyhow::Result<Bundle> {
        let bundle = self.stored.load(&Device::flex()).wrong_use()?;
        merged(bundle, &self.loras)
    }
}

/// The model that flags ask for, with threads set up for it.
///
/// # Errors
/// When this build cannot run as asked, or there is no such model.
pub(crate) fn open(args: &ModelArgs) -> anyhow::Result<ModelFile> {
    if args.device == DeviceName::Cuda {
        return Err(WrongUse::error("this build runs on the CPU only, expected --device cpu"));
    }
    if args.precision != Precision::F32 {
        return Err(WrongUse::error("this build computes in f32 only, expected --precision f32"));
    }
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global()?;
    }
    let model = ModelFile::open(&args.model)?.with_loras(&args.loras.loras);
    model.by_recipe(args.recipe.as_deref())
}
