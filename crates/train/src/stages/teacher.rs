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
        address::{normals, shared_rng_of, uniform},
        shots::ShotSource,
        source::ShotsRecipe,
        tokens::Tokens,
    },
    error::TrainError,
    guidance::{free_text, negative_text},
    log::Metrics,
    loss::flow_matching::{noisy, shifted, velocity_error},
    recipe::StageRecipe,
    stages::{
        ode_pairs::{Grid, Sampler},
        vae::frame_of,
    },
    trainer::{BatchAddress, Objective, Run, train},
    watching::footage::Footage,
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
    /// Which parameters learn; all of them by default.
    #[serde(default)]
    pub learns: Learns,
}

impl Check for TeacherStage {
    fn check(&self) -> Result<(), String> {
        self.data.check()?;
        above_zero("stage.shift", self.shift)?;
        within("stage.text_dropout", self.text_dropout, SHARE)?;
        self.sampler.check()
    }
}

/// Which parameters of the teacher learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Learns {
    /// Transformer and text encoder, as a model needs that starts from nothing.
    #[default]
    All,
    /// The transformer, for a student that already reads words the way they are.
    Transformer,
    /// The transformer's self-attention alone, as ShotStream continues a model that can draw already.
    SelfAttention,
}

/// The two networks that learn together.
#[derive(Module, Debug)]
pub struct Conditioned {
    /// The transformer.
    pub dit: Dit,
    /// The text encoder.
    pub text: Umt5,
}

/// A part of a batch with everything that was drawn for it.
#[derive(Debug)]
pub struct Drawn {
    /// `[B, C, F, h, w]`.
    pub clip: Tensor<5>,
    /// `[B, C, K, h, w]`; absent where frames are learnt alone.
    pub context: Option<Tensor<5>>,
    /// Captions of the context's shots and of the shot.
    pub tokens: Tokens,
    /// Context frames, then the shot's.
    pub slots: Vec<FrameSlot>,
    /// Noise level of each sample.
    pub levels: Vec<f32>,
    /// 1 for a sample that is told its captions, 0 for one whose text is zeros.
    pub told: Vec<f32>,
    /// `[B, C, F, h, w]`.
    pub noise: Tensor<5>,
}

/// Flow matching on a drawn batch.
pub fn loss(model: &Conditioned, drawn: &Drawn) -> Tensor<1> {
    let (clip, noise) = (drawn.clip.clone(), drawn.noise.clone());
    let (samples, device) = (drawn.levels.len(), clip.device());
    let column = |values: &[f32]| Tensor::<1>::from_floats(values, &device);
    let sigma = column(&drawn.levels).reshape([samples, 1, 1, 1, 1]);
    let told = column(&drawn.told).reshape([samples, 1, 1, 1]);
    let text = model.dit.text_cache(drawn.tokens.embed(&model.text) * told);
    let input = noisy(clip.clone(), noise.clone(), sigma);
    let velocity = velocity(&model.dit, input, &drawn.levels, &drawn.context, &drawn.slots, &text);
    velocity_error(velocity, clip, noise)
}

struct TeacherObjective<'a> {
    stage: &'a TeacherStage,
    source: ShotSource,
    grid: Grid,
    fps: u32,
    held_out: Option<Box<Self>>,
}

impl TeacherObjective<'_> {
    /// True shots, number 1 where there are two, and what the model makes of their beginnings, each `[1, T, 3, H, W]`.
    fn sampled(&self, model: &Conditioned, samples: usize) -> Vec<[Tensor<5>; 2]> {
        let at = BatchAddress { seed: 3 << 40, step: 0, part: 0, batch: samples };
        let device = Device::flex();
        let shot = 1.min(self.source.num_shots() - 1);
        let batch = self.source.batch(at, shot, &device);
        let text = self.source.embed(&model.text, &batch.script, &device);
        let noise = normals(&mut shared_rng_of(at), batch.clip.shape().num_elements());
        let noise = Tensor::<5>::from_data(TensorData::new(noise, batch.clip.dims()), &device);
        let sampler = &self.stage.sampler;
        let negative = sampler.negative.as_deref();
        let negative = negative_text(&self.source, &model.text, negative, &device);
        let free = free_text(&text, negative);
        let made = sampler.sample(&model.dit, &self.grid, noise, &batch, [text, free]);
        let decode =
            |latents: &Tensor<5>, sample| self.source.decode(latents.clone().narrow(0, sample, 1));
        let pair = |sample| [&batch.clip, &made.clean].map(|latents| decode(latents, sample));
        (0..samples).map(pair).collect()
    }
}

impl TeacherObjective<'_> {
    fn draw(&self, at: BatchAddress) -> Drawn {
        let device = Device::flex().autodiff();
        let rng = &mut shared_rng_of(at);
        let batch = self.source.cut_batch(at, self.source.draw_shot(rng), &device);
        let dims = batch.clip.dims();
        let levels = (0..dims[0]).map(|_| shifted(uniform(rng), self.stage.shift)).collect();
        let told = |_| f32::from(u8::from(uniform(rng) >= self.stage.text_dropout));
        let told = (0..dims[0]).map(told).collect();
        let noise = TensorData::new(normals(rng, batch.clip.shape().num_elements()), dims);
        Drawn {
            tokens: self.source.tokens(&batch.script, &device),
            clip: batch.clip,
            context: batch.context,
            slots: batch.script.slots,
            levels,
            told,
            noise: Tensor::from_data(noise, &device),
        }
    }
}

impl Objective for TeacherObjective<'_> {
    type Model = Conditioned;

    fn loss(&self, model: &Conditioned, at: BatchAddress) -> (Tensor<1>, Metrics) {
        (loss(model, &self.draw(at)), Vec::new())
    }

    fn sheet(&self, model: &Conditioned) -> Option<Frame> {
        let mut frames = Vec::new();
        for videos in self.sampled(model, 6) {
            let last = videos[0].dims()[1] - 1;
            for frame in if last == 0 { vec![0] } else { vec![0, last / 2, last] } {
                frames.extend(videos.iter().map(|video| frame_of(video, frame)));
            }
        }
        Some(contact_sheet(&frames, 6, 2))
    }

    fn transformers(&self) -> &'static [&'static str] {
        &["dit"]
    }

    fn trainable(&self, name: &str) -> bool {
        match self.stage.learns {
            Learns::All => true,
            Learns::Transformer => name.starts_with("dit."),
            Learns::SelfAttention => name.contains("self_attn"),
        }
    }

    fn film(&self, model: &Conditioned) -> Option<Footage> {
        Footage::compare(&self.sampled(model, 3), self.fps)
    }

    fn held_out(&self) -> Option<&Self> {
        self.held_out.as_deref()
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
    let objective = |source, held_out| TeacherObjective {
        stage: &recipe.stage,
        source,
        grid: Grid::new(bundle.recipe(), recipe.stage.sampler.substeps),
        fps: bundle.recipe().frames_per_second(),
        held_out,
    };
    let held_out = match recipe.run.watched().validate_every {
        0 => None,
        _ => Some(ShotSource::held_out(&bundle, &recipe.stage.data, run)?),
    };
    let held_out = held_out.map(|source| Box::new(objective(source, None)));
    let objective = objective(ShotSource::new(&bundle, &recipe.stage.data, run)?, held_out);
    let dit = recipe.run.checkpointed(bundle.dit);
    let model = Conditioned { dit, text: bundle.text };
    let model = train(&objective, model, recipe, run)?;
    (bundle.dit, bundle.text) = (model.dit, model.text);
    Ok(bundle)
}
