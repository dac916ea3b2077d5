//! The engine's view of a [`Bundle`]: its three networks behind the engine's traits.
//!
//! | letter | means | Wan 2.1 at 480p |
//! |---|---|---|
//! | `F` | latent frames of a call | 3 |
//! | `C` | latent channels | 16 |
//! | `h`, `w` | latent height and width | 60, 104 |
//! | `T` | pixel frames | 9, then 12 |
//! | `H`, `W` | height and width in pixels | 480, 832 |
//! | `L` | tokens of the padded caption | 512 |
//! | `D` | width of a caption's embeddings | 4 096 |
//!
//! The text encoder is in [`crate::text`].
//!
//! Everything here runs without recording gradients. The host keeps latents frame by frame,
//! `[F, C, h, w]`; the networks want channels first and a batch of one, `[1, C, F, h, w]`.
//! What the networks assert is checked here first and returned as an error.

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use shotstream_engine::network::{
    Blend, Decoder, Denoiser, FrameEncoder, Latents, Memory, NetworkError, Pixels, StoryDenoiser,
};
use shotstream_plan::{geometry::LatentFrames, layout::FrameSlot};

use crate::{
    bundle::Bundle,
    dit::{ContextCache, Dit, LocalCache, TextCache},
    text::BurnTextEncoder,
    vae::{DecoderState, Vae},
};

/// A bundle's networks, ready for the engine.
#[derive(Clone, Debug)]
pub struct BurnNetworks {
    /// Prompts to embeddings.
    pub text: BurnTextEncoder,
    /// Noisy latents to velocity.
    pub denoiser: BurnDenoiser,
    /// Latents to frames.
    pub decoder: BurnDecoder,
    /// Frames to latents.
    pub encoder: BurnFrameEncoder,
}

impl BurnNetworks {
    /// The networks of a bundle on the device they were loaded to. Weights are shared, not copied.
    #[must_use]
    pub fn new(bundle: &Bundle) -> Self {
        let text = bundle.text.valid();
        let (tokenizer, device) = (bundle.tokenizer.clone(), device(&text));
        let text_len = bundle.config.dit.text_len;
        let text = BurnTextEncoder::whole(tokenizer, text, text_len, device);
        Self::of(&bundle.dit, &bundle.vae, text)
    }

    /// A transformer and a VAE with a text encoder of any kind.
    #[must_use]
    pub fn of(dit: &Dit, vae: &Vae, text: BurnTextEncoder) -> Self {
        let (dit, vae) = (dit.valid(), vae.valid());
        Self {
            text,
            denoiser: BurnDenoiser { device: device(&dit), dit },
            decoder: BurnDecoder { vae: vae.clone() },
            encoder: BurnFrameEncoder { device: device(&vae), vae },
        }
    }
}

/// Where a module lives, without gradients.
fn device<M: Module>(module: &M) -> Device {
    let device = module.devices().into_iter().next();
    device.expect("a network has parameters").without_autodiff()
}

/// Latents `[1, C, F, h, w]` where the network computes.
#[derive(Clone, Debug)]
pub struct BurnLatents(pub Tensor<5>);

impl BurnLatents {
    /// The host's latents on a device.
    pub(crate) fn on(device: &Device, latents: &Latents) -> Self {
        let data = TensorData::new(latents.data.clone(), latents.shape);
        let frames = Tensor::<4>::from_data(data, device);
        Self(frames.swap_dims(0, 1).unsqueeze())
    }
}

impl Blend for BurnLatents {
    fn blend(&self, a: f32, other: &Self, b: f32) -> Self {
        Self(self.0.clone() * a + other.0.clone() * b)
    }
}

/// The embeddings of one caption, `[1, L, D]`. Clones share their values.
#[derive(Clone, Debug)]
pub struct BurnEmbedding(pub Tensor<3>);

/// The diffusion transformer.
#[derive(Clone, Debug)]
pub struct BurnDenoiser {
    dit: Dit,
    device: Device,
}

impl BurnDenoiser {
    /// Latents a pass can run on, with one slot for each frame and a caption for each slot.
    fn checked(
        &self,
        what: &'static str,
        latents: &BurnLatents,
        slots: &[FrameSlot],
        captions: usize,
    ) -> Result<Tensor<5>, NetworkError> {
        let found = latents.0.dims();
        let [_, _, frames, height, width] = found;
        let config = self.dit.config();
        let [_, rows, columns] = config.patch;
        let whole = |size: usize, patch: usize| size.max(1).next_multiple_of(patch);
        let expected =
            [1, config.in_channels, frames.max(1), whole(height, rows), whole(width, columns)];
        check_shape(what, &expected, &found)?;
        check_shape("the slots of a pass", &[frames], &[slots.len()])?;
        let needed = slots.iter().map(|slot| slot.caption + 1).max().unwrap_or(1);
        check_shape("the captions of a pass", &[needed.max(captions)], &[captions])?;
        Ok(latents.0.clone())
    }
}

impl Denoiser for BurnDenoiser {
    type Latents = BurnLatents;
    type TextCache = TextCache;
    type ContextCache = ContextCache;
    type LocalCache = LocalCache;

    fn empty_local(&self) -> LocalCache {
        LocalCache::default()
    }

    fn forget(&self, local: &mut LocalCache, sink: LatentFrames, latents: LatentFrames) {
        local.keep(sink.0, latents.0);
    }

    fn velocity(
        &self,
        noisy: &BurnLatents,
        timestep: f32,
        slots: &[FrameSlot],
        text: &TextCache,
        memory: Memory<'_, ContextCache, LocalCache>,
    ) -> Result<BurnLatents, NetworkError> {
        let slots = of_one_caption(slots);
        let latents = self.checked("noisy latents", noisy, &slots, 1)?;
        let timesteps = Tensor::full([1, slots.len()], timestep, &self.device);
        let Memory { context, local } = memory;
        Ok(BurnLatents(self.dit.denoise(latents, timesteps, &slots, text, context, local)))
    }

    fn commit(
        &self,
        clean: &BurnLatents,
        slots: &[FrameSlot],
        text: &TextCache,
        context: &ContextCache,
        local: &mut LocalCache,
    ) -> Result<(), NetworkError> {
        let slots = of_one_caption(slots);
        let latents = self.checked("clean latents", clean, &slots, 1)?;
        self.dit.commit(latents, &slots, text, context, local);
        Ok(())
    }
}

impl StoryDenoiser for BurnDenoiser {
    type Embedding = BurnEmbedding;

    /// # Panics
    /// When the latents do not hold as many values as their shape says.
    fn upload(&self, latents: &Latents) -> BurnLatents {
        BurnLatents::on(&self.device, latents)
    }

    fn download(&self, latents: &BurnLatents) -> Latents {
        let frames: Tensor<4> = latents.0.clone().squeeze_dim::<4>(0).swap_dims(0, 1);
        host_latents(frames)
    }

    fn cache_text(&self, embedding: &BurnEmbedding) -> Result<TextCache, NetworkError> {
        let found = embedding.0.dims();
        let [_, tokens, _] = found;
        check_shape("an embedding", &[1, tokens, self.dit.config().text_dim], &found)?;
        Ok(self.dit.text_cache(embedding.0.clone().unsqueeze_dim(1)))
    }

    fn empty_context(&self) -> ContextCache {
        ContextCache::default()
    }

    fn encode_context(
        &self,
        context: &BurnLatents,
        slots: &[FrameSlot],
        texts: &[TextCache],
    ) -> Result<ContextCache, NetworkError> {
        let latents = self.checked("context latents", context, slots, texts.len())?;
        Ok(self.dit.encode_context(latents, slots, &TextCache::concat(texts)))
    }
}

/// The slots of a pass that is given one caption, whichever of the story's it is.
fn of_one_caption(slots: &[FrameSlot]) -> Vec<FrameSlot> {
    slots.iter().map(|slot| FrameSlot { caption: 0, ..*slot }).collect()
}

/// The decoder half of the VAE.
#[derive(Clone, Debug)]
pub struct BurnDecoder {
    vae: Vae,
}

impl Decoder for BurnDecoder {
    type Latents = BurnLatents;
    type State = DecoderState;

    fn start(&self) -> DecoderState {
        self.vae.start()
    }

    fn decode(
        &self,
        state: &mut DecoderState,
        latents: &BurnLatents,
    ) -> Result<Pixels, NetworkError> {
        let latents = clean_latents(latents, self.vae.config().z_dim)?;
        Ok(host_pixels(self.vae.decode_next(state, latents)))
    }
}

/// Latents that a decoder of so many channels can read.
pub(crate) fn clean_latents(
    latents: &BurnLatents,
    channels: usize,
) -> Result<Tensor<5>, NetworkError> {
    let found = latents.0.dims();
    let [_, _, frames, height, width] = found;
    check_shape("clean latents", &[1, channels, frames.max(1), height, width], &found)?;
    Ok(latents.0.clone())
}

/// A video `[1, 3, T, H, W]` on the host.
pub(crate) fn host_pixels(video: Tensor<5>) -> Pixels {
    let frames: Tensor<4> = video.clamp(-1.0, 1.0).squeeze_dim::<4>(0).swap_dims(0, 1);
    let shape = frames.dims();
    Pixels { shape, data: frames.into_data().iter::<f32>().collect() }
}

/// The encoder half of the VAE.
#[derive(Clone, Debug)]
pub struct BurnFrameEncoder {
    vae: Vae,
    device: Device,
}

impl FrameEncoder for BurnFrameEncoder {
    fn encode(&self, frames: &Pixels) -> Result<Latents, NetworkError> {
        let found = frames.shape;
        let [count, _, height, width] = found;
        let [_, rows, columns] = self.vae.config().stride();
        let whole = |size: usize, stride: usize| size.max(1).next_multiple_of(stride);
        let expected = [count.max(1), 3, whole(height, rows), whole(width, columns)];
        check_shape("frames", &expected, &found)?;
        check_shape("the values of frames", &[found.iter().product()], &[frames.data.len()])?;
        let data = TensorData::new(frames.data.clone(), found);
        Ok(host_latents(self.vae.encode_frames(Tensor::from_data(data, &self.device))))
    }
}

/// `[F, C, h, w]` on the host.
fn host_latents(frames: Tensor<4>) -> Latents {
    let shape = frames.dims();
    Latents { shape, data: frames.into_data().iter::<f32>().collect() }
}

fn check_shape(
    what: &'static str,
    expected: &[usize],
    found: &[usize],
) -> Result<(), NetworkError> {
    if expected == found {
        return Ok(());
    }
    Err(NetworkError::Shape { what, expected: expected.to_vec(), found: found.to_vec() })
}
