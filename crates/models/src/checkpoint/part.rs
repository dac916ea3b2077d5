//! Parts of a network: one block, a few rows, or the bytes of some tensors as they are stored.
//!
//! What a network of many blocks needs at a time is one block. Its tensors may stay where they are
//! and be read when the block is run, or their bytes may be kept in the form they are stored in.

use std::collections::BTreeMap;

use super::{CheckpointError, form::Form, read::Weights};

/// Weights of at most so many bytes are told from others by all of them.
const MOST_READ: u64 = 64 << 20;

/// Of larger ones, how many places of every tensor are looked at, and how much is read there.
const SAMPLES: u64 = 16;
const SAMPLE: u64 = 4 << 10;

/// Tensors in memory as they are stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed(BTreeMap<String, (Form, Vec<u8>)>);

impl Packed {
    /// Keep a tensor of some weights as it is stored.
    ///
    /// # Errors
    /// When there is no such tensor of numbers, or it cannot be read.
    pub(crate) fn keep(
        &mut self,
        weights: &Weights<'_>,
        name: &str,
    ) -> Result<(), CheckpointError> {
        let entry = weights.floats(name)?;
        let mut bytes = Vec::with_capacity(entry.bytes() as usize);
        weights.stream(entry, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, CheckpointError>(())
        })?;
        self.0.insert(name.to_owned(), (entry.form, bytes));
        Ok(())
    }

    /// The values of a tensor, if it is kept.
    pub(crate) fn values(&self, name: &str) -> Option<Vec<f32>> {
        self.0.get(name).map(|(form, bytes)| form.values(bytes))
    }

    /// Bytes of all tensors that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.values().map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

impl Weights<'_> {
    /// Hand what tells the tensors under `prefix` from others to `sink`: names, forms, shapes, and
    /// all their bytes; of more than [`MOST_READ`] bytes some of every tensor, and when their files
    /// were last changed.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn fingerprint(
        &self,
        prefix: &str,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CheckpointError> {
        let entries = || self.entries().filter(|(name, _)| name.starts_with(prefix));
        let all = entries().fold(0_u64, |all, (_, entry)| all.saturating_add(entry.bytes()));
        for (name, entry) in entries() {
            let (form, shape, bytes) = (entry.form, &entry.shape, entry.bytes());
            sink(format!("{} {form} {shape:?} {bytes}\n", &name[prefix.len()..]).as_bytes());
            if all <= MOST_READ {
                self.stream(entry, &mut |piece| {
                    sink(piece);
                    Ok::<_, CheckpointError>(())
                })?;
                continue;
            }
            let mut sample = vec![0; SAMPLE.min(bytes) as usize];
            let steps = (bytes - sample.len() as u64) / (SAMPLES - 1);
            for step in 0..SAMPLES {
                self.read(entry, entry.start + step * steps, &mut sample)?;
                sink(&sample);
            }
        }
        if MOST_READ < all {
            self.changed(&mut |time| sink(format!("{time:?}\n").as_bytes()));
        }
        Ok(())
    }

    /// Bytes of the tensors under `prefix` as they are stored, all but one.
    pub(crate) fn bytes_under(&self, prefix: &str, but: &str) -> u64 {
        let counted = self.entries().filter(|(name, _)| name.starts_with(prefix) && *name != but);
        counted.fold(0, |all, (_, entry)| all.saturating_add(entry.bytes()))
    }

    /// Some rows of a matrix, one after another, as f32.
    ///
    /// # Errors
    /// When there is no such matrix or row, a value is no number, or the file cannot be read.
    pub(crate) fn rows(&self, name: &str, rows: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        let entry = self.floats(name)?;
        let [count, columns] = entry.shape[..] else {
            return Err(CheckpointError::ShapeMismatch {
                name: name.to_owned(),
                expected: vec![0, 0],
                found: entry.shape.clone(),
                path: self.path().to_owned(),
            });
        };
        if rows.iter().any(|&row| count <= row) {
            let (expected, found) = (vec![count, columns], vec![rows.len(), columns]);
            let (name, path) = (name.to_owned(), self.path().to_owned());
            return Err(CheckpointError::ShapeMismatch { name, expected, found, path });
        }
        if entry.strides.is_some() {
            let all = self.finite(name, self.values(name)?)?;
            let row = |&row: &usize| all[row * columns..(row + 1) * columns].iter().copied();
            return Ok(rows.iter().flat_map(row).collect());
        }
        let width = entry.form.bytes(columns);
        let (mut bytes, mut values) = (vec![0; width as usize], Vec::new());
        for &row in rows {
            self.read(entry, entry.start + row as u64 * width, &mut bytes)?;
            entry.form.unpack(&bytes, &mut values);
        }
        self.finite(name, values)
    }
}
