//! How often a shot shows what its story says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CharacterReading, Reading};
use crate::story::Story;

/// How many were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Of these,
    pub of: usize,
    /// so many were right.
    pub right: usize,
}

impl Tally {
    /// The share that was right, 0 to 1; of nothing, all was right.
    pub fn share(&self) -> f64 {
        if self.of == 0 { 1.0 } else { self.right as f64 / self.of as f64 }
    }

    fn count(&mut self, right: bool) {
        self.of += 1;
        self.right += usize::from(right);
    }
}

/// Accuracies over many shots, attribute by attribute.
///
/// The last four rows compare a character with its own first appearance in the film, whatever the
/// story says: whether it stays who it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Right place.
    pub place: Tally,
    /// Right time.
    pub time: Tally,
    /// Right camera size.
    pub size: Tally,
    /// Right pan.
    pub pan: Tally,
    /// Right species.
    pub species: Tally,
    /// Right colour.
    pub colour: Tally,
    /// Right accessory.
    pub accessory: Tally,
    /// Right action.
    pub action: Tally,
    /// Of shots with two characters: all of both right but the actions.
    pub pairs: Tally,
    /// The same species as at first.
    pub same_species: Tally,
    /// The same colour as at first.
    pub same_colour: Tally,
    /// The same accessory as at first.
    pub same_accessory: Tally,
    /// All three the same as at first.
    pub same_character: Tally,
    /// The sum of the readings' residuals.
    residuals: f64,
}

impl Scores {
    /// Counts one whole story: a reading for each of its shots.
    ///
    /// # Panics
    /// If there are more readings than shots.
    pub fn add(&mut self, story: &Story, readings: &[Reading]) {
        let mut first_seen: Vec<Option<CharacterReading>> = vec![None; story.cast.len()];
        for (shot, reading) in readings.iter().enumerate() {
            self.add_shot(story, shot, reading);
            for (&who, now) in story.shots[shot].cast.iter().zip(&reading.characters) {
                match first_seen[who] {
                    None => first_seen[who] = Some(*now),
                    Some(first) => self.add_again(&first, now),
                }
            }
        }
    }

    /// Counts one shot alone, without asking whether characters stay the same.
    ///
    /// # Panics
    /// If the story has no such shot.
    pub fn add_shot(&mut self, story: &Story, shot: usize, reading: &Reading) {
        let take = &story.shots[shot];
        self.place.count(reading.place == take.place);
        self.time.count(reading.time == take.time);
        self.size.count(reading.size == take.size);
        self.pan.count(reading.pan == take.pan);
        self.residuals += f64::from(reading.residual);
        let mut all_right = true;
        for ((who, action), read) in story.characters(shot).zip(&reading.characters) {
            let right = [
                read.species == who.species,
                read.colour == who.colour,
                read.accessory == who.accessory,
            ];
            self.species.count(right[0]);
            self.colour.count(right[1]);
            self.accessory.count(right[2]);
            self.action.count(read.action == action);
            all_right &= right == [true; 3];
        }
        if take.cast.len() == 2 {
            self.pairs.count(all_right);
        }
    }

    fn add_again(&mut self, first: &CharacterReading, now: &CharacterReading) {
        let same = [
            first.species == now.species,
            first.colour == now.colour,
            first.accessory == now.accessory,
        ];
        self.same_species.count(same[0]);
        self.same_colour.count(same[1]);
        self.same_accessory.count(same[2]);
        self.same_character.count(same == [true; 3]);
    }

    /// The mean residual of the readings.
    pub fn residual(&self) -> f64 {
        self.residuals / self.place.of.max(1) as f64
    }

    /// Every row of the table.
    pub fn rows(&self) -> [(&'static str, Tally); 13] {
        [
            ("place", self.place),
            ("time", self.time),
            ("size", self.size),
            ("pan", self.pan),
            ("species", self.species),
            ("colour", self.colour),
            ("accessory", self.accessory),
            ("action", self.action),
            ("both of two", self.pairs),
            ("same species", self.same_species),
            ("same colour", self.same_colour),
            ("same accessory", self.same_accessory),
            ("same character", self.same_character),
        ]
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, tally) in self.rows() {
            let percent = 100.0 * tally.share();
            writeln!(f, "{name:<16}{percent:>6.1} %  {:>6} of {}", tally.right, tally.of)?;
        }
        write!(f, "{:<16}{:>7.4}", "residual", self.residual())
    }
}
