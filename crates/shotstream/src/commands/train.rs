//! `shotstream train`: one stage, from a model file to a model file.

use std::path::Path;

use anyhow::anyhow;
use burn::tensor::Device;
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype};
use shotstream_train::{
    log::Metrics,
    recipe::{StageRecipe, read_toml},
    stages::{fresh, ode_init, ode_pairs, self_forcing, teacher, vae},
    trainer::Run,
};

use crate::{
    cli::{StageName, TrainArgs},
    failure::WrongUse,
    progress::Progress,
};

/// Run the stage.
pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let out = args.dir.join("model.safetensors");
    if args.stage == StageName::Fresh {
        std::fs::create_dir_all(&args.dir).map_err(|error| {
            anyhow!("cannot write a model here: {error}: {}", args.dir.display())
        })?;
        return Ok(fresh::fresh(&args.recipe)?.save(&out, StoredDtype::F32)?);
    }
    let needed = || WrongUse::error("--from MODEL is needed: the model to start from");
    let from = args.from.as_deref().ok_or_else(needed)?;
    let bundle = Bundle::from_file(from, &Device::flex())?;
    let threads = args.threads.or_else(|| Some(std::thread::available_parallelism().ok()?.get()));
    let mut progress = Progress::new();
    let mut watch = |done: u64, all: u64, metrics: &Metrics| {
        let numbers: Vec<_> = metrics.iter().map(|(name, x)| format!("{name} {x:.4}")).collect();
        progress.show(done, all, &numbers.join("  "));
    };
    let mut run = Run {
        stage: stage_name(args.stage),
        dir: args.dir.clone(),
        resume: args.resume,
        threads: threads.unwrap_or(1),
        watch: &mut watch,
    };
    let trained = stage(args.stage, bundle, &args.recipe, &mut run)?;
    Ok(trained.save(&out, StoredDtype::F32)?)
}

fn stage(
    stage: StageName,
    bundle: Bundle,
    recipe: &Path,
    run: &mut Run<'_>,
) -> anyhow::Result<Bundle> {
    Ok(match stage {
        StageName::Fresh => bundle,
        StageName::Vae => vae::run(bundle, &StageRecipe::read(recipe)?, run)?,
        StageName::Teacher => teacher::run(bundle, &StageRecipe::read(recipe)?, run)?,
        StageName::OdePairs => {
            ode_pairs::run(&bundle, &read_toml(recipe)?, run)?;
            bundle
        }
        StageName::OdeInit => ode_init::run(bundle, &StageRecipe::read(recipe)?, run)?,
        StageName::SelfForcing => self_forcing::run(bundle, &StageRecipe::read(recipe)?, run)?,
    })
}

fn stage_name(stage: StageName) -> &'static str {
    match stage {
        StageName::Fresh => "fresh",
        StageName::Vae => "vae",
        StageName::Teacher => "teacher",
        StageName::OdePairs => "ode-pairs",
        StageName::OdeInit => "ode-init",
        StageName::SelfForcing => "self-forcing",
    }
}
