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
use serde::Serialize;
use shotstream_media::Frame;
use shotstream_models::{bundle::Bundle, vae::Vae};
use shotstream_plan::recipe::Recipe;
use shotstream_world::{ShotPainter, Story, StoryOptions};

use crate::{
    data::world::pixels,
    loss::reconstruction::{psnr, step},
};

/// Means over drawn clips that were encoded and decoded again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct VaeQuality {
    /// Peak signal-to-noise ratio, dB.
    pub psnr_db: f64,
    /// The same of the first frame, which is encoded alone.
    pub first_psnr_db: f64,
    /// How far changes from frame to frame are from the true ones, in values between 0 and 1.
    pub flicker: f64,
}

/// Judge the VAE on the first shots of `clips` stories from `seed`; nothing without clips.
pub fn judge_vae(bundle: &Bundle, seed: u64, clips: usize) -> Option<VaeQuality> {
    let (vae, recipe) = (bundle.vae.valid(), bundle.recipe());
    let mut mean = VaeQuality::default();
    for seed in (seed..).take(clips) {
        let one = judge_clip(&vae, recipe, seed);
        let share = 1.0 / clips as f64;
        mean.psnr_db += one.psnr_db * share;
        mean.first_psnr_db += one.first_psnr_db * share;
        mean.flicker += one.flicker * share;
    }
    (0 < clips).then_some(mean)
}

fn judge_clip(vae: &Vae, recipe: &Recipe, seed: u64) -> VaeQuality {
    let ([height, width], frames) = (recipe.geometry().pixels, recipe.shot_frames().0);
    let story = Story::sample(seed, &StoryOptions::default());
    let painter = ShotPainter::new(&story, 0, [height, width], frames);
    let drawn: Vec<_> = (0..frames).map(|frame| painter.frame(frame)).collect();
    let [clip, seen] = through(vae, &drawn);
    let changes = step(seen.clone() - clip.clone(), 2);
    // Values span two units.
    let flicker: f64 = changes.abs().mean().into_scalar();
    let first = |video: &Tensor<5>| video.clone().narrow(2, 0, 1);
    let first_psnr_db = psnr(first(&seen), first(&clip));
    VaeQuality { psnr_db: psnr(seen, clip), first_psnr_db, flicker: flicker / 2.0 }
}

/// Frames as the VAE is given them, and as they come out of it, `[1, 3, T, H, W]` each.
pub(super) fn through(vae: &Vae, frames: &[Frame]) -> [Tensor<5>; 2] {
    let Frame { width, height, .. } = frames[0];
    let values = pixels(frames, [0, 0], [height, width]);
    let data = TensorData::new(values, [frames.len(), 3, height, width]);
    let clip: Tensor<5> = Tensor::<4>::from_data(data, &Device::flex()).swap_dims(0, 1).unsqueeze();
    let seen = vae.decode(vae.encode(clip.clone())).clamp(-1.0, 1.0);
    [clip, seen]
}
