//! What pages are made of.

use std::{fs, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use html_escape::encode_safe as escaped;

use super::{
    chart::{Chart, Curve, running_mean, short},
    folder::RunFolder,
};
use crate::error::TrainError;

/// A whole page.
pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{}</title><style>{}</style></head><body>\
         <svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\">\
         <clipPath id=\"field\"><rect x=\"52\" y=\"4\" width=\"462\" height=\"200\"/></clipPath></svg>\
         <main>{body}<footer>Made by shotstream {} with <code>train report</code>; \
         numbers and pictures are those of the run's folder.</footer></main>\
         <script>{}</script></body></html>\n",
        escaped(title),
        include_str!("style.css"),
        env!("CARGO_PKG_VERSION"),
        include_str!("hover.js"),
    )
}

/// A section, if it has any content.
pub(super) fn section(heading: &str, content: &str) -> String {
    match content {
        "" => String::new(),
        _ => format!("<section><h2>{heading}</h2>{content}</section>"),
    }
}

/// How far a run is, in a few words.
pub(super) fn chip(run: &RunFolder) -> String {
    if run.finished {
        return "<span class=\"chip done\">finished</span>".into();
    }
    match run.setting("loop", "steps") {
        Some(all) => format!("<span class=\"chip\">update {} of {all}</span>", run.steps()),
        None => format!("<span class=\"chip\">update {}</span>", run.steps()),
    }
}

/// Seconds as people say them.
pub(super) fn duration(secs: f64) -> String {
    let whole = Duration::from_secs(secs.round() as u64);
    humantime::format_duration(whole).to_string()
}

/// A file inside the page.
///
/// # Errors
/// If it cannot be read.
pub(super) fn data_url(path: &Path, kind: &str) -> Result<String, TrainError> {
    let bytes =
        fs::read(path).map_err(|source| TrainError::Read { source, path: path.to_owned() })?;
    Ok(format!("data:{kind};base64,{}", BASE64.encode(bytes)))
}

/// A number at the end of a series, and where it came from.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) first: f64,
    pub(super) last: f64,
}

impl Course {
    /// Of a noisy series, its running mean; nothing of an empty one.
    pub(super) fn of(points: &[[f64; 2]]) -> Option<Self> {
        let smooth = running_mean(points);
        // A mean of the first few, as the very first can be anything.
        let first = smooth.get(smooth.len().min(10).checked_sub(1)?)?[1];
        Some(Self { first, last: smooth.last()?[1] })
    }
}

/// The name of what the run minimises: the student's distance where there is a student that learns
/// in turns, as only its own updates say it.
pub(super) fn loss_name(run: &RunFolder) -> &'static str {
    if run.names(None).contains(&"matching") { "matching" } else { "loss" }
}

/// Curves of everything the log knows: losses first, what the optimiser did last.
pub(super) fn charts(run: &RunFolder) -> Vec<Chart> {
    const LAST: [&str; 3] = ["grad_norm", "rate", "samples_per_sec"];
    let turns = run.names(None).contains(&"critic");
    let (names, held_out) = (run.names(None), run.names(Some("validation")));
    let mut losses: Vec<_> = names
        .iter()
        .chain(&held_out)
        .copied()
        .filter(|name| !LAST.contains(name) && !["secs", "step"].contains(name))
        // A loss that is now the student's and now the critic's is no curve.
        .filter(|name| !(turns && *name == "loss"))
        .collect();
    losses.sort_by_key(|name| (*name != "loss", *name != "matching", *name));
    losses.dedup();
    let last = LAST.into_iter().filter(|name| names.contains(name));
    let mut charts: Vec<_> = losses.into_iter().chain(last).map(|name| chart(run, name)).collect();
    let mean = run.series(Some("judge"), "mean");
    let curve = Curve { name: "mean share".into(), points: mean, noisy: false };
    charts.insert(
        1.min(charts.len()),
        Chart { title: "Judge".into(), powers: false, curves: vec![curve] },
    );
    charts
}

fn chart(run: &RunFolder, name: &str) -> Chart {
    let curve = |label: &str, group, noisy| Curve {
        name: label.into(),
        points: run.series(group, name),
        noisy,
    };
    let training = curve("training", None, name != "rate");
    let validation = curve("validation", Some("validation"), false);
    Chart { title: title(name), powers: name != "psnr", curves: vec![training, validation] }
}

/// A heading for a name of the log.
fn title(name: &str) -> String {
    match name {
        "grad_norm" => "Norm of the gradient".into(),
        "rate" => "Share of the learning rate".into(),
        "samples_per_sec" => "Samples a second".into(),
        "psnr" => "Peak signal-to-noise ratio, dB".into(),
        "matching" => "Distance of critic and teacher".into(),
        "critic" => "Critic's error".into(),
        "squared" => "Squared error".into(),
        other => {
            let (first, rest) = other.split_at(other.chars().next().map_or(0, char::len_utf8));
            first.to_uppercase() + &rest.replace('_', " ")
        }
    }
}

/// The judge's shares over time, the mean first; nothing where it was never asked.
pub(super) fn judge_table(run: &RunFolder) -> String {
    let heard: Vec<_> =
        run.lines.iter().filter(|line| line.number(Some("judge"), "mean").is_some()).collect();
    if heard.is_empty() {
        return String::new();
    }
    let heard = spread(&heard, 12);
    let mean = |line: &&&super::folder::Line| line.number(Some("judge"), "mean").unwrap_or(0.0);
    let best = heard.iter().map(|line| mean(&line)).fold(0.0, f64::max);
    let head = heard.iter().map(|line| {
        let class = if mean(&line) == best { " class=\"best\"" } else { "" };
        format!("<th{class}>{}</th>", line.step)
    });
    let head: String = head.collect();
    let mut names = run.names(Some("judge"));
    names.sort_by_key(|name| (*name != "mean", place_of(name)));
    let rows = names.iter().map(|name| {
        let cells = heard.iter().map(|line| match line.number(Some("judge"), name) {
            Some(share) => format!("<td style=\"--share:{share:.3}\">{:.1} %</td>", 100.0 * share),
            None => "<td></td>".into(),
        });
        format!("<tr><th>{}</th>{}</tr>", escaped(name), cells.collect::<String>())
    });
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>after update</th>{head}</tr></thead><tbody>{}\
         </tbody></table></div>",
        rows.collect::<String>()
    )
}

/// Where the judge itself puts a row.
fn place_of(name: &str) -> usize {
    let rows = shotstream_world::Scores::default().rows();
    rows.iter().position(|(row, _)| *row == name).unwrap_or(rows.len())
}

/// At most `most` of the items, first and last among them, evenly.
pub(super) fn spread<T: Clone>(items: &[T], most: usize) -> Vec<T> {
    if items.len() <= most {
        return items.to_vec();
    }
    let index = |k: usize| k * (items.len() - 1) / (most - 1);
    (0..most).map(|k| items[index(k)].clone()).collect()
}

/// A number with what it came from.
pub(super) fn tile(name: &str, value: &str, below: &str) -> String {
    let below = if below.is_empty() { String::new() } else { format!("<small>{below}</small>") };
    format!("<div class=\"tile\"><dt>{name}</dt><dd>{value}{below}</dd></div>")
}

/// What a course says in a tile.
pub(super) fn course_tile(name: &str, course: &Course) -> String {
    tile(name, &short(course.last), &format!("from {}", short(course.first)))
}
