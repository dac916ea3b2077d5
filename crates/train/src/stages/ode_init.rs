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
use shotstream_models::{bundle::Bundle, tokenizer::Tokenizer};
use shotstream_plan::recipe::Recipe;

use crate::{
    check::{Check, SHARE, folder, within},
    data::{
        address::{below, rng_of, shared_rng_of, uniform},
        pairs::{self, PairShard},
        shots::{embed, sequence},
    },
    error::TrainError,
    log::Metrics,
    recipe::StageRecipe,
    stages::teacher::{Conditioned, velocity_after},
    trainer::{BatchAddress, Objective, Run, train},
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

pub(crate) struct OdeInitObjective<'a> {
    stage: &'a OdeInitStage,
    shards: Vec<PairShard>,
    tokenizer: Tokenizer,
    text_len: usize,
    recipe: Recipe,
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

impl Objective for OdeInitObjective<'_> {
    type Model = Conditioned;

    fn loss(&self, model: &Conditioned, at: BatchAddress) -> (Tensor<1>, Metrics) {
        let device = Device::flex().autodiff();
        let shard = &self.shards[below(&mut shared_rng_of(at), self.shards.len())];
        let [points, frames, channels, height, width] = shard.point_shape();
        let chunk = self.recipe.geometry().chunk.0;
        let (clean_point, cell) = (points - 1, channels * height * width);
        let (mut input, mut clean, mut context, mut prompts) = (vec![], vec![], vec![], vec![]);
        let (mut timesteps, mut sigmas, mut weights) = (vec![], vec![], vec![]);
        for index in 0..at.batch {
            let rng = &mut rng_of(at, index);
            let pair = shard.draw(rng);
            let chosen = points_of_chunks(rng, frames / chunk, clean_point, self.stage.clean_past);
            for frame in 0..frames {
                let point = chosen[frame / chunk];
                let at_point =
                    |point: usize| &pair.points[(point * frames + frame) * cell..][..cell];
                input.extend_from_slice(at_point(point));
                clean.extend_from_slice(at_point(clean_point));
                let sigma = self.recipe.sigmas().get(point).copied().unwrap_or(0.0);
                timesteps.push(self.recipe.timesteps().get(point).copied().unwrap_or(0.0));
                sigmas.push(sigma);
                weights.push(f32::from(u8::from(point != clean_point)));
            }
            context.extend(pair.context);
            prompts.extend_from_slice(pair.prompts);
        }
        let clip = |data| {
            let data = TensorData::new(data, [at.batch, frames, channels, height, width]);
            Tensor::<5>::from_data(data, &device).swap_dims(1, 2)
        };
        let per_frame = |data| {
            Tensor::<5>::from_data(TensorData::new(data, [at.batch, 1, frames, 1, 1]), &device)
        };
        let (input, clean) = (clip(input), clip(clean));
        let context = shard.context_tensor(context, at.batch, &device);
        let share = weights.iter().sum::<f32>() / weights.len() as f32;
        let layout = sequence(&self.recipe, shard.shot, frames);
        let prompts = (prompts.as_slice(), layout.captions.len());
        let text = embed(&model.text, &self.tokenizer, self.text_len, prompts, &device);
        let text = model.dit.text_cache(text);
        let velocity = velocity_after(
            &model.dit,
            (context, input.clone()),
            timesteps,
            &layout.slots,
            &text,
            chunk,
        );
        let estimate = input - velocity * per_frame(sigmas);
        let error = (estimate - clean).square() * per_frame(weights);
        (error.mean().div_scalar(share), Vec::new())
    }

    fn sheet(&self, _model: &Conditioned) -> Option<Frame> {
        None
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
    mut bundle: Bundle,
    recipe: &StageRecipe<OdeInitStage>,
    run: &mut Run<'_>,
) -> Result<Bundle, TrainError> {
    let objective = objective(&bundle, &recipe.stage, run)?;
    let dit = recipe.run.checkpointed(bundle.dit);
    let model = Conditioned { dit, text: bundle.text };
    let model = train(&objective, model, recipe, run)?;
    (bundle.dit, bundle.text) = (model.dit, model.text);
    Ok(bundle)
}

/// What the stage minimises, from `bundle` and the folder of trajectories.
pub(crate) fn objective<'a>(
    bundle: &Bundle,
    stage: &'a OdeInitStage,
    run: &Run<'_>,
) -> Result<OdeInitObjective<'a>, TrainError> {
    Ok(OdeInitObjective {
        stage,
        shards: pairs::load_all(&run.dir.with_file_name(&stage.pairs), bundle.recipe())?,
        tokenizer: bundle.tokenizer.clone(),
        text_len: bundle.config.dit.text_len,
        recipe: bundle.recipe().clone(),
    })
}
