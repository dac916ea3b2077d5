//! The loop that every stage shares: parts of a batch side by side, one update, one line of log.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    time::Instant,
};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;
use shotstream_media::Frame;

use crate::{
    checkpoint::{Checkpoint, Snapshot},
    error::TrainError,
    files,
    log::{Log, Metrics},
    optimizer::{Optimizer, Turn},
    origin::Origin,
    params::{self, ParamSpec, Vectors},
    recipe::{LoopRecipe, StageRecipe},
    stages::MODEL,
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
    /// Called after every step with the step, the steps in all and the numbers of the log.
    pub watch: &'a mut dyn FnMut(u64, u64, &Metrics),
}

impl Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("stage", &self.stage)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// The log in a run's folder.
const LOG: &str = "log.jsonl";

/// The state to resume from in a run's folder.
const STATE: &str = "resume.safetensors";

impl Run<'_> {
    /// That the folder may be written: it holds nothing yet, or a run that is to be continued.
    ///
    /// # Errors
    /// If it holds a run and `resume` is not asked for, or a model that no run of it made.
    pub fn check_vacant(&self) -> Result<(), TrainError> {
        let holds = |name| self.dir.join(name).exists();
        let found = match (holds(STATE), holds(LOG), holds(MODEL)) {
            (true, _, _) if !self.resume => "a run",
            (false, true, _) if !self.resume => "a run without a checkpoint",
            (false, _, true) => "a finished model",
            _ => return Ok(()),
        };
        let path = self.dir.clone();
        Err(TrainError::Occupied { found, resumable: found != "a finished model", path })
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

    /// Make the folder.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn make_dir(&self) -> Result<(), TrainError> {
        std::fs::create_dir_all(&self.dir)
            .map_err(|source| TrainError::Write { source, path: self.dir.clone() })
    }
}

/// Train `model` and return it with averaged weights on a plain device.
///
/// # Errors
/// If the folder is occupied or unwritable, the checkpoint does not fit, or a number is not finite;
/// the last checkpoint is then intact.
pub fn train<O: Objective, S: Serialize>(
    objective: &O,
    model: O::Model,
    recipe: &StageRecipe<S>,
    run: &mut Run<'_>,
) -> Result<O::Model, TrainError> {
    let mut state = State::open(objective, &model, recipe, run)?;
    let recipe = &recipe.run;
    let workers = Workers::new(recipe.parts, run.threads)?;
    let log_path = run.dir.join(LOG);
    let unwritable = |source| TrainError::Write { source, path: log_path.clone() };
    let mut log = Log::open(&log_path, state.step).map_err(unwritable)?;
    let device = Device::flex().autodiff();
    while state.step < recipe.steps {
        let metrics = state.update(objective, &model, recipe, &workers)?;
        log.write(state.step, &metrics).map_err(unwritable)?;
        state.step += 1;
        (run.watch)(state.step, recipe.steps, &metrics);
        let due = |every| state.step.is_multiple_of(every) || state.step == recipe.steps;
        // What a step leaves comes before the checkpoint that says it is done.
        if due(recipe.sheet_every) {
            let averaged =
                params::with_values(model.clone(), &state.optimizer.ema, &device).valid();
            if let Some(sheet) = objective.sheet(&averaged) {
                write_sheet(&run.dir.join(format!("sheet-{:06}.png", state.step)), &sheet)?;
            }
        }
        if due(recipe.save_every) {
            log.sync().map_err(unwritable)?;
            state.save()?;
        }
    }
    Ok(params::with_values(model, &state.optimizer.ema, &device).valid())
}

fn write_sheet(path: &Path, sheet: &Frame) -> Result<(), TrainError> {
    let bytes = shotstream_media::png::encode_png(sheet);
    let failed =
        |error| TrainError::Write { source: std::io::Error::other(error), path: path.to_owned() };
    files::replace(path, &bytes.map_err(failed)?)
}

/// Mean loss, mean gradient and mean metrics over the parts.
///
/// Every part differentiates its own copy of the values: tensors shared between threads would join
/// the parts' graphs into one, which the first to finish would consume.
fn backward<O: Objective>(
    objective: &O,
    (template, values): (&O::Model, &Vectors),
    at: BatchAddress,
    workers: &Workers,
) -> (f64, Vectors, Metrics) {
    let parts = workers.map(|part| {
        let model = params::with_values(template.clone(), values, &Device::flex().autodiff());
        let (loss, mut metrics) = objective.loss(&model, BatchAddress { part, ..at });
        let value = f64::from(params::host(loss.clone().inner())[0]);
        metrics.insert(0, ("loss", value));
        (value, params::gradients(&model, &loss.backward()), metrics)
    });
    let share = 1.0 / parts.len() as f32;
    let mut parts = parts.into_iter();
    let (mut loss, mut gradients, mut metrics) =
        parts.next().expect("a recipe has at least one part");
    for (other_loss, other, other_metrics) in parts {
        loss += other_loss;
        for (sum, vector) in gradients.iter_mut().zip(other) {
            sum.iter_mut().zip(vector).for_each(|(a, b)| *a += b);
        }
        metrics.iter_mut().zip(other_metrics).for_each(|(a, b)| a.1 += b.1);
    }
    gradients.iter_mut().flatten().for_each(|g| *g *= share);
    metrics.iter_mut().for_each(|m| m.1 *= f64::from(share));
    (loss * f64::from(share), gradients, metrics)
}

/// A run's values and memory, new or resumed.
struct State {
    checkpoint: Checkpoint,
    step: u64,
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
        let (specs, values) = params::values(model);
        let optimizer = Optimizer::new(recipe.optimizer.clone(), &specs, &values, |name| {
            objective.trainable(name)
        });
        let origin = Origin::new(run.stage, recipe, &specs, &values);
        let checkpoint = Checkpoint { path: run.dir.join(STATE), origin, specs };
        let mut state = Self { checkpoint, step: 0, values, optimizer };
        if state.checkpoint.path.exists() {
            let Snapshot { step, groups } = state.checkpoint.load(state.groups())?;
            state.step = step;
            let optimizer = &mut state.optimizer;
            [state.values, optimizer.first, optimizer.second, optimizer.ema] = groups;
        }
        run.make_dir()?;
        Ok(state)
    }

    /// What a checkpoint keeps.
    fn groups(&self) -> [&Vectors; 4] {
        let Optimizer { first, second, ema, .. } = &self.optimizer;
        [&self.values, first, second, ema]
    }

    fn save(&self) -> Result<(), TrainError> {
        self.checkpoint.save(self.step, self.groups())
    }

    /// One update; the numbers are for the log.
    fn update<O: Objective>(
        &mut self,
        objective: &O,
        model: &O::Model,
        recipe: &LoopRecipe,
        workers: &Workers,
    ) -> Result<Metrics, TrainError> {
        let started = Instant::now();
        let step = self.step;
        let at = BatchAddress { seed: recipe.seed, step, part: 0, batch: recipe.batch };
        let (loss, gradients, mut metrics) =
            backward(objective, (model, &self.values), at, workers);
        let finite = |what: &str, found: f64| {
            let broken = || TrainError::NotFinite { what: what.into(), step, found };
            found.is_finite().then_some(()).ok_or_else(broken)
        };
        finite("the loss", loss)?;
        let rate = recipe.rate(step);
        let turn = |spec: &ParamSpec| {
            objective.turn(&spec.name, step).filter(|_| objective.trainable(&spec.name))
        };
        let turns: Vec<_> = self.checkpoint.specs.iter().map(turn).collect();
        let norm = f64::from(self.optimizer.step(&mut self.values, &gradients, rate, &turns));
        finite("the norm of the gradient", norm)?;
        metrics.extend([
            ("grad_norm", norm),
            ("rate", f64::from(rate)),
            ("secs", started.elapsed().as_secs_f64()),
        ]);
        Ok(metrics)
    }
}
