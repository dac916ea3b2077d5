//! What happens: cast, shots, settings, camera and cuts.

use std::ops::RangeInclusive;

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::attributes::{Accessory, Action, CameraSize, Colour, Pan, Place, Species, Time};

/// Who a character is; the same in every shot of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Character {
    /// What it is.
    pub species: Species,
    /// The colour of its coat.
    pub colour: Colour,
    /// What it wears or holds.
    pub accessory: Accessory,
}

/// One continuous take.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shot {
    /// Where it happens.
    pub place: Place,
    /// When it happens.
    pub time: Time,
    /// How large the characters are.
    pub size: CameraSize,
    /// How the camera moves.
    pub pan: Pan,
    /// Who appears, as indices into [`Story::cast`]: one in the centre, or the left and the right.
    pub cast: Vec<usize>,
    /// What each of them does, in the order of `cast`.
    pub actions: Vec<Action>,
}

/// One or two characters through several shots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Story {
    /// The characters: the hero, then the friend if there is one.
    pub cast: Vec<Character>,
    /// What happens, in order.
    pub shots: Vec<Shot>,
}

/// Which stories [`Story::sample`] draws.
#[derive(Clone, Debug, PartialEq)]
pub struct StoryOptions {
    /// How many shots a story has.
    pub shots: RangeInclusive<usize>,
    /// The share of stories with two characters, 0 to 1.
    pub pairs: f64,
}

impl Default for StoryOptions {
    fn default() -> Self {
        Self { shots: 2..=6, pairs: 0.2 }
    }
}

/// The chance that a whole story stays in one place.
const SAME_PLACE: f64 = 0.4;
/// The chance that a whole story stays at one time of day.
const SAME_TIME: f64 = 0.4;
/// The chance that a shot of a changing story still keeps the last shot's place or time.
const KEEP: f64 = 0.3;
/// The chance that a shot of a story with two characters shows both.
const BOTH: f64 = 0.7;
/// The chance that the camera is still.
const STILL_CAMERA: f64 = 0.5;

impl Story {
    /// Draws a story; the same seed and options always give the same one.
    pub fn sample(seed: u64, options: &StoryOptions) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let cast = sample_cast(&mut rng, options.pairs);
        let num_shots = rng.random_range(options.shots.clone());
        let (place_fixed, time_fixed) = (rng.random_bool(SAME_PLACE), rng.random_bool(SAME_TIME));
        let mut shots: Vec<Shot> = Vec::with_capacity(num_shots);
        while shots.len() < num_shots {
            let mut shot = sample_shot(&mut rng, cast.len());
            if let Some(last) = shots.last() {
                if place_fixed || rng.random_bool(KEEP) {
                    shot.place = last.place;
                }
                if time_fixed || rng.random_bool(KEEP) {
                    shot.time = last.time;
                }
                if !last.cut_shows(&shot) {
                    continue;
                }
            }
            shots.push(shot);
        }
        Self { cast, shots }
    }

    /// The characters that appear in a shot, left to right.
    ///
    /// # Panics
    /// If the shot does not exist or names a character outside the cast.
    pub fn characters(&self, shot: usize) -> impl Iterator<Item = (Character, Action)> + '_ {
        let shot = &self.shots[shot];
        shot.cast.iter().zip(&shot.actions).map(|(&who, &action)| (self.cast[who], action))
    }
}

impl Shot {
    /// Whether a cut from this shot to `next` changes the size, place, time or an action.
    pub fn cut_shows(&self, next: &Self) -> bool {
        self.size != next.size
            || self.place != next.place
            || self.time != next.time
            || self.actions != next.actions
    }
}

fn sample_cast(rng: &mut ChaCha8Rng, pairs: f64) -> Vec<Character> {
    let hero = Character {
        species: pick(rng, &Species::ALL),
        colour: pick(rng, &Colour::ALL),
        accessory: pick(rng, &Accessory::ALL),
    };
    if !rng.random_bool(pairs) {
        return vec![hero];
    }
    let friend = Character {
        species: pick_other(rng, &Species::ALL, hero.species),
        colour: pick_other(rng, &Colour::ALL, hero.colour),
        accessory: pick(rng, &Accessory::ALL),
    };
    vec![hero, friend]
}

fn sample_shot(rng: &mut ChaCha8Rng, cast_len: usize) -> Shot {
    let cast = match cast_len {
        2 if rng.random_bool(BOTH) => vec![0, 1],
        2 => vec![rng.random_range(0..2)],
        _ => vec![0],
    };
    let actions = cast.iter().map(|_| pick(rng, &Action::ALL)).collect();
    let pan =
        if rng.random_bool(STILL_CAMERA) { Pan::None } else { pick(rng, &[Pan::Left, Pan::Right]) };
    Shot {
        place: pick(rng, &Place::ALL),
        time: pick(rng, &Time::ALL),
        size: pick(rng, &CameraSize::ALL),
        pan,
        cast,
        actions,
    }
}

fn pick<T: Copy>(rng: &mut ChaCha8Rng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

fn pick_other<T: Copy + PartialEq>(rng: &mut ChaCha8Rng, from: &[T], not: T) -> T {
    loop {
        let picked = pick(rng, from);
        if picked != not {
            return picked;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_seed_gives_one_story(seed: u64) {
            let options = StoryOptions::default();
            prop_assert_eq!(Story::sample(seed, &options), Story::sample(seed, &options));
        }

        #[test]
        fn stories_keep_the_rules(seed: u64, most in 2_usize..7) {
            let story = Story::sample(seed, &StoryOptions { shots: 2..=most, pairs: 0.5 });
            prop_assert!((2..=most).contains(&story.shots.len()));
            prop_assert!((1..=2).contains(&story.cast.len()));
            if let [hero, friend] = story.cast[..] {
                prop_assert!(hero.species != friend.species && hero.colour != friend.colour);
            }
            for shot in &story.shots {
                prop_assert_eq!(shot.cast.len(), shot.actions.len());
                prop_assert!(shot.cast.is_sorted() && shot.cast.iter().all(|&c| c < story.cast.len()));
            }
            for cut in story.shots.windows(2) {
                prop_assert!(cut[0].cut_shows(&cut[1]));
            }
        }
    }

    #[test]
    fn the_share_of_pairs_is_kept() {
        let pairs = (0..2000)
            .filter(|&seed| Story::sample(seed, &StoryOptions::default()).cast.len() == 2)
            .count();
        assert!((320..480).contains(&pairs), "{pairs} of 2000");
    }

    #[test]
    fn stories_survive_json() {
        let story = Story::sample(7, &StoryOptions::default());
        let json = serde_json::to_string(&story).unwrap();
        assert_eq!(serde_json::from_str::<Story>(&json).unwrap(), story);
    }
}
