//! The loop that every stage shares: parts of a batch side by side, one update, one line of log.

use std::{
    fmt::Debug,
    ops::Range,
    path::{Path, PathBuf},
    time::Instant,
};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use shotstream_media::Frame;

use crate::{
    checkpoint,
    error::TrainError,
    fingerprint,
    log::{Log, Metrics},
    optimizer::{Optimizer, OptimizerRecipe, Turn},
    params::{self, ParamSpec, Vectors},
    ranks::{Fact, Part, Ranks},
    recipe::LoopRecipe,
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

/// Train `model` and return it with averaged weights on a plain device.
///
/// On several ranks an error of one of them alone still has to be agreed on, as
/// [`Stage::run`](crate::stages::Stage::run) does for whole stages.
///
/// # Errors
/// If the folder is occupied or unwritable, the checkpoint does not fit, or the loss is not finite.
pub fn train<O: Objective>(
    objective: &O,
    model: O::Model,
    recipe: &LoopRecipe,
    optimizer: &OptimizerRecipe,
    run: &mut Run<'_>,
) -> Result<O::Model, TrainError> {
    let mut state = run.ranks.agree(State::open(objective, &model, optimizer, run))?;
    run.ranks.same(|| Ok([objective.facts(), state.facts()].concat()))?;
    let share = run.ranks.share(recipe.parts)?;
    let workers = Workers::new(share.len(), run.threads)?;
    let log_path = run.dir.join("log.jsonl");
    let io_error = |path: &Path| {
        let path = path.to_owned();
        move |source| TrainError::Write { source, path }
    };
    let writes = run.ranks.is_first();
    let log = writes.then(|| Log::open(&log_path, state.step)).transpose();
    let mut log = log.map_err(io_error(&log_path))?;
    let device = Device::flex().autodiff();
    while state.step < recipe.steps {
        let started = Instant::now();
        let at = BatchAddress { seed: recipe.seed, step: state.step, part: 0, batch: recipe.batch };
        let parts = backward(objective, (&model, &state.values), at, &share, &workers);
        let Part { gradients, mut metrics } = run.ranks.mean(state.step, parts)?;
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
        if let Some(log) = &mut log {
            log.write(state.step, &metrics).map_err(io_error(&log_path))?;
        }
        state.step += 1;
        (run.watch)(state.step, recipe.steps, &metrics);
        if state.step % recipe.save_every == 0 || state.step == recipe.steps {
            run.ranks.same(|| Ok(state.facts()))?;
            if writes {
                let State { path, step, specs, values, optimizer } = &state;
                checkpoint::save(path, *step, specs, values, optimizer)?;
            }
        }
        if !writes {
            continue;
        }
        if state.step % recipe.sheet_every == 0 || state.step == recipe.steps {
            let averaged =
                params::with_values(model.clone(), &state.optimizer.ema, &device).valid();
            if let Some(sheet) = objective.sheet(&averaged) {
                let path = run.dir.join(format!("sheet-{:06}.png", state.step));
                shotstream_media::png::write_png(&path, &sheet).map_err(|error| {
                    TrainError::Write { source: std::io::Error::other(error), path }
                })?;
            }
        }
    }
    Ok(params::with_values(model, &state.optimizer.ema, &device).valid())
}

/// Loss, gradient and metrics of this rank's parts.
///
/// Every part differentiates its own copy of the values: tensors shared between threads would join
/// the parts' graphs into one, which the first to finish would consume.
fn backward<O: Objective>(
    objective: &O,
    (template, values): (&O::Model, &Vectors),
    at: BatchAddress,
    share: &Range<usize>,
    workers: &Workers,
) -> Vec<Part> {
    workers.map(|index| {
        let at = BatchAddress { part: share.start + index, ..at };
        let model = params::with_values(template.clone(), values, &Device::flex().autodiff());
        let (loss, mut metrics) = objective.loss(&model, at);
        metrics.insert(0, ("loss", f64::from(params::host(loss.clone().inner())[0])));
        Part { gradients: params::gradients(&model, &loss.backward()), metrics }
    })
}

/// A run's values and memory, new or resumed.
struct State {
    path: PathBuf,
    step: u64,
    specs: Vec<ParamSpec>,
    values: Vectors,
    optimizer: Optimizer,
}

impl State {
    fn open<O: Objective>(
        objective: &O,
        model: &O::Model,
        recipe: &OptimizerRecipe,
        run: &Run<'_>,
    ) -> Result<Self, TrainError> {
        let path = run.dir.join("resume.safetensors");
        let (specs, mut values) = params::values(model);
        let mut optimizer =
            Optimizer::new(recipe.clone(), &specs, &values, |name| objective.trainable(name));
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
        Ok(Self { path, step, specs, values, optimizer })
    }

    /// What all ranks must share between two updates.
    fn facts(&self) -> Vec<Fact> {
        let Optimizer { first, second, ema, .. } = &self.optimizer;
        let weights = fingerprint::of_vectors(&[&self.values, first, second, ema]);
        vec![("step", self.step.to_string()), ("set of weights", weights)]
    }
}
