//! The loop that every stage shares: parts of a batch side by side, one update, one line of log.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    time::Instant,
};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use shotstream_media::Frame;

use crate::{
    adapter::Space,
    checkpoint,
    error::TrainError,
    log::{Log, Metrics},
    optimizer::{Optimizer, Turn},
    params::{self, ParamSpec, Vectors},
    recipe::StageRecipe,
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

/// Train `model`, or adapters of it, and return it with averaged weights on a plain device.
///
/// # Errors
/// If the folder is occupied or unwritable, the checkpoint or the adapter does not fit, or the loss
/// is not finite.
pub fn train<O: Objective, S>(
    objective: &O,
    model: O::Model,
    recipe: &StageRecipe<S>,
    run: &mut Run<'_>,
) -> Result<O::Model, TrainError> {
    let mut state = State::open(objective, &model, recipe, run)?;
    let recipe = &recipe.run;
    let workers = Workers::new(recipe.parts, run.threads)?;
    let log_path = run.dir.join("log.jsonl");
    let io_error = |path: &Path| {
        let path = path.to_owned();
        move |source| TrainError::Write { source, path }
    };
    let mut log = Log::open(&log_path, state.step).map_err(io_error(&log_path))?;
    let device = Device::flex().autodiff();
    while state.step < recipe.steps {
        let started = Instant::now();
        let at = BatchAddress { seed: recipe.seed, step: state.step, part: 0, batch: recipe.batch };
        let (loss, gradients, mut metrics) = backward(objective, (&model, &state), at, &workers);
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { step: state.step, loss });
        }
        let rate = recipe.rate(state.step);
        let turn = |spec: &ParamSpec| {
            objective.turn(&spec.name, state.step).filter(|_| objective.trainable(&spec.name))
        };
        let turns: Vec<_> = state.specs.iter().map(turn).collect();
        let norm = state.optimizer.step(&mut state.values, &gradients, rate, &turns);
        metrics.extend([
            ("grad_norm", f64::from(norm)),
            ("rate", f64::from(rate)),
            ("secs", started.elapsed().as_secs_f64()),
        ]);
        log.write(state.step, &metrics).map_err(io_error(&log_path))?;
        state.step += 1;
        (run.watch)(state.step, recipe.steps, &metrics);
        if state.step % recipe.save_every == 0 || state.step == recipe.steps {
            checkpoint::save(
                &state.path,
                state.step,
                &state.specs,
                &state.values,
                &state.optimizer,
            )?;
        }
        if state.step % recipe.sheet_every == 0 || state.step == recipe.steps {
            let averaged = state.space.weights(&state.optimizer.ema);
            let averaged = params::with_values(model.clone(), &averaged, &device).valid();
            if let Some(sheet) = objective.sheet(&averaged) {
                let path = run.dir.join(format!("sheet-{:06}.png", state.step));
                shotstream_media::png::write_png(&path, &sheet).map_err(|error| {
                    TrainError::Write { source: std::io::Error::other(error), path }
                })?;
            }
        }
    }
    let averaged = &state.optimizer.ema;
    state.space.save(&run.dir, averaged)?;
    Ok(params::with_values(model, &state.space.weights(averaged), &device).valid())
}

/// Mean loss, mean gradient and mean metrics over the parts.
///
/// Every part differentiates its own copy of the values: tensors shared between threads would join
/// the parts' graphs into one, which the first to finish would consume.
fn backward<O: Objective>(
    objective: &O,
    (template, State { space, values, .. }): (&O::Model, &State),
    at: BatchAddress,
    workers: &Workers,
) -> (f64, Vectors, Metrics) {
    let weights = space.weights(values);
    let parts = workers.map(|part| {
        let model = params::with_values(template.clone(), &weights, &Device::flex().autodiff());
        let (loss, mut metrics) = objective.loss(&model, BatchAddress { part, ..at });
        let value = f64::from(params::host(loss.clone().inner())[0]);
        metrics.insert(0, ("loss", value));
        let gradients = params::gradients(&model, &loss.backward());
        (value, space.gradients(values, gradients), metrics)
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
    path: PathBuf,
    step: u64,
    space: Space,
    specs: Vec<ParamSpec>,
    values: Vectors,
    optimizer: Optimizer,
}

impl State {
    fn open<O: Objective, S>(
        objective: &O,
        model: &O::Model,
        recipe: &StageRecipe<S>,
        run: &Run<'_>,
    ) -> Result<Self, TrainError> {
        let path = run.dir.join("resume.safetensors");
        let (lora, seed) = (recipe.lora.as_ref(), recipe.run.seed);
        let trainable = |name: &str| objective.trainable(name);
        let (space, specs, mut values) =
            Space::open(model, lora, objective.transformers(), trainable, seed)?;
        let mut optimizer = Optimizer::new(recipe.optimizer.clone(), &specs, &values, trainable);
        let mut step = 0;
        if path.exists() && !run.resume {
            return Err(TrainError::Occupied { found: run.stage.into(), path: run.dir.clone() });
        }
        if path.exists() {
            let snapshot = checkpoint::load(&path, &specs)?;
            step = snapshot.step;
            [values, optimizer.first, optimizer.second, optimizer.ema] = snapshot.groups;
        }
        std::fs::create_dir_all(&run.dir)
            .map_err(|source| TrainError::Write { source, path: run.dir.clone() })?;
        space.claim(&run.dir, path.exists())?;
        Ok(Self { path, step, space, specs, values, optimizer })
    }
}
