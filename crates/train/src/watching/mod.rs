//! What is seen of a run while it learns: its log, TensorBoard's events, losses on held-out batches,
//! contact sheets, short films, and the judge's verdicts.
//!
//! Everything is a function of the averaged weights and of addresses that never change, so one look
//! can be compared with the next, and a resumed run sees what one never stopped would have seen.

pub mod events;
pub mod footage;
pub mod record;
pub mod verdict;

use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

use burn::module::Module as _;
use burn::tensor::Device;
use shotstream_media::{Frame, png::encode_png};

use crate::{
    data::address::HELD_OUT,
    error::TrainError,
    files,
    log::{Group, LOG, Log, Metrics},
    params::{self, Vectors},
    recipe::{LoopRecipe, WatchRecipe},
    stages::BEST,
    trainer::{BatchAddress, Objective, Run},
    workers::Workers,
};

use self::{events::EventFile, footage::Footage, verdict::judge};

/// The watch over a run.
#[derive(Debug)]
pub struct Watch {
    recipe: LoopRecipe,
    dir: PathBuf,
    threads: usize,
    log: Log,
    events: EventFile,
    /// The best mean share that the judge has given so far.
    best: f64,
}

/// A model and the averages of its weights, made when they are looked at.
pub type Averages<'a, O> = (&'a <O as Objective>::Model, &'a dyn Fn() -> Cow<'a, Vectors>);

impl Watch {
    /// That everything the recipe wants to see can be shown.
    ///
    /// # Errors
    /// If the objective cannot show it.
    pub fn check<O: Objective>(
        objective: &O,
        model: &O::Model,
        recipe: &LoopRecipe,
    ) -> Result<(), TrainError> {
        let refuse = |reason: &str| Err(TrainError::Stage { reason: reason.into() });
        let watched = recipe.watched();
        if 0 < watched.validate_every && objective.held_out().is_none() {
            return refuse("loop.watch.validate_every, and it holds nothing out");
        }
        if 0 < watched.judge_every && objective.bundle(model).is_none() {
            return refuse("loop.watch.judge_every, and it leaves no student to be judged");
        }
        Ok(())
    }

    /// Open log and events of a run that has done `step` updates; what they say of later ones is
    /// cut off.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn open(recipe: &LoopRecipe, run: &Run<'_>, step: u64) -> Result<Self, TrainError> {
        let path = run.dir.join(LOG);
        let log = Log::open(&path, step).map_err(refused(&path))?;
        let events = EventFile::create(&run.dir, step).map_err(refused(&run.dir))?;
        let best = verdict::best(&path).map_err(refused(&path))?;
        let (recipe, dir) = (recipe.clone(), run.dir.clone());
        Ok(Self { recipe, dir, threads: run.threads, log, events, best })
    }

    /// Write down what update number `step`, counted from 1, was like, and look at the averaged
    /// weights in every way whose time has come. The numbers come back with those of validation.
    ///
    /// # Errors
    /// If a film cannot be made or a file cannot be written.
    pub fn look<O: Objective>(
        &mut self,
        objective: &O,
        (template, averages): Averages<'_, O>,
        (step, mut metrics): (u64, Metrics),
        workers: &Workers,
    ) -> Result<Metrics, TrainError> {
        let watched = self.recipe.watched().clone();
        let steps = self.recipe.steps;
        let due = |every: u64| 0 < every && (step.is_multiple_of(every) || step == steps);
        let device = Device::flex().autodiff();
        let averaged = || params::with_values(template.clone(), &averages(), &device).valid();
        let mut groups: Vec<Group> = Vec::new();
        if due(watched.validate_every)
            && let Some(held_out) = objective.held_out()
        {
            let averages = averages();
            let numbers =
                validate(held_out, (template, averages.as_ref()), &watched, &self.recipe, workers);
            groups.push(("validation", numbers));
        }
        if due(watched.judge_every)
            && let Some(bundle) = objective.bundle(&averaged())
        {
            let shares = judge(&bundle, watched.judge_stories, self.threads)?;
            if self.best < verdict::mean(&shares) {
                self.best = verdict::mean(&shares);
                bundle.save(&self.dir.join(BEST), verdict::STORED)?;
            }
            groups.push(("judge", shares));
        }
        self.write(step, &metrics, &groups)?;
        self.show(
            objective,
            &averaged,
            step,
            [due(self.recipe.sheet_every), due(watched.film_every)],
        )?;
        for (name, numbers) in &groups {
            metrics.extend(numbers.first().map(|&(_, number)| (*name, number)));
        }
        Ok(metrics)
    }

    /// Bring the log to the disk: a checkpoint must not know more than its log.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.log.sync().map_err(refused(&self.dir.join(LOG)))
    }

    fn write(&mut self, step: u64, metrics: &Metrics, groups: &[Group]) -> Result<(), TrainError> {
        let refused = refused(&self.dir);
        // The log counts updates from 0, everything else those that were done.
        let written = self.log.write(step - 1, metrics, groups);
        let tags = [("train", metrics)].into_iter().chain(groups.iter().map(|(k, v)| (*k, v)));
        let numbers = tags.flat_map(|(group, numbers)| {
            numbers.iter().map(move |&(name, number)| (format!("{group}/{name}"), number))
        });
        written.and_then(|()| self.events.numbers(step, numbers)).map_err(refused)
    }

    fn show<O: Objective>(
        &mut self,
        objective: &O,
        averaged: &dyn Fn() -> O::Model,
        step: u64,
        [sheet, film]: [bool; 2],
    ) -> Result<(), TrainError> {
        // What it has not learnt from shows more.
        let objective = objective.held_out().unwrap_or(objective);
        if sheet && let Some(sheet) = sheet_of(objective, &averaged())? {
            let path = self.dir.join(format!("sheet-{step:06}.png"));
            let png = encode_png(&sheet).map_err(io::Error::other).map_err(refused(&path))?;
            files::replace(&path, &png)?;
            self.events.picture(step, "sheet", &sheet).map_err(refused(&self.dir))?;
        }
        if film && let Some(footage) = film_of(objective, &averaged())? {
            let path = self.dir.join(format!("film-{step:06}.mp4"));
            footage.write(&path).map_err(io::Error::other).map_err(refused(&path))?;
        }
        Ok(())
    }
}

/// The objective's own sheet, or what its student films.
fn sheet_of<O: Objective>(objective: &O, model: &O::Model) -> Result<Option<Frame>, TrainError> {
    match objective.sheet(model) {
        Some(sheet) => Ok(Some(sheet)),
        None => objective.bundle(model).map(|bundle| footage::glimpses(&bundle)).transpose(),
    }
}

/// The objective's own film, or one of its student's.
fn film_of<O: Objective>(objective: &O, model: &O::Model) -> Result<Option<Footage>, TrainError> {
    match objective.film(model) {
        Some(footage) => Ok(Some(footage)),
        None => objective.bundle(model).map(|bundle| Footage::of_story(&bundle)).transpose(),
    }
}

fn refused(path: &Path) -> impl Fn(io::Error) -> TrainError + use<> {
    let path = path.to_owned();
    move |source| TrainError::Write { source, path: path.clone() }
}

/// Mean numbers over held-out batches: the same batches and the same noise every time, without a
/// gradient.
fn validate<O: Objective>(
    held_out: &O,
    (template, averages): (&O::Model, &Vectors),
    watched: &WatchRecipe,
    recipe: &LoopRecipe,
    workers: &Workers,
) -> Metrics {
    let at = BatchAddress { seed: HELD_OUT, step: 0, part: 0, batch: recipe.batch };
    // Each part has weights of its own, as in training.
    let sums = workers.map(|part| {
        let device = Device::flex().autodiff();
        let model = params::with_values(template.clone(), averages, &device).no_grad();
        let batches = (part as u64..watched.validate_batches).step_by(workers.parts());
        let numbers = batches.map(|step| held_out.validate(&model, BatchAddress { step, ..at }));
        numbers.reduce(add)
    });
    let mut mean = sums.into_iter().flatten().reduce(add).unwrap_or_default();
    mean.iter_mut().for_each(|(_, number)| *number /= watched.validate_batches as f64);
    mean
}

fn add(mut sum: Metrics, other: Metrics) -> Metrics {
    sum.iter_mut().zip(other).for_each(|(a, b)| a.1 += b.1);
    sum
}
