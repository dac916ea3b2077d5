//! What a judge says, as JSON and as a table: a row an attribute, a column a way of filming.

use serde::Serialize;
use shotstream_train::court::{Film, Findings, VaeQuality, scores};
use shotstream_world::Scores;

/// Width of a column; a share with its interval fits.
const WIDTH: usize = 26;

/// A number of the table that is no share, if there is one.
type Number = fn(&Findings) -> Option<f64>;

const NUMBERS: [(&str, Number); 3] = [
    ("residual", |findings| Some(findings.scores.residual())),
    ("chunk jump", |findings| findings.jump),
    ("unrest", |findings| findings.unrest),
];

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) model: String,
    pub(super) stories: u16,
    pub(super) seed: u64,
    pub(super) anonymous: bool,
    pub(super) untold: bool,
    pub(super) columns: Vec<Column>,
    pub(super) vae: Option<VaeQuality>,
}

/// What films of one kind show.
#[derive(Debug, Serialize)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) findings: Findings,
    /// Of a long story, some of its shots.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) marks: Vec<Mark>,
}

/// A shot of a long story.
#[derive(Debug, Serialize)]
pub(super) struct Mark {
    /// Counted from 1.
    shot: usize,
    scores: Scores,
}

impl Mark {
    /// What the shots at `marks`, counted from 1, show, as far as there are any.
    pub(super) fn all(films: &[Film], marks: &[usize]) -> Vec<Self> {
        let mark = |&shot: &usize| Self { shot, scores: scores(films, |it| it + 1 == shot) };
        marks.iter().map(mark).filter(|mark| 0 < mark.scores.place.of).collect()
    }
}

/// The verdict to be read by a person.
pub(super) fn table(verdict: &Verdict) -> String {
    let Verdict { model, stories, seed, columns, .. } = verdict;
    let mut text = format!("model {model}, {stories} stories from seed {seed}");
    if verdict.anonymous {
        text += ", characters named in the first shot only";
    }
    if verdict.untold {
        text += ", the past without its captions";
    }
    text += ", 95 % intervals\n";
    if columns.iter().all(|column| column.marks.is_empty()) {
        section(&mut text, columns, "all shots", |column| Some(&column.findings.scores));
        section(&mut text, columns, "after the first", |column| Some(&column.findings.later));
    } else {
        for (index, mark) in columns[0].marks.iter().enumerate() {
            let title = format!("shot {}", mark.shot);
            section(&mut text, columns, &title, |column| Some(&column.marks.get(index)?.scores));
        }
    }
    section(&mut text, columns, "as in its past", |column| column.findings.strangers.as_ref());
    text += "\n";
    for (name, number) in NUMBERS {
        let cells = columns.iter().map(|column| {
            number(&column.findings).map_or(String::new(), |number| format!("{number:>8.4}"))
        });
        line(&mut text, name, cells);
    }
    if let Some(VaeQuality { psnr_db, first_psnr_db, flicker }) = verdict.vae {
        text +=
            &format!("\n{:<16}{psnr_db:>8.2} dB, first frames {first_psnr_db:.2} dB\n", "vae psnr");
        text += &format!("{:<16}{flicker:>8.4}\n", "vae flicker");
    }
    text
}

/// A title with the columns' names, and under it every row that was counted in any column.
fn section<'a>(
    text: &mut String,
    columns: &'a [Column],
    title: &str,
    scores: impl Fn(&'a Column) -> Option<&'a Scores>,
) {
    let columns: Vec<_> = columns.iter().map(|column| (column, scores(column))).collect();
    let rows: Vec<_> = columns.iter().map(|(_, scores)| scores.map(Scores::rows)).collect();
    let Some(some) = rows.iter().flatten().next() else { return };
    *text += "\n";
    line(text, title, columns.iter().map(|(column, _)| format!("  {}", column.name)));
    for (index, (name, _)) in some.iter().enumerate() {
        let tallies = rows.iter().map(|rows| rows.as_ref().map(|rows| rows[index].1));
        let tallies: Vec<_> = tallies.map(|tally| tally.filter(|tally| 0 < tally.of)).collect();
        if tallies.iter().all(Option::is_none) {
            continue;
        }
        line(
            text,
            name,
            tallies.into_iter().map(|tally| match tally {
                None => String::new(),
                Some(tally) if columns.len() == 1 => {
                    format!("{tally}  {} of {}", tally.right, tally.of)
                }
                Some(tally) => tally.to_string(),
            }),
        );
    }
}

fn line(text: &mut String, name: &str, cells: impl Iterator<Item = String>) {
    let cells: String = cells.map(|cell| format!("{cell:<WIDTH$}")).collect();
    *text += format!("{name:<16}{cells}").trim_end();
    *text += "\n";
}
