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
use half::f16;
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{data::address::below, error::TrainError, params::host};

/// Trajectories of samples of one shot number.
#[derive(Clone, Debug)]
pub struct PairShard {
    /// Number of the shot in its story.
    pub shot: usize,
    /// Prompts of each sample, `shot + 1` of them.
    pub prompts: Vec<Vec<String>>,
    points: Vec<f16>,
    context: Vec<f16>,
    points_shape: Vec<usize>,
    context_shape: Vec<usize>,
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
        let halves = |values: Vec<f32>| values.into_iter().map(f16::from_f32).collect();
        Self {
            shot,
            prompts,
            points_shape: points.dims().to_vec(),
            context_shape: context.dims().to_vec(),
            points: halves(host(points)),
            context: halves(host(context)),
        }
    }

    /// Write to `path` through a temporary name.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let bytes =
            |halves: &[f16]| -> Vec<u8> { halves.iter().flat_map(|x| x.to_le_bytes()).collect() };
        let (points, context) = (bytes(&self.points), bytes(&self.context));
        let view = |shape: &Vec<usize>, bytes| {
            TensorView::new(Dtype::F16, shape.clone(), bytes).expect("shape matches the bytes")
        };
        let views = [
            ("points", view(&self.points_shape, &points)),
            ("context", view(&self.context_shape, &context)),
        ];
        let prompts = serde_json::to_string(&self.prompts).expect("strings always serialise");
        let metadata = HashMap::from([
            ("shot".to_owned(), self.shot.to_string()),
            ("prompts".to_owned(), prompts),
        ]);
        let bytes =
            safetensors::serialize(views, Some(metadata)).expect("f16 tensors always serialise");
        let write = |source| TrainError::Write { source, path: path.to_owned() };
        let partial = path.with_extension("tmp");
        std::fs::write(&partial, bytes).map_err(write)?;
        std::fs::rename(&partial, path).map_err(write)
    }

    fn load(path: &Path) -> Result<Self, TrainError> {
        let refuse = |reason: String| TrainError::Pairs { reason, path: path.to_owned() };
        let bytes = std::fs::read(path)
            .map_err(|source| TrainError::Read { source, path: path.to_owned() })?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| refuse(e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let shot = metadata.get("shot").and_then(|text| text.parse().ok());
        let prompts = metadata.get("prompts").and_then(|text| serde_json::from_str(text).ok());
        let (Some(shot), Some(prompts)) = (shot, prompts) else {
            return Err(refuse("it does not name its shot and prompts".into()));
        };
        let file = SafeTensors::deserialize(&bytes).map_err(|e| refuse(e.to_string()))?;
        let read = |name| -> Result<(Vec<f16>, Vec<usize>), TrainError> {
            let tensor = file.tensor(name).map_err(|e| refuse(e.to_string()))?;
            let halves = tensor.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]));
            Ok((halves.collect(), tensor.shape().to_vec()))
        };
        let ((points, points_shape), (context, context_shape)) =
            (read("points")?, read("context")?);
        if points_shape.len() != 6 || context_shape.len() != 5 {
            return Err(refuse(format!("points have shape {points_shape:?}")));
        }
        Ok(Self { shot, prompts, points, context, points_shape, context_shape })
    }

    /// Points, latent frames, channels, height, width of one trajectory.
    pub fn point_shape(&self) -> [usize; 5] {
        std::array::from_fn(|axis| self.points_shape[axis + 1])
    }

    /// A random sample.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Pair<'_> {
        let index = below(rng, self.prompts.len());
        let slice = |from: &[f16], shape: &[usize]| -> Vec<f32> {
            let len: usize = shape[1..].iter().product();
            from[index * len..(index + 1) * len].iter().map(|x| x.to_f32()).collect()
        };
        Pair {
            prompts: &self.prompts[index],
            points: slice(&self.points, &self.points_shape),
            context: slice(&self.context, &self.context_shape),
        }
    }

    /// Context of samples as `[B, C, K, h, w]`.
    pub fn context_tensor(&self, contexts: Vec<f32>, samples: usize, device: &Device) -> Tensor<5> {
        let [_, frames, channels, height, width] = self.context_shape[..] else {
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

/// Every shard of a folder, in order.
///
/// # Errors
/// If the folder holds none, or one is damaged.
pub fn load_all(dir: &Path) -> Result<Vec<PairShard>, TrainError> {
    let paths = (0..).map(|index| shard_path(dir, index)).take_while(|path| path.exists());
    let shards = paths.map(|path| PairShard::load(&path)).collect::<Result<Vec<_>, _>>()?;
    if shards.is_empty() {
        let reason = "the folder holds no trajectories, make them with `train ode-pairs`".into();
        return Err(TrainError::Pairs { reason, path: dir.to_owned() });
    }
    Ok(shards)
}
