//! How often a shot shows what its story says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CharacterReading, Reading};
use crate::story::Story;

/// How many were right. Written with its share and interval beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "WrittenTally")]
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

    /// The lower and upper end of what the share may be, at 95 %: Wilson's score interval, which
    /// takes every count for independent.
    pub fn interval(&self) -> [f64; 2] {
        if self.of == 0 {
            return [0.0, 1.0];
        }
        let (count, share) = (self.of as f64, self.share());
        let spread = NORMAL_95 * NORMAL_95 / count;
        let centre = (share + spread / 2.0) / (1.0 + spread);
        let half = NORMAL_95 * (share * (1.0 - share) / count + spread / count / 4.0).sqrt();
        [-1.0, 1.0].map(|side| (centre + side * half / (1.0 + spread)).clamp(0.0, 1.0))
    }

    fn count(&mut self, right: bool) {
        self.of += 1;
        self.right += usize::from(right);
    }
}

/// How many standard deviations around the mean hold 95 % of a normal distribution.
const NORMAL_95: f64 = 1.959_964;

/// A tally as it is written for others.
#[derive(Serialize)]
struct WrittenTally {
    of: usize,
    right: usize,
    share: f64,
    interval: [f64; 2],
}

impl From<Tally> for WrittenTally {
    fn from(tally: Tally) -> Self {
        let Tally { of, right } = tally;
        Self { of, right, share: tally.share(), interval: tally.interval() }
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
        self.add_some(story, readings.iter().enumerate(), |_| true);
    }

    /// Counts those shots of a story that `wanted` picks by their number; `readings` are shots and
    /// what was read of them, in order, and are all looked at for who appears first and how.
    ///
    /// # Panics
    /// If the story has no such shot.
    pub fn add_some<'a>(
        &mut self,
        story: &Story,
        readings: impl IntoIterator<Item = (usize, &'a Reading)>,
        wanted: impl Fn(usize) -> bool,
    ) {
        let mut first_seen: Vec<Option<CharacterReading>> = vec![None; story.cast.len()];
        for (shot, reading) in readings {
            if wanted(shot) {
                self.add_shot(story, shot, reading);
            }
            for (&who, now) in story.shots[shot].cast.iter().zip(&reading.characters) {
                match first_seen[who] {
                    None => first_seen[who] = Some(*now),
                    Some(first) if wanted(shot) => self.add_likeness(&first, now),
                    Some(_) => {}
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

    /// Counts whether a character is who was seen before.
    pub fn add_likeness(&mut self, first: &CharacterReading, now: &CharacterReading) {
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

impl fmt::Display for Tally {
    /// The share and its interval in percent, 24 characters wide.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.interval().map(|end| 100.0 * end);
        write!(f, "{:>6.1} % ({low:>5.1} – {high:>5.1})", 100.0 * self.share())
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, tally) in self.rows().into_iter().filter(|(_, tally)| 0 < tally.of) {
            writeln!(f, "{name:<16}{tally}  {:>6} of {}", tally.right, tally.of)?;
        }
        write!(f, "{:<16}{:>7.4}", "residual", self.residual())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends are where the share would be 1.96 of its standard deviations away.
    #[test]
    fn the_interval_is_wilsons() {
        for (right, of) in [(0, 20), (20, 20), (95, 100), (1, 3)] {
            let tally = Tally { of, right };
            for end in tally.interval().into_iter().filter(|end| 0.0 < *end && *end < 1.0) {
                let deviation = (end * (1.0 - end) / of as f64).sqrt();
                let away = (tally.share() - end).abs() / deviation;
                assert!((away - 1.96).abs() < 1e-3, "{right} of {of}: {end}");
            }
        }
        assert_eq!(Tally::default().interval(), [0.0, 1.0]);
    }

    #[test]
    fn a_tally_is_written_with_its_share_and_read_without() {
        let tally = Tally { of: 4, right: 3 };
        let json = serde_json::to_value(tally).unwrap();
        assert_eq!((json["share"].as_f64(), &json["right"]), (Some(0.75), &3.into()));
        assert_eq!(serde_json::from_value::<Tally>(json).unwrap(), tally);
    }
}
