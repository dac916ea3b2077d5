//! The page about one run.

use html_escape::encode_safe as escaped;

use super::{
    chart::{Chart, short},
    folder::RunFolder,
    parts::{
        Course, charts, chip, course_tile, data_url, duration, judge_table, loss_name, page,
        section, spread, tile,
    },
};
use crate::error::TrainError;

/// Sheets, and films, that a page carries at most.
const MOST: usize = 24;

/// The page; `above` tells that a page about all runs lies in the folder above.
///
/// # Errors
/// If a picture or a film cannot be read.
pub(super) fn of_run(run: &RunFolder, above: bool) -> Result<String, TrainError> {
    let curves: String = charts(run).iter().filter_map(Chart::html).collect();
    let curves =
        if curves.is_empty() { curves } else { format!("<div class=\"charts\">{curves}</div>") };
    let body = [
        header(run, above),
        section("Curves", &curves),
        section("What the judge says", &judge_table(run)),
        section("Films", &films(run)?),
        section("Contact sheets", &sheets(run)?),
        format!(
            "<div class=\"two\">{}{}</div>",
            section("Recipe", &run.recipe_text.as_deref().map(recipe).unwrap_or_default()),
            section("Run", &facts(run)),
        ),
    ];
    Ok(page(&format!("{} · shotstream", run.name), &body.concat()))
}

fn header(run: &RunFolder, above: bool) -> String {
    let stage = run.facts.as_ref().map_or("a run", |facts| facts.stage.as_str());
    let back = if above { "<a href=\"../report.html\">All runs</a> · " } else { "" };
    let first = run.recipe_text.as_deref().unwrap_or_default().lines();
    let about: Vec<_> = first.map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
    let about = match about.is_empty() {
        true => String::new(),
        false => format!("<p class=\"about\">{}</p>", escaped(&about.join(" "))),
    };
    let tiles = tiles(run);
    let tiles = if tiles.is_empty() { tiles } else { format!("<dl class=\"tiles\">{tiles}</dl>") };
    format!(
        "<header><p class=\"above\">{back}{}</p><div class=\"title\"><h1>{}</h1>{}</div>{about}{tiles}</header>",
        escaped(stage),
        escaped(&run.name),
        chip(run),
    )
}

fn tiles(run: &RunFolder) -> String {
    let mut tiles = String::new();
    if run.lines.is_empty() {
        return tiles;
    }
    let all = run.setting("loop", "steps").map_or(String::new(), |all| format!("of {all}"));
    tiles += &tile("Updates", &run.steps().to_string(), &all);
    let loss = loss_name(run);
    if let Some(course) = Course::of(&run.series(None, loss)) {
        tiles += &course_tile("Loss", &course);
    }
    for (name, label) in [(loss, "Validation"), ("psnr", "PSNR, dB")] {
        let held_out = run.series(Some("validation"), name);
        if let [first, .., last] | [first @ last] = &held_out[..] {
            tiles += &course_tile(label, &Course { first: first[1], last: last[1] });
        }
    }
    let verdicts = run.series(Some("judge"), "mean");
    let best = verdicts.iter().max_by(|a, b| a[1].total_cmp(&b[1]));
    if let Some([step, share]) = best {
        let below = format!("best, after {step}");
        tiles += &tile("Judge", &format!("{:.1} %", 100.0 * share), &below);
    }
    let secs = run.secs();
    let each = short(secs / run.lines.len() as f64);
    tiles += &tile("Time in updates", &duration(secs), &format!("{each} s each"));
    tiles
}

fn films(run: &RunFolder) -> Result<String, TrainError> {
    let mut figures = String::new();
    for (step, path) in spread(&run.films, MOST) {
        let film = data_url(&path, "video/mp4")?;
        figures += &format!(
            "<figure class=\"film\"><video controls loop muted playsinline preload=\"auto\" src=\"{film}\"></video>\
             <figcaption>after update {step}</figcaption></figure>"
        );
    }
    Ok(match figures.as_str() {
        "" => figures,
        _ => format!("<div class=\"films\">{figures}</div>"),
    })
}

fn sheets(run: &RunFolder) -> Result<String, TrainError> {
    let mut figures = String::new();
    for (step, path) in spread(&run.sheets, MOST) {
        let sheet = data_url(&path, "image/png")?;
        figures += &format!(
            "<figure class=\"sheet\"><img alt=\"contact sheet after update {step}\" src=\"{sheet}\">\
             <figcaption>after update {step}</figcaption></figure>"
        );
    }
    Ok(match figures.as_str() {
        "" => figures,
        _ => format!("<div class=\"sheets\">{figures}</div>"),
    })
}

/// A recipe with its tables, keys and remarks told apart.
fn recipe(text: &str) -> String {
    let line = |line: &str| {
        let (code, remark) = match line.find('#') {
            Some(at) => line.split_at(at),
            None => (line, ""),
        };
        let code = match code.split_once('=') {
            Some((key, value)) => format!("<em>{}</em>={}", escaped(key), escaped(value)),
            None if code.starts_with('[') => format!("<b>{}</b>", escaped(code)),
            None => escaped(code).into_owned(),
        };
        match remark {
            "" => code + "\n",
            _ => format!("{code}<i>{}</i>\n", escaped(remark)),
        }
    };
    format!("<pre>{}</pre>", text.lines().map(line).collect::<String>())
}

fn facts(run: &RunFolder) -> String {
    let Some(facts) = &run.facts else { return String::new() };
    let mut rows = vec![
        ("Stage", facts.stage.clone()),
        ("From", facts.from.as_ref().map_or("nothing".into(), |p| p.display().to_string())),
        ("Processor", facts.hardware.cpu.clone().unwrap_or_else(|| "unknown".into())),
        ("Threads", format!("{} of {} cores", facts.threads, facts.hardware.cores)),
        ("Version", format!("shotstream {}", facts.version)),
        ("Began", facts.started.clone()),
    ];
    rows.extend(facts.resumed.iter().map(|time| ("Went on", time.clone())));
    rows.extend(facts.finished.iter().map(|time| ("Done", time.clone())));
    let rows =
        rows.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escaped(value)));
    format!("<dl class=\"facts\">{}</dl>", rows.collect::<String>())
}
