//! The model a film is made with: the one this program carries, a file, or a folder.

use std::{fs, path::Path};

use burn::tensor::Device;
use shotstream_models::{
    bundle::{Bundle, BundleConfig},
    fast::{FastNetworks, Kernels},
    stored::StoredModel,
    taehv::Taehv,
    text::BurnTextEncoder,
};
use shotstream_plan::recipe::{Recipe, RecipeFile};

use crate::{
    cli::{DecoderArg, DecoderArgs, DeviceName, ModelArgs, PrecisionName},
    device,
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
    /// Where it is, or what it is called if it is nowhere.
    path: String,
    loras: Vec<LoraArg>,
    /// What the user wants it to follow in place of its own.
    recipe: Option<Recipe>,
    /// Where its networks run.
    pub(crate) device: device::Device,
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
        let (name, path) = (name.to_owned(), name.to_owned());
        let (loras, device) = (Vec::new(), device::Device::processor());
        Ok(Self { name, path, loras, recipe: None, device, stored: stored.wrong_use()? })
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

    /// Build the networks in the form that is trained and judged, and merge the adapters.
    ///
    /// # Errors
    /// When the weights are not those the headers promise, or an adapter does not fit them.
    pub(crate) fn load(&self) -> anyhow::Result<Bundle> {
        let mut bundle = self.stored.load(&Device::flex()).wrong_use()?;
        bundle.dit = merged(bundle.dit, &self.loras)?;
        Ok(bundle)
    }

    /// Build the networks for a device, with a text encoder that was opened before and the decoder
    /// that flags ask for, and merge the adapters.
    ///
    /// # Errors
    /// As [`Self::load`], or when there is no such decoder or it does not fit the model, or the
    /// device has no room.
    pub(crate) fn networks<K: Kernels>(
        &self,
        kernels: K,
        text: BurnTextEncoder,
        args: &DecoderArgs,
    ) -> anyhow::Result<FastNetworks<K>> {
        let networks = if self.loras.is_empty() {
            FastNetworks::stored(kernels, &self.stored, text).wrong_use()?
        } else {
            let (dit, vae) = self.stored.load_without_text(&Device::flex()).wrong_use()?;
            let dit = merged(dit, &self.loras)?;
            FastNetworks::new(kernels, dit, vae, text).wrong_use()?
        };
        with_decoder(networks, self, args)
    }

    /// Whether it is the model that the program carries, adapters or not.
    pub(crate) fn is_embedded(&self) -> bool {
        self.path == TINY_NAME
    }
}

/// What the published file of the small decoder is called.
const PREVIEWS: [&str; 2] = ["taew2_1.safetensors", "taew2_1.pth"];

/// The networks with the decoder that flags ask for.
///
/// # Errors
/// When it is not there, or does not fit the model.
fn with_decoder<K: Kernels>(
    networks: FastNetworks<K>,
    file: &ModelFile,
    args: &DecoderArgs,
) -> anyhow::Result<FastNetworks<K>> {
    let path = match &args.decoder {
        DecoderArg::Vae => return Ok(networks),
        DecoderArg::File(path) => path.clone(),
        DecoderArg::Tiny => {
            let beside = |name: &&str| {
                let model = Path::new(&file.path);
                if file.is_embedded() {
                    return None;
                }
                let folder = if model.is_dir() { Some(model) } else { model.parent() };
                folder.map(|folder| folder.join(name)).filter(|path| path.is_file())
            };
            PREVIEWS.iter().find_map(beside).ok_or_else(|| {
                let (expected, place) = (PREVIEWS[0], &file.path);
                WrongUse::error(format!(
                    "there is no small decoder beside the model, expected {expected} or its like: \
                     {place}"
                ))
            })?
        }
    };
    let taehv = Taehv::open(&path, &Device::flex()).wrong_use()?;
    let (found, expected) = (taehv.latent_channels(), file.latent_channels());
    let [time, rows, columns] = file.stored.config().vae.stride();
    if found != expected || [time, rows, columns] != Taehv::STRIDE {
        return Err(WrongUse::error(format!(
            "the decoder reads {found} latent channels of {:?} frames, rows and columns each, \
             expected {expected} of {:?}: {}",
            Taehv::STRIDE,
            [time, rows, columns],
            path.display()
        )));
    }
    Ok(networks.with_preview(taehv))
}

/// The model that flags ask for on the device that they ask for, with threads set up for it.
///
/// # Errors
/// When this build cannot run as asked, or there is no such model.
pub(crate) fn open(args: &ModelArgs) -> anyhow::Result<ModelFile> {
    open_on(device::Device::open(args)?, args)
}

/// As [`open`], for commands that compute as models are trained, on the processor and in f32.
///
/// # Errors
/// As [`open`], or when something else was asked for.
pub(crate) fn open_to_load(args: &ModelArgs) -> anyhow::Result<ModelFile> {
    if args.device == DeviceName::Cuda {
        let reason = "this command computes on the processor only, expected --device cpu";
        return Err(WrongUse::error(reason));
    }
    if !matches!(args.precision, None | Some(PrecisionName::F32)) {
        let reason = "this command computes in f32 only, expected --precision f32";
        return Err(WrongUse::error(reason));
    }
    open_on(device::Device::processor(), args)
}

fn open_on(device: device::Device, args: &ModelArgs) -> anyhow::Result<ModelFile> {
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global()?;
    }
    let mut model = ModelFile::open(&args.model)?.with_loras(&args.loras.loras);
    model.device = device;
    model.by_recipe(args.recipe.as_deref())
}
