//! What the tests of the stages share: a toy model, recipes, and losses written down.

use std::path::{Path, PathBuf};

use shotstream_models::bundle::Bundle;
use shotstream_train::{
    ranks::{Alone, Ranks},
    stages::fresh::fresh,
    trainer::Run,
};

const TOY: &str = include_str!("../toy_model.toml");

pub(crate) fn toy(dir: &Path) -> Bundle {
    let path = write(dir, "model.toml", TOY);
    fresh(&path).expect("the toy recipe is valid")
}

pub(crate) fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a temporary folder can be written");
    path
}

pub(crate) fn loop_of(steps: u64, batch: usize) -> String {
    format!(
        "[loop]\nseed = 5\nsteps = {steps}\nwarmup = 1\ndecay = 0.0\nparts = 2\nbatch = {batch}\n\
         save_every = 3\nsheet_every = 1000\n\
         [optimizer]\nadamw_lr = 3e-3\nmuon_lr = 5e-3\n"
    )
}

/// Run something in a folder with its losses written down.
pub(crate) fn losses<T>(
    dir: &Path,
    resume: bool,
    work: impl FnOnce(&mut Run<'_>) -> T,
) -> (T, Vec<f64>) {
    losses_of(&Alone, dir, resume, work)
}

/// The same, as one of several ranks.
pub(crate) fn losses_of<T>(
    ranks: &dyn Ranks,
    dir: &Path,
    resume: bool,
    work: impl FnOnce(&mut Run<'_>) -> T,
) -> (T, Vec<f64>) {
    let mut losses = Vec::new();
    let mut watch = |_, _, metrics: &Vec<(&'static str, f64)>| {
        losses.extend(metrics.iter().filter(|(name, _)| *name == "loss").map(|m| m.1));
    };
    let mut run = Run {
        stage: "test",
        dir: dir.to_owned(),
        resume,
        threads: 2,
        ranks,
        record: None,
        watch: &mut watch,
    };
    (work(&mut run), losses)
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
