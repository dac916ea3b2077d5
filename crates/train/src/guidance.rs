//! Classifier-free guidance (Ho & Salimans 2022): away from what a network says to no caption.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples |
//! | `N`, `L`, `D` | captions of a sample, tokens of a caption, width of a text embedding |
//! | `C`, `F`, `h`, `w` | latent channels, latent frames, latent height and width |

use burn::tensor::{Device, Tensor};
use shotstream_models::umt5::Umt5;

use crate::data::shots::{Script, ShotSource};

/// Velocity or clean estimate `[B, C, F, h, w]` under guidance of `weight`: `told` is what the
/// network says to the captions, `free` what it says without; a weight of 1 does not ask for it.
pub fn guided(told: Tensor<5>, weight: f32, free: impl FnOnce() -> Tensor<5>) -> Tensor<5> {
    if weight == 1.0 {
        return told;
    }
    let free = free();
    free.clone() + (told - free).mul_scalar(weight)
}

/// The embedding `[1, 1, L, D]` of a negative prompt, if there is one.
pub fn negative_text(
    source: &ShotSource,
    text: &Umt5,
    negative: Option<&str>,
    device: &Device,
) -> Option<Tensor<4>> {
    let script = Script { prompts: vec![negative?.to_owned()], captions: 1, slots: Vec::new() };
    Some(source.embed(text, &script, device))
}

/// Text embeddings `[B, N, L, D]` of no caption, shaped like those of the captions: that of a
/// negative prompt in place of each, or zeros, which is what text dropout trains.
pub fn free_text(told: &Tensor<4>, negative: Option<Tensor<4>>) -> Tensor<4> {
    let Some(negative) = negative else { return told.zeros_like() };
    let [samples, captions, ..] = told.dims();
    negative.repeat_dim(0, samples).repeat_dim(1, captions)
}
