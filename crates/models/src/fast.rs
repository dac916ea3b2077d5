//! The networks of a model as the runtime runs them, behind the engine's traits.
//!
//! The small decoder for previews is the one of this crate.

use burn::tensor::Device;
use shotstream_engine::network::{Decoder, Embedded, Latents, NetworkError, Pixels, TextEncoder};
use shotstream_runtime::{
    dit::{self, Embedding},
    vae,
    weights::{Source, WeightsError},
};

#[cfg(feature = "cuda")]
pub use shotstream_runtime::cuda::{Cuda, Driver};
pub use shotstream_runtime::{
    cpu::Cpu,
    kernels::{DeviceError, Keeping, Kernels, Precision},
};

use crate::{
    bundle::BundleError,
    checkpoint::Network,
    dit::{Dit, DitConfig},
    networks::{BurnEmbedding, BurnLatents, clean_latents, host_pixels},
    source::{Parameters, Unread},
    stored::StoredModel,
    taehv::{Taehv, TaehvState},
    text::BurnTextEncoder,
    vae::{Vae, VaeConfig},
};

/// Networks whose weights are packed for a device.
#[derive(Debug)]
pub struct FastNetworks<K: Kernels> {
    /// Prompts to embeddings.
    pub text: HostText,
    /// Noisy latents to velocity.
    pub denoiser: dit::Dit<K>,
    /// Latents to frames.
    pub decoder: FastDecoder<K>,
    /// Frames to latents.
    pub encoder: vae::Encoder<K>,
}

impl<K: Kernels> FastNetworks<K> {
    /// The transformer and the VAE of a stored model, with a text encoder of any kind. They are
    /// packed as they are read, tensor by tensor, so that they are never there a second time.
    ///
    /// # Errors
    /// When the tensors are not those of the networks, a value is not finite, a file cannot be read,
    /// heads are wider than there is room for, or the device has no room.
    pub fn stored(
        kernels: K,
        model: &StoredModel<'_>,
        text: BurnTextEncoder,
    ) -> Result<Self, BundleError> {
        let (config, device) = (model.config(), Device::flex());
        let [dit, vae, _] = model.networks();
        // Nothing is initialised for these: no parameter is asked for its value.
        let names = (
            dit.names(&Dit::new(&config.dit, &device))?,
            vae.names(&Vae::new(&config.vae, &device))?,
        );
        let (dit, vae) = (Unread::new(dit, &names.0, None), Unread::new(vae, &names.1, None));
        let made = kernels.beside().map_err(WeightsError::from).and_then(|beside| {
            let denoiser = dit::Dit::new(beside, dit_sizes(&config.dit), &dit)?;
            Ok((denoiser, packed(kernels, &vae_sizes(&config.vae), &vae)?))
        });
        dit.done()?;
        vae.done()?;
        let (denoiser, (decoder, encoder)) = made?;
        Ok(Self { text: HostText(text), denoiser, decoder: FastDecoder::Vae(decoder), encoder })
    }

    /// A transformer and a VAE, packed, with a text encoder of any kind. For a moment the
    /// transformer's weights are there twice.
    ///
    /// # Errors
    /// When the networks have not the parameters that their sizes call for, heads are wider than
    /// there is room for, or the device has no room.
    pub fn new(
        kernels: K,
        dit: Dit,
        vae: Vae,
        text: BurnTextEncoder,
    ) -> Result<Self, WeightsError> {
        let denoiser = packed_dit(kernels.beside()?, dit)?;
        let (decoder, encoder) = packed_vae(kernels, vae)?;
        Ok(Self { text: HostText(text), denoiser, decoder: FastDecoder::Vae(decoder), encoder })
    }

    /// The same with a small decoder in place of the VAE's.
    #[must_use]
    pub fn with_preview(self, taehv: Taehv) -> Self {
        Self { decoder: FastDecoder::Preview(Box::new(taehv)), ..self }
    }
}

/// A transformer, packed for a device.
///
/// # Errors
/// When it has not the parameters that its sizes call for, heads are wider than there is room for,
/// or the device has no room.
pub fn packed_dit<K: Kernels>(kernels: K, dit: Dit) -> Result<dit::Dit<K>, WeightsError> {
    let sizes = dit_sizes(dit.config());
    dit::Dit::new(kernels, sizes, &Parameters::of(dit, Network::Dit))
}

/// Both halves of a VAE, packed for a device.
///
/// # Errors
/// As [`packed_dit`].
pub fn packed_vae<K: Kernels>(kernels: K, vae: Vae) -> Result<VaeHalves<K>, WeightsError> {
    let sizes = vae_sizes(vae.config());
    packed(kernels, &sizes, &Parameters::of(vae, Network::Vae))
}

/// What makes frames of latents, and what makes latents of frames.
pub type VaeHalves<K> = (vae::Decoder<K>, vae::Encoder<K>);

fn packed<K: Kernels>(
    kernels: K,
    sizes: &vae::Sizes,
    source: &dyn Source,
) -> Result<VaeHalves<K>, WeightsError> {
    let decoder = vae::Decoder::new(kernels.beside()?, sizes.clone(), source)?;
    Ok((decoder, vae::Encoder::new(kernels, sizes.clone(), source)?))
}

/// What makes frames of latents.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a program has one of them")]
pub enum FastDecoder<K: Kernels> {
    /// The decoder half of the VAE.
    Vae(vae::Decoder<K>),
    /// A small one for previews.
    Preview(Box<Taehv>),
}

/// What a decoder remembers between the chunks of a shot.
#[derive(Debug)]
pub enum FastState<K: Kernels> {
    /// Of the VAE.
    Vae(vae::State<K>),
    /// Of the small decoder.
    Preview(TaehvState),
}

impl<K: Kernels> Decoder for FastDecoder<K> {
    type Latents = Latents;
    type State = FastState<K>;

    fn start(&self) -> FastState<K> {
        match self {
            Self::Vae(vae) => FastState::Vae(vae.start()),
            Self::Preview(taehv) => FastState::Preview(taehv.start()),
        }
    }

    /// # Panics
    /// When the state was made by another kind of decoder.
    fn decode(&self, state: &mut FastState<K>, latents: &Latents) -> Result<Pixels, NetworkError> {
        match (self, state) {
            (Self::Vae(vae), FastState::Vae(state)) => vae.decode(state, latents),
            (Self::Preview(taehv), FastState::Preview(state)) => {
                let latents = BurnLatents::on(&Device::flex(), latents);
                let latents = clean_latents(&latents, taehv.latent_channels())?;
                Ok(host_pixels(taehv.decode_next(state, latents)))
            }
            _ => panic!("the state was made by another kind of decoder"),
        }
    }
}

/// What the runtime calls the sizes of a transformer.
fn dit_sizes(config: &DitConfig) -> dit::Sizes {
    let [_, rows, columns] = config.patch;
    dit::Sizes {
        dim: config.dim,
        ffn_dim: config.ffn_dim,
        freq_dim: config.freq_dim,
        num_heads: config.num_heads,
        num_layers: config.num_layers,
        channels: [config.in_channels, config.out_channels],
        patch: [rows, columns],
        text_dim: config.text_dim,
        eps: config.eps as f32,
        shot_phase: config.shot_phase,
        shot_embeddings: config.shot_embeddings,
    }
}

/// What the runtime calls the sizes of a VAE.
pub(crate) fn vae_sizes(config: &VaeConfig) -> vae::Sizes {
    vae::Sizes {
        dims: [config.dim, config.decoder_dim],
        channels: config.z_dim,
        multiples: config.dim_mult.clone(),
        num_res_blocks: config.num_res_blocks,
        halves_time: config.temporal_downsample.clone(),
        patch: config.patch,
        mean: config.latents_mean.clone(),
        std: config.latents_std.clone(),
    }
}

/// A text encoder whose embeddings are on the host.
#[derive(Clone, Debug)]
pub struct HostText(BurnTextEncoder);

impl HostText {
    /// Prompts that went through the network so far, and prompts that were found on disk.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.0.counts()
    }

    fn on_host(embedded: Embedded<BurnEmbedding>) -> Embedded<Embedding> {
        let Embedded { embedding: BurnEmbedding(tensor), unknown_words, dropped_tokens } = embedded;
        let [_, tokens, _] = tensor.dims();
        let values = tensor.into_data().iter::<f32>().collect();
        Embedded { embedding: Embedding { tokens, values }, unknown_words, dropped_tokens }
    }
}

impl TextEncoder for HostText {
    type Embedding = Embedding;

    fn embed(&self, prompt: &str) -> Result<Embedded<Embedding>, NetworkError> {
        self.0.embed(prompt).map(Self::on_host)
    }

    fn embed_under(&self, global: &str, prompt: &str) -> Result<Embedded<Embedding>, NetworkError> {
        self.0.embed_under(global, prompt).map(Self::on_host)
    }
}
