//! Stage 2a: the teacher's trajectories from noise to clip, kept at the student's noise levels.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples |
//! | `P` | points of a trajectory: the student's levels, then clean |
//! | `K`, `F` | context frames, latent frames |
//! | `C`, `h`, `w` | latent channels, height, width |
//!
//! Euler steps along the probability-flow ODE with classifier-free guidance (Ho & Salimans 2022);
//! the unguided branch sees zero text, or a negative prompt, and the same context. Between two of
//! the student's levels lie `substeps` steps, so the levels are always points of the trajectory.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shotstream_models::{bundle::Bundle, dit::Dit};
use shotstream_plan::recipe::Recipe;

use crate::{
    check::{ANY, Check, SOME, count, within},
    data::{
        address::{HELD_OUT, normals, shared_rng_of},
        pairs::{self, PairShard, held_out_path, shard_path},
        shots::{Batch, ShotSource},
        source::ShotsRecipe,
    },
    error::TrainError,
    fingerprint::of_named,
    guidance::{free_text, guided, negative_text},
    loss::flow_matching::shifted,
    params,
    stages::teacher::velocity,
    trainer::{BatchAddress, Run},
    workers::Workers,
};

/// How the teacher samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampler {
    /// Steps from each of the student's levels to the next.
    pub substeps: usize,
    /// Weight of the conditional velocity; 1 is no guidance.
    pub guidance: f32,
    /// What the unguided branch reads; without it, zeros.
    #[serde(default)]
    pub negative: Option<String>,
}

/// Noise levels of a trajectory, from noise to clean.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Falling levels, the last is 0.
    pub sigmas: Vec<f32>,
    /// Which of them the student visits.
    pub kept: Vec<usize>,
}

/// A trajectory, each state `[B, C, F, h, w]`.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// States at the student's levels.
    pub states: Vec<Tensor<5>>,
    /// Where it ends.
    pub clean: Tensor<5>,
}

impl Grid {
    /// The levels of `recipe` with `substeps` steps from each to the next, evenly spaced before the
    /// shift.
    pub fn new(recipe: &Recipe, substeps: usize) -> Self {
        let shift = recipe.shift();
        let linear = |sigma: f32| sigma / (shift - (shift - 1.0) * sigma);
        let levels: Vec<f32> = recipe.sigmas().iter().map(|&s| linear(s)).chain([0.0]).collect();
        let between = levels.windows(2).flat_map(|pair| {
            let step = (pair[1] - pair[0]) / substeps as f32;
            (0..substeps).map(move |index| pair[0] + step * index as f32)
        });
        let sigmas = between.chain([0.0]).map(|s| shifted(s, shift));
        Self {
            sigmas: sigmas.collect(),
            kept: (0..levels.len() - 1).map(|k| k * substeps).collect(),
        }
    }
}

impl Sampler {
    /// Follow the teacher from `noise` along `grid`; the captions' embeddings and those of no caption
    /// are `[B, N, L, D]`.
    pub fn sample(
        &self,
        dit: &Dit,
        grid: &Grid,
        noise: Tensor<5>,
        batch: &Batch,
        [text, free]: [Tensor<4>; 2],
    ) -> Trajectory {
        let samples = noise.dims()[0];
        let [conditional, unconditional] = [text, free].map(|text| dit.text_cache(text));
        let mut x = noise;
        let mut states = Vec::new();
        for (step, pair) in grid.sigmas.windows(2).enumerate() {
            if grid.kept.contains(&step) {
                states.push(x.clone());
            }
            let toward = |text| {
                velocity(
                    dit,
                    x.clone(),
                    &vec![pair[0]; samples],
                    &batch.context,
                    &batch.script.slots,
                    text,
                )
            };
            let v = guided(toward(&conditional), self.guidance, || toward(&unconditional));
            x = x + v.mul_scalar(pair[1] - pair[0]);
        }
        Trajectory { states, clean: x }
    }
}

/// What only this stage knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OdePairsRecipe {
    /// Seed of stories and noise.
    pub seed: u64,
    /// Shards in all; the shot number goes round from shard to shard.
    pub shards: usize,
    /// Samples in each shard.
    pub samples: usize,
    /// Shards more, of stories that no other shard holds, for `ode-init` to validate on; none if
    /// the recipe does not say.
    #[serde(default)]
    pub held_out: usize,
    /// How the teacher samples.
    pub sampler: Sampler,
    /// Where stories, context and captions come from.
    pub data: ShotsRecipe,
}

impl Check for Sampler {
    fn check(&self) -> Result<(), String> {
        count("sampler.substeps", self.substeps as u64, SOME)?;
        within("sampler.guidance", self.guidance, ANY)
    }
}

impl Check for OdePairsRecipe {
    fn check(&self) -> Result<(), String> {
        count("shards", self.shards as u64, [1, pairs::MOST])?;
        count("samples", self.samples as u64, SOME)?;
        self.sampler.check()?;
        self.data.check()
    }
}

/// Make what `dir` does not hold yet; every rank makes its own shards.
///
/// # Errors
/// If a folder cannot be written or read.
pub fn run(bundle: &Bundle, recipe: &OdePairsRecipe, run: &mut Run<'_>) -> Result<(), TrainError> {
    recipe.data.require_context()?;
    let maker = check_made(bundle, recipe, run)?;
    run.begin()?;
    let source = ShotSource::new(bundle, &recipe.data, run)?;
    let held_out = (0 < recipe.held_out)
        .then(|| ShotSource::held_out(bundle, &recipe.data, run))
        .transpose()?;
    let grid = Grid::new(bundle.recipe(), recipe.sampler.substeps);
    let workers = Workers::new(run.threads, run.threads)?;
    let at =
        |seed, shard| BatchAddress { seed, step: shard as u64, part: 0, batch: recipe.samples };
    let learnt = (0..recipe.shards)
        .map(|shard| (&source, shard_path(&run.dir, shard), at(recipe.seed, shard)));
    let unseen = held_out.iter().flat_map(|source| {
        (0..recipe.held_out)
            .map(|shard| (source, held_out_path(&run.dir, shard), at(HELD_OUT, shard)))
            .collect::<Vec<_>>()
    });
    let ours = learnt.chain(unseen).enumerate().filter(|(index, _)| run.ranks.makes(*index));
    let ours: Vec<_> = ours.map(|(_, shard)| shard).collect();
    let all = ours.len();
    let missing: Vec<_> = ours.into_iter().filter(|(_, path, _)| !path.exists()).collect();
    let mut done = all - missing.len();
    for group in missing.chunks(run.threads) {
        let results = workers.map(|part| match group.get(part) {
            None => Ok(()),
            Some((source, path, at)) => {
                sample_shard((bundle, source, &maker), &grid, recipe, *at).save(path)
            }
        });
        results.into_iter().collect::<Result<Vec<_>, _>>()?;
        done += group.len();
        (run.watch)(done as u64, all as u64, &Vec::new());
    }
    Ok(())
}

/// That what the folder holds already, if anything, was made the same way; returns that way's hash.
fn check_made(
    bundle: &Bundle,
    recipe: &OdePairsRecipe,
    run: &Run<'_>,
) -> Result<String, TrainError> {
    let maker = maker_of(bundle, recipe);
    let paths = (0..recipe.shards).map(|shard| shard_path(&run.dir, shard));
    let made: Vec<_> = paths.filter(|path| path.exists()).collect();
    if made.is_empty() {
        run.check_empty()?;
    }
    for path in made {
        if PairShard::maker_of(&path)? != maker {
            let reason = "it was made by another teacher or recipe, choose another folder".into();
            return Err(TrainError::Stored { reason, path });
        }
    }
    Ok(maker)
}

/// A hash of what trajectories depend on.
fn maker_of(bundle: &Bundle, recipe: &OdePairsRecipe) -> String {
    let recipe = OdePairsRecipe { shards: 0, held_out: 0, ..recipe.clone() };
    let recipe = serde_json::to_string(&recipe).expect("recipes have plain keys");
    let (mut specs, mut values) = params::values(&bundle.dit);
    for (others, vectors) in [params::values(&bundle.text), params::values(&bundle.vae)] {
        specs.extend(others);
        values.extend(vectors);
    }
    of_named(&recipe, &specs, &values)
}

fn sample_shard(
    (bundle, source, maker): (&Bundle, &ShotSource, &str),
    grid: &Grid,
    recipe: &OdePairsRecipe,
    at: BatchAddress,
) -> PairShard {
    let device = Device::flex();
    let shot = source.shot_in_turn(at.step);
    let batch = source.batch(at, shot, &device);
    let noise = normals(&mut shared_rng_of(at), batch.clip.shape().num_elements());
    let noise = Tensor::<5>::from_data(TensorData::new(noise, batch.clip.dims()), &device);
    let text = source.embed(&bundle.text, &batch.script, &device);
    let negative = recipe.sampler.negative.as_deref();
    let free = free_text(&text, negative_text(source, &bundle.text, negative, &device));
    let made = recipe.sampler.sample(&bundle.dit, grid, noise, &batch, [text, free]);
    let prompts =
        batch.script.prompts.chunks(batch.script.captions).map(<[String]>::to_vec).collect();
    let context = batch.context.expect("whole shots come with context");
    PairShard::new(shot, prompts, maker, [made.states, vec![made.clean]].concat(), context)
}
