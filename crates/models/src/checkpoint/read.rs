//! Reading a safetensors file without trust.
//!
//! Layout: the length of the header as eight bytes, the header as JSON, the data. The header is
//! checked before it is believed, since a file may come from anywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use burn::module::Module;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{
    CheckpointError,
    names::Network,
    walk::{self, Slot},
    write::METADATA,
};

/// A safetensors file in memory whose header has been checked.
#[derive(Debug)]
pub struct Weights<'a> {
    tensors: BTreeMap<String, TensorView<'a>>,
    metadata: BTreeMap<String, String>,
    path: PathBuf,
}

impl<'a> Weights<'a> {
    /// Check the header of a file; `path` is what errors call it.
    ///
    /// # Errors
    /// When the bytes are not one whole safetensors file, or a name stands in it twice.
    pub fn parse(bytes: &'a [u8], path: &Path) -> Result<Self, CheckpointError> {
        let corrupt = |reason: String| CheckpointError::Corrupt { reason, path: path.to_owned() };
        let entries = entries(bytes).map_err(|reason| corrupt(reason.to_string()))?;
        let mut names = BTreeSet::new();
        for name in entries.0.into_iter().map(|(name, _)| name) {
            if !names.insert(name.clone()) {
                return Err(CheckpointError::Duplicate { name, path: path.to_owned() });
            }
        }
        let file = SafeTensors::deserialize(bytes).map_err(|e| corrupt(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| corrupt(e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let tensors = file.tensors().into_iter().collect();
        Ok(Self { tensors, metadata, path: path.to_owned() })
    }

    /// The texts the file carries beside its tensors.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Name, dtype and shape of every tensor as stored, in alphabetical order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, String, &[usize])> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.dtype().to_string(), tensor.shape()))
    }

    /// The values of one tensor of any float dtype, as f32, finite or not.
    ///
    /// # Errors
    /// When there is no such tensor or it holds no floats.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let (name, path) = (name.to_owned(), self.path.clone());
        match self.tensors.get(&name) {
            None => Err(CheckpointError::Missing { count: 1, first: name, path }),
            Some(tensor) if is_float(tensor.dtype()) => Ok(values(tensor)),
            Some(tensor) => {
                let found = tensor.dtype().to_string();
                Err(CheckpointError::DtypeMismatch { name, found, path })
            }
        }
    }

    /// Fill a module from the tensors whose names begin with `prefix`.
    ///
    /// The module keeps its devices, its parameter ids and what requires gradients.
    ///
    /// # Errors
    /// When those tensors are not exactly the parameters of the module; nothing is built then.
    pub fn load<M: Module>(
        &self,
        module: M,
        network: Network,
        prefix: &str,
    ) -> Result<M, CheckpointError> {
        let slots = walk::slots(&module, network, prefix);
        self.check_names(&slots, prefix)?;
        for slot in &slots {
            self.check_tensor(slot)?;
        }
        Ok(walk::fill(module, network, prefix, |slot| values(&self.tensors[&slot.name])))
    }

    /// Refuse a file with tensors that belong to none of some prefixes.
    ///
    /// # Errors
    /// When there is such a tensor.
    pub fn check_prefixes(&self, prefixes: &[&str]) -> Result<(), CheckpointError> {
        let belongs = |name: &&String| !prefixes.iter().any(|prefix| name.starts_with(prefix));
        self.refuse_unused(self.tensors.keys().filter(belongs))
    }

    fn check_names(&self, slots: &[Slot], prefix: &str) -> Result<(), CheckpointError> {
        let absent = |slot: &&Slot| !self.tensors.contains_key(&slot.name);
        let mut missing = slots.iter().filter(absent);
        if let Some(first) = missing.next() {
            let (first, count) = (first.name.clone(), 1 + missing.count());
            return Err(CheckpointError::Missing { count, first, path: self.path.clone() });
        }
        let expected: BTreeSet<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        let unexpected =
            |name: &&String| name.starts_with(prefix) && !expected.contains(name.as_str());
        self.refuse_unused(self.tensors.keys().filter(unexpected))
    }

    fn refuse_unused<'n>(
        &self,
        mut names: impl Iterator<Item = &'n String>,
    ) -> Result<(), CheckpointError> {
        let Some(first) = names.next().cloned() else { return Ok(()) };
        Err(CheckpointError::Unused { count: 1 + names.count(), first, path: self.path.clone() })
    }

    fn check_tensor(&self, slot: &Slot) -> Result<(), CheckpointError> {
        let tensor = &self.tensors[&slot.name];
        let (name, path) = (slot.name.clone(), self.path.clone());
        if tensor.shape() != slot.shape {
            let (expected, found) = (slot.shape.clone(), tensor.shape().to_vec());
            return Err(CheckpointError::ShapeMismatch { name, expected, found, path });
        }
        if !is_float(tensor.dtype()) {
            let found = tensor.dtype().to_string();
            return Err(CheckpointError::DtypeMismatch { name, found, path });
        }
        match values(tensor).into_iter().all(f32::is_finite) {
            true => Ok(()),
            false => Err(CheckpointError::NotFinite { name, path }),
        }
    }
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The values of a tensor of one of the three float dtypes; of another dtype, none.
fn values(tensor: &TensorView<'_>) -> Vec<f32> {
    let (singles, _) = tensor.data().as_chunks::<4>();
    let (halves, _) = tensor.data().as_chunks::<2>();
    match tensor.dtype() {
        Dtype::F32 => singles.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => halves.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => halves.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
        _ => Vec::new(),
    }
}

/// The tensors a header lists, with the ends of their data, repeated names included.
struct Entries(Vec<(String, u64)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Entry {
            data_offsets: (u64, u64),
        }
        struct Header;
        impl<'de> Visitor<'de> for Header {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value::<Entry>()?.data_offsets.1));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Header)
    }
}

/// Read the header on our own terms: the library forgets repeated names, and adds up offsets
/// without looking whether the file is that long.
fn entries(bytes: &[u8]) -> Result<Entries, Box<dyn std::error::Error>> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or("shorter than its own length")?;
    let length = usize::try_from(u64::from_le_bytes(*length))?;
    let (header, data) = rest.split_at_checked(length).ok_or("shorter than its header")?;
    let entries: Entries = serde_json::from_slice(header)?;
    match entries.0.iter().find(|(_, end)| *end > data.len() as u64) {
        Some((name, end)) => {
            Err(format!("tensor {name} ends at byte {end} of {}", data.len()).into())
        }
        None => Ok(entries),
    }
}
