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
/// there. Of what teachers lose, the table has what it is more than under the first row's rule, step
/// by step: samples and noise are the same, so far smaller differences show than in what is judged.
pub fn markdown(rows: &[VariantRow]) -> String {
    let heading = |(index, (name, _)): (usize, &Column)| {
        format!(" {name}{} |", if index < NAMED { "" } else { "*" })
    };
    let headings: String = COLUMNS.iter().enumerate().map(heading).collect();
    let mut text = format!(
        "| variant |{headings} chunk jump | teacher's loss, more |\n|---|{}\n",
        "---|".repeat(COLUMNS.len() + 2)
    );
    let first = rows.first().map_or(&[][..], |row| &row.seen);
    for VariantRow { variant, seen } in rows {
        let cell = |(_, number): &Column| {
            let numbers: Vec<_> = seen.iter().map(|seen| 100.0 * number(seen)).collect();
            format!(" {} |", mean_and_deviation(&numbers, 1))
        };
        let cells: String = COLUMNS.iter().map(cell).collect();
        let jumps: Vec<_> = seen.iter().filter_map(|seen| seen.jump).collect();
        let (jump, more) = (mean_and_deviation(&jumps, 2), more(seen, first));
        text += &format!("| {variant} |{cells} {jump} | {more} |\n");
    }
    text + "\nMean ± sample deviation over the seeds, in percent; * later shots, told who the \
            characters are in the first shot only. Chunk jump: the change from chunk to chunk over \
            the change inside chunks. Teacher's loss: in thousandths, how much more it is than the \
            first row's on the same samples under the same noise, mean ± standard error over the \
            last quarter of all steps.\n"
}

/// How much more the teachers of a row lose than those of the first, in thousandths: the mean over
/// steps and its standard error.
fn more(seen: &[Seen], first: &[Seen]) -> String {
    let steps = seen.iter().zip(first).flat_map(|(seen, first)| {
        seen.losses.iter().zip(&first.losses).map(|(loss, least)| 1e3 * (loss - least))
    });
    let steps: Vec<_> = steps.collect();
    let (mean, deviation) = moments(&steps);
    match steps.iter().any(|more| *more != 0.0) {
        true => format!("{mean:.2} ± {:.2}", deviation / (steps.len() as f64).sqrt()),
        false => "–".to_owned(),
    }
}

/// `81.2 ± 1.4`, or the number alone where there is but one.
fn mean_and_deviation(numbers: &[f64], digits: usize) -> String {
    let (mean, deviation) = moments(numbers);
    match numbers {
        [] => "–".to_owned(),
        [_] => format!("{mean:.digits$}"),
        _ => format!("{mean:.digits$} ± {deviation:.digits$}"),
    }
}

/// Mean and sample deviation; of fewer than two numbers, of no meaning.
fn moments(numbers: &[f64]) -> (f64, f64) {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_mean_and_the_sample_deviation() {
        assert_eq!(mean_and_deviation(&[], 1), "–");
        assert_eq!(mean_and_deviation(&[50.0], 1), "50.0");
        assert_eq!(mean_and_deviation(&[50.0, 52.0, 57.0], 1), "53.0 ± 3.6");
    }

    #[test]
    fn losses_are_compared_step_by_step_with_those_of_the_first_row() {
        let seen = |losses: &[f64]| Seen {
            origin: String::new(),
            named: Scores::default(),
            anonymous: Scores::default(),
            jump: None,
            losses: losses.to_vec(),
        };
        let first = [seen(&[0.3, 0.1]), seen(&[0.2, 0.4])];
        let row = [seen(&[0.301, 0.103]), seen(&[0.202, 0.402])];
        assert_eq!(more(&row, &first), "2.00 ± 0.41");
        assert_eq!(more(&first, &first), "–");
        assert_eq!(more(&[seen(&[])], &first), "–");
    }
}
