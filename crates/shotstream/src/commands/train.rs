//! `shotstream train`: one stage, from a model file to a model file, or the whole road.

use shotstream_train::{
    error::TrainError,
    log::Metrics,
    ranks::{self, Ranks},
    recipe::read_toml,
    road::{Leg, Road},
    stages::Stage,
    trainer::Run,
};

use crate::{
    cli::{StageName, TrainArgs},
    failure::{Said, WrongUse, say},
    hardware::cores,
    progress::{Progress, line},
};

/// Run the stage, together with all processes that MPI started for it; the first of them talks.
pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<()> {
    if args.stage == StageName::All && args.from.is_some() {
        return Err(WrongUse::error("--from is not for `all`, which starts from nothing"));
    }
    if !matches!(args.stage, StageName::All | StageName::Fresh) && args.from.is_none() {
        return Err(WrongUse::error("--from MODEL is needed: the model to start from"));
    }
    let ranks = ranks::join()?;
    let ranks = ranks.as_ref();
    let Err(error) = train(args, ranks) else { return Ok(()) };
    // A launcher ends all ranks as soon as one has failed, so none leaves before it is said why.
    if ranks.is_first() {
        say(&error.into());
    }
    ranks.agree(Ok(()))?;
    Err(Said.into())
}

fn train(args: &TrainArgs, ranks: &dyn Ranks) -> Result<(), TrainError> {
    let mut progress = Progress::new();
    let mut watch = |done: u64, all: u64, metrics: &Metrics| {
        let numbers: Vec<_> = metrics.iter().map(|(name, x)| format!("{name} {x:.4}")).collect();
        if ranks.is_first() {
            progress.show(done, all, &numbers.join("  "));
        }
    };
    let threads = args.threads.unwrap_or_else(cores);
    let stage = match args.stage {
        StageName::All => {
            let road: Road = ranks.agree(read_toml(&args.recipe))?;
            let mut announce = |leg: usize, of: usize, next: &Leg| {
                if ranks.is_first() {
                    line(&format!("{leg}/{of}  {} in {}", next.stage.name(), next.dir));
                }
            };
            let walk = (args.recipe.as_path(), args.dir.as_path());
            return road.walk(walk, (threads, ranks), &mut announce, &mut watch);
        }
        StageName::Fresh => Stage::Fresh,
        StageName::Vae => Stage::Vae,
        StageName::Teacher => Stage::Teacher,
        StageName::OdePairs => Stage::OdePairs,
        StageName::OdeInit => Stage::OdeInit,
        StageName::SelfForcing => Stage::SelfForcing,
    };
    let mut run = Run {
        stage: stage.name(),
        dir: args.dir.clone(),
        resume: args.resume,
        threads,
        ranks,
        watch: &mut watch,
    };
    stage.run(args.from.as_deref(), &args.recipe, &mut run)
}
