//! Stage 2: the student learns to be causal and quick by regression on the teacher's trajectories.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples |
//! | `P` | points of a trajectory, the last clean |
//! | `F` | latent frames, in chunks of three |
//! | `C`, `h`, `w` | latent channels, height, width |
//!
//! Every chunk stands at a level of its own and attends to the context and to chunks up to itself;
//! from there the student must see where the teacher's trajectory ends. Half of the samples have a
//! clean past, as in generation, the others a past at random levels (CausVid, Yin et al. 2025).

use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use shotstream_media::Frame;
use shotstream_models::bundle::Bundle;
use shotstream_plan::{
    layout::FrameSlot,
    recipe::{Recipe, timestep_from_sigma},
};

use crate::{
    check::{Check, SHARE, folder, within},
    data::{
        address::{below, rng_of, shared_rng_of, uniform},
        pairs::{self, PairShard},
        shots::sequence,
        tokens::Tokens,
    },
    error::TrainError,
    log::Metrics,
    ranks::Fact,
    recipe::StageRecipe,
    stages::teacher::{Conditioned, velocity_after},
    trainer::{BatchAddress, Objective, Run, train},
    watching::verdict::kept,
};

/// What only this stage knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OdeInitStage {
    /// Folder of the trajectories, beside the run's own.
    pub pairs: String,
    /// Share of samples whose earlier chunks are clean, as in generation.
    pub clean_past: f32,
}

impl Check for OdeInitStage {
    fn check(&self) -> Result<(), String> {
        folder("stage.pairs", &self.pairs)?;
        within("stage.clean_past", self.clean_past, SHARE)
    }
}

/// A part of a batch with everything that was drawn for it.
#[derive(Debug)]
pub struct Drawn {
    /// Every frame where its chunk stands on the trajectory, `[B, C, F, h, w]`.
    pub noisy: Tensor<5>,
    /// Where the trajectory ends, `[B, C, F, h, w]`.
    pub clean: Tensor<5>,
    /// `[B, C, K, h, w]`.
    pub context: Tensor<5>,
    /// Captions of the context's shots and of the shot.
    pub tokens: Tokens,
    /// Context frames, then the shot's.
    pub slots: Vec<FrameSlot>,
    /// Noise level of every frame, `B × F`; what is clean already teaches nothing.
    pub levels: Vec<f32>,
    /// Latent frames of a chunk.
    pub chunk: usize,
}

/// Squared error of the clean estimates of a drawn batch.
pub fn loss(model: &Conditioned, drawn: &Drawn) -> Tensor<1> {
    let (noisy, levels) = (drawn.noisy.clone(), &drawn.levels);
    let [samples, _, frames, ..] = noisy.dims();
    let per_frame = |values: Vec<f32>| {
        let data = TensorData::new(values, [samples, 1, frames, 1, 1]);
        Tensor::<5>::from_data(data, &noisy.device())
    };
    let weights: Vec<_> = levels.iter().map(|&level| f32::from(u8::from(level > 0.0))).collect();
    let share = weights.iter().sum::<f32>() / weights.len() as f32;
    let text = model.dit.text_cache(drawn.tokens.embed(&model.text));
    let velocity = velocity_after(
        &model.dit,
        (drawn.context.clone(), noisy.clone()),
        levels.iter().map(|&level| timestep_from_sigma(level)).collect(),
        &drawn.slots,
        &text,
        drawn.chunk,
    );
    let estimate = noisy.clone() - velocity * per_frame(levels.clone());
    let error = (estimate - drawn.clean.clone()).square() * per_frame(weights);
    error.mean().div_scalar(share)
}

struct OdeInitObjective<'a> {
    stage: &'a OdeInitStage,
    shards: Vec<PairShard>,
    recipe: Recipe,
    /// What the stage began with.
    bundle: Bundle,
    held_out: Option<Box<Self>>,
}

/// Which point of its trajectory each chunk stands at; `clean` is the index of the last point.
fn points_of_chunks(
    rng: &mut ChaCha8Rng,
    chunks: usize,
    clean: usize,
    clean_past: f32,
) -> Vec<usize> {
    if uniform(rng) < clean_past {
        let current = below(rng, chunks);
        return (0..chunks)
            .map(|chunk| if chunk < current { clean } else { below(rng, clean) })
            .collect();
    }
    let mut points: Vec<_> = (0..chunks).map(|_| below(rng, clean + 1)).collect();
    if points.iter().all(|&point| point == clean) {
        points[chunks - 1] = below(rng, clean);
    }
    points
}

impl OdeInitObjective<'_> {
    fn draw(&self, at: BatchAddress) -> Drawn {
        let device = Device::flex().autodiff();
        let shard = &self.shards[below(&mut shared_rng_of(at), self.shards.len())];
        let [points, frames, channels, height, width] = shard.point_shape();
        let chunk = self.recipe.geometry().chunk.0;
        let (clean_point, cell) = (points - 1, channels * height * width);
        let (mut noisy, mut clean, mut context) = (vec![], vec![], vec![]);
        let (mut prompts, mut levels) = (vec![], vec![]);
        for index in 0..at.batch {
            let rng = &mut rng_of(at, index);
            let pair = shard.draw(rng);
            let chosen = points_of_chunks(rng, frames / chunk, clean_point, self.stage.clean_past);
            for frame in 0..frames {
                let point = chosen[frame / chunk];
                let at_point =
                    |point: usize| &pair.points[(point * frames + frame) * cell..][..cell];
                noisy.extend_from_slice(at_point(point));
                clean.extend_from_slice(at_point(clean_point));
                levels.push(self.recipe.sigmas().get(point).copied().unwrap_or(0.0));
            }
            context.extend(pair.context);
            prompts.extend_from_slice(pair.prompts);
        }
        let clip = |data| {
            let data = TensorData::new(data, [at.batch, frames, channels, height, width]);
            Tensor::<5>::from_data(data, &device).swap_dims(1, 2)
        };
        let layout = sequence(&self.recipe, shard.shot, frames);
        let prompts = (prompts.as_slice(), layout.captions.len());
        let (tokenizer, length) = (&self.bundle.tokenizer, self.bundle.config.dit.text_len);
        Drawn {
            noisy: clip(noisy),
            clean: clip(clean),
            context: shard.context_tensor(context, at.batch, &device),
            tokens: Tokens::new(tokenizer, length, prompts, &device),
            slots: layout.slots,
            levels,
            chunk,
        }
    }
}

impl Objective for OdeInitObjective<'_> {
    type Model = Conditioned;

    fn loss(&self, model: &Conditioned, at: BatchAddress) -> (Tensor<1>, Metrics) {
        (loss(model, &self.draw(at)), Vec::new())
    }

    fn sheet(&self, _model: &Conditioned) -> Option<Frame> {
        None
    }

    fn transformers(&self) -> &'static [&'static str] {
        &["dit"]
    }

    fn bundle(&self, model: &Conditioned) -> Option<Bundle> {
        Some(Bundle { dit: model.dit.clone(), ..self.bundle.clone() })
    }

    fn held_out(&self) -> Option<&Self> {
        self.held_out.as_deref()
    }

    fn facts(&self) -> Vec<Fact> {
        let shots: Vec<_> = self.shards.iter().map(|shard| shard.shot).collect();
        let maker = self.shards.first().map_or("nobody", |shard| &shard.maker);
        vec![("set of trajectories", format!("shards of shots {shots:?}\nby {maker}"))]
    }

    fn trainable(&self, name: &str) -> bool {
        !name.starts_with("text.")
    }
}

/// Run the stage: `bundle` comes with the teacher's weights and leaves with the student's.
///
/// # Errors
/// As [`train`], and if the trajectories cannot be read.
pub fn run(
    bundle: Bundle,
    recipe: &StageRecipe<OdeInitStage>,
    run: &mut Run<'_>,
) -> Result<Bundle, TrainError> {
    let objective = |shards, held_out| OdeInitObjective {
        stage: &recipe.stage,
        shards,
        recipe: bundle.recipe().clone(),
        bundle: bundle.clone(),
        held_out,
    };
    let folder = run.dir.with_file_name(&recipe.stage.pairs);
    let held_out = match recipe.run.watched().validate_every {
        0 => None,
        _ => Some(Box::new(objective(pairs::load_held_out(&folder, bundle.recipe())?, None))),
    };
    let objective = objective(pairs::load_all(&folder, bundle.recipe())?, held_out);
    let dit = recipe.run.checkpointed(bundle.dit.clone());
    let model = Conditioned { dit, text: bundle.text.clone() };
    let dit = train(&objective, model, recipe, run)?.dit;
    kept(Bundle { dit, ..bundle }, &recipe.run, run)
}
