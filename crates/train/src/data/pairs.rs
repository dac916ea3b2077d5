//! Stored trajectories of the teacher.
//!
//! A shard is a safetensors file of samples of one shot number: `points` `[B, P, F, C, h, w]` (the
//! states at the student's levels, then the clean end) and `context` `[B, K, C, h, w]`, both f16;
//! the shot number and the prompts are in its metadata.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

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
        ]);
        halves::write(path, &[("points", &self.points), ("context", &self.context)], facts)
    }

    fn load(path: &Path) -> Result<Self, TrainError> {
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
        Ok(Self { shot, prompts, points, context })
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

/// Every shard of a folder that may be learnt from, in order.
///
/// # Errors
/// If the folder holds none, or one is damaged.
pub fn load_all(dir: &Path) -> Result<Vec<PairShard>, TrainError> {
    let missing = "the folder holds no trajectories, make them with `train ode-pairs`";
    load(dir, shard_path, missing)
}

/// Every shard of held-out stories in a folder, in order.
///
/// # Errors
/// If the folder holds none, or one is damaged.
pub fn load_held_out(dir: &Path) -> Result<Vec<PairShard>, TrainError> {
    let missing = "the folder holds no held-out trajectories to validate on, make them with \
        `train ode-pairs` and `held_out` in its recipe";
    load(dir, held_out_path, missing)
}

fn load(
    dir: &Path,
    path: impl Fn(&Path, usize) -> PathBuf,
    missing: &str,
) -> Result<Vec<PairShard>, TrainError> {
    let paths = (0..).map(|index| path(dir, index)).take_while(|path| path.exists());
    let shards = paths.map(|path| PairShard::load(&path)).collect::<Result<Vec<_>, _>>()?;
    if shards.is_empty() {
        return Err(TrainError::Stored { reason: missing.into(), path: dir.to_owned() });
    }
    Ok(shards)
}
