//! Stage 1: the bidirectional next-shot teacher, and the text encoder with it.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples, all of the same shot number |
//! | `K`, `F` | context frames, the shot's latent frames |
//! | `C`, `h`, `w` | latent channels, height, width |
//!
//! Flow matching on the shot's latents, given clean context frames and the captions of all shots so
//! far. Two choices depart from the reference: context frames are marked clean by timestep 0 and
//! attend only to each other, exactly as in the student's context pass, so that the student
//! inherits a teacher that already works the way it must.
//!
//! Before whole shots the network learns from first frames alone, which cost a fifteenth and teach
//! what things look like.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shotstream_media::{Frame, sheet::contact_sheet};
use shotstream_models::{
    bundle::Bundle,
    dit::{Dit, FrameMask, TextCache},
    umt5::Umt5,
};
use shotstream_plan::layout::FrameSlot;

use crate::{
    check::{Check, SHARE, above_zero, within},
    data::{
        address::{below, normals, shared_rng_of, uniform},
        shots::{ShotSource, ShotsRecipe},
    },
    error::TrainError,
    log::Metrics,
    loss::flow_matching::{noisy, shifted, velocity_error},
    recipe::StageRecipe,
    stages::{
        ode_pairs::{Grid, Sampler},
        vae::frame_of,
    },
    trainer::{BatchAddress, Objective, Run, train},
};

/// What only this stage knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherStage {
    /// What it learns from.
    pub data: ShotsRecipe,
    /// Shift of the training noise towards high levels.
    pub shift: f32,
    /// Share of samples whose text is zeros, which guidance needs.
    pub text_dropout: f32,
    /// How the contact sheet is sampled.
    pub sampler: Sampler,
}

impl Check for TeacherStage {
    fn check(&self) -> Result<(), String> {
        self.data.check()?;
        above_zero("stage.shift", self.shift)?;
        within("stage.text_dropout", self.text_dropout, SHARE)?;
        self.sampler.check()
    }
}

/// The two networks that learn together.
#[derive(Module, Debug)]
pub struct Conditioned {
    /// The transformer.
    pub dit: Dit,
    /// The text encoder.
    pub text: Umt5,
}

pub(crate) struct TeacherObjective<'a> {
    stage: &'a TeacherStage,
    source: ShotSource,
    grid: Grid,
}

impl Objective for TeacherObjective<'_> {
    type Model = Conditioned;

    fn loss(&self, model: &Conditioned, at: BatchAddress) -> (Tensor<1>, Metrics) {
        let device = Device::flex().autodiff();
        let rng = &mut shared_rng_of(at);
        let batch = self.source.cut_batch(at, below(rng, self.source.num_shots()), &device);
        let dims = batch.clip.dims();
        let samples = dims[0];
        let levels: Vec<_> =
            (0..samples).map(|_| shifted(uniform(rng), self.stage.shift)).collect();
        let kept =
            (0..samples).map(|_| f32::from(u8::from(uniform(rng) >= self.stage.text_dropout)));
        let kept = TensorData::new(kept.collect::<Vec<_>>(), [samples, 1, 1, 1]);
        let noise = TensorData::new(normals(rng, batch.clip.shape().num_elements()), dims);
        let noise = Tensor::<5>::from_data(noise, &device);
        let sigma = TensorData::new(levels.clone(), [samples, 1, 1, 1, 1]);
        let input = noisy(batch.clip.clone(), noise.clone(), Tensor::from_data(sigma, &device));
        let text = self.source.embed(&model.text, &batch.script, &device);
        let text = model.dit.text_cache(text * Tensor::<4>::from_data(kept, &device));
        let velocity =
            velocity(&model.dit, input, &levels, &batch.context, &batch.script.slots, &text);
        (velocity_error(velocity, batch.clip, noise), Vec::new())
    }

    fn sheet(&self, model: &Conditioned) -> Option<Frame> {
        let at = BatchAddress { seed: 3 << 40, step: 0, part: 0, batch: 6 };
        let device = Device::flex();
        let shot = 1.min(self.source.num_shots() - 1);
        let batch = self.source.batch(at, shot, &device);
        let text = self.source.embed(&model.text, &batch.script, &device);
        let noise = normals(&mut shared_rng_of(at), batch.clip.shape().num_elements());
        let noise = Tensor::<5>::from_data(TensorData::new(noise, batch.clip.dims()), &device);
        let made = self.stage.sampler.sample(&model.dit, &self.grid, noise, &batch, text);
        let mut frames = Vec::new();
        for sample in 0..at.batch {
            let videos = [&batch.clip, &made.clean]
                .map(|latents| self.source.decode(latents.clone().narrow(0, sample, 1)));
            let last = videos[0].dims()[1] - 1;
            for frame in if last == 0 { vec![0] } else { vec![0, last / 2, last] } {
                frames.extend(videos.iter().map(|video| frame_of(video, frame)));
            }
        }
        Some(contact_sheet(&frames, 6, 2))
    }
}

/// Velocity `[B, C, F, h, w]` of noisy clips, one level per sample, with clean context in front.
pub fn velocity(
    dit: &Dit,
    noisy: Tensor<5>,
    levels: &[f32],
    context: &Option<Tensor<5>>,
    slots: &[FrameSlot],
    text: &TextCache,
) -> Tensor<5> {
    let frames = noisy.dims()[2];
    let timesteps = levels.iter().flat_map(|&level| vec![1000.0 * level; frames]).collect();
    let Some(context) = context else {
        let timesteps = TensorData::new(timesteps, [levels.len(), frames]);
        let timesteps = Tensor::from_data(timesteps, &noisy.device());
        return dit.parallel(noisy, timesteps, slots, text, None);
    };
    velocity_after(dit, (context.clone(), noisy), timesteps, slots, text, frames)
}

/// Velocity of noisy clips behind their context, one timestep per latent frame (`B × F`); frames
/// attend within and before their run of `block` frames.
pub fn velocity_after(
    dit: &Dit,
    (context, noisy): (Tensor<5>, Tensor<5>),
    timesteps: Vec<f32>,
    slots: &[FrameSlot],
    text: &TextCache,
    block: usize,
) -> Tensor<5> {
    let [samples, _, frames, ..] = noisy.dims();
    let past = context.dims()[2];
    let rows = timesteps.chunks(frames).flat_map(|row| [&vec![0.0; past], row].concat());
    let timesteps = TensorData::new(rows.collect::<Vec<f32>>(), [samples, past + frames]);
    let timesteps = Tensor::from_data(timesteps, &noisy.device());
    let mask = FrameMask::block_causal(past, frames, block);
    let input = Tensor::cat(vec![context, noisy], 2);
    dit.parallel(input, timesteps, slots, text, Some(&mask)).narrow(2, past, frames)
}

/// Run the stage over `bundle`'s transformer and text encoder.
///
/// # Errors
/// As [`train`], and if the data set cannot be stored.
pub fn run(
    mut bundle: Bundle,
    recipe: &StageRecipe<TeacherStage>,
    run: &mut Run<'_>,
) -> Result<Bundle, TrainError> {
    let objective = objective(&bundle, &recipe.stage, run)?;
    let dit = recipe.run.checkpointed(bundle.dit);
    let model = Conditioned { dit, text: bundle.text };
    let model = train(&objective, model, recipe, run)?;
    (bundle.dit, bundle.text) = (model.dit, model.text);
    Ok(bundle)
}

/// What the stage minimises over `bundle`'s shots.
pub(crate) fn objective<'a>(
    bundle: &Bundle,
    stage: &'a TeacherStage,
    run: &mut Run<'_>,
) -> Result<TeacherObjective<'a>, TrainError> {
    Ok(TeacherObjective {
        stage,
        source: ShotSource::new(bundle, &stage.data, run)?,
        grid: Grid::new(bundle.recipe(), stage.sampler.substeps),
    })
}
