//! Writing a safetensors file, the same bytes every time.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use burn::module::Module;
use half::f16;
use safetensors::Dtype;
use serde_json::{Value, json};

use super::{
    CheckpointError,
    names::Network,
    read::{Entry, Weights},
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
        walk::read_out(module, network, |Slot { name, shape, .. }, values| {
            self.add_tensor(format!("{prefix}{name}"), shape, values);
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
        let dtype = match self.dtype {
            StoredDtype::F32 => Dtype::F32,
            StoredDtype::F16 => Dtype::F16,
        };
        let listed = self.tensors.iter().map(|Stored { name, shape, bytes, .. }| {
            (name.as_str(), dtype, shape.as_slice(), bytes.len() as u64)
        });
        let header = header(listed, metadata);
        whole(path, &mut |file| {
            file.write_all(&header)?;
            self.tensors.iter().try_for_each(|tensor| file.write_all(&tensor.bytes))?;
            Ok(())
        })
    }
}

/// A tensor that goes from one file into another as it is.
#[derive(Debug)]
pub(crate) struct Copied<'w> {
    /// What it is called in the new file.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) weights: &'w Weights<'w>,
    /// What it is called there.
    pub(crate) from: String,
}

/// Write tensors of other files to a new one, bit for bit, without holding one as a whole.
///
/// # Errors
/// When one cannot be read, or the file cannot be written.
pub(crate) fn copy<'w>(
    tensors: &[Copied<'w>],
    path: &Path,
    metadata: &[(&str, String)],
) -> Result<(), CheckpointError> {
    let entry = |Copied { weights, from, .. }: &Copied<'w>| {
        let entry = weights.entry(from)?;
        let dtype = entry.form.dtype().ok_or_else(|| weights.refuse_form(from, entry.form))?;
        Ok((dtype, entry))
    };
    let entries: Vec<(Dtype, &Entry)> =
        tensors.iter().map(entry).collect::<Result<_, CheckpointError>>()?;
    let listed = tensors.iter().zip(&entries).map(|(Copied { name, .. }, (dtype, entry))| {
        (name.as_str(), *dtype, entry.shape.as_slice(), entry.bytes())
    });
    let header = header(listed, metadata);
    whole(path, &mut |file| {
        file.write_all(&header)?;
        for (Copied { weights, .. }, (_, entry)) in tensors.iter().zip(&entries) {
            weights.stream(entry, &mut |piece| file.write_all(piece).map_err(Stop::Here))?;
        }
        Ok(())
    })
}

/// Why a file was not written to its end.
pub(super) enum Stop {
    /// It cannot be written.
    Here(io::Error),
    /// What was to be written cannot be read.
    There(CheckpointError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Here(error)
    }
}

impl From<CheckpointError> for Stop {
    fn from(error: CheckpointError) -> Self {
        Self::There(error)
    }
}

/// A file that takes its name when `fill` has written all of it.
fn whole(
    path: &Path,
    fill: &mut dyn FnMut(&mut BufWriter<File>) -> Result<(), Stop>,
) -> Result<(), CheckpointError> {
    let write = |part: &Path| {
        let mut file = BufWriter::new(File::create(part)?);
        fill(&mut file)?;
        Ok(file.flush()?)
    };
    replace(path, write).map_err(|stop| match stop {
        Stop::Here(source) => CheckpointError::Unwritable { source, path: path.to_owned() },
        Stop::There(error) => error,
    })
}

/// Everything before the data, for tensors with their names, dtypes, shapes and bytes.
fn header<'t>(
    tensors: impl Iterator<Item = (&'t str, Dtype, &'t [usize], u64)>,
    metadata: &[(&str, String)],
) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        let texts: BTreeMap<_, _> = metadata.iter().map(|(key, text)| (key, text)).collect();
        header.insert(METADATA.to_owned(), json!(texts));
    }
    let mut start = 0;
    for (name, dtype, shape, bytes) in tensors {
        let (dtype, end) = (dtype.to_string(), start + bytes);
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
        header.insert(name.to_owned(), entry);
        start = end;
    }
    let mut text = Value::Object(header).to_string();
    let aligned = text.len().next_multiple_of(ALIGNMENT);
    text.extend(std::iter::repeat_n(' ', aligned - text.len()));
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}
