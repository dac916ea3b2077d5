//! Drawn stories before the court, as they are and put through the VAE: what it can find at best.
//!
//! | letter | means |
//! |---|---|
//! | `T` | pixel frames |
//! | `H`, `W` | height and width of the picture |

use burn::{
    module::Module as _,
    tensor::{Device, Tensor, TensorData},
};
use rayon::prelude::*;
use shotstream_media::Frame;
use shotstream_models::{bundle::Bundle, vae::Vae};
use shotstream_plan::recipe::Recipe;
use shotstream_world::{Judge, ShotPainter, Story};

use super::{Film, Hearing, film::Glimpses, quality::Motion};
use crate::{data::world::pixels, stages::vae::frame_of};

/// What drawn shots go through before they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// Nothing: what the judge cannot read there, it can read nowhere.
    Nothing,
    /// The VAE: what is lost there, no transformer brings back.
    Vae,
}

/// The stories of a hearing as they are drawn. What a past would be plays no part.
#[must_use]
pub fn drawn(bundle: &Bundle, hearing: &Hearing, through: Through) -> Vec<Film> {
    let (vae, recipe) = (bundle.vae.valid(), bundle.recipe());
    let judge = Judge::new(recipe.geometry().pixels);
    let vae = (through == Through::Vae).then_some(&vae);
    let film = |index| film(&judge, vae, recipe, (hearing, index));
    (0..hearing.stories).into_par_iter().map(film).collect()
}

fn film(
    judge: &Judge,
    vae: Option<&Vae>,
    recipe: &Recipe,
    (hearing, index): (&Hearing, usize),
) -> Film {
    let story = Story::sample(hearing.seed + index as u64, &hearing.options);
    let (mut readings, mut glimpses) = (Vec::new(), Glimpses::of(index));
    let mut motion = Motion::default();
    for shot in 0..story.shots.len() {
        let count = recipe.shot_frames().0;
        let painter = ShotPainter::new(&story, shot, recipe.geometry().pixels, count);
        let frames: Vec<_> = (0..count).map(|frame| painter.frame(frame)).collect();
        let frames = match vae {
            Some(vae) => seen_through(vae, &frames),
            None => frames,
        };
        if hearing.marks.is_empty() || hearing.marks.contains(&shot) {
            readings.push((shot, judge.read(&frames, story.shots[shot].cast.len())));
        }
        motion.add(&frames, recipe, &story, shot);
        glimpses.add(&frames);
    }
    Film { story, readings, strangers: Vec::new(), motion, glimpses: glimpses.frames }
}

/// Frames, encoded and decoded again.
fn seen_through(vae: &Vae, frames: &[Frame]) -> Vec<Frame> {
    let Frame { width, height, .. } = frames[0];
    let values = pixels(frames, [0, 0], [height, width]);
    let data = TensorData::new(values, [frames.len(), 3, height, width]);
    // `[1, 3, T, H, W]`.
    let clip: Tensor<5> = Tensor::<4>::from_data(data, &Device::flex()).swap_dims(0, 1).unsqueeze();
    let seen = vae.decode(vae.encode(clip)).swap_dims(1, 2);
    (0..frames.len()).map(|frame| frame_of(&seen, frame)).collect()
}
