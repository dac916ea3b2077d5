//! The loop that every stage shares: parts of a batch side by side, one update, one line of log.

use std::{fmt::Debug, ops::Range, path::PathBuf, time::Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use shotstream_media::Frame;
use shotstream_models::bundle::Bundle;

use crate::{
    adapter::Space,
    checkpoint,
    error::TrainError,
    fingerprint,
    log::Metrics,
    optimizer::{Optimizer, Turn},
    params::{self, ParamSpec, Vectors},
    ranks::{Fact, Part, Ranks},
    recipe::StageRecipe,
    watching::{Averages, Watch, footage::Footage},
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
    /// Called after every step with the step, the steps in all and the numbers of the log.
    pub watch: &'a mut dyn FnMut(u64, u64, &Metrics),
}

/// The checkpoint in a run's folder.
const RESUME: &str = "resume.safetensors";

impl Run<'_> {
    /// Whether the folder holds a run.
    pub fn begun(&self) -> bool {
        self.dir.join(RESUME).exists()
    }

    /// That the folder is free, or its run is to go on.
    ///
    /// # Errors
    /// If it holds a run that is not to go on.
    pub fn refuse_occupied(&self) -> Result<(), TrainError> {
        if self.begun() && !self.resume {
            return Err(TrainError::Occupied { found: self.stage.into(), path: self.dir.clone() });
        }
        Ok(())
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
/// If the folder is occupied or unwritable, the checkpoint or the adapter does not fit, or the loss
/// is not finite.
pub fn train<O: Objective, S>(
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
    let watch = writes.then(|| Watch::open(objective, &model, recipe, run, state.step));
    let mut watch = watch.transpose()?;
    let device = Device::flex().autodiff();
    while state.step < recipe.steps {
        let started = Instant::now();
        let at = BatchAddress { seed: recipe.seed, step: state.step, part: 0, batch: recipe.batch };
        let parts = backward(objective, (&model, &state), at, &share, &workers);
        let Part { gradients, mut metrics } = run.ranks.mean(state.step, parts)?;
        let rate = recipe.rate(state.step);
        let turn = |spec: &ParamSpec| {
            objective.turn(&spec.name, state.step).filter(|_| objective.trainable(&spec.name))
        };
        let turns: Vec<_> = state.specs.iter().map(turn).collect();
        let norm = state.optimizer.step(&mut state.values, &gradients, rate, &turns);
        let (secs, samples) = (started.elapsed().as_secs_f64(), recipe.parts * recipe.batch);
        metrics.extend([
            ("grad_norm", f64::from(norm)),
            ("rate", f64::from(rate)),
            ("secs", secs),
            ("samples_per_sec", samples as f64 / secs),
        ]);
        state.step += 1;
        if let Some(watch) = &mut watch {
            let averages = || state.space.weights(&state.optimizer.ema);
            let averages: Averages<'_, O> = (&model, &averages);
            metrics = watch.look(objective, averages, (state.step, metrics), &workers)?;
        }
        (run.watch)(state.step, recipe.steps, &metrics);
        if state.step % recipe.save_every == 0 || state.step == recipe.steps {
            run.ranks.same(|| Ok(state.facts()))?;
            if writes {
                let State { path, step, specs, values, optimizer, .. } = &state;
                checkpoint::save(path, *step, specs, values, optimizer)?;
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
        let gradients = params::gradients(&model, &loss.backward());
        Part { gradients: space.gradients(values, gradients), metrics }
    })
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
        let path = run.dir.join(RESUME);
        let (lora, seed) = (recipe.lora.as_ref(), recipe.run.seed);
        let trainable = |name: &str| objective.trainable(name);
        let (space, specs, mut values) =
            Space::open(model, lora, objective.transformers(), trainable, seed)?;
        let mut optimizer = Optimizer::new(recipe.optimizer.clone(), &specs, &values, trainable);
        let mut step = 0;
        run.refuse_occupied()?;
        if path.exists() {
            let snapshot = checkpoint::load(&path, &specs)?;
            step = snapshot.step;
            [values, optimizer.first, optimizer.second, optimizer.ema] = snapshot.groups;
        }
        std::fs::create_dir_all(&run.dir)
            .map_err(|source| TrainError::Write { source, path: run.dir.clone() })?;
        if run.ranks.is_first() || path.exists() {
            space.claim(&run.dir, path.exists())?;
        }
        Ok(Self { path, step, space, specs, values, optimizer })
    }

    /// What all ranks must share between two updates.
    fn facts(&self) -> Vec<Fact> {
        let Optimizer { first, second, ema, .. } = &self.optimizer;
        let weights = fingerprint::of_vectors(&[&self.values, first, second, ema]);
        vec![("step", self.step.to_string()), ("set of weights", weights)]
    }
}
