//! What the VAE alone makes of drawn shots.
//!
//! | letter | means |
//! |---|---|
//! | `T` | pixel frames |
//! | `H`, `W` | height and width of the picture |

use burn::{
    module::Module as _,
    tensor::{Device, Tensor, TensorData},
};
use shotstream_models::bundle::Bundle;
use shotstream_world::{ShotPainter, Story, StoryOptions};

use crate::data::world::pixels;

/// Mean peak signal-to-noise ratio in dB of first shots that go through the VAE; nothing without
/// `clips`.
pub fn vae_psnr(bundle: &Bundle, seed: u64, clips: usize) -> Option<f64> {
    let (vae, recipe) = (bundle.vae.valid(), bundle.recipe());
    let ([height, width], frames) = (recipe.geometry().pixels, recipe.shot_frames().0);
    let psnr = |seed| {
        let story = Story::sample(seed, &StoryOptions::default());
        let painter = ShotPainter::new(&story, 0, [height, width], frames);
        let drawn: Vec<_> = (0..frames).map(|frame| painter.frame(frame)).collect();
        let values = pixels(&drawn, [0, 0], [height, width]);
        let data = TensorData::new(values, [frames, 3, height, width]);
        let clip = Tensor::<4>::from_data(data, &Device::flex()).swap_dims(0, 1).unsqueeze();
        let seen = vae.decode(vae.encode(clip.clone())).clamp(-1.0, 1.0);
        let error: f64 = (seen - clip).powf_scalar(2.0).mean().into_scalar();
        // Values span two units.
        10.0 * (4.0 / error.max(f64::MIN_POSITIVE)).log10()
    };
    let total: f64 = (seed..).take(clips).map(psnr).sum();
    (0 < clips).then(|| total / clips as f64)
}
