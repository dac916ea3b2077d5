//! `shotstream train`: one stage, from a model file to a model file, or the whole road.

use shotstream_train::{
    ablation::{Ablation, Walk, markdown},
    log::Metrics,
    recipe::read_toml,
    road::Road,
    stages::Stage,
    trainer::Run,
};

use crate::{
    cli::{StageName, TrainArgs},
    failure::WrongUse,
    hardware::cores,
    progress::{Progress, line},
};

/// Run the stage.
pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    let mut watch = |done: u64, all: u64, metrics: &Metrics| {
        let numbers: Vec<_> = metrics.iter().map(|(name, x)| format!("{name} {x:.4}")).collect();
        progress.show(done, all, &numbers.join("  "));
    };
    let threads = args.threads.unwrap_or_else(cores);
    let stage = match args.stage {
        StageName::All => {
            if args.from.is_some() {
                return Err(WrongUse::error("--from is not for `all`, which starts from nothing"));
            }
            let road: Road = read_toml(&args.recipe)?;
            let mut announce = |leg: usize, of: usize, next: &shotstream_train::road::Leg| {
                line(&format!("{leg}/{of}  {} in {}", next.stage.name(), next.dir));
            };
            let walk = (args.recipe.as_path(), args.dir.as_path());
            return Ok(road.walk(walk, threads, &mut announce, &mut watch)?);
        }
        StageName::Ablate => {
            if args.from.is_some() {
                let reason = "--from is not for `ablate`, whose recipe names what it starts from";
                return Err(WrongUse::error(reason));
            }
            let ablation = Ablation::read(&args.recipe)?;
            let mut announce = |dir: &str, what: &str| line(&format!("{what} in {dir}"));
            let (announce, watch) = (&mut announce, &mut watch);
            let mut walk = Walk { dir: &args.dir, threads, announce, watch };
            return super::print(&markdown(&ablation.walk(&args.recipe, &mut walk)?));
        }
        StageName::Fresh => Stage::Fresh,
        StageName::Vae => Stage::Vae,
        StageName::Teacher => Stage::Teacher,
        StageName::OdePairs => Stage::OdePairs,
        StageName::OdeInit => Stage::OdeInit,
        StageName::SelfForcing => Stage::SelfForcing,
    };
    if stage != Stage::Fresh && args.from.is_none() {
        return Err(WrongUse::error("--from MODEL is needed: the model to start from"));
    }
    let mut run = Run {
        stage: stage.name(),
        dir: args.dir.clone(),
        resume: args.resume,
        threads,
        watch: &mut watch,
    };
    Ok(stage.run(args.from.as_deref(), &args.recipe, &mut run)?)
}
