//! Float16 tensors in safetensors files: how stored latents and trajectories lie on disk.

use std::{collections::HashMap, path::Path};

use half::f16;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{error::TrainError, files};

/// A tensor's values and shape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Halves {
    /// The values, the last axis fastest.
    pub values: Vec<f16>,
    /// Axes.
    pub shape: Vec<usize>,
}

impl Halves {
    /// Round values to float16.
    pub fn new(values: &[f32], shape: Vec<usize>) -> Self {
        Self { values: values.iter().copied().map(f16::from_f32).collect(), shape }
    }

    /// Block `index` of `len` values.
    pub fn block(&self, index: usize, len: usize) -> impl Iterator<Item = f32> + '_ {
        self.values[index * len..(index + 1) * len].iter().map(|x| x.to_f32())
    }
}

/// Write named tensors and what is known about them; `path` holds nothing or everything.
///
/// # Errors
/// If the folder cannot be written or the disk is full.
pub fn write(
    path: &Path,
    tensors: &[(&str, &Halves)],
    facts: HashMap<String, String>,
) -> Result<(), TrainError> {
    files::replace(path, &bytes_of(tensors, Some(facts)))
}

/// The bytes of a file with these tensors.
///
/// # Panics
/// When a tensor's shape is not that of its values.
pub fn bytes_of(tensors: &[(&str, &Halves)], facts: Option<HashMap<String, String>>) -> Vec<u8> {
    let bytes = |halves: &Halves| -> Vec<u8> {
        halves.values.iter().flat_map(|x| x.to_le_bytes()).collect()
    };
    let stored: Vec<_> =
        tensors.iter().map(|(name, halves)| (name, bytes(halves), halves)).collect();
    let views = stored.iter().map(|(name, bytes, halves)| {
        let view = TensorView::new(Dtype::F16, halves.shape.clone(), bytes);
        (name, view.expect("shape matches the bytes"))
    });
    safetensors::serialize(views, facts).expect("f16 tensors always serialise")
}

/// Read the named tensors, and what was written beside them.
///
/// # Errors
/// If the file cannot be read, is damaged, or lacks a tensor.
pub fn read<const N: usize>(
    path: &Path,
    names: [&str; N],
) -> Result<([Halves; N], HashMap<String, String>), TrainError> {
    let refuse = |reason: String| TrainError::Stored { reason, path: path.to_owned() };
    let bytes =
        std::fs::read(path).map_err(|source| TrainError::Read { source, path: path.to_owned() })?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| refuse(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| refuse(e.to_string()))?;
    let mut tensors = [const { Halves { values: Vec::new(), shape: Vec::new() } }; N];
    for (tensor, name) in tensors.iter_mut().zip(names) {
        *tensor = tensor_of(&file, name).map_err(refuse)?;
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// One tensor of a file.
///
/// # Errors
/// If it is absent or not in float16, in words.
pub fn tensor_of(file: &SafeTensors<'_>, name: &str) -> Result<Halves, String> {
    let view = file.tensor(name).map_err(|error| error.to_string())?;
    if view.dtype() != Dtype::F16 {
        return Err(format!("{name} is {:?}, expected F16", view.dtype()));
    }
    let halves = view.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]));
    Ok(Halves { values: halves.collect(), shape: view.shape().to_vec() })
}
