//! What films show, counted.

use serde::Serialize;
use shotstream_world::Scores;

use super::{Film, Motion};

/// What all films of a hearing show together.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Shots that were read.
    pub shots: usize,
    /// Every shot that was read.
    pub scores: Scores,
    /// Of these, the shots after the first of their story.
    pub later: Scores,
    /// Later shots compared with the story whose past they were given, where it was another's.
    pub strangers: Option<Scores>,
    /// The change from chunk to chunk over the change inside chunks.
    pub jump: Option<f64>,
    /// How much of a picture changes that should keep still.
    pub unrest: Option<f64>,
}

impl Findings {
    /// Count.
    pub fn of(films: &[Film]) -> Self {
        let mut motion = Motion::default();
        films.iter().for_each(|film| motion.join(&film.motion));
        let swapped = films.iter().any(|film| !film.strangers.is_empty());
        Self {
            shots: films.iter().map(|film| film.readings.len()).sum(),
            scores: scores(films, |_| true),
            later: scores(films, |shot| 0 < shot),
            strangers: swapped.then(|| strangers(films)),
            jump: motion.jump(),
            unrest: motion.unrest(),
        }
    }
}

/// What the shots that `wanted` picks by their number show.
pub fn scores(films: &[Film], wanted: impl Fn(usize) -> bool) -> Scores {
    let mut scores = Scores::default();
    for Film { story, readings, .. } in films {
        let readings = readings.iter().map(|(shot, reading)| (*shot, reading));
        scores.add_some(story, readings, &wanted);
    }
    scores
}

/// How often later shots show who was in the past they were given.
fn strangers(films: &[Film]) -> Scores {
    let mut scores = Scores::default();
    for Film { story, readings, strangers, .. } in films {
        for (shot, reading) in readings.iter().filter(|(shot, _)| 0 < *shot) {
            for (&who, now) in story.shots[*shot].cast.iter().zip(&reading.characters) {
                if let Some(Some(first)) = strangers.get(who) {
                    scores.add_likeness(first, now);
                }
            }
        }
    }
    scores
}
