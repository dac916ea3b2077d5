//! Everything needed to resume a run exactly, in one safetensors file.
//!
//! Batches and noise are functions of the step number, so values, moments, averages and the step
//! are the whole state of a run.

use std::{collections::HashMap, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    error::TrainError,
    files,
    optimizer::Optimizer,
    params::{ParamSpec, Vectors},
};

const GROUPS: [&str; 4] = ["value", "first", "second", "ema"];

/// The state of a run between two steps.
#[derive(Debug)]
pub struct Snapshot {
    /// Steps done.
    pub step: u64,
    /// Values, first moments, second moments, averages.
    pub groups: [Vectors; 4],
}

/// Write the state to `path`, through a temporary name, so that a crash leaves the old one.
///
/// # Errors
/// If the folder cannot be written or the disk is full; the old checkpoint is then intact.
pub fn save(
    path: &Path,
    step: u64,
    specs: &[ParamSpec],
    values: &Vectors,
    optimizer: &Optimizer,
) -> Result<(), TrainError> {
    let groups = [values, &optimizer.first, &optimizer.second, &optimizer.ema];
    let mut tensors = Vec::new();
    for (group, vectors) in GROUPS.iter().zip(groups) {
        for (spec, vector) in specs.iter().zip(vectors) {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            tensors.push((format!("{group}/{}", spec.name), vector.len(), bytes));
        }
    }
    let views = tensors.iter().map(|(name, len, bytes)| {
        let view =
            TensorView::new(Dtype::F32, vec![*len], bytes).expect("length matches the bytes");
        (name.clone(), view)
    });
    let metadata = HashMap::from([("step".to_owned(), step.to_string())]);
    let bytes =
        safetensors::serialize(views, Some(metadata)).expect("f32 tensors always serialise");
    files::replace(path, &bytes)
}

/// Read a state written by [`save`] for the same parameters.
///
/// # Errors
/// If the file is damaged or belongs to other parameters.
pub fn load(path: &Path, specs: &[ParamSpec]) -> Result<Snapshot, TrainError> {
    let refuse = |reason: String| TrainError::Resume { reason, path: path.to_owned() };
    let bytes =
        std::fs::read(path).map_err(|source| TrainError::Read { source, path: path.to_owned() })?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| refuse(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| refuse(e.to_string()))?;
    let step = header.metadata().as_ref().and_then(|m| m.get("step")?.parse().ok());
    let step = step.ok_or_else(|| refuse("it does not say how far it got".into()))?;
    let mut groups = [const { Vectors::new() }; 4];
    for (group, vectors) in GROUPS.iter().zip(&mut groups) {
        for spec in specs {
            let name = format!("{group}/{}", spec.name);
            let tensor = file.tensor(&name).map_err(|_| refuse(format!("it lacks {name}")))?;
            let full = spec.shape.iter().product::<usize>();
            let len = tensor.data().len() / 4;
            if len != full && len != 0 {
                return Err(refuse(format!("{name} has {len} numbers, expected {full}")));
            }
            let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            vectors.push(tensor.data().chunks_exact(4).map(number).collect());
        }
    }
    Ok(Snapshot { step, groups })
}
