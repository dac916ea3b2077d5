//! `shotstream prepare`: videos or drawn stories to shards of latents.

use std::{
    fs,
    path::{Path, PathBuf},
};

use shotstream_plan::{
    geometry::PixelFrames,
    recipe::{Recipe, ShotLabel},
};
use shotstream_train::data::{
    prepare::{Job, Material, Summary, prepare},
    table::Table,
    world::{DrawnStories, first_seed},
};

use crate::{
    cli::PrepareArgs,
    commands::print,
    failure::{Blame as _, WrongUse},
    hardware::cores,
    model,
    progress::Progress,
};

/// Prepare what was asked for.
pub(crate) fn run(args: &PrepareArgs) -> anyhow::Result<()> {
    let model = model::open_to_load(&args.model)?;
    let recipe = model.recipe(None)?;
    if recipe.context_frames() == 0 {
        let reason = "stories are prepared for context frames, the model's recipe has none";
        return Err(WrongUse::error(reason));
    }
    if recipe.shot_label() == ShotLabel::None {
        let reason = "stories are prepared with labels of shots, the model's recipe has none";
        return Err(WrongUse::error(reason));
    }
    let shot_frames = shot_frames(args, &recipe)?;
    let material = material(args)?;
    let bundle = model.load()?;
    let job = Job {
        material,
        bundle: &bundle,
        shot_frames,
        shard: args.shard.into(),
        dir: &args.output,
        strict: args.strict,
        threads: args.model.threads.map_or_else(cores, usize::from),
    };
    let mut progress = Progress::new();
    let (mut stories, mut refused) = (0, 0);
    let summary = prepare(&job, &mut |now| {
        if let Some(refusal) = now.refused {
            refused += 1;
            progress.say(&format!("left out: {refusal}"));
        }
        stories = now.done;
        let words = if refused == 0 {
            "stories".to_owned()
        } else {
            format!("stories, {refused} left out")
        };
        progress.show(stories as u64, now.all as u64, &words);
    });
    progress.clear();
    print(&told(&summary?, &args.output))
}

fn shot_frames(args: &PrepareArgs, recipe: &Recipe) -> anyhow::Result<usize> {
    let Some(frames) = args.frames else { return Ok(recipe.shot_frames().0) };
    recipe
        .chunks_from_shot(PixelFrames(frames))
        .map_err(|error| format!("--frames: {error}"))
        .wrong_use()?;
    Ok(frames)
}

fn material(args: &PrepareArgs) -> anyhow::Result<Material> {
    let Some(stories) = args.world else {
        let table = args.table.as_deref().unwrap_or(Path::new("."));
        let table = Table::read(&table_in(table)?, args.root.as_deref());
        return Ok(Material::Clips(table.wrong_use()?));
    };
    if stories == 0 {
        return Err(WrongUse::error("--world 0 draws no story, expected at least 1"));
    }
    Ok(Material::World(DrawnStories {
        first_seed: first_seed(args.seed),
        stories,
        shots: args.shots.into(),
        pairs: args.pairs,
        wordings: args.wordings.into(),
    }))
}

/// A table, or the only one of a folder.
fn table_in(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let place = path.display();
    let files = fs::read_dir(path)
        .map_err(|error| format!("cannot read the folder ({error}): {place}"))
        .wrong_use()?;
    let mut tables: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    tables.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    match tables.as_slice() {
        [table] => Ok(table.clone()),
        found => Err(WrongUse::error(format!(
            "a folder with one CSV is expected, this has {}: {place}",
            found.len()
        ))),
    }
}

fn told(summary: &Summary, dir: &Path) -> String {
    let Summary { stories, shards: [shards, kept], refused } = summary;
    let mut text =
        format!("{stories} stories in {shards} shards, {kept} of them kept: {}\n", dir.display());
    if !refused.is_empty() {
        text += &format!("{} stories left out:\n", refused.len());
        text.extend(refused.iter().map(|refusal| format!("  {refusal}\n")));
        text += "they are tried again when their shard is removed\n";
    }
    text
}
