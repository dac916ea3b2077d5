//! Writing a safetensors file, the same bytes every time.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use burn::module::Module;
use half::f16;
use serde_json::{Value, json};

use super::{
    CheckpointError,
    names::Network,
    walk::{self, Slot},
    whole::replace,
};

/// The key of the header that is not a tensor.
pub(super) const METADATA: &str = "__metadata__";

/// The data begin on a multiple of this many bytes.
const ALIGNMENT: usize = 8;

/// How weights are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoredDtype {
    /// As they are computed.
    #[default]
    F32,
    /// In half the space, rounded to eleven bits.
    F16,
}

/// Tensors on their way into a file.
#[derive(Debug)]
pub struct WeightsWriter {
    dtype: StoredDtype,
    tensors: Vec<Stored>,
}

/// One tensor on its way into a file.
#[derive(Debug)]
struct Stored {
    name: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
    finite: bool,
}

impl WeightsWriter {
    /// No tensors yet.
    #[must_use]
    pub fn new(dtype: StoredDtype) -> Self {
        Self { dtype, tensors: Vec::new() }
    }

    /// Add every parameter of a module under its official name after `prefix`.
    pub fn add<M: Module>(&mut self, module: &M, network: Network, prefix: &str) {
        walk::read_out(module, network, prefix, |Slot { name, shape, .. }, values| {
            self.add_tensor(name, shape, values);
        });
    }

    /// Add one tensor of `shape`, its values row by row.
    pub fn add_tensor(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        let (bytes, finite) = match self.dtype {
            StoredDtype::F32 => (
                values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                values.iter().all(|value| value.is_finite()),
            ),
            StoredDtype::F16 => {
                let halves: Vec<f16> = values.into_iter().map(f16::from_f32).collect();
                (
                    halves.iter().flat_map(|value| value.to_le_bytes()).collect(),
                    halves.iter().all(|value| value.is_finite()),
                )
            }
        };
        self.tensors.push(Stored { name, shape, bytes, finite });
    }

    /// Write the file under another name first, so that `path` holds the old file or the new one
    /// and never a part.
    ///
    /// # Errors
    /// When a weight is not finite in its stored form, or the system refuses.
    pub fn write(&self, path: &Path, metadata: &[(&str, String)]) -> Result<(), CheckpointError> {
        if let Some(tensor) = self.tensors.iter().find(|tensor| !tensor.finite) {
            let (name, path) = (tensor.name.clone(), path.to_owned());
            return Err(CheckpointError::NotFinite { name, path });
        }
        replace(path, |part| self.write_to(part, metadata))
            .map_err(|source| CheckpointError::Unwritable { source, path: path.to_owned() })
    }

    fn write_to(&self, path: &Path, metadata: &[(&str, String)]) -> io::Result<()> {
        let mut header = self.header(metadata).to_string();
        let aligned = header.len().next_multiple_of(ALIGNMENT);
        header.extend(std::iter::repeat_n(' ', aligned - header.len()));
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for tensor in &self.tensors {
            file.write_all(&tensor.bytes)?;
        }
        file.flush()
    }

    fn header(&self, metadata: &[(&str, String)]) -> Value {
        let dtype = match self.dtype {
            StoredDtype::F32 => "F32",
            StoredDtype::F16 => "F16",
        };
        let mut header = serde_json::Map::new();
        if !metadata.is_empty() {
            let texts: BTreeMap<_, _> = metadata.iter().map(|(key, text)| (key, text)).collect();
            header.insert(METADATA.to_owned(), json!(texts));
        }
        let mut start = 0;
        for Stored { name, shape, bytes, .. } in &self.tensors {
            let end = start + bytes.len();
            let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
            header.insert(name.clone(), entry);
            start = end;
        }
        Value::Object(header)
    }
}
