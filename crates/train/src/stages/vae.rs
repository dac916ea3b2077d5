//! Stage 0: the causal 3-D VAE learns to redraw the world.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `T`, `F` | pixel frames, latent frames |
//! | `H`, `W` | height and width of the crop |
//!
//! Whole single pictures first, of which a second brings many, then clips. Smaller windows can be
//! had, but the network uses where it is in the picture, and they teach it something else. With
//! `freeze_encoder` only the decoder learns, on latents with a little noise, and every network that
//! was trained on the encoder's latents stays valid.

use burn::module::Module as _;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shotstream_media::{Frame, sheet::contact_sheet};
use shotstream_models::{
    bundle::Bundle,
    vae::{Vae, VaeConfig},
};

use crate::{
    check::{Check, NOT_NEGATIVE, SOME, count, within},
    data::{
        address::{below, normals, rng_of, shared_rng_of, uniform},
        world,
    },
    error::TrainError,
    log::Metrics,
    loss::reconstruction::{ErrorWeights, divergence, psnr, reconstruction},
    params,
    recipe::StageRecipe,
    trainer::{BatchAddress, Objective, Run, train},
    watching::footage::Footage,
};

/// What only this stage knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeStage {
    /// Pixel frames, height and width of a crop; 1 + 4k frames, multiples of 8 pixels.
    pub crop: [usize; 3],
    /// What a wrong pixel costs.
    pub errors: ErrorWeights,
    /// Weight of the divergence of the latents from a unit normal.
    pub divergence: f32,
    /// Train the decoder alone.
    #[serde(default)]
    pub freeze_encoder: bool,
    /// Noise on the latents of a frozen encoder, in units of their deviation: uniform below this.
    #[serde(default)]
    pub latent_noise: f32,
}

impl Check for VaeStage {
    fn check(&self) -> Result<(), String> {
        for side in self.crop {
            count("stage.crop", side as u64, SOME)?;
        }
        let ErrorWeights { absolute, squared, differences } = self.errors;
        within("stage.errors.absolute", absolute, NOT_NEGATIVE)?;
        within("stage.errors.squared", squared, NOT_NEGATIVE)?;
        within("stage.errors.differences", differences, NOT_NEGATIVE)?;
        within("stage.divergence", self.divergence, NOT_NEGATIVE)?;
        within("stage.latent_noise", self.latent_noise, NOT_NEGATIVE)
    }
}

/// That crops can be cut from the model's shots and seen by its VAE.
fn check_crop(crop: [usize; 3], bundle: &Bundle) -> Result<(), TrainError> {
    let [height, width] = bundle.recipe().geometry().pixels;
    let whole = [bundle.recipe().shot_frames().0, height, width];
    let [time, rows, columns] = bundle.vae.config().stride();
    let fits = crop.iter().zip(whole).all(|(&side, whole)| side <= whole);
    let seen = crop[0] % time == 1 % time
        && crop[1].is_multiple_of(rows)
        && crop[2].is_multiple_of(columns);
    if !fits || !seen {
        let reason = format!(
            "stage.crop is {crop:?}, expected 1 + {time}k frames and multiples of {rows} and \
             {columns} pixels, at most {whole:?}"
        );
        return Err(TrainError::Stage { reason });
    }
    if whole[0] < SHEET_FRAMES {
        let reason = format!("shots have {} frames, expected {SHEET_FRAMES} or more", whole[0]);
        return Err(TrainError::Stage { reason });
    }
    Ok(())
}

/// Frames of the clips on a contact sheet and behind the latents' statistics.
const SHEET_FRAMES: usize = 9;

/// A part of a batch with everything that was drawn for it.
#[derive(Debug)]
pub struct Drawn {
    /// `[B, 3, T, H, W]` in [−1, 1].
    pub clips: Tensor<5>,
    /// What moves the latents: standard normal under a posterior, scaled already under a frozen
    /// encoder; `[B, z, F, h, w]`.
    pub noise: Tensor<5>,
}

/// Reconstruction from a sample of the posterior, and the posterior's divergence.
pub fn loss(model: &Vae, stage: &VaeStage, drawn: &Drawn) -> (Tensor<1>, Metrics) {
    let (mean, log_variance) = model.posterior(drawn.clips.clone());
    let deviation = log_variance.clone().mul_scalar(0.5).exp();
    let latents = mean.clone() + deviation * drawn.noise.clone();
    let divergence = divergence(mean, log_variance);
    let output = model.decode_raw(latents);
    let (error, squared) = reconstruction(output, drawn.clips.clone(), &stage.errors);
    let metrics =
        vec![("squared", params::number(&squared)), ("divergence", params::number(&divergence))];
    (error + divergence.mul_scalar(stage.divergence), metrics)
}

/// Reconstruction by a decoder that learns from an encoder that does not.
pub fn decoder_loss(model: &Vae, stage: &VaeStage, drawn: &Drawn) -> (Tensor<1>, Metrics) {
    let latents = model.clone().valid().encode(drawn.clips.clone().inner());
    let latents = latents + drawn.noise.clone().inner();
    let output = model.decode(Tensor::from_inner(latents));
    let (error, squared) = reconstruction(output, drawn.clips.clone(), &stage.errors);
    (error, vec![("squared", params::number(&squared))])
}

struct VaeObjective<'a> {
    stage: &'a VaeStage,
    picture: [usize; 2],
    shot_frames: usize,
    fps: u32,
}

impl VaeObjective<'_> {
    fn clips(&self, at: BatchAddress) -> Tensor<5> {
        let [frames, height, width] = self.stage.crop;
        let mut data = Vec::new();
        for index in 0..at.batch {
            let rng = &mut rng_of(at, index);
            data.extend(world::crop(rng, self.picture, self.stage.crop, self.shot_frames));
        }
        let data = TensorData::new(data, [at.batch, frames, 3, height, width]);
        Tensor::<5>::from_data(data, &Device::flex().autodiff()).swap_dims(1, 2)
    }

    fn draw(&self, at: BatchAddress, vae: &VaeConfig) -> Drawn {
        let clips = self.clips(at);
        let [samples, _, frames, height, width] = clips.dims();
        let [time, rows, columns] = vae.stride();
        let latents = 1 + (frames - 1) / time;
        let shape = [samples, vae.z_dim, latents, height / rows, width / columns];
        let rng = &mut shared_rng_of(at);
        let noise = TensorData::new(normals(rng, shape.iter().product()), shape);
        let noise = Tensor::<5>::from_data(noise, &clips.device());
        let scale = match self.stage.freeze_encoder {
            true => self.stage.latent_noise * uniform(rng),
            false => 1.0,
        };
        Drawn { clips, noise: noise.mul_scalar(scale) }
    }
}

impl VaeObjective<'_> {
    /// Whole pictures of unseen shots, and what the model makes of them, each `[1, T, 3, H, W]`.
    fn redrawn(&self, model: &Vae, shots: usize, frames: usize) -> Vec<[Tensor<5>; 2]> {
        let at = BatchAddress { seed: 1 << 40, step: 0, part: 0, batch: shots };
        let whole = [frames, self.picture[0], self.picture[1]];
        let pair = |index| {
            let data = world::crop(&mut rng_of(at, index), self.picture, whole, self.shot_frames);
            let data = TensorData::new(data, [1, frames, 3, whole[1], whole[2]]);
            let clip = Tensor::<5>::from_data(data, &Device::flex());
            let made = model.decode(model.encode(clip.clone().swap_dims(1, 2))).swap_dims(1, 2);
            [clip, made]
        };
        (0..shots).map(pair).collect()
    }
}

impl Objective for VaeObjective<'_> {
    type Model = Vae;

    fn loss(&self, model: &Vae, at: BatchAddress) -> (Tensor<1>, Metrics) {
        let drawn = self.draw(at, model.config());
        match self.stage.freeze_encoder {
            true => decoder_loss(model, self.stage, &drawn),
            false => loss(model, self.stage, &drawn),
        }
    }

    fn sheet(&self, model: &Vae) -> Option<Frame> {
        let pairs = self.redrawn(model, 4, SHEET_FRAMES);
        let frames = pairs.iter().flat_map(|pair| {
            [0, SHEET_FRAMES - 1]
                .into_iter()
                .flat_map(|frame| pair.each_ref().map(|video| frame_of(video, frame)))
        });
        Some(contact_sheet(&frames.collect::<Vec<_>>(), 4, 2))
    }

    fn film(&self, model: &Vae) -> Option<Footage> {
        Footage::compare(&self.redrawn(model, 3, self.shot_frames), self.fps)
    }

    fn held_out(&self) -> Option<&Self> {
        // Clips are drawn anew every time, so an address of its own is all it takes.
        Some(self)
    }

    fn validate(&self, model: &Vae, at: BatchAddress) -> Metrics {
        let (loss, metrics) = self.loss(model, at);
        let (model, clips) = (model.clone().valid(), self.clips(at).inner());
        let psnr = psnr(model.decode(model.encode(clips.clone())), clips);
        [vec![("loss", params::number(&loss)), ("psnr", psnr)], metrics].concat()
    }

    fn trainable(&self, name: &str) -> bool {
        !self.stage.freeze_encoder || !(name.starts_with("encoder") || name.starts_with("conv1"))
    }
}

/// One frame of `[1, T, 3, H, W]` in [−1, 1].
pub fn frame_of(video: &Tensor<5>, frame: usize) -> Frame {
    let [_, _, channels, height, width] = video.dims();
    let planes = params::host(video.clone().narrow(1, frame, 1));
    let pixels = height * width;
    let byte = |value: f32| ((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
    let rgb = (0..pixels).flat_map(|i| (0..channels).map(move |c| (c, i)));
    Frame { width, height, rgb: rgb.map(|(c, i)| byte(planes[c * pixels + i])).collect() }
}

/// Run the stage over `bundle`'s VAE.
///
/// # Errors
/// As [`train`], and if crops do not fit the model's shots.
pub fn run(
    mut bundle: Bundle,
    recipe: &StageRecipe<VaeStage>,
    run: &mut Run<'_>,
) -> Result<Bundle, TrainError> {
    check_crop(recipe.stage.crop, &bundle)?;
    let objective = VaeObjective {
        stage: &recipe.stage,
        picture: bundle.recipe().geometry().pixels,
        shot_frames: bundle.recipe().shot_frames().0,
        fps: bundle.recipe().frames_per_second(),
    };
    bundle.vae = train(&objective, bundle.vae, recipe, run)?;
    if !recipe.stage.freeze_encoder {
        let (mean, std) = statistics(&objective, &bundle.vae);
        bundle.vae = bundle.vae.with_latents(mean.clone(), std.clone());
        bundle.config.vae.latents_mean = mean;
        bundle.config.vae.latents_std = std;
    }
    Ok(bundle)
}

/// Mean and deviation of each latent channel over clips of whole pictures.
fn statistics(objective: &VaeObjective<'_>, vae: &Vae) -> (Vec<f32>, Vec<f32>) {
    let at = BatchAddress { seed: 2 << 40, step: 0, part: 0, batch: 64 };
    let mut values: Vec<Vec<f32>> = Vec::new();
    for index in 0..at.batch {
        let rng = &mut rng_of(at, index);
        let frames = [1, SHEET_FRAMES][below(rng, 2)];
        let window = [frames, objective.picture[0], objective.picture[1]];
        let data = world::crop(rng, objective.picture, window, objective.shot_frames);
        let data = TensorData::new(data, [1, frames, 3, window[1], window[2]]);
        let clip = Tensor::<5>::from_data(data, &Device::flex()).swap_dims(1, 2);
        let (mean, _) = vae.posterior(clip);
        let channels = mean.dims()[1];
        values.resize(channels, Vec::new());
        for (channel, numbers) in values.iter_mut().enumerate() {
            numbers.extend(params::host(mean.clone().narrow(1, channel, 1)));
        }
    }
    let moments = values.iter().map(|numbers| {
        let count = numbers.len() as f64;
        let mean = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let square = numbers.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
        (mean as f32, square.sqrt().max(1e-3) as f32)
    });
    moments.unzip()
}
