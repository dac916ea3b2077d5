//! The header of a safetensors file, checked before it is believed.
//!
//! Layout: the length of the header as eight bytes, the header as JSON, the data. The data belong
//! to the tensors without gaps and without overlaps.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use safetensors::Dtype;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use super::{CheckpointError, form::Form, read::Entry, storage::Storage, write::METADATA};

/// What errors call this form.
const FORM: &str = "safetensors";

/// A longer header is damage or malice; it is what the format's own library allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// Everything a header says.
pub(super) struct Header {
    pub(super) tensors: Vec<(String, Entry)>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Read the header of a file, the `file`-th of its model.
///
/// # Errors
/// When the file cannot be read, or is not one whole safetensors file.
pub(super) fn read(storage: &Storage<'_>, file: usize) -> Result<Header, CheckpointError> {
    let corrupt = |reason: String| CheckpointError::Corrupt {
        form: FORM,
        reason,
        path: storage.path.clone(),
    };
    let mut length = [0; 8];
    if storage.size() < 8 {
        return Err(corrupt("shorter than its own length".to_owned()));
    }
    storage.read(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if storage.size() - 8 < length {
        return Err(corrupt("shorter than its header".to_owned()));
    }
    if LONGEST_HEADER < length {
        return Err(corrupt(format!("a header of {length} bytes, at most {LONGEST_HEADER}")));
    }
    let mut text = vec![0; length as usize];
    storage.read(8, &mut text)?;
    let Listed { tensors, metadata } =
        serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
    let mut names = BTreeSet::new();
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !names.insert(name)) {
        return Err(CheckpointError::Duplicate { name: name.clone(), path: storage.path.clone() });
    }
    check(&tensors, storage.size() - 8 - length).map_err(corrupt)?;
    let tensors = tensors.into_iter().map(|(name, Tensor { dtype, shape, data_offsets })| {
        let start = 8 + length + data_offsets.0;
        (name, Entry { form: Form::Plain(dtype), shape, file, start, strides: None })
    });
    Ok(Header { tensors: tensors.collect(), metadata })
}

/// Whether tensors fill `size` bytes of data exactly.
fn check(tensors: &[(String, Tensor)], size: u64) -> Result<(), String> {
    if tensors.iter().any(|(name, _)| name.contains(char::is_control)) {
        return Err("the name of a tensor is no plain text".to_owned());
    }
    let mut places: Vec<_> = tensors.iter().collect();
    places.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut end = 0;
    for (name, Tensor { dtype, shape, data_offsets: (start, stop) }) in places {
        if size < *stop {
            return Err(format!("tensor {name} ends at byte {stop} of {size}"));
        }
        if *start != end {
            return Err(format!("tensor {name} begins at byte {start}, expected {end}"));
        }
        let bits = shape.iter().try_fold(dtype.bitsize() as u64, |product, &side| {
            product.checked_mul(u64::try_from(side).ok()?)
        });
        let expected = bits.filter(|bits| bits.is_multiple_of(8)).map(|bits| bits / 8);
        let found = stop.checked_sub(*start);
        if found.is_none() || found != expected {
            return Err(format!("tensor {name} of shape {shape:?} lies in {start}..{stop}"));
        }
        end = *stop;
    }
    match end == size {
        true => Ok(()),
        false => Err(format!("{size} bytes of data, but the tensors end at {end}")),
    }
}

/// One tensor as the header has it.
#[derive(Deserialize)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// What the header lists, repeated names included.
struct Listed {
    tensors: Vec<(String, Tensor)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Listed, M::Error> {
                let mut listed = Listed { tensors: Vec::new(), metadata: BTreeMap::new() };
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        listed.metadata = map.next_value()?;
                    } else {
                        listed.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(listed)
            }
        }
        deserializer.deserialize_map(Map)
    }
}
