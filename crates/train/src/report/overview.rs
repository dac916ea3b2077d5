//! The page about all runs of a folder, in the order in which they began.

use std::path::Path;

use html_escape::{encode_double_quoted_attribute as quoted, encode_safe as escaped};

use super::{
    chart::{short, sparkline},
    folder::{RunFolder, name_of},
    parts::{Course, chip, data_url, duration, loss_name, page},
};
use crate::error::TrainError;

/// The page.
///
/// # Errors
/// If a picture cannot be read.
pub(super) fn of_runs(dir: &Path, runs: &[RunFolder]) -> Result<String, TrainError> {
    let legs = runs.iter().map(leg).collect::<Result<String, _>>()?;
    let done = runs.iter().filter(|run| run.finished).count();
    let secs: f64 = runs.iter().map(RunFolder::secs).sum();
    let updates: u64 = runs.iter().map(RunFolder::steps).sum();
    let name = name_of(dir);
    let class = if done == runs.len() { "chip done" } else { "chip" };
    let body = format!(
        "<header><p class=\"above\">a folder of runs</p>\
         <div class=\"title\"><h1>{}</h1><span class=\"{class}\">{done} of {} finished</span></div>\
         <p class=\"about\">{updates} updates, which took {}.</p></header><ol class=\"legs\">{legs}</ol>",
        escaped(&name),
        runs.len(),
        duration(secs),
    );
    Ok(page(&format!("{name} · shotstream"), &body))
}

fn leg(run: &RunFolder) -> Result<String, TrainError> {
    let look = match run.sheets.last() {
        Some((_, path)) => {
            let sheet = data_url(path, "image/png")?;
            format!("style=\"background-image:url({sheet})\" class=\"look\"")
        }
        None => "class=\"look none\"".into(),
    };
    let link = format!("{}/report.html", quoted(&run.name));
    let stage = run.facts.as_ref().map_or("", |facts| facts.stage.as_str());
    let stage = if stage == run.name { "" } else { stage };
    Ok(format!(
        "<li class=\"leg\"><a href=\"{link}\" aria-label=\"{}\" {look}></a>\
         <div class=\"says\"><h3><a href=\"{link}\">{}</a>{}</h3><p>{}</p><p>{}</p></div>{}</li>",
        quoted(&run.name),
        escaped(&run.name),
        chip(run),
        escaped(stage),
        says(run),
        sparkline(&run.series(None, loss_name(run))),
    ))
}

/// A run in a line of numbers.
fn says(run: &RunFolder) -> String {
    let mut says = Vec::new();
    if !run.lines.is_empty() {
        says.push(format!("<b>{}</b> updates in {}", run.steps(), duration(run.secs())));
    }
    let loss = loss_name(run);
    if let Some(course) = Course::of(&run.series(None, loss)) {
        says.push(format!("loss {} → <b>{}</b>", short(course.first), short(course.last)));
    }
    if let Some(point) = run.series(Some("validation"), loss).last() {
        says.push(format!("validation <b>{}</b>", short(point[1])));
    }
    if let Some(point) = run.series(Some("validation"), "psnr").last() {
        says.push(format!("<b>{}</b> dB", short(point[1])));
    }
    let verdicts = run.series(Some("judge"), "mean");
    if let Some(best) = verdicts.iter().map(|point| point[1]).max_by(f64::total_cmp) {
        says.push(format!("judge <b>{:.1} %</b>", 100.0 * best));
    }
    says.join(" · ")
}
