//! The judge's verdict on a student while it learns, and which student was the best.

use std::{fs, io, path::Path};

use serde_json::Value;
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype};
use shotstream_world::StoryOptions;

use crate::{
    court::{self, Court, Hearing, Past},
    error::TrainError,
    log::Metrics,
    recipe::{Keep, LoopRecipe},
    stages::BEST,
    trainer::Run,
};

/// Seed of the first story the judge is shown: not among those that `world judge` shows it, so that
/// choosing a model here spoils no later verdict.
const FIRST_STORY: u64 = 3_000_000;

/// How the best model is stored.
pub const STORED: StoredDtype = StoredDtype::F32;

/// The mean of the judge's shares, then every share, 0 to 1.
///
/// # Errors
/// If a story cannot be filmed to its end.
pub fn judge(bundle: &Bundle, stories: u64, threads: usize) -> Result<Metrics, TrainError> {
    let hearing = Hearing {
        seed: FIRST_STORY,
        stories: stories as usize,
        options: StoryOptions::default(),
        anonymous: false,
        past: Past::Own,
        untold: false,
        marks: Vec::new(),
    };
    let films =
        Court::student(bundle, bundle.recipe().clone())?.hear(&hearing, threads, &mut |_, _| ())?;
    let rows = court::scores(&films, |_| true).rows();
    let shares: Metrics = rows
        .into_iter()
        .filter(|(_, tally)| 0 < tally.of)
        .map(|(name, tally)| (name, tally.share()))
        .collect();
    let mean = shares.iter().map(|(_, share)| share).sum::<f64>() / shares.len().max(1) as f64;
    Ok([vec![("mean", mean)], shares].concat())
}

/// What [`judge`] puts first.
pub fn mean(shares: &Metrics) -> f64 {
    shares.first().map_or(0.0, |&(_, mean)| mean)
}

/// The best mean in a log; below every share if there is none.
///
/// # Errors
/// If the log cannot be read.
pub fn best(log: &Path) -> io::Result<f64> {
    let text = fs::read_to_string(log)?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines.filter_map(|line| line["judge"]["mean"].as_f64()).fold(-1.0, f64::max))
}

/// What the stage leaves: `last`, or the model that the judge liked best if the recipe keeps that.
///
/// # Errors
/// If that model cannot be read.
pub fn kept(last: Bundle, recipe: &LoopRecipe, run: &Run<'_>) -> Result<Bundle, TrainError> {
    match recipe.watched().keep {
        Keep::Last => Ok(last),
        Keep::Best => Ok(Bundle::from_file(&run.dir.join(BEST), &burn::tensor::Device::flex())?),
    }
}
