//! The causal 3-D VAE: pixels to latents and back.
//!
//! | letter | means | Wan 2.1 at 480p |
//! |---|---|---|
//! | `B` | clips | 1 |
//! | `T` | frames | 81 |
//! | `F` | latent frames: `1 + (T - 1) / 4` | 21 |
//! | `z` | latent channels | 16 |
//! | `H`, `W` | height and width in pixels | 480, 832 |
//! | `h`, `w` | height and width in latent cells | 60, 104 |
//!
//! The first frame of a clip becomes a latent frame alone, every later latent frame covers four.
//! No frame sees a later one, so a clip can be decoded as its latents arrive.
//!
//! Method: Wan, arXiv 2503.20314, the VAE of Wan 2.1 at any width. With a `patch` of two, squares
//! of pixels take the place of one spatial stage, as in Wan 2.2.

mod block;
mod causal_conv;
mod config;
mod decoder;
mod encoder;
mod picture;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};

use self::{causal_conv::CausalConv, decoder::Decoder, encoder::Encoder};

pub use self::{config::VaeConfig, decoder::DecoderState};

/// Encoder and decoder with the statistics of the latents between them.
#[derive(Module, Debug)]
pub struct Vae {
    encoder: Encoder,
    /// Pointwise, on the posterior.
    conv1: CausalConv,
    /// Pointwise, on the latents.
    conv2: CausalConv,
    decoder: Decoder,
    #[module(skip)]
    config: VaeConfig,
}

impl Vae {
    /// Random weights.
    ///
    /// # Panics
    /// If the lists of `config` contradict each other.
    pub fn new(config: &VaeConfig, device: &Device) -> Self {
        config.check();
        Self {
            encoder: Encoder::new(config, device),
            conv1: CausalConv::new([2 * config.z_dim; 2], [1, 1], device),
            conv2: CausalConv::new([config.z_dim; 2], [1, 1], device),
            decoder: Decoder::new(config, device),
            config: config.clone(),
        }
    }

    /// The sizes this VAE was made with.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// Replace the statistics the latents are normalised with, once they have been measured.
    pub fn with_latents(mut self, mean: Vec<f32>, std: Vec<f32>) -> Self {
        self.config.latents_mean = mean;
        self.config.latents_std = std;
        self.config.check();
        self
    }

    /// Mean and log-variance of the latents, each `[B, z, F, h, w]` and not normalised, of a clip
    /// `[B, 3, T, H, W]` in `[-1, 1]`.
    ///
    /// # Panics
    /// If height or width is not a multiple of the stride, or `T` is not `1 + 4n`.
    pub fn posterior(&self, video: Tensor<5>) -> (Tensor<5>, Tensor<5>) {
        let [_, _, num_frames, height, width] = video.dims();
        let [time, rows, columns] = self.config.stride();
        assert!(
            num_frames % time == 1 % time && height % rows == 0 && width % columns == 0,
            "a clip of {num_frames} frames of {height} x {width} does not fit the stride \
             {time}/{rows}/{columns}"
        );
        let hidden = self.encoder.forward(picture::fold(video, self.config.patch));
        let moments = self.conv1.forward(hidden).swap_dims(1, 2);
        let mut halves = moments.chunk(2, 1).into_iter();
        match (halves.next(), halves.next()) {
            (Some(mean), Some(log_variance)) => (mean, log_variance),
            _ => unreachable!("an even number of channels has two halves"),
        }
    }

    /// Latents to zero mean and unit variance per channel; `[B, z, F, h, w]`.
    pub fn normalise(&self, latents: Tensor<5>) -> Tensor<5> {
        let [mean, std] = self.statistics(&latents);
        (latents - mean) / std
    }

    /// The inverse of [`Vae::normalise`]; `[B, z, F, h, w]`.
    pub fn denormalise(&self, latents: Tensor<5>) -> Tensor<5> {
        let [mean, std] = self.statistics(&latents);
        latents * std + mean
    }

    /// The normalised latents `[B, z, F, h, w]` of a clip `[B, 3, T, H, W]` in `[-1, 1]`.
    ///
    /// # Panics
    /// As [`Vae::posterior`].
    pub fn encode(&self, video: Tensor<5>) -> Tensor<5> {
        self.normalise(self.posterior(video).0)
    }

    /// The normalised latents `[N, z, h, w]` of frames `[N, 3, H, W]`, each as if a clip began
    /// with it.
    ///
    /// # Panics
    /// As [`Vae::posterior`].
    pub fn encode_frames(&self, frames: Tensor<4>) -> Tensor<4> {
        self.encode(frames.unsqueeze_dim(2)).squeeze_dim(2)
    }

    /// The clip `[B, 3, 1 + 4(F - 1), H, W]` of normalised latents `[B, z, F, h, w]`; not clamped.
    pub fn decode(&self, latents: Tensor<5>) -> Tensor<5> {
        self.decode_raw(self.denormalise(latents))
    }

    /// As [`Vae::decode`], from latents that are not normalised.
    pub fn decode_raw(&self, latents: Tensor<5>) -> Tensor<5> {
        let frames = self.decoder.forward(self.conv2.forward(latents.swap_dims(1, 2)));
        picture::unfold(frames, self.config.patch)
    }

    /// The state before the first latent frame of a shot.
    pub fn start(&self) -> DecoderState {
        self.decoder.start()
    }

    /// The next frames of a stream: normalised latents `[B, z, F, h, w]` to `[B, 3, T, H, W]`, not
    /// clamped, where `T` is `1 + 4(F - 1)` for the first chunk of a shot and `4F` after it.
    pub fn decode_next(&self, state: &mut DecoderState, latents: Tensor<5>) -> Tensor<5> {
        let latents = self.conv2.forward(self.denormalise(latents).swap_dims(1, 2));
        picture::unfold(self.decoder.next(latents, state), self.config.patch)
    }

    /// Mean and standard deviation, each `[1, z, 1, 1, 1]`, where `like` is.
    fn statistics(&self, like: &Tensor<5>) -> [Tensor<5>; 2] {
        [&self.config.latents_mean, &self.config.latents_std].map(|values| {
            Tensor::<1>::from_floats(values.as_slice(), &like.device())
                .cast(like.dtype())
                .reshape([1, self.config.z_dim, 1, 1, 1])
        })
    }
}
