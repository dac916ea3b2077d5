//! Files of llama.cpp: a list of settings, a list of tensors, the data.
//!
//! Layout, all numbers little-endian: `GGUF`, version, counts of tensors and settings; every
//! setting is a name, a type and a value; every tensor a name, its sides from the innermost on, a
//! type and where it begins after the lists. Of the settings only the alignment of the data
//! matters here; the others are passed over.
//!
//! Source: the description of GGUF, versions 2 and 3.

use safetensors::Dtype;

use super::{
    CheckpointError,
    form::{Block, Form},
    read::Entry,
    storage::Storage,
};

/// What errors call this form.
const FORM: &str = "GGUF";

/// How a file begins.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";

/// Versions that are laid out as described above.
const VERSIONS: [u32; 2] = [2, 3];

/// Tensors and settings, each; models of a hundred blocks have a tenth of it.
const MOST_ENTRIES: u64 = 1 << 16;

/// Bytes before the data; a vocabulary of a quarter of a million words has a tenth of it.
const LONGEST_LISTS: u64 = 100_000_000;

/// Bytes of a name.
const LONGEST_NAME: u64 = 1 << 10;

/// Sides of a tensor.
const MOST_SIDES: u32 = 4;

/// Where nothing else is said, tensors begin on a multiple of this many bytes.
const ALIGNMENT: u64 = 32;

/// The setting that says otherwise, and how much it may say.
const ALIGNMENT_KEY: &str = "general.alignment";
const LARGEST_ALIGNMENT: u64 = 1 << 20;

/// Types of settings that are told apart.
const UINT32: u32 = 4;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// Bytes read ahead.
const WINDOW: usize = 1 << 16;

/// The tensors of a file, the `file`-th of its model.
///
/// # Errors
/// When the file cannot be read or is no whole GGUF file.
pub(super) fn read(
    storage: &Storage<'_>,
    file: usize,
) -> Result<Vec<(String, Entry)>, CheckpointError> {
    let mut lists = Lists { storage, at: 0, window: Vec::new(), start: 0 };
    lists.tensors(file).map_err(|trouble| match trouble {
        Trouble::Unreadable(error) => error,
        Trouble::Corrupt(reason) => {
            CheckpointError::Corrupt { form: FORM, reason, path: storage.path.clone() }
        }
    })
}

/// Why the lists cannot be followed.
enum Trouble {
    Unreadable(CheckpointError),
    Corrupt(String),
}

/// A tensor as the list has it.
struct Listed {
    name: String,
    shape: Vec<usize>,
    form: Form,
    /// Where it begins after the lists.
    offset: u64,
}

/// The lists, read from the front.
struct Lists<'s, 'a> {
    storage: &'s Storage<'a>,
    at: u64,
    /// Bytes that were read ahead, from `start` on.
    window: Vec<u8>,
    start: u64,
}

impl Lists<'_, '_> {
    fn tensors(&mut self, file: usize) -> Result<Vec<(String, Entry)>, Trouble> {
        self.skip(MAGIC.len() as u64)?;
        let version = self.u32()?;
        if !VERSIONS.contains(&version) {
            return Err(Trouble::Corrupt(format!("version {version}, expected 2 or 3")));
        }
        let [tensors, settings] = [self.u64()?, self.u64()?];
        if MOST_ENTRIES < tensors.max(settings) {
            let reason = format!(
                "{tensors} tensors and {settings} settings, at most {MOST_ENTRIES} of each"
            );
            return Err(Trouble::Corrupt(reason));
        }
        let mut alignment = ALIGNMENT;
        for _ in 0..settings {
            if let Some(said) = self.setting()? {
                alignment = said;
            }
        }
        let mut listed = Vec::new();
        for _ in 0..tensors {
            listed.push(self.tensor()?);
        }
        let data = self.at.next_multiple_of(alignment);
        let (mut found, mut claimed) = (Vec::with_capacity(listed.len()), 0_u64);
        for Listed { name, shape, form, offset } in listed {
            let start = data.checked_add(offset).filter(|_| offset.is_multiple_of(alignment));
            let entry = start.map(|start| Entry { form, shape, file, start, strides: None });
            let end = entry.as_ref().and_then(|entry| entry.start.checked_add(entry.bytes()));
            let Some((entry, end)) = entry.zip(end).filter(|(_, end)| *end <= self.storage.size())
            else {
                let size = self.storage.size();
                let reason = format!("tensor {name} at {offset} does not lie in {size} bytes");
                return Err(Trouble::Corrupt(reason));
            };
            claimed = claimed.saturating_add(end - entry.start);
            found.push((name, entry));
        }
        // No two tensors need to share their values; what goes beyond that is a bomb.
        match claimed <= self.storage.size() {
            true => Ok(found),
            false => Err(Trouble::Corrupt(format!("its tensors claim {claimed} bytes"))),
        }
    }

    /// Pass over a setting; the alignment if it is that one.
    fn setting(&mut self) -> Result<Option<u64>, Trouble> {
        let (name, kind) = (self.text()?, self.u32()?);
        if name == ALIGNMENT_KEY && kind == UINT32 {
            let said = u64::from(self.u32()?);
            if !said.is_power_of_two() || !(8..=LARGEST_ALIGNMENT).contains(&said) {
                return Err(Trouble::Corrupt(format!("an alignment of {said} bytes")));
            }
            return Ok(Some(said));
        }
        match kind {
            ARRAY => {
                let (kind, count) = (self.u32()?, self.u64()?);
                self.values(kind, count)?;
            }
            kind => self.values(kind, 1)?,
        }
        Ok(None)
    }

    /// Pass over `count` values of a type that is no array.
    fn values(&mut self, kind: u32, count: u64) -> Result<(), Trouble> {
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            TEXT => {
                // Every text has its length, so that the file bounds how many there are.
                for _ in 0..count {
                    let length = self.u64()?;
                    self.skip(length)?;
                }
                return Ok(());
            }
            kind => return Err(Trouble::Corrupt(format!("a setting of the type {kind}"))),
        };
        let bytes = count.checked_mul(width);
        self.skip(bytes.unwrap_or(u64::MAX))
    }

    fn tensor(&mut self) -> Result<Listed, Trouble> {
        let (name, sides) = (self.text()?, self.u32()?);
        if MOST_SIDES < sides {
            let reason = format!("tensor {name} has {sides} sides, at most {MOST_SIDES}");
            return Err(Trouble::Corrupt(reason));
        }
        let mut shape = Vec::new();
        for _ in 0..sides {
            shape.push(usize::try_from(self.u64()?).unwrap_or(usize::MAX));
        }
        let (kind, offset) = (self.u32()?, self.u64()?);
        let Some(form) = form(kind) else {
            let reason = format!(
                "tensor {name} is of the type {kind}, expected F32, F16, BF16, Q8_0, Q4_0, Q4_K, \
                 Q5_K or Q6_K"
            );
            return Err(Trouble::Corrupt(reason));
        };
        let columns = shape.first().copied().unwrap_or(1);
        let (numbers, bytes) = form.unit().unwrap_or((1, 1));
        let elements = shape.iter().try_fold(1_usize, |all, &side| all.checked_mul(side));
        let countable = elements.and_then(|elements| elements.checked_mul(bytes)).is_some();
        if !countable || !columns.is_multiple_of(numbers) {
            let reason = format!("tensor {name} of {form} has the sides {shape:?}");
            return Err(Trouble::Corrupt(reason));
        }
        shape.reverse();
        Ok(Listed { name, shape, form, offset })
    }

    fn text(&mut self) -> Result<String, Trouble> {
        let length = self.u64()?;
        if LONGEST_NAME < length {
            let reason = format!("a name of {length} bytes, at most {LONGEST_NAME}");
            return Err(Trouble::Corrupt(reason));
        }
        let bytes = self.take(length as usize)?.to_vec();
        // A name is shown in errors, which are one line.
        let name = String::from_utf8(bytes).ok().filter(|name| !name.contains(char::is_control));
        name.ok_or_else(|| Trouble::Corrupt("a name is no plain text".to_owned()))
    }

    fn u32(&mut self) -> Result<u32, Trouble> {
        let mut number = [0; 4];
        number.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(number))
    }

    fn u64(&mut self) -> Result<u64, Trouble> {
        let mut number = [0; 8];
        number.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(number))
    }

    /// Go on by `count` bytes.
    fn skip(&mut self, count: u64) -> Result<(), Trouble> {
        let end = self.at.saturating_add(count);
        let most = self.storage.size().min(LONGEST_LISTS);
        if most < end {
            return Err(Trouble::Corrupt("its lists have no end".to_owned()));
        }
        self.at = end;
        Ok(())
    }

    /// The next `count` bytes, at most as many as are read ahead.
    fn take(&mut self, count: usize) -> Result<&[u8], Trouble> {
        let from = self.at;
        self.skip(count as u64)?;
        let ahead = self.start + self.window.len() as u64;
        if from < self.start || ahead < self.at {
            let length = (self.storage.size() - from).min(WINDOW.max(count) as u64);
            self.window.resize(length as usize, 0);
            self.start = from;
            self.storage.read(from, &mut self.window).map_err(Trouble::Unreadable)?;
        }
        let start = (from - self.start) as usize;
        Ok(&self.window[start..start + count])
    }
}

/// How the values of a type are written down.
fn form(kind: u32) -> Option<Form> {
    Some(match kind {
        0 => Form::Plain(Dtype::F32),
        1 => Form::Plain(Dtype::F16),
        30 => Form::Plain(Dtype::BF16),
        2 => Form::Blocks(Block::Q4_0),
        8 => Form::Blocks(Block::Q8_0),
        12 => Form::Blocks(Block::Q4K),
        13 => Form::Blocks(Block::Q5K),
        14 => Form::Blocks(Block::Q6K),
        _ => return None,
    })
}
