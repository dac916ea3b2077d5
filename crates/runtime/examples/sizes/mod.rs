//! Models to measure with: their sizes, and what they are asked.

use shotstream_engine::network::Latents;
use shotstream_plan::layout::FrameSlot;
use shotstream_runtime::{dit, text, vae};

/// A model's sizes, and those of its pictures' latents.
pub(crate) struct Model {
    pub(crate) dit: dit::Sizes,
    pub(crate) vae: vae::Sizes,
    /// Of a text encoder two blocks only: all are alike.
    pub(crate) text: text::Sizes,
    pub(crate) latent: [usize; 2],
    pub(crate) rounds: usize,
}

impl Model {
    /// `tiny`, `broad`, which is as small with the heads of the large one, `wide` or `large`, which is
    /// Wan2.1-1.3B.
    pub(crate) fn of(name: &str) -> Self {
        let dit = |dim, ffn_dim, freq_dim, num_heads, num_layers, text_dim| dit::Sizes {
            dim,
            ffn_dim,
            freq_dim,
            num_heads,
            num_layers,
            channels: [16, 16],
            patch: [2, 2],
            text_dim,
            eps: 1e-6,
            shot_phase: 1.0 / 6.0,
            shot_embeddings: 0,
        };
        let vae = |dim: usize, multiples: &[usize], num_res_blocks, halves_time: &[bool], patch| {
            vae::Sizes {
                dims: [dim; 2],
                channels: 16,
                multiples: multiples.to_vec(),
                num_res_blocks,
                halves_time: halves_time.to_vec(),
                patch,
                mean: vec![0.0; 16],
                std: vec![1.0; 16],
            }
        };
        let text = |tokens, dim, dim_ffn, num_heads| text::Sizes {
            tokens,
            dim,
            dim_attn: dim,
            dim_ffn,
            num_heads,
            num_layers: 2,
            positions: text::Positions { buckets: 32, max_distance: 128 },
        };
        let (small, latent) = (vae(24, &[1, 2, 4], 1, &[true, true], 2), [10, 16]);
        match name {
            "large" => Self {
                dit: dit(1536, 8960, 256, 12, 30, 4096),
                vae: vae(96, &[1, 2, 4, 4], 2, &[false, true, true], 1),
                text: text(512, 4096, 10_240, 64),
                latent: [60, 104],
                rounds: 1,
            },
            "broad" => Self {
                dit: dit(256, 1024, 64, 2, 2, 128),
                vae: vae(96, &[1, 2, 4], 1, &[true, true], 2),
                text: text(64, 128, 256, 2),
                latent,
                rounds: 20,
            },
            "wide" => Self {
                dit: dit(1280, 5120, 256, 10, 6, 960),
                vae: vae(96, &[1, 2, 4], 1, &[true, true], 2),
                text: text(64, 960, 2560, 15),
                latent,
                rounds: 5,
            },
            _ => Self {
                dit: dit(128, 512, 64, 4, 6, 96),
                vae: small,
                text: text(64, 96, 192, 4),
                latent,
                rounds: 50,
            },
        }
    }
}

/// Numbers around zero.
pub(crate) fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * 0.37).sin()).collect()
}

/// Latent frames of this size (rows, columns).
pub(crate) fn latents(frames: usize, [rows, columns]: [usize; 2]) -> Latents {
    let shape = [frames, 16, rows, columns];
    Latents { shape, data: numbers(shape.iter().product()) }
}

/// Places of neighbouring frames of one shot.
pub(crate) fn slots(first: usize, count: usize) -> Vec<FrameSlot> {
    let slot = |at| FrameSlot { position: at as u32, phase: 1, caption: 0 };
    (first..first + count).map(slot).collect()
}
