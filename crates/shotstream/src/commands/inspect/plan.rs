//! How much memory a model takes, part by part, and what would lower it.

use std::fmt::Write as _;

use shotstream_models::fast::{Keeping, Precision};
use shotstream_plan::{
    geometry::Geometry,
    recipe::{Recipe, RecipeFile},
};

use super::grouped;
use crate::{hardware, model::ModelFile};

/// The plan as a table, for pictures of `size` (width, height) if one is given.
pub(super) fn text(file: &ModelFile, size: Option<[usize; 2]>) -> anyhow::Result<String> {
    let recipe = file.recipe(size)?;
    let memory =
        |recipe: &Recipe, precision, keeping| file.stored.memory(recipe, precision, keeping);
    let plan = memory(&recipe, Precision::F32, Keeping::Whole);
    let [height, width] = recipe.geometry().pixels;
    let mut text =
        format!("{}: memory for pictures of {width}x{height}, of any number of shots\n", file.name);
    for part in &plan.0 {
        line(&mut text, part.part, part.bytes, &part.why)?;
    }
    let free = hardware::free_memory_bytes();
    let why = free.map(|free| format!("of {} MB that are free here", megabytes(free)));
    line(&mut text, "together", plan.bytes(), &why.unwrap_or_default())?;
    if free.is_some_and(|free| free < plan.bytes()) {
        writeln!(text, "\nThat is more than is free. What would lower it:")?;
    } else {
        writeln!(text, "\nWhat would lower it:")?;
    }
    let precisions = [("bf16", Keeping::Whole), ("int8", Keeping::Bytes)].map(|(name, keeping)| {
        (format!("--precision {name}"), memory(&recipe, Precision::Bf16, keeping))
    });
    let knobs = knobs(&recipe)
        .into_iter()
        .map(|(how, less)| (how, memory(&less, Precision::F32, Keeping::Whole)));
    for (how, less) in precisions.into_iter().chain(knobs) {
        let saved = plan.bytes().saturating_sub(less.bytes());
        if 0 < saved {
            writeln!(text, "{how:<44}{:>9} MB less", megabytes(saved))?;
        }
    }
    Ok(text)
}

fn line(text: &mut String, part: &str, bytes: u64, why: &str) -> std::fmt::Result {
    let line = format!("{part:<24}{:>9} MB  {why}", megabytes(bytes));
    writeln!(text, "{}", line.trim_end())
}

fn megabytes(bytes: u64) -> String {
    grouped(usize::try_from(bytes.div_ceil(1_000_000)).unwrap_or(usize::MAX))
}

/// What a user can turn down, and the recipe that follows.
fn knobs(recipe: &Recipe) -> Vec<(String, Recipe)> {
    let file = || RecipeFile::from(recipe.clone());
    let Geometry { pixels, vae_stride: [_, rows, columns], patch, chunk } =
        recipe.geometry().clone();
    let [height, width] = [(pixels[0], rows * patch[0]), (pixels[1], columns * patch[1])]
        .map(|(side, multiple)| (side / 2 / multiple).max(1) * multiple);
    let halved = recipe.geometry().with_pixels([height, width]);
    let smaller = halved.map(|geometry| RecipeFile { geometry, ..file() });
    let window = recipe.window().0 / 2 / chunk.0 * chunk.0;
    let shorter = RecipeFile { window_latent_frames: window.max(chunk.0), ..file() };
    let forgetful = RecipeFile { context_frames: recipe.context_frames().div_ceil(2), ..file() };
    let candidates = [
        smaller.ok().map(|recipe| (format!("--size {width}x{height}"), recipe)),
        Some((
            format!("window_latent_frames = {} in recipe.toml", shorter.window_latent_frames),
            shorter,
        )),
        Some((format!("context_frames = {} in recipe.toml", forgetful.context_frames), forgetful)),
    ];
    let resolved = |(how, recipe): (String, RecipeFile)| Some((how, recipe.resolve().ok()?));
    candidates.into_iter().flatten().filter_map(resolved).collect()
}
