//! Low-rank adapters of the transformer, in the files of the Python package PEFT, merged away
//! before anything runs.
//!
//! | letter | means |
//! |---|---|
//! | `I`, `O` | inputs and outputs of a projection |
//! | `R` | rank of the adapter |
//!
//! LoRA (Hu et al. 2021, arXiv 2106.09685): beside a projection `W` `[O, I]` stand two factors, `A`
//! `[R, I]` and `B` `[O, R]`, and the projection becomes `W + s·B·A` with `s = alpha / R`, or
//! `alpha / √R` (rank-stabilised, Kalajdzievski 2023, arXiv 2312.03732). A merged network costs what
//! the network without adapter costs.

mod config;
mod files;

use std::{collections::BTreeMap, path::PathBuf};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Tensor, TensorData},
};
use thiserror::Error;

use crate::{
    checkpoint::{CheckpointError, Network, parameters},
    dit::Dit,
};

pub use self::config::{LoraConfig, Targets, is_target};

/// An adapter that fits a transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// What stands in `adapter_config.json`.
    pub config: LoraConfig,
    /// The factors of every adapted projection, by its official name.
    pub factors: BTreeMap<String, Factors>,
}

/// What an adapter keeps of one projection, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Outputs `O` and inputs `I` of the projection.
    pub shape: [usize; 2],
    /// From inputs to the rank, `[R, I]`.
    pub a: Vec<f32>,
    /// From the rank to outputs, `[O, R]`.
    pub b: Vec<f32>,
}

/// Why an adapter cannot be read, written or merged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoraError {
    /// The tensors are at fault.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The configuration cannot be read, or asks for what is no plain LoRA.
    #[error("the adapter's configuration is not usable ({reason}): {}", path.display())]
    Config {
        /// What is wrong, in words.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// A tensor that no LoRA has.
    #[error(
        "tensor {name} is no part of a LoRA, expected base_model.model.<layer>.lora_A.weight or .lora_B.weight: {}",
        path.display()
    )]
    Stranger {
        /// The tensor.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// One factor without the other.
    #[error("tensor {found} has no {absent} beside it: {}", path.display())]
    Half {
        /// The factor that is there.
        found: String,
        /// The one that is not.
        absent: String,
        /// The file.
        path: PathBuf,
    },
    /// Factors for something the transformer has not.
    #[error("the transformer has no projection {layer}, which the adapter changes: {}", path.display())]
    UnknownLayer {
        /// What the adapter calls it.
        layer: String,
        /// The file.
        path: PathBuf,
    },
    /// The configuration and the tensors name different layers.
    #[error(
        "the adapter {} {layer}, but its configuration says {}: {}",
        if *changed { "changes" } else { "has no factors for" },
        if *changed { "that it does not" } else { "that it changes it" },
        path.display()
    )]
    Contradiction {
        /// The layer.
        layer: String,
        /// Whether there are factors for it.
        changed: bool,
        /// The file.
        path: PathBuf,
    },
    /// The merged weights are infinite.
    #[error("merged with a scale of {scale}, the adapter makes {layer} infinite")]
    Overflow {
        /// The layer.
        layer: String,
        /// The scale.
        scale: f32,
    },
}

impl Lora {
    /// The transformer with `scale` times this adapter in its weights.
    ///
    /// Several adapters are merged one after the other; a negative scale takes one out again.
    ///
    /// # Errors
    /// If a weight becomes infinite.
    ///
    /// # Panics
    /// If the adapter was read for a transformer of other sizes.
    pub fn merge(&self, dit: Dit, scale: f32) -> Result<Dit, LoraError> {
        let names = parameters(&dit, Network::Dit).into_iter();
        let mut merger = Merger { lora: self, scale, names, overflow: None };
        let merged = dit.map(&mut merger);
        match merger.overflow {
            Some(layer) => Err(LoraError::Overflow { layer, scale }),
            None => Ok(merged),
        }
    }
}

/// The projection that a parameter of a transformer is the weight of: its name, and `O` and `I`.
///
/// `name` and `shape` are those of [`parameters`].
pub fn projection<'a>(name: &'a str, shape: &[usize]) -> Option<(&'a str, [usize; 2])> {
    let shape = <[usize; 2]>::try_from(shape).ok()?;
    Some((name.strip_suffix(".weight")?, shape))
}

/// The weight of a projection, `[I, O]` as our modules hold it, with `scale · B · A` added.
///
/// `a` is `[R, I]`, `b` is `[O, R]`.
pub fn adapted(weight: Tensor<2>, a: Tensor<2>, b: Tensor<2>, scale: f32) -> Tensor<2> {
    weight + b.matmul(a).transpose().mul_scalar(scale)
}

/// Adds an adapter to the weights it passes.
struct Merger<'a> {
    lora: &'a Lora,
    scale: f32,
    /// Official names and stored shapes, in the order in which parameters pass.
    names: std::vec::IntoIter<(String, Vec<usize>)>,
    /// The first layer that became infinite.
    overflow: Option<String>,
}

impl ModuleMapper for Merger<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (name, shape) = self.names.next().expect("one name per parameter of the same module");
        let layer = projection(&name, &shape).map_or("", |(layer, _)| layer);
        let Some(factors) = self.lora.factors.get(layer) else { return param };
        let Factors { shape: [outputs, inputs], a, b } = factors;
        let (rank, scale) = (self.lora.config.rank, self.scale * self.lora.config.scale());
        let merged = param.map(|weight| {
            let matrix = |values: &[f32], shape: [usize; 2]| {
                Tensor::from_data(TensorData::new(values.to_vec(), shape), &weight.device())
            };
            let (a, b) = (matrix(a, [rank, *inputs]), matrix(b, [*outputs, rank]));
            let plain = weight.clone().reshape([*inputs, *outputs]);
            adapted(plain, a, b, scale).reshape(weight.dims())
        });
        if !merged.val().into_data().iter::<f32>().all(f32::is_finite) {
            self.overflow.get_or_insert(layer.to_owned());
        }
        merged
    }
}
