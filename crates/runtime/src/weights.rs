//! Weights by their official names, on their way into a device.

use thiserror::Error;

use crate::kernels::{DeviceError, Kernels, Meets};

/// A tensor's shape, and its values row by row.
pub type Tensor = (Vec<usize>, Vec<f32>);

/// Where weights come from.
pub trait Source {
    /// The tensor of this name; nothing where there is none. Who makes weights up may go by the
    /// shape that is `expected`.
    fn tensor(&self, name: &str, expected: &[usize]) -> Option<Tensor>;
}

/// Weights that are made up: small, and none alike. How long a network takes does not depend on them.
#[derive(Clone, Copy, Debug)]
pub struct Invented;

impl Source for Invented {
    fn tensor(&self, name: &str, expected: &[usize]) -> Option<Tensor> {
        let count: usize = expected.iter().product();
        let inputs = (count / expected.first()?.max(&1)).max(1) as f32;
        let mut state = name
            .bytes()
            .fold(1u64, |state, byte| state.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let values = (0..count).map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / 8_388_608.0 - 1.0) * inputs.sqrt().recip()
        });
        Some((expected.to_vec(), values.collect()))
    }
}

/// Weights that are not those of the network.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightsError {
    /// A tensor is not there.
    #[error("there is no tensor {0}")]
    Missing(String),
    /// A tensor has another shape.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which one.
        name: String,
        /// What the network's sizes call for.
        expected: Vec<usize>,
        /// What came.
        found: Vec<usize>,
    },
    /// Attention has no room for such heads.
    #[error("a head is {found} wide, expected {most} at most")]
    WideHead {
        /// The widest that the device has room for.
        most: usize,
        /// What the network's sizes call for.
        found: usize,
    },
    /// The device has no room for them.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// A source, and the names below some prefix.
#[derive(Clone)]
pub(crate) struct Names<'a> {
    source: &'a dyn Source,
    prefix: String,
}

impl<'a> Names<'a> {
    pub(crate) fn new(source: &'a dyn Source) -> Self {
        Self { source, prefix: String::new() }
    }

    /// The names below `part`.
    pub(crate) fn under(&self, part: impl std::fmt::Display) -> Self {
        Self { source: self.source, prefix: format!("{}{part}.", self.prefix) }
    }

    /// The values of a tensor of this shape.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let name = format!("{}{name}", self.prefix);
        let Some((found, values)) = self.source.tensor(&name, shape) else {
            return Err(WeightsError::Missing(name));
        };
        if found != shape || values.len() != shape.iter().product::<usize>() {
            return Err(WeightsError::Shape { name, expected: shape.to_vec(), found });
        }
        Ok(values)
    }

    /// `weight` `[N, K]` and `bias` `[N]` of a projection.
    pub(crate) fn linear(&self, name: &str, shape: [usize; 2]) -> Result<Linear, WeightsError> {
        let names = self.under(name);
        let weight = names.tensor("weight", &shape)?;
        Ok(Linear { weight, offset: names.tensor("bias", &shape[..1])? })
    }
}

/// A matrix `[N, K]` and an offset `[N]`.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Vec<f32>,
    pub(crate) offset: Vec<f32>,
}

impl Linear {
    /// Both, one above the other.
    pub(crate) fn over(mut self, below: &Self) -> Self {
        self.weight.extend_from_slice(&below.weight);
        self.offset.extend_from_slice(&below.offset);
        self
    }

    /// The same with rows in another order.
    pub(crate) fn permuted(&self, order: &[usize]) -> Self {
        let width = self.weight.len() / self.offset.len();
        let rows = order.iter().flat_map(|&row| &self.weight[row * width..(row + 1) * width]);
        Self {
            weight: rows.copied().collect(),
            offset: order.iter().map(|&row| self.offset[row]).collect(),
        }
    }

    /// `weight · x + offset`.
    pub(crate) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.weight.chunks_exact(x.len()).zip(&self.offset);
        let dot = |row: &[f32]| -> f64 {
            row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
        };
        rows.map(|(row, offset)| (dot(row) + f64::from(*offset)) as f32).collect()
    }
}

/// The packed matrices of a network, by the order in which they were added.
#[derive(Debug)]
pub(crate) struct Matrices<K: Kernels> {
    pub(crate) packed: Vec<K::Matrix>,
}

impl<K: Kernels> Matrices<K> {
    pub(crate) fn new() -> Self {
        Self { packed: Vec::new() }
    }

    /// Pack the matrix of a projection; its index.
    pub(crate) fn add(&mut self, kernels: &K, linear: &Linear) -> Result<usize, DeviceError> {
        let terms = linear.weight.len() / linear.offset.len();
        self.add_taps(kernels, linear, Meets::Tokens(terms))
    }

    /// Pack the matrix of a convolution; its index.
    pub(crate) fn add_taps(
        &mut self,
        kernels: &K,
        linear: &Linear,
        meets: Meets,
    ) -> Result<usize, DeviceError> {
        self.packed.push(kernels.matrix(&linear.weight, &linear.offset, meets)?);
        Ok(self.packed.len() - 1)
    }
}
