//! `shotstream train`: one stage, from a model file to a model file, or the whole road.

use shotstream_models::{bundle::BundleError, checkpoint::CheckpointError};
use shotstream_train::{
    error::TrainError, log::Metrics, recipe, road::Road, stages::Stage, trainer::Run,
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
    let threads = args.threads.map_or_else(cores, usize::from);
    let stage = match args.stage {
        StageName::All => {
            if args.from.is_some() {
                return Err(WrongUse::error("--from is not for `all`, which starts from nothing"));
            }
            let road: Road = recipe::read(&args.recipe).map_err(blame)?;
            let mut announce = |leg: usize, of: usize, next: &shotstream_train::road::Leg| {
                line(&format!("{leg}/{of}  {} in {}", next.stage.name(), next.dir));
            };
            let walk = (args.recipe.as_path(), args.dir.as_path());
            return road.walk(walk, threads, &mut announce, &mut watch).map_err(blame);
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
    stage.run(args.from.as_deref(), &args.recipe, &mut run).map_err(blame)
}

/// What the system or the numbers did is failure; everything else could be asked differently.
fn blame(error: TrainError) -> anyhow::Error {
    match error {
        TrainError::Write { .. } | TrainError::NotFinite { .. } | TrainError::Workers(_) => {
            error.into()
        }
        TrainError::Bundle(BundleError::Checkpoint(
            CheckpointError::Unwritable { .. } | CheckpointError::NotFinite { .. },
        )) => error.into(),
        error => WrongUse::error(error.to_string()),
    }
}
