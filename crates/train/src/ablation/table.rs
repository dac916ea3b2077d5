//! Variants side by side: mean and deviation over the seeds, in percent.

use serde::{Deserialize, Serialize};
use shotstream_world::Scores;

use super::Seen;

/// A variant and what the judge saw of it, seed by seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantRow {
    /// What it is called.
    pub variant: String,
    /// One for each seed.
    pub seen: Vec<Seen>,
}

/// A heading and the number under it.
type Column = (&'static str, fn(&Seen) -> f64);

const COLUMNS: [Column; 10] = [
    ("setting and action", |seen| adherence(&seen.named)),
    ("species", |seen| seen.named.species.share()),
    ("colour", |seen| seen.named.colour.share()),
    ("accessory", |seen| seen.named.accessory.share()),
    ("same character", |seen| seen.named.same_character.share()),
    ("setting and action", |seen| adherence(&seen.anonymous)),
    ("species", |seen| seen.anonymous.species.share()),
    ("colour", |seen| seen.anonymous.colour.share()),
    ("accessory", |seen| seen.anonymous.accessory.share()),
    ("same character", |seen| seen.anonymous.same_character.share()),
];

/// How many columns are of films whose captions name the characters.
const NAMED: usize = 5;

/// The mean of what captions say besides who is there.
fn adherence(scores: &Scores) -> f64 {
    let tallies = [scores.place, scores.time, scores.size, scores.pan, scores.action];
    tallies.iter().map(|tally| tally.share()).sum::<f64>() / tallies.len() as f64
}

/// The table as Markdown. Headings with a star are of later shots whose captions do not say who is
/// there.
pub fn markdown(rows: &[VariantRow]) -> String {
    let heading = |(index, (name, _)): (usize, &Column)| {
        format!(" {name}{} |", if index < NAMED { "" } else { "*" })
    };
    let headings: String = COLUMNS.iter().enumerate().map(heading).collect();
    let mut text = format!("| variant |{headings}\n|---|{}\n", "---|".repeat(COLUMNS.len()));
    for VariantRow { variant, seen } in rows {
        let cell = |(_, number): &Column| {
            let numbers: Vec<_> = seen.iter().map(|seen| 100.0 * number(seen)).collect();
            format!(" {} |", mean_and_deviation(&numbers))
        };
        let cells: String = COLUMNS.iter().map(cell).collect();
        text += &format!("| {variant} |{cells}\n");
    }
    text + "\nMean ± sample deviation over the seeds, in percent; * later shots, told who the \
            characters are in the first shot only.\n"
}

/// `81.2 ± 1.4`, or the number alone where there is but one.
fn mean_and_deviation(numbers: &[f64]) -> String {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    if numbers.len() < 2 {
        return format!("{mean:.1}");
    }
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    format!("{mean:.1} ± {:.1}", (squares / (count - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_mean_and_the_sample_deviation() {
        assert_eq!(mean_and_deviation(&[50.0]), "50.0");
        assert_eq!(mean_and_deviation(&[50.0, 52.0, 57.0]), "53.0 ± 3.6");
    }
}
