//! The loop that every stage shares: parts of a batch side by side, one update, one line of log.

use std::{fmt::Debug, ops::Range, path::PathBuf, time::Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use shotstream_media::Frame;
use shotstream_models::bundle::Bundle;

use crate::{
    adapter::Space,
    checkpoint::{Checkpoint, Snapshot},
    error::TrainError,
    fingerprint,
    log::{LOG, Metrics},
    optimizer::{Optimizer, Turn},
    origin::Origin,
    params::{self, ParamSpec, Vectors},
    ranks::{Fact, Part, Ranks},
    recipe::{LoopRecipe, StageRecipe},
    stages::MODEL,
    watching::{
        Averages, Watch,
        footage::Footage,
        record::{self, Facts, Record},
    },
    workers::Workers,
};

/// Where in a run a part of a batch belongs; data and noise are functions of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchAddress {
    /// The run's seed.
    pub seed: u64,
    /// The update.
    pub step: u64,
    /// The part of the batch.
    pub part: usize,
    /// Samples in the part.
    pub batch: usize,
}

/// What a stage minimises.
pub trait Objective: Sync {
    /// The networks that learn.
    type Model: Module + Sync;

    /// The loss of one part of a batch, a scalar with its graph, and numbers for the log.
    fn loss(&self, model: &Self::Model, at: BatchAddress) -> (Tensor<1>, Metrics);

    /// A picture of what the model can do, from averaged weights on a plain device.
    fn sheet(&self, model: &Self::Model) -> Option<Frame>;

    /// The fields of the model that are transformers, which adapters can learn for.
    fn transformers(&self) -> &'static [&'static str] {
        &[]
    }

    /// A short film of what the model can do, from averaged weights on a plain device.
    fn film(&self, _model: &Self::Model) -> Option<Footage> {
        None
    }

    /// The student that the stage would leave now. Where there is one, it films what [`sheet`] and
    /// [`film`] do not show, and can be judged.
    ///
    /// [`sheet`]: Self::sheet
    /// [`film`]: Self::film
    fn bundle(&self, _model: &Self::Model) -> Option<Bundle> {
        None
    }

    /// The same task on stories that training never sees.
    fn held_out(&self) -> Option<&Self> {
        None
    }

    /// Numbers of one held-out batch, the most telling one first, from weights without a gradient.
    fn validate(&self, model: &Self::Model, at: BatchAddress) -> Metrics {
        let (loss, mut metrics) = self.loss(model, at);
        metrics.insert(0, ("loss", params::number(&loss)));
        metrics
    }

    /// What this objective learns from that several ranks must have in common.
    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }

    /// Whether a parameter ever learns.
    fn trainable(&self, _name: &str) -> bool {
        true
    }

    /// The part that a parameter which learns has in the update of `step`, if any.
    fn turn(&self, _name: &str, step: u64) -> Option<Turn> {
        Some(Turn { updates: step, rate: 1.0 })
    }
}

/// Where a run lives and how it is watched.
pub struct Run<'a> {
    /// Name of the stage.
    pub stage: &'static str,
    /// Folder of checkpoints, log and sheets.
    pub dir: PathBuf,
    /// Continue what the folder holds.
    pub resume: bool,
    /// Threads at most.
    pub threads: usize,
    /// The processes that train together. The first alone writes; the others read what it writes,
    /// so all must see the same folder.
    pub ranks: &'a dyn Ranks,
    /// What the folder is to say of the run, if a stage runs as a whole.
    pub record: Option<Record>,
    /// Called after every step with the step, the steps in all and the numbers of the log.
    pub watch: &'a mut dyn FnMut(u64, u64, &Metrics),
}

/// The state to resume from in a run's folder.
const STATE: &str = "resume.safetensors";

impl Run<'_> {
    /// That the folder may be written: it holds nothing yet, or a run that is to be continued.
    ///
    /// # Errors
    /// If it holds a run and `resume` is not asked for, a run of another stage, or a model that no run
    /// of it made.
    pub fn check_vacant(&self) -> Result<(), TrainError> {
        let holds = |name| self.dir.join(name).exists();
        let found = match (holds(STATE), holds(LOG), holds(MODEL)) {
            (true, _, _) if !self.resume => "a run",
            (false, true, _) if !self.resume => "a run without a checkpoint",
            (false, _, true) => "a finished model",
            _ => return self.check_stage(),
        };
        let path = self.dir.clone();
        Err(TrainError::Occupied { found, resumable: found != "a finished model", path })
    }

    /// That a run in the folder, if there is one and it says so, is of the same stage.
    fn check_stage(&self) -> Result<(), TrainError> {
        let held = record::read(&self.dir).filter(|_| self.dir.join(STATE).exists());
        match held.filter(|facts| facts.stage != self.stage) {
            None => Ok(()),
            Some(Facts { stage, .. }) => {
                let reason = format!("it is a run of {stage}, not of {}", self.stage);
                Err(TrainError::Resume { reason, path: self.dir.clone() })
            }
        }
    }

    /// That the folder holds nothing of a run.
    ///
    /// # Errors
    /// If it does.
    pub fn check_empty(&self) -> Result<(), TrainError> {
        let found = [(STATE, "a run"), (LOG, "a run"), (MODEL, "a finished model")];
        match found.into_iter().find(|(name, _)| self.dir.join(name).exists()) {
            None => Ok(()),
            Some((_, found)) => {
                Err(TrainError::Occupied { found, resumable: false, path: self.dir.clone() })
            }
        }
    }

    /// Make the folder and write down in it what runs here; only what can be done comes as far.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn begin(&self) -> Result<(), TrainError> {
        std::fs::create_dir_all(&self.dir)
            .map_err(|source| TrainError::Write { source, path: self.dir.clone() })?;
        match self.record.as_ref().filter(|_| self.ranks.is_first()) {
            Some(record) => record.begin(&self.dir),
            None => Ok(()),
        }
    }
}

impl Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("stage", &self.stage)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// Train `model`, or adapters of it, and return it with averaged weights on a plain device.
///
/// On several ranks an error of one of them alone still has to be agreed on, as
/// [`Stage::run`](crate::stages::Stage::run) does for whole stages.
///
/// # Errors
/// If the folder is occupied or unwritable, the checkpoint or the adapter does not fit, or a number
/// is not finite; the last checkpoint is then intact.
pub fn train<O: Objective, S: Serialize>(
    objective: &O,
    model: O::Model,
    recipe: &StageRecipe<S>,
    run: &mut Run<'_>,
) -> Result<O::Model, TrainError> {
    let mut state = run.ranks.agree(State::open(objective, &model, recipe, run))?;
    run.ranks.same(|| Ok([objective.facts(), state.facts()].concat()))?;
    let recipe = &recipe.run;
    let share = run.ranks.share(recipe.parts)?;
    let workers = Workers::new(share.len(), run.threads)?;
    let writes = run.ranks.is_first();
    Watch::check(objective, &model, recipe)?;
    run.begin()?;
    let mut watch = writes.then(|| Watch::open(recipe, run, state.step)).transpose()?;
    let device = Device::flex().autodiff();
    while state.step < recipe.steps {
        let together = (run.ranks, &share, &workers);
        let mut metrics = state.update(objective, &model, recipe, together)?;
        state.step += 1;
        // What a step leaves comes before the checkpoint that says it is done.
        if let Some(watch) = &mut watch {
            let averages = || state.space.weights(&state.optimizer.ema);
            let averages: Averages<'_, O> = (&model, &averages);
            metrics = watch.look(objective, averages, (state.step, metrics), &workers)?;
        }
        (run.watch)(state.step, recipe.steps, &metrics);
        if state.step.is_multiple_of(recipe.save_every) || state.step == recipe.steps {
            run.ranks.same(|| Ok(state.facts()))?;
            if let Some(watch) = &watch {
                watch.sync()?;
                state.checkpoint.save(state.step, state.groups())?;
            }
        }
    }
    let averaged = &state.optimizer.ema;
    // Nobody reads what the first has not finished writing.
    run.ranks.agree(if writes { state.space.save(&run.dir, averaged) } else { Ok(()) })?;
    Ok(params::with_values(model, &state.space.weights(averaged), &device).valid())
}

/// Loss, gradient and metrics of this rank's parts.
///
/// Every part differentiates its own copy of the values: tensors shared between threads would join
/// the parts' graphs into one, which the first to finish would consume.
fn backward<O: Objective>(
    objective: &O,
    (template, State { space, values, .. }): (&O::Model, &State),
    at: BatchAddress,
    share: &Range<usize>,
    workers: &Workers,
) -> Vec<Part> {
    let weights = space.weights(values);
    workers.map(|index| {
        let at = BatchAddress { part: share.start + index, ..at };
        let model = params::with_values(template.clone(), &weights, &Device::flex().autodiff());
        let (loss, mut metrics) = objective.loss(&model, at);
        metrics.insert(0, ("loss", params::number(&loss)));
        let learns = |name: &str| objective.trainable(name);
        let gradients = params::gradients(&model, &loss.backward(), learns);
        Part { gradients: space.gradients(values, gradients), metrics }
    })
}

/// A run's values and memory, new or resumed.
struct State {
    checkpoint: Checkpoint,
    step: u64,
    space: Space,
    values: Vectors,
    optimizer: Optimizer,
}

impl State {
    fn open<O: Objective, S: Serialize>(
        objective: &O,
        model: &O::Model,
        recipe: &StageRecipe<S>,
        run: &Run<'_>,
    ) -> Result<Self, TrainError> {
        run.check_vacant()?;
        let (lora, seed) = (recipe.lora.as_ref(), recipe.run.seed);
        let trainable = |name: &str| objective.trainable(name);
        let (space, specs, values) =
            Space::open(model, lora, objective.transformers(), trainable, seed)?;
        let optimizer = Optimizer::new(recipe.optimizer.clone(), &specs, &values, trainable);
        let origin = Origin::new(run.stage, recipe, model);
        let checkpoint = Checkpoint { path: run.dir.join(STATE), origin, specs };
        let mut state = Self { checkpoint, step: 0, space, values, optimizer };
        if state.checkpoint.path.exists() {
            let Snapshot { step, groups } = state.checkpoint.load(state.groups())?;
            state.step = step;
            let optimizer = &mut state.optimizer;
            [state.values, optimizer.first, optimizer.second, optimizer.ema] = groups;
        }
        Ok(state)
    }

    /// What a checkpoint keeps.
    fn groups(&self) -> [&Vectors; 4] {
        let Optimizer { first, second, ema, .. } = &self.optimizer;
        [&self.values, first, second, ema]
    }

    /// What all ranks must share between two updates.
    fn facts(&self) -> Vec<Fact> {
        let weights = fingerprint::of_vectors(&self.groups());
        vec![("step", self.step.to_string()), ("set of weights", weights)]
    }

    /// One update; the numbers are for the log.
    fn update<O: Objective>(
        &mut self,
        objective: &O,
        model: &O::Model,
        recipe: &LoopRecipe,
        (ranks, share, workers): (&dyn Ranks, &Range<usize>, &Workers),
    ) -> Result<Metrics, TrainError> {
        let started = Instant::now();
        let step = self.step;
        let at = BatchAddress { seed: recipe.seed, step, part: 0, batch: recipe.batch };
        let parts = backward(objective, (model, self), at, share, workers);
        let Part { gradients, mut metrics } = ranks.mean(step, parts)?;
        let rate = recipe.rate(step);
        let turn = |spec: &ParamSpec| {
            objective.turn(&spec.name, step).filter(|_| objective.trainable(&spec.name))
        };
        let turns: Vec<_> = self.checkpoint.specs.iter().map(turn).collect();
        let norm = f64::from(self.optimizer.step(&mut self.values, &gradients, rate, &turns));
        if !norm.is_finite() {
            let what = "the norm of the gradient".into();
            return Err(TrainError::NotFinite { what, step, found: norm });
        }
        let (secs, samples) = (started.elapsed().as_secs_f64(), recipe.parts * recipe.batch);
        metrics.extend([
            ("grad_norm", norm),
            ("rate", f64::from(rate)),
            ("secs", secs),
            ("samples_per_sec", samples as f64 / secs),
        ]);
        Ok(metrics)
    }
}
