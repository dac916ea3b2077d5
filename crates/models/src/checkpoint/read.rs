//! Reading weights of any form: where every tensor lies, and its values when they are asked for.
//!
//! Each form is a parser that turns a file into a table of [`Entry`]s; after it, nobody asks which
//! form it was. Values are read piece by piece, so that a file is never in memory as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use burn::module::Module;
use serde::Deserialize;

use super::{
    CheckpointError,
    form::Form,
    gguf, header,
    names::{Naming, Network},
    storage::Storage,
    torch,
    walk::{self, Slot},
};

/// Bytes read at once, or a little less: whole numbers, or whole blocks of them.
const PIECE: usize = 1 << 20;

/// The ending of the list that says which of several files holds a tensor.
const INDEX: &str = ".index.json";

/// A larger index is damage or malice.
const LARGEST_INDEX: u64 = 64 << 20;

/// Where the values of a tensor are.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) form: Form,
    pub(super) shape: Vec<usize>,
    /// Which file.
    pub(super) file: usize,
    /// The byte of that file where its first element begins.
    pub(super) start: u64,
    /// From one element to the next along each axis, in elements; none if row by row.
    pub(super) strides: Option<Vec<usize>>,
}

impl Entry {
    /// Bytes of all values.
    pub(super) fn bytes(&self) -> u64 {
        self.form.bytes(self.elements())
    }

    /// How many values there are; whoever made the entry saw to it that they can be counted.
    pub(super) fn elements(&self) -> usize {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product() }
    }
}

/// Weights in one file or several, whose headers have been checked and whose values were not read.
#[derive(Debug)]
pub struct Weights<'a> {
    tensors: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
    files: Vec<Storage<'a>>,
    path: PathBuf,
}

impl<'a> Weights<'a> {
    /// Weights in memory; `path` is what errors call them.
    ///
    /// # Errors
    /// When the bytes are not one whole file of weights, or a name stands in it twice.
    pub fn parse(bytes: &'a [u8], path: &Path) -> Result<Self, CheckpointError> {
        Self::of(vec![Storage::memory(bytes, path)], path)
    }

    /// Weights on disk: a safetensors file, a file of `torch.save` or of llama.cpp, or the index of
    /// several.
    ///
    /// # Errors
    /// As [`Self::parse`], or when a file cannot be read.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let index = path.to_string_lossy().ends_with(INDEX);
        let files = if index { shards(path)? } else { vec![Storage::open(path)?] };
        Self::of(files, path)
    }

    fn of(files: Vec<Storage<'a>>, path: &Path) -> Result<Self, CheckpointError> {
        let (mut tensors, mut metadata) = (BTreeMap::new(), BTreeMap::new());
        for (index, file) in files.iter().enumerate() {
            let mut beginning = [0; 4];
            if 4 <= file.size() {
                file.read(0, &mut beginning)?;
            }
            let entries = if torch::is_torch(beginning) {
                torch::read(file, index)?
            } else if beginning == gguf::MAGIC {
                gguf::read(file, index)?
            } else {
                let header = header::read(file, index)?;
                metadata.extend(header.metadata);
                header.tensors
            };
            for (name, entry) in entries {
                if tensors.insert(name.clone(), entry).is_some() {
                    return Err(CheckpointError::Duplicate { name, path: file.path.clone() });
                }
            }
        }
        Ok(Self { tensors, metadata, files, path: path.to_owned() })
    }

    /// The texts the file carries beside its tensors.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What errors call the weights.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of all files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(Storage::size).sum()
    }

    /// Name, dtype and shape of every tensor as stored, in alphabetical order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, String, &[usize])> {
        self.tensors
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.form.to_string(), entry.shape.as_slice()))
    }

    /// The shape of a tensor, if it is there.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Give a tensor that has two names only `name`, whichever of both the file uses.
    pub(crate) fn untie(&mut self, name: &str, other: &str) {
        if let Some(entry) = self.tensors.remove(other) {
            self.tensors.entry(name.to_owned()).or_insert(entry);
        }
    }

    /// The values of one tensor of any float dtype, as f32, finite or not.
    ///
    /// # Errors
    /// When there is no such tensor, it holds no floats, or it cannot be read.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let entry = self.floats(name)?;
        let mut values = Vec::with_capacity(entry.elements());
        self.stream(entry, &mut |piece| {
            entry.form.unpack(piece, &mut values);
            Ok::<_, CheckpointError>(())
        })?;
        Ok(values)
    }

    /// Fill a module from the tensors whose names begin with `prefix`, under their official names.
    ///
    /// The module keeps its devices, its parameter ids and what requires gradients.
    ///
    /// # Errors
    /// When those tensors are not exactly the parameters of the module, a value is not finite, or
    /// the file cannot be read.
    pub fn load<M: Module>(
        &self,
        module: M,
        network: Network,
        prefix: &str,
    ) -> Result<M, CheckpointError> {
        self.load_named(module, network, Naming::Official, prefix)
    }

    /// As [`Self::load`], under the names of `naming`. One tensor is converted at a time.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_named<M: Module>(
        &self,
        module: M,
        network: Network,
        naming: Naming,
        prefix: &str,
    ) -> Result<M, CheckpointError> {
        let names = self.fitting(&module, network, naming, prefix)?;
        let mut names = names.iter();
        walk::fill(module, network, |_| {
            // Parameters come in the order in which they were listed.
            let name = names.next().map_or("", |(_, name)| name);
            self.finite_values(name)
        })
    }

    /// As [`Self::values`], all of them numbers.
    ///
    /// # Errors
    /// As [`Self::values`], or when one is none.
    pub fn finite_values(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        self.finite(name, self.values(name)?)
    }

    /// Values of the tensor `name`, if all of them are numbers.
    ///
    /// # Errors
    /// When one is not.
    pub(crate) fn finite(&self, name: &str, values: Vec<f32>) -> Result<Vec<f32>, CheckpointError> {
        if values.iter().all(|value| value.is_finite()) {
            return Ok(values);
        }
        Err(CheckpointError::NotFinite { name: name.to_owned(), path: self.path.clone() })
    }

    /// Official and stored name of every parameter of a module, if they are here and nothing else
    /// is under `prefix`.
    ///
    /// # Errors
    /// When names, shapes or dtypes do not fit.
    pub(crate) fn fitting<M: Module>(
        &self,
        module: &M,
        network: Network,
        naming: Naming,
        prefix: &str,
    ) -> Result<Vec<(String, String)>, CheckpointError> {
        let slots = walk::slots(module, network);
        let official: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        let names = naming.names(network, &official, prefix);
        self.check_names(&names, prefix)?;
        for (slot, name) in slots.iter().zip(&names) {
            self.check_tensor(slot, name)?;
        }
        Ok(slots.into_iter().map(|slot| slot.name).zip(names).collect())
    }

    /// Refuse a file with tensors that belong to none of some prefixes.
    ///
    /// # Errors
    /// When there is such a tensor.
    pub fn check_prefixes(&self, prefixes: &[&str]) -> Result<(), CheckpointError> {
        let belongs = |name: &&String| !prefixes.iter().any(|prefix| name.starts_with(prefix));
        self.refuse_unused(self.tensors.keys().filter(belongs))
    }

    /// Where a tensor is.
    pub(super) fn entry(&self, name: &str) -> Result<&Entry, CheckpointError> {
        self.tensors.get(name).ok_or_else(|| CheckpointError::Missing {
            count: 1,
            first: name.to_owned(),
            path: self.path.clone(),
        })
    }

    /// Hand the bytes of a tensor to `sink`, row by row, in pieces of whole elements.
    pub(super) fn stream<E: From<CheckpointError>>(
        &self,
        entry: &Entry,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let file = &self.files[entry.file];
        if let Some(strides) = &entry.strides {
            return sink(&gather(file, entry, strides)?);
        }
        let (mut start, end) = (entry.start, entry.start + entry.bytes());
        let unit = entry.form.unit().map_or(1, |(_, bytes)| bytes);
        let most = (PIECE / unit).max(1) * unit;
        let mut piece = vec![0; most.min((end - start) as usize)];
        while start < end {
            let piece = &mut piece[..most.min((end - start) as usize)];
            file.read(start, piece)?;
            sink(piece)?;
            start += piece.len() as u64;
        }
        Ok(())
    }

    /// Every tensor and where it is, in alphabetical order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Tell when every file was last changed, where the system knows.
    pub(super) fn changed(&self, tell: &mut dyn FnMut(SystemTime)) {
        let changed = |file: &Storage<'_>| fs::metadata(&file.path).ok()?.modified().ok();
        self.files.iter().filter_map(changed).for_each(tell);
    }

    /// Bytes of a file from `start` on.
    pub(super) fn read(
        &self,
        entry: &Entry,
        start: u64,
        buffer: &mut [u8],
    ) -> Result<(), CheckpointError> {
        self.files[entry.file].read(start, buffer)
    }

    /// Where a tensor is whose values can become f32.
    pub(super) fn floats(&self, name: &str) -> Result<&Entry, CheckpointError> {
        let entry = self.entry(name)?;
        match entry.form.is_float() {
            true => Ok(entry),
            false => Err(self.refuse_form(name, entry.form)),
        }
    }

    /// The refusal of a tensor for how it is written down.
    pub(super) fn refuse_form(&self, name: &str, form: Form) -> CheckpointError {
        let (name, found) = (name.to_owned(), form.to_string());
        CheckpointError::DtypeMismatch { name, found, path: self.path.clone() }
    }

    fn check_names(&self, names: &[String], prefix: &str) -> Result<(), CheckpointError> {
        let mut missing = names.iter().filter(|name| !self.tensors.contains_key(*name));
        if let Some(first) = missing.next() {
            let (first, count) = (first.clone(), 1 + missing.count());
            return Err(CheckpointError::Missing { count, first, path: self.path.clone() });
        }
        let expected: BTreeSet<&String> = names.iter().collect();
        let unexpected = |name: &&String| name.starts_with(prefix) && !expected.contains(name);
        self.refuse_unused(self.tensors.keys().filter(unexpected))
    }

    fn refuse_unused<'n>(
        &self,
        mut names: impl Iterator<Item = &'n String>,
    ) -> Result<(), CheckpointError> {
        let Some(first) = names.next().cloned() else { return Ok(()) };
        Err(CheckpointError::Unused { count: 1 + names.count(), first, path: self.path.clone() })
    }

    fn check_tensor(&self, slot: &Slot, name: &str) -> Result<(), CheckpointError> {
        let entry = self.entry(name)?;
        if entry.shape != slot.shape {
            let (expected, found) = (slot.shape.clone(), entry.shape.clone());
            let (name, path) = (name.to_owned(), self.path.clone());
            return Err(CheckpointError::ShapeMismatch { name, expected, found, path });
        }
        self.floats(name).map(drop)
    }
}

/// The bytes of a tensor that is not stored row by row, in the order of rows.
fn gather(
    file: &Storage<'_>,
    entry: &Entry,
    strides: &[usize],
) -> Result<Vec<u8>, CheckpointError> {
    let width = entry.form.unit().map_or(1, |(_, bytes)| bytes);
    let last: usize =
        entry.shape.iter().zip(strides).map(|(side, stride)| (side - 1) * stride).sum();
    let mut stored = vec![0; (last + 1) * width];
    file.read(entry.start, &mut stored)?;
    let mut rows = Vec::with_capacity(entry.bytes() as usize);
    let mut index = vec![0; strides.len()];
    while rows.len() < entry.bytes() as usize {
        let at: usize = index.iter().zip(strides).map(|(index, stride)| index * stride).sum();
        rows.extend_from_slice(&stored[at * width..(at + 1) * width]);
        for (index, &side) in index.iter_mut().zip(&entry.shape).rev() {
            *index = (*index + 1) % side;
            if *index != 0 {
                break;
            }
        }
    }
    Ok(rows)
}

/// The files that an index names.
fn shards(path: &Path) -> Result<Vec<Storage<'static>>, CheckpointError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let corrupt = |reason: String| CheckpointError::Corrupt {
        form: "index of a safetensors",
        reason,
        path: path.to_owned(),
    };
    let unreadable = |source| CheckpointError::Unreadable { source, path: path.to_owned() };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if LARGEST_INDEX < size {
        return Err(corrupt(format!("{size} bytes, at most {LARGEST_INDEX}")));
    }
    let text = fs::read(path).map_err(unreadable)?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    let own = |name: &str| Path::new(name).file_name() == Some(name.as_ref());
    if let Some(name) = names.iter().find(|n| !own(n) || n.contains(char::is_control)) {
        return Err(corrupt(format!("{name:?} is no name of a file beside it")));
    }
    names.iter().map(|name| Storage::open(&path.with_file_name(name))).collect()
}
