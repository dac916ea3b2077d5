//! Stored trajectories of the teacher.
//!
//! A shard is a safetensors file of samples of one shot number: `points` `[B, P, F, C, h, w]` (the
//! states at the student's levels, then the clean end) and `context` `[B, K, C, h, w]`, both f16;
//! the shot number, the prompts and a hash of teacher and recipe are in its metadata.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use shotstream_models::{bundle::BundleError, checkpoint::Weights};
use shotstream_plan::recipe::Recipe;

use crate::{
    data::{
        address::below,
        halves::{self, Halves},
    },
    error::TrainError,
    params::host,
};

/// Trajectories of samples of one shot number.
#[derive(Clone, Debug)]
pub struct PairShard {
    /// Number of the shot in its story.
    pub shot: usize,
    /// Prompts of each sample, `shot + 1` of them.
    pub prompts: Vec<Vec<String>>,
    /// Hash of the teacher and the recipe that made it.
    pub maker: String,
    points: Halves,
    context: Halves,
}

/// One trajectory on the host.
#[derive(Clone, Debug)]
pub struct Pair<'a> {
    /// Prompts of this shot and the earlier ones.
    pub prompts: &'a [String],
    /// `P` points of `[F, C, h, w]`, the last clean.
    pub points: Vec<f32>,
    /// `[K, C, h, w]`.
    pub context: Vec<f32>,
}

impl PairShard {
    /// Collect the points (each `[B, C, F, h, w]`) and context (`[B, C, K, h, w]`) of samples.
    pub fn new(
        shot: usize,
        prompts: Vec<Vec<String>>,
        maker: &str,
        points: Vec<Tensor<5>>,
        context: Tensor<5>,
    ) -> Self {
        let points: Vec<_> =
            points.into_iter().map(|x| x.swap_dims(1, 2).unsqueeze_dim(1)).collect();
        let points: Tensor<6> = Tensor::cat(points, 1);
        let context = context.swap_dims(1, 2);
        let (points_shape, context_shape) = (points.dims().to_vec(), context.dims().to_vec());
        Self {
            shot,
            prompts,
            maker: maker.into(),
            points: Halves::new(&host(points), points_shape),
            context: Halves::new(&host(context), context_shape),
        }
    }

    /// Write to `path` through a temporary name.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let prompts = serde_json::to_string(&self.prompts).expect("strings always serialise");
        let facts = HashMap::from([
            ("shot".to_owned(), self.shot.to_string()),
            ("prompts".to_owned(), prompts),
            ("maker".to_owned(), self.maker.clone()),
        ]);
        halves::write(path, &[("points", &self.points), ("context", &self.context)], facts)
    }

    /// Read a shard.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let refuse = |reason: String| TrainError::Stored { reason, path: path.to_owned() };
        let ([points, context], facts) = halves::read(path, ["points", "context"])?;
        let shot = facts.get("shot").and_then(|text| text.parse().ok());
        let prompts = facts.get("prompts").and_then(|text| serde_json::from_str(text).ok());
        let (Some(shot), Some(prompts)) = (shot, prompts) else {
            return Err(refuse("it does not name its shot and prompts".into()));
        };
        if points.shape.len() != 6 || context.shape.len() != 5 {
            return Err(refuse(format!("points have shape {:?}", points.shape)));
        }
        let maker = facts.get("maker").cloned().unwrap_or_default();
        Ok(Self { shot, prompts, maker, points, context })
    }

    /// The hash of the teacher and the recipe that made a shard, from its header alone.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged.
    pub fn maker_of(path: &Path) -> Result<String, TrainError> {
        let header = Weights::open(path).map_err(BundleError::from)?;
        Ok(header.metadata().get("maker").cloned().unwrap_or_default())
    }

    /// Whether a model that generates by `recipe` can learn from this.
    fn check(&self, recipe: &Recipe) -> Result<(), String> {
        let geometry = recipe.geometry();
        let levels = recipe.sigmas().len();
        let [points, frames, _, height, width] = self.point_shape();
        let fits = points == levels + 1
            && frames.is_multiple_of(geometry.chunk.0)
            && [height, width] == geometry.latent_size()
            && self.context.shape[1] == recipe.context_frames()
            && self.context.shape[2..] == self.points.shape[3..];
        let samples = self.prompts.len();
        let whole = self.points.shape[0] == samples && self.context.shape[0] == samples;
        match fits && whole && samples > 0 {
            true => Ok(()),
            false => Err(format!(
                "it was made for another model: points {:?} behind context {:?}, expected {levels} \
                 levels and latents of {:?}",
                self.points.shape,
                self.context.shape,
                geometry.latent_size(),
            )),
        }
    }

    /// Points, latent frames, channels, height, width of one trajectory.
    pub fn point_shape(&self) -> [usize; 5] {
        std::array::from_fn(|axis| self.points.shape[axis + 1])
    }

    /// A random sample.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Pair<'_> {
        let index = below(rng, self.prompts.len());
        let sample =
            |tensor: &Halves| tensor.block(index, tensor.shape[1..].iter().product()).collect();
        Pair {
            prompts: &self.prompts[index],
            points: sample(&self.points),
            context: sample(&self.context),
        }
    }

    /// Context of samples as `[B, C, K, h, w]`.
    pub fn context_tensor(&self, contexts: Vec<f32>, samples: usize, device: &Device) -> Tensor<5> {
        let [_, frames, channels, height, width] = self.context.shape[..] else {
            unreachable!("checked when the shard was read")
        };
        let data = TensorData::new(contexts, [samples, frames, channels, height, width]);
        Tensor::from_data(data, device).swap_dims(1, 2)
    }
}

/// Path of shard `index` in `dir`.
pub fn shard_path(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("pairs-{index:05}.safetensors"))
}

/// Path of shard `index` of held-out stories in `dir`.
pub fn held_out_path(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("held-out-{index:05}.safetensors"))
}

/// Shards at most: what their names have room for.
pub const MOST: u64 = 100_000;

/// Every shard of a folder that may be learnt from, in order, for a model that generates by
/// `recipe`.
///
/// # Errors
/// If the folder holds none, one is missing or damaged, or they do not fit the model or each other.
pub fn load_all(dir: &Path, recipe: &Recipe) -> Result<Vec<PairShard>, TrainError> {
    let none = "the folder holds no trajectories, make them with `train ode-pairs`";
    load(dir, recipe, ("pairs-", shard_path), none)
}

/// Every shard of held-out stories in a folder, in order.
///
/// # Errors
/// As [`load_all`].
pub fn load_held_out(dir: &Path, recipe: &Recipe) -> Result<Vec<PairShard>, TrainError> {
    let none = "the folder holds no held-out trajectories to validate on, make them with \
        `train ode-pairs` and `held_out` in its recipe";
    load(dir, recipe, ("held-out-", held_out_path), none)
}

fn load(
    dir: &Path,
    recipe: &Recipe,
    (prefix, path): (&str, impl Fn(&Path, usize) -> PathBuf),
    none: &str,
) -> Result<Vec<PairShard>, TrainError> {
    let refuse = |reason: &str| TrainError::Stored { reason: reason.into(), path: dir.to_owned() };
    let is_shard = |name: &str| name.starts_with(prefix) && name.ends_with(".safetensors");
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let count = files.filter(|file| is_shard(&file.file_name().to_string_lossy())).count();
    let mut shards: Vec<PairShard> = Vec::new();
    for path in (0..count).map(|index| path(dir, index)) {
        if !path.exists() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Err(refuse(&format!("{name} is missing, make it with `train ode-pairs`")));
        }
        let shard = PairShard::load(&path)?;
        shard.check(recipe).map_err(|reason| TrainError::Stored { reason, path })?;
        if shards.first().is_some_and(|first| first.maker != shard.maker) {
            return Err(refuse("its trajectories are of several teachers or recipes"));
        }
        shards.push(shard);
    }
    if shards.is_empty() {
        return Err(refuse(none));
    }
    Ok(shards)
}
