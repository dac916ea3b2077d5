//! Drawn stories before the court, as they are and put through the VAE: what it can find at best.

use std::sync::{Mutex, PoisonError};

use burn::module::Module as _;
use rayon::prelude::*;
use shotstream_models::{bundle::Bundle, vae::Vae};
use shotstream_plan::recipe::Recipe;
use shotstream_world::{Judge, ShotPainter, Story};

use super::{Film, Hearing, film::Glimpses, quality::Motion, vae};
use crate::stages::vae::frame_of;

/// What drawn shots go through before they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// Nothing: what the judge cannot read there, it can read nowhere.
    Nothing,
    /// The VAE: what is lost there, no transformer brings back.
    Vae,
}

/// The stories of a hearing as they are drawn; `watch` is told how many of how many are done. What a
/// past would be plays no part.
#[must_use]
pub fn drawn(
    bundle: &Bundle,
    hearing: &Hearing,
    through: Through,
    watch: &mut (dyn FnMut(u64, u64) + Send),
) -> Vec<Film> {
    let (vae, recipe) = (bundle.vae.valid(), bundle.recipe());
    let judge = Judge::new(recipe.geometry().pixels);
    let vae = (through == Through::Vae).then_some(&vae);
    let count = hearing.stories;
    let watch = Mutex::new((0, watch));
    let film = |index| {
        let film = film(&judge, vae, recipe, (hearing, index));
        let (done, watch) = &mut *watch.lock().unwrap_or_else(PoisonError::into_inner);
        *done += 1;
        watch(*done, count as u64);
        film
    };
    (0..count).into_par_iter().map(film).collect()
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
            Some(vae) => {
                let [_, seen] = vae::through(vae, &frames);
                let seen = seen.swap_dims(1, 2);
                (0..count).map(|frame| frame_of(&seen, frame)).collect()
            }
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
