//! Hashes that tell whether two files, or two sets of numbers, are the same to the last bit.

use std::{fs::File, io, path::Path};

use sha2::{Digest as _, Sha256};

use crate::{
    error::TrainError,
    params::{ParamSpec, Vectors},
};

/// Of everything in a file.
///
/// # Errors
/// If it cannot be read.
pub fn of_file(path: &Path) -> Result<String, TrainError> {
    let mut hash = Sha256::new();
    let read = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hash));
    read.map_err(|source| TrainError::Read { source, path: path.to_owned() })?;
    Ok(hex(hash))
}

/// Of a text.
pub fn of_text(text: &str) -> String {
    hex(Sha256::new_with_prefix(text))
}

/// Of numbers, in their order.
pub fn of_vectors(groups: &[&Vectors]) -> String {
    let mut hash = Sha256::new();
    for vector in groups.iter().copied().flatten() {
        update(&mut hash, vector);
    }
    hex(hash)
}

/// Of a text and of named numbers.
pub fn of_named(text: &str, specs: &[ParamSpec], values: &Vectors) -> String {
    let mut hash = Sha256::new();
    hash.update(text);
    for (spec, vector) in specs.iter().zip(values) {
        hash.update(format!("{}{:?}", spec.name, spec.shape));
        update(&mut hash, vector);
    }
    hex(hash)
}

fn update(hash: &mut Sha256, vector: &[f32]) {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    hash.update(bytes);
}

/// A finished hash in hexadecimal digits.
pub fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
