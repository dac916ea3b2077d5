//! `shotstream train`: one stage, from a model file to a model file, or the whole road; and a page
//! about either.

use std::collections::BTreeMap;

use shotstream_train::{
    ablation::{Ablation, Walk, markdown},
    log::Metrics,
    recipe::read_toml,
    report,
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
    if args.stage == StageName::Report {
        let page = report::write(&args.dir)?;
        return super::print(&format!("{}\n", page.display()));
    }
    let no_recipe = || WrongUse::error("--recipe RECIPE is needed: how to train");
    let recipe = args.recipe.as_deref().ok_or_else(no_recipe)?;
    let (mut progress, mut words) = (Progress::new(), Words::default());
    let mut watch = |done: u64, all: u64, metrics: &Metrics| {
        progress.show(done, all, &words.of(done, metrics));
    };
    let threads = args.threads.unwrap_or_else(cores);
    let stage = match args.stage {
        StageName::All => {
            if args.from.is_some() {
                return Err(WrongUse::error("--from is not for `all`, which starts from nothing"));
            }
            let road: Road = read_toml(recipe)?;
            let mut announce = |leg: usize, of: usize, next: &shotstream_train::road::Leg| {
                line(&format!("{leg}/{of}  {} in {}", next.stage.name(), next.dir));
            };
            let walk = (recipe, args.dir.as_path());
            return Ok(road.walk(walk, threads, &mut announce, &mut watch)?);
        }
        StageName::Ablate => {
            if args.from.is_some() {
                let reason = "--from is not for `ablate`, whose recipe names what it starts from";
                return Err(WrongUse::error(reason));
            }
            let ablation = Ablation::read(recipe)?;
            let mut announce = |dir: &str, what: &str| line(&format!("{what} in {dir}"));
            let (announce, watch) = (&mut announce, &mut watch);
            let mut walk = Walk { dir: &args.dir, threads, announce, watch };
            return super::print(&markdown(&ablation.walk(recipe, &mut walk)?));
        }
        StageName::Report => unreachable!("made above"),
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
    Ok(stage.run(args.from.as_deref(), recipe, &mut run)?)
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
