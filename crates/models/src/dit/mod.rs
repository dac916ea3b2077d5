//! The diffusion transformer: noisy latents, timesteps, captions and caches to velocity.
//!
//! One definition serves the teacher (a whole clip at once, every frame sees every frame), the
//! student in training (a whole clip, frames see their past) and the student at work (chunk by
//! chunk over the context cache and the local cache).
//!
//! | letter | means | Wan2.1-1.3B at 480p |
//! |---|---|---|
//! | `B` | clips, or streams | 1 |
//! | `C` | latent channels | 16 |
//! | `F` | latent frames of the pass | 3 |
//! | `h`, `w` | latent height and width | 60, 104 |
//! | `S` | tokens of one latent frame | 1 560 |
//! | `L` | tokens of the pass, `F × S` | 4 680 |
//! | `D` | model width, `N × H` | 1 536 |
//! | `N` | heads | 12 |
//! | `H` | width of one head | 128 |
//! | `T` | tokens of one caption | 512 |
//! | `K` | captions of the pass | 1 to 7 |
//!
//! Method: Wan2.1 (arXiv 2503.20314) with the shot phase and the dual cache of ShotStream
//! (arXiv 2603.25746). Everything runs in the dtype of the parameters; angles and sinusoids are
//! computed in f64 on the host first.

mod attention;
mod block;
mod cache;
mod checkpointing;
mod embedding;
mod norm;
mod pass;
mod rope;

use burn::module::{Initializer, Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use shotstream_plan::layout::FrameSlot;

use self::block::{Block, Mlp, Step};
use self::embedding::{PatchEmbedding, ShotEmbedding, sinusoid, unpatchify};
use self::norm::modulation;
use self::pass::{Frames, Pass, caption_runs};
use self::rope::Rope;
use crate::kernels::activation::{gelu, silu};
use crate::kernels::linear::project;
use crate::kernels::norm::modulated_norm;

pub use self::cache::{ContextCache, KeyValue, LocalCache, TextCache};
pub use self::pass::FrameMask;

/// Sizes of a [`Dit`], under the keys of Wan's `config.json` where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DitConfig {
    /// Model width `D`.
    pub dim: usize,
    /// Width of the hidden layer of every block's feed-forward network.
    pub ffn_dim: usize,
    /// Length of the sinusoid that describes a timestep; even.
    pub freq_dim: usize,
    /// Heads `N`; must divide `dim` into even widths.
    pub num_heads: usize,
    /// Transformer blocks.
    pub num_layers: usize,
    /// Latent channels `C` going in.
    #[serde(rename = "in_dim")]
    pub in_channels: usize,
    /// Latent channels coming out.
    #[serde(rename = "out_dim")]
    pub out_channels: usize,
    /// Latent frames, rows and columns of one token; one frame, because timesteps are per frame.
    #[serde(rename = "patch_size", default = "wan_patch")]
    pub patch: [usize; 3],
    /// Width of a caption's embeddings.
    #[serde(default = "wan_text_dim")]
    pub text_dim: usize,
    /// Tokens `T` a caption is padded to.
    pub text_len: usize,
    /// Added to variances and mean squares under a root.
    pub eps: f64,
    /// Shot phase θ in radians: the angle between the temporal rotations of successive shots.
    #[serde(default = "shot_phase")]
    pub shot_phase: f32,
    /// Learnable vectors, one for each shot phase from 0 on and the last also for all higher ones,
    /// added to the tokens of frames of that phase. None where nothing is said, as published: the
    /// paper compares them with the rotation.
    #[serde(default, skip_serializing_if = "is_none")]
    pub shot_embeddings: usize,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

fn wan_patch() -> [usize; 3] {
    [1, 2, 2]
}

fn wan_text_dim() -> usize {
    4096
}

fn shot_phase() -> f32 {
    1.0 / 6.0
}

impl DitConfig {
    /// Wan2.1-T2V-1.3B, the network ShotStream starts from.
    pub fn wan_1_3b() -> Self {
        Self {
            dim: 1536,
            ffn_dim: 8960,
            freq_dim: 256,
            num_heads: 12,
            num_layers: 30,
            in_channels: 16,
            out_channels: 16,
            patch: wan_patch(),
            text_dim: wan_text_dim(),
            text_len: 512,
            eps: 1e-6,
            shot_phase: shot_phase(),
            shot_embeddings: 0,
        }
    }

    /// Width `H` of one head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.num_heads
    }

    fn assert_sound(&self) {
        assert!(
            self.dim.is_multiple_of(self.num_heads) && self.head_dim().is_multiple_of(2),
            "{} heads do not divide a width of {} into even parts",
            self.num_heads,
            self.dim,
        );
        assert!(self.freq_dim.is_multiple_of(2), "freq_dim {} is not even", self.freq_dim);
        assert!(self.patch[0] == 1, "a token spans {} latent frames, expected 1", self.patch[0]);
    }
}

/// The diffusion transformer.
#[derive(Module, Debug)]
pub struct Dit {
    patch_embedding: PatchEmbedding,
    text_embedding: Mlp,
    time_embedding: Mlp,
    time_projection: Linear,
    blocks: Vec<Block>,
    head: Head,
    shot_embedding: Option<ShotEmbedding>,
    #[module(skip)]
    config: DitConfig,
    #[module(skip)]
    checkpoints_blocks: bool,
}

/// The last projection and the modulation before it.
#[derive(Module, Debug)]
struct Head {
    modulation: Param<Tensor<3>>,
    head: Linear,
}

impl Dit {
    /// A network with fresh weights, initialised as Wan does for training from scratch.
    ///
    /// # Panics
    ///
    /// If the sizes of `config` contradict each other.
    pub fn new(config: &DitConfig, device: &Device) -> Self {
        config.assert_sound();
        let DitConfig { dim, freq_dim, text_dim, out_channels, .. } = *config;
        let [_, rows, columns] = config.patch;
        let xavier = Initializer::XavierUniform { gain: 1.0 };
        let small = Initializer::Normal { mean: 0.0, std: 0.02 };
        let modulation = Initializer::Normal { mean: 0.0, std: (dim as f64).powf(-0.5) };
        Self {
            patch_embedding: PatchEmbedding::new(config, device),
            text_embedding: Mlp::new([text_dim, dim, dim], &small, device),
            time_embedding: Mlp::new([freq_dim, dim, dim], &small, device),
            time_projection: linear(dim, 6 * dim, &xavier, device),
            blocks: (0..config.num_layers).map(|_| Block::new(config, device)).collect(),
            head: Head {
                modulation: modulation.init([1, 2, dim], device),
                head: linear(dim, rows * columns * out_channels, &Initializer::Zeros, device),
            },
            shot_embedding: ShotEmbedding::new(config, device),
            config: config.clone(),
            checkpoints_blocks: false,
        }
    }

    /// The same network, which keeps only what goes into every block and computes the block again
    /// for its derivative: a third more work, and memory for one block instead of all.
    #[must_use]
    pub fn with_block_checkpointing(self) -> Self {
        Self { checkpoints_blocks: true, ..self }
    }

    /// The sizes this network was built with.
    pub fn config(&self) -> &DitConfig {
        &self.config
    }

    /// Keys and values of `K` captions for every block, from `embeddings` `[B, K, T, text_dim]`.
    pub fn text_cache(&self, embeddings: Tensor<4>) -> TextCache {
        let hidden = self.text_embedding.forward(embeddings, gelu);
        TextCache {
            layers: self.blocks.iter().map(|block| block.cache_text(hidden.clone())).collect(),
        }
    }

    /// Velocity `[B, C, F, h, w]` of a whole clip seen at once.
    ///
    /// `latents` is `[B, C, F, h, w]`; `timesteps` is `[B, F]` in 0 to 1000; `slots` has one entry
    /// for each of the `F` frames. With `mask`, frames attend only where it allows; without, every
    /// frame attends to every frame.
    pub fn parallel(
        &self,
        latents: Tensor<5>,
        timesteps: Tensor<2>,
        slots: &[FrameSlot],
        text: &TextCache,
        mask: Option<&FrameMask>,
    ) -> Tensor<5> {
        self.predict(Frames { latents, timesteps, slots, text }, Pass::Parallel { mask })
    }

    /// Keys and values of the context frames `[B, C, F, h, w]`, which attend to each other only.
    pub fn encode_context(
        &self,
        latents: Tensor<5>,
        slots: &[FrameSlot],
        text: &TextCache,
    ) -> ContextCache {
        let timesteps = clean_timesteps(&latents);
        let mut context = ContextCache::default();
        let frames = Frames { latents, timesteps, slots, text };
        self.fill(frames, Pass::EncodeContext { context: &mut context });
        context
    }

    /// Velocity `[B, C, F, h, w]` of a noisy chunk that sees the context, the past and itself.
    ///
    /// Shapes are those of [`Dit::parallel`].
    #[expect(clippy::too_many_arguments, reason = "the pass itself, and the two caches it reads")]
    pub fn denoise(
        &self,
        latents: Tensor<5>,
        timesteps: Tensor<2>,
        slots: &[FrameSlot],
        text: &TextCache,
        context: &ContextCache,
        local: &LocalCache,
    ) -> Tensor<5> {
        let frames = Frames { latents, timesteps, slots, text };
        self.predict(frames, Pass::Denoise { context, local })
    }

    /// Run a finished chunk `[B, C, F, h, w]` once more at timestep 0 and append it to `local`.
    pub fn commit(
        &self,
        latents: Tensor<5>,
        slots: &[FrameSlot],
        text: &TextCache,
        context: &ContextCache,
        local: &mut LocalCache,
    ) {
        let timesteps = clean_timesteps(&latents);
        let frames = Frames { latents, timesteps, slots, text };
        self.fill(frames, Pass::Commit { context, local });
        local.latents += slots.len();
    }

    /// Run every block and the head.
    fn predict(&self, frames: Frames<'_>, mut pass: Pass<'_>) -> Tensor<5> {
        let size = frames.latents.dims();
        let (mut x, time, step) = self.embed(frames);
        for (layer, block) in self.blocks.iter().enumerate() {
            x = match self.checkpoints_blocks && x.is_autodiff() {
                true => checkpointing::forward(block, x, &step, &pass, layer),
                false => block.forward(x, &step, &mut pass, layer),
            };
        }
        let [shift, scale] = modulation(&self.head.modulation, time.unsqueeze_dim(2));
        let x = modulated_norm(x, shift, scale, self.config.eps);
        unpatchify(project(&self.head.head, x), size, self.config.patch)
    }

    /// Run the blocks only as far as the caches need: of the last one, just keys and values.
    fn fill(&self, frames: Frames<'_>, mut pass: Pass<'_>) {
        let Some((last, rest)) = self.blocks.split_last() else { return };
        let (mut x, _, step) = self.embed(frames);
        for (layer, block) in rest.iter().enumerate() {
            x = block.forward(x, &step, &mut pass, layer);
        }
        last.remember(x, &step, &mut pass, rest.len());
    }

    /// Tokens `[B, F, S, D]` of the latents, the timesteps as vectors `[B, F, D]`, and what every
    /// block needs to know about them.
    fn embed<'a>(&self, frames: Frames<'a>) -> (Tensor<4>, Tensor<3>, Step<'a>) {
        let Frames { latents, timesteps, slots, text } = frames;
        let [_, _, num_frames, height, width] = latents.dims();
        assert_eq!(slots.len(), num_frames, "slots, and latent frames");
        let [_, rows, columns] = self.config.patch;
        let grid = [height / rows, width / columns];
        let rope = Rope::new(&self.config, slots, grid, &latents.device());
        let sinusoid = sinusoid(timesteps, self.config.freq_dim);
        let time = self.time_embedding.forward(sinusoid, silu);
        let modulation = project(&self.time_projection, silu(time.clone()));
        let [batch, _, width] = modulation.dims();
        let step = Step {
            modulation: modulation.reshape([batch, num_frames, 6, width / 6]),
            rope,
            runs: caption_runs(slots),
            text,
        };
        let tokens = self.patch_embedding.forward(latents);
        match &self.shot_embedding {
            None => (tokens, time, step),
            Some(embedding) => (tokens + embedding.of(slots), time, step),
        }
    }
}

/// Timestep 0 for every frame of `latents`, `[B, F]`.
fn clean_timesteps(latents: &Tensor<5>) -> Tensor<2> {
    let [batch, _, frames, _, _] = latents.dims();
    Tensor::zeros([batch, frames], (&latents.device(), latents.dtype()))
}

/// A projection with a zero bias.
fn linear(from: usize, to: usize, weight: &Initializer, device: &Device) -> Linear {
    let mut linear = LinearConfig::new(from, to).with_initializer(weight.clone()).init(device);
    linear.bias = Some(Initializer::Zeros.init([to], device));
    linear
}
