//! `shotstream train`: one stage, from a model file to a model file, or the whole road; and a page
//! about either.

use std::{collections::BTreeMap, path::Path};

use shotstream_models::{bundle::BundleError, checkpoint::CheckpointError};
use shotstream_train::{
    ablation::{Ablation, Walk, markdown},
    error::TrainError,
    log::Metrics,
    ranks::{self, Ranks},
    recipe, report,
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

/// Run what was asked for.
pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<()> {
    if args.stage == StageName::Report {
        let page = report::write(&args.dir).map_err(blame)?;
        return super::print(&format!("{}\n", page.display()));
    }
    let no_recipe = || WrongUse::error("--recipe RECIPE is needed: how to train");
    let recipe = args.recipe.as_deref().ok_or_else(no_recipe)?;
    match (args.stage, &args.from) {
        (StageName::All, Some(_)) => {
            Err(WrongUse::error("--from is not for `all`, which starts from nothing"))
        }
        (StageName::Ablate, Some(_)) => {
            let reason = "--from is not for `ablate`, whose recipe names what it starts from";
            Err(WrongUse::error(reason))
        }
        (StageName::Ablate, None) => ablate(args, recipe),
        (StageName::All | StageName::Fresh, None) | (_, Some(_)) => together(args, recipe),
        (_, None) => Err(WrongUse::error("--from MODEL is needed: the model to start from")),
    }
}

fn ablate(args: &TrainArgs, recipe: &Path) -> anyhow::Result<()> {
    let (mut progress, mut words) = (Progress::new(), Words::default());
    let mut watch = |done: u64, all: u64, metrics: &Metrics| {
        progress.show(done, all, &words.of(done, metrics));
    };
    let threads = args.threads.map_or_else(cores, usize::from);
    let ablation = Ablation::read(recipe).map_err(blame)?;
    let mut announce = |dir: &str, what: &str| line(&format!("{what} in {dir}"));
    let (announce, watch) = (&mut announce, &mut watch);
    let mut walk = Walk { dir: &args.dir, threads, announce, watch };
    super::print(&markdown(&ablation.walk(recipe, &mut walk).map_err(blame)?))
}

/// Train together with all processes that MPI started for it; the first of them talks.
fn together(args: &TrainArgs, recipe: &Path) -> anyhow::Result<()> {
    let ranks = ranks::join()?;
    let ranks = ranks.as_ref();
    let Err(error) = train(args, recipe, ranks) else { return Ok(()) };
    if ranks.size() == 1 {
        return Err(blame(error));
    }
    // A launcher ends all ranks as soon as one has failed, so none leaves before it is said why.
    if ranks.is_first() {
        say(&error.into());
    }
    ranks.agree(Ok(()))?;
    Err(Said.into())
}

fn train(args: &TrainArgs, file: &Path, ranks: &dyn Ranks) -> Result<(), TrainError> {
    let (mut progress, mut words) = (Progress::new(), Words::default());
    let mut watch = |done: u64, all: u64, metrics: &Metrics| {
        if ranks.is_first() {
            progress.show(done, all, &words.of(done, metrics));
        }
    };
    let threads = args.threads.map_or_else(cores, usize::from);
    let stage = match args.stage {
        StageName::All => {
            let road: Road = ranks.agree(recipe::read(file))?;
            let mut announce = |leg: usize, of: usize, next: &Leg| {
                if ranks.is_first() {
                    line(&format!("{leg}/{of}  {} in {}", next.stage.name(), next.dir));
                }
            };
            let walk = (file, args.dir.as_path());
            return road.walk(walk, (threads, ranks), &mut announce, &mut watch);
        }
        StageName::Report | StageName::Ablate => unreachable!("are not stages"),
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
        record: None,
        watch: &mut watch,
    };
    stage.run(args.from.as_deref(), file, &mut run)
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

/// What a new number weighs in a running mean against those before it.
const NEW: f64 = 0.05;

/// What is said of an update: running means of what is minimised, and the newest of everything
/// that is looked at now and then.
#[derive(Debug, Default)]
struct Words {
    done: u64,
    /// Sums and weights.
    means: BTreeMap<&'static str, [f64; 2]>,
    /// Numbers of held-out batches and of the judge.
    looks: BTreeMap<&'static str, f64>,
}

impl Words {
    fn of(&mut self, done: u64, metrics: &Metrics) -> String {
        if done < self.done {
            // Another leg of the road.
            *self = Self::default();
        }
        self.done = done;
        let number = |name| metrics.iter().find(|(known, _)| *known == name).map(|&(_, x)| x);
        // In turns, the loss is now one thing and now the other.
        let turns = ["matching", "critic"].map(|name| number(name).map(|x| (name, x)));
        let minimised = turns.into_iter().flatten().next();
        if let Some((name, x)) = minimised.or_else(|| number("loss").map(|x| ("loss", x))) {
            let mean = self.means.entry(name).or_default();
            let parts = [x, 1.0];
            *mean = [0, 1].map(|part| (1.0 - NEW) * mean[part] + NEW * parts[part]);
        } else {
            let said = metrics.iter().map(|(name, x)| format!("{name} {x:.4}"));
            return said.collect::<Vec<_>>().join("  ");
        }
        for name in ["validation", "judge"] {
            self.looks.extend(number(name).map(|x| (name, x)));
        }
        let means = self.means.iter().map(|(name, [sum, weight])| (*name, sum / weight));
        let looks = self.looks.iter().map(|(name, x)| (*name, *x));
        let mut said: Vec<_> =
            means.chain(looks).map(|(name, x)| format!("{name} {x:.4}")).collect();
        said.extend(number("rate").map(|rate| format!("rate {rate:.2}")));
        said.extend(number("samples_per_sec").map(|pace| format!("{pace:.1} samples/s")));
        said.join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_told_by_running_means_and_the_newest_looks() {
        let mut words = Words::default();
        let update = |loss| vec![("loss", loss), ("rate", 0.5), ("samples_per_sec", 12.0)];
        assert_eq!(words.of(1, &update(2.0)), "loss 2.0000  rate 0.50  12.0 samples/s");
        let looked = [update(2.0), vec![("validation", 3.0)]].concat();
        let told = "loss 2.0000  validation 3.0000  rate 0.50  12.0 samples/s";
        assert_eq!(words.of(2, &looked), told);
        let later = words.of(3, &update(0.0));
        assert!(later.starts_with("loss 1.29") && later.contains("validation 3.0"), "{later}");
        assert_eq!(words.of(1, &update(5.0)), "loss 5.0000  rate 0.50  12.0 samples/s");
    }

    #[test]
    fn losses_in_turns_have_means_of_their_own_and_other_work_is_told_as_it_is() {
        let mut words = Words::default();
        words.of(1, &vec![("loss", 9.0), ("matching", 9.0)]);
        let told = words.of(2, &vec![("loss", 1.0), ("critic", 1.0)]);
        assert_eq!(told, "critic 1.0000  matching 9.0000");
        assert_eq!(words.of(3, &vec![("drawing", 3.0)]), "drawing 3.0000");
    }
}
