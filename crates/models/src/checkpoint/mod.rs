//! Weights in and out, strictly, under the names the published checkpoints use.
//!
//! A file is compared with the module as a whole before a single value is read: every tensor the
//! module needs must be there, every tensor of the file must have a place, and shapes and dtypes
//! must fit. Values may be f32, f16 or bf16 and become f32, one tensor at a time; they must be
//! finite. Projections are stored output first, as PyTorch does, and transposed on the way.
//!
//! Files may come from anywhere: what a header says is checked before it is believed, pickles are
//! parsed and never executed, and memory is bounded by the size of the file.

mod form;
mod gguf;
mod header;
mod names;
mod part;
mod pickle;
mod read;
mod storage;
mod torch;
mod walk;
mod whole;
mod write;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use burn::module::Module;
use thiserror::Error;

pub(crate) use self::write::{Copied, copy};

pub(crate) use self::part::Packed;

pub use self::{
    names::{Naming, Network},
    read::Weights,
    whole::replace,
    write::{StoredDtype, WeightsWriter},
};

/// Why weights cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be opened or read to its end.
    #[error("cannot read the checkpoint ({source}): {}", path.display())]
    Unreadable {
        /// What the system said.
        source: io::Error,
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write the checkpoint ({source}): {}", path.display())]
    Unwritable {
        /// What the system said.
        source: io::Error,
        /// The file.
        path: PathBuf,
    },
    /// The header makes no sense, or the data are shorter or longer than it says.
    #[error("not a whole {form} file ({reason}): {}", path.display())]
    Corrupt {
        /// What the file should have been.
        form: &'static str,
        /// What is wrong, in words.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// A pickle asks for more than a checkpoint has to hold.
    #[error("the file asks for {what}, expected nothing but tensors and plain containers: {}", path.display())]
    Refused {
        /// The global it names.
        what: String,
        /// The file.
        path: PathBuf,
    },
    /// Two tensors share a name.
    #[error("tensor {name} is in the file twice: {}", path.display())]
    Duplicate {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The module needs what the file has not.
    #[error("{count} tensors the model needs are absent, the first is {first}: {}", path.display())]
    Missing {
        /// How many.
        count: usize,
        /// The first, in the order of the module.
        first: String,
        /// The file.
        path: PathBuf,
    },
    /// The file has what the module does not know.
    #[error("{count} tensors have no place in the model, the first is {first}: {}", path.display())]
    Unused {
        /// How many.
        count: usize,
        /// The first, in alphabetical order.
        first: String,
        /// The file.
        path: PathBuf,
    },
    /// A tensor is not of the size the module was made with.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}: {}", path.display())]
    ShapeMismatch {
        /// The tensor.
        name: String,
        /// The shape the module needs, as stored.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
        /// The file.
        path: PathBuf,
    },
    /// A tensor is stored in a form that is no weight.
    #[error("tensor {name} is stored as {found}, expected F32, F16 or BF16: {}", path.display())]
    DtypeMismatch {
        /// The tensor.
        name: String,
        /// Its dtype in the file.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// A weight is infinite or not a number, or too large for the dtype it is to be stored as.
    #[error("tensor {name} holds a value that is not finite: {}", path.display())]
    NotFinite {
        /// The tensor.
        name: String,
        /// The file.
        path: PathBuf,
    },
}

/// Fill a module from a file that holds nothing else, under official names.
///
/// The module keeps its devices, its parameter ids and what requires gradients.
///
/// # Errors
/// When the file cannot be read or does not hold exactly the parameters of the module.
pub fn load<M: Module>(module: M, network: Network, path: &Path) -> Result<M, CheckpointError> {
    Weights::open(path)?.load(module, network, "")
}

/// Write a module to a safetensors file.
///
/// # Errors
/// When a weight is not finite or the file cannot be written.
pub fn save<M: Module>(
    module: &M,
    network: Network,
    path: &Path,
    dtype: StoredDtype,
) -> Result<(), CheckpointError> {
    let mut writer = WeightsWriter::new(dtype);
    writer.add(module, network, "");
    writer.write(path, &[])
}

/// Official name and stored shape of every parameter of a module, in the order of its fields.
///
/// No parameter is initialised for it, so a network of any size can be asked.
pub fn parameters<M: Module>(module: &M, network: Network) -> Vec<(String, Vec<usize>)> {
    let slots = walk::slots(module, network);
    slots.into_iter().map(|slot| (slot.name, slot.shape)).collect()
}

/// Stored shape and values of every parameter of a module, by official name.
pub fn tensors<M: Module>(
    module: &M,
    network: Network,
) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut tensors = BTreeMap::new();
    walk::read_out(module, network, |slot, values| {
        tensors.insert(slot.name, (slot.shape, values));
    });
    tensors
}
