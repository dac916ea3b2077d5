//! Everything needed to resume a run exactly, in one safetensors file.
//!
//! Batches and noise are functions of the step number, so values, moments, averages and the step
//! are the whole state of a run. The file also says which run it is the state of, because another
//! one could read it and go on with something that was never trained, and it carries a hash of all
//! numbers. It takes its name when it is on the disk; one that is damaged later is refused, and
//! there is no older one to fall back to.

use std::{
    borrow::Cow,
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensorError, SafeTensors, View, serialize_to_file};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    error::TrainError,
    files,
    fingerprint::hex,
    origin::Origin,
    params::{ParamSpec, Vectors},
};

/// What is kept of every parameter: its value, first and second moment, and average.
const GROUPS: [&str; 4] = ["value", "first", "second", "ema"];

/// Where the file's header keeps [`Facts`]; one entry, so that equal states are equal files.
const FACTS: &str = "run";

/// What the file says beside its numbers.
#[derive(Serialize, Deserialize)]
struct Facts {
    origin: Origin,
    /// Steps done.
    step: u64,
    /// Of all numbers.
    hash: String,
}

/// Where a run's state is kept.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The file.
    pub path: PathBuf,
    /// The run.
    pub origin: Origin,
    /// The parameters.
    pub specs: Vec<ParamSpec>,
}

/// The state of a run between two steps.
#[derive(Debug)]
pub struct Snapshot {
    /// Steps done.
    pub step: u64,
    /// Values, first moments, second moments, averages.
    pub groups: [Vectors; 4],
}

impl Checkpoint {
    /// Write values, first moments, second moments and averages after `step` steps.
    ///
    /// # Errors
    /// If a value is not finite, the folder cannot be written or the disk is full; the old
    /// checkpoint is then intact.
    pub fn save(&self, step: u64, groups: [&Vectors; 4]) -> Result<(), TrainError> {
        let mut tensors = Vec::new();
        for (group, vectors) in GROUPS.iter().zip(groups) {
            for (spec, vector) in self.specs.iter().zip(vectors) {
                if let Some(&found) = vector.iter().find(|x| !x.is_finite()) {
                    let what = format!("a number of {group}/{}", spec.name);
                    return Err(TrainError::NotFinite {
                        what,
                        step: step - 1,
                        found: found.into(),
                    });
                }
                tensors.push((format!("{group}/{}", spec.name), Numbers::new(vector)));
            }
        }
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        let hash = hash_of(tensors.iter().map(|(_, numbers)| numbers.data()));
        let facts = Facts { origin: self.origin.clone(), step, hash };
        let facts = serde_json::to_string(&facts).expect("facts have plain keys");
        let facts = HashMap::from([(FACTS.to_owned(), facts)]);
        files::replace_with(&self.path, |part| {
            serialize_to_file(tensors, Some(facts), part).map_err(|error| match error {
                SafeTensorError::IoError(error) => error,
                error => io::Error::other(error),
            })
        })
    }

    /// Read the state; every vector must be as long as its example.
    ///
    /// # Errors
    /// If the file is damaged or belongs to another run.
    pub fn load(&self, examples: [&Vectors; 4]) -> Result<Snapshot, TrainError> {
        let refuse = |reason: String| self.refusal(reason);
        let bytes = std::fs::read(&self.path)
            .map_err(|source| TrainError::Read { source, path: self.path.clone() })?;
        let damaged = |error| refuse(format!("its checkpoint is damaged ({error})"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let facts = header.metadata().as_ref().and_then(|facts| facts.get(FACTS));
        let facts: Option<Facts> = facts.and_then(|facts| serde_json::from_str(facts).ok());
        let facts =
            facts.ok_or_else(|| refuse("its checkpoint does not say of which run".into()))?;
        self.origin.check(&facts.origin).map_err(refuse)?;
        let mut names = file.names();
        names.sort_unstable();
        let data = names.iter().filter_map(|name| file.tensor(name).ok());
        if facts.hash != hash_of(data.map(|tensor| tensor.data().into())) {
            return Err(refuse("its checkpoint is damaged (the numbers are not its own)".into()));
        }
        let mut groups = [const { Vectors::new() }; 4];
        for ((group, vectors), examples) in GROUPS.iter().zip(&mut groups).zip(examples) {
            for (spec, example) in self.specs.iter().zip(examples) {
                let name = format!("{group}/{}", spec.name);
                let tensor = file.tensor(&name).map_err(|_| refuse(format!("it lacks {name}")))?;
                let (found, expected) = (tensor.data().len() / 4, example.len());
                if found != expected {
                    let reason = format!("{name} has {found} numbers, expected {expected}");
                    return Err(refuse(reason));
                }
                let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                vectors.push(tensor.data().chunks_exact(4).map(number).collect());
            }
        }
        Ok(Snapshot { step: facts.step, groups })
    }

    fn refusal(&self, reason: String) -> TrainError {
        let dir = self.path.parent().unwrap_or(Path::new("")).to_owned();
        TrainError::Resume { reason, path: dir }
    }
}

/// Numbers on their way into the file; their bytes exist one tensor at a time.
struct Numbers<'a> {
    numbers: &'a [f32],
    shape: [usize; 1],
}

impl<'a> Numbers<'a> {
    fn new(numbers: &'a [f32]) -> Self {
        Self { numbers, shape: [numbers.len()] }
    }
}

impl View for Numbers<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        4 * self.numbers.len()
    }
}

fn hash_of<'a>(tensors: impl Iterator<Item = Cow<'a, [u8]>>) -> String {
    let mut hash = Sha256::new();
    tensors.for_each(|bytes| hash.update(&bytes));
    hex(hash)
}
