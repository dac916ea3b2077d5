//! Files that `torch.save` writes: a zip in which a pickle names tensors and other entries hold
//! their values.
//!
//! `NAME/data.pkl` is the pickle, `NAME/data/KEY` the values of one storage, `NAME/byteorder` how
//! they are written. Nothing in such a file is compressed, so the values of a tensor are a range
//! of the file, as in any other form.

use std::{collections::BTreeMap, io};

use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ReaderAt, ZipArchive, ZipLocator};

use super::{
    CheckpointError,
    form::Form,
    pickle::{self, PickleError, PickledTensor},
    read::Entry,
    storage::Storage,
};

/// What errors call this form.
const FORM: &str = "PyTorch";

/// How a zip begins.
const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";

/// How the files of `torch.save` before 1.6 begin: a pickle of a long number.
const LEGACY_MAGIC: [u8; 4] = [0x80, 2, 0x8a, 10];

/// How the name of the pickle ends.
const PICKLE: &str = "/data.pkl";

/// Entries of the zip.
const MOST_ENTRIES: usize = 1 << 17;

/// The pickle of a model with all optimizer states has a tenth of it.
const LONGEST_PICKLE: u64 = 16 << 20;

/// Whether a file with this beginning is of this form, or was before the form changed.
pub(super) fn is_torch(beginning: [u8; 4]) -> bool {
    beginning == ZIP_MAGIC || beginning == LEGACY_MAGIC
}

/// The tensors of a file, the `file`-th of its model: the names of nested dictionaries are joined
/// by dots.
///
/// # Errors
/// When the file cannot be read, is no whole PyTorch file, or asks for more than tensors and plain
/// containers.
pub(super) fn read(
    storage: &Storage<'_>,
    file: usize,
) -> Result<Vec<(String, Entry)>, CheckpointError> {
    let corrupt = |reason: String| CheckpointError::Corrupt {
        form: FORM,
        reason,
        path: storage.path.clone(),
    };
    let mut beginning = [0; 4];
    storage.read(0, &mut beginning)?;
    if beginning == LEGACY_MAGIC {
        let reason = "written by a torch before 1.6, expected a zip: load it and save it again";
        return Err(corrupt(reason.to_owned()));
    }
    let places = places(storage).map_err(corrupt)?;
    let mut pickles =
        places.iter().filter_map(|(name, place)| Some((name.strip_suffix(PICKLE)?, place)));
    let (Some((root, pickle)), None) = (pickles.next(), pickles.next()) else {
        return Err(corrupt("expected one data.pkl in it".to_owned()));
    };
    let order = places.get(&format!("{root}/byteorder")).map(|place| place.text(storage));
    match order.unwrap_or_else(|| Ok("little".to_owned())).map_err(&corrupt)?.as_str() {
        "little" => {}
        other => return Err(corrupt(format!("values are {other:?} endian, expected \"little\""))),
    }
    let tensors = tensors(storage, pickle)?;
    let (mut found, mut claimed) = (Vec::with_capacity(tensors.len()), 0_u64);
    for (name, tensor) in tensors {
        let entry = format!("{root}/data/{}", tensor.key);
        let place = places.get(&entry).ok_or_else(|| corrupt(format!("no {entry} in it")))?;
        let (start, size) = place.plain().map_err(|why| corrupt(format!("{entry} is {why}")))?;
        let entry = within(&tensor, (start, size), file)
            .ok_or_else(|| corrupt(format!("tensor {name} does not lie within its storage")))?;
        claimed = claimed.saturating_add(entry.bytes());
        found.push((name, entry));
    }
    // Tied weights stand in one place under two names; what goes beyond that is a bomb.
    let most = storage.size().saturating_mul(2);
    match claimed <= most {
        true => Ok(found),
        false => Err(corrupt(format!("its tensors claim {claimed} bytes, at most {most}"))),
    }
}

/// What the pickle says.
fn tensors(
    storage: &Storage<'_>,
    place: &Place,
) -> Result<Vec<(String, PickledTensor)>, CheckpointError> {
    let corrupt = |reason: String| CheckpointError::Corrupt {
        form: FORM,
        reason,
        path: storage.path.clone(),
    };
    let (start, size) = place.plain().map_err(|why| corrupt(format!("its pickle is {why}")))?;
    if LONGEST_PICKLE < size {
        return Err(corrupt(format!("a pickle of {size} bytes, at most {LONGEST_PICKLE}")));
    }
    let mut program = vec![0; size as usize];
    storage.read(start, &mut program)?;
    let path = || storage.path.clone();
    pickle::tensors(&program).map_err(|error| match error {
        PickleError::Refused(what) => CheckpointError::Refused { what, path: path() },
        PickleError::Duplicate(name) => CheckpointError::Duplicate { name, path: path() },
        PickleError::Malformed(reason) => corrupt(reason),
    })
}

/// Where the values of a tensor are, if the storage at `place` (start and size) has them all.
fn within(tensor: &PickledTensor, (start, size): (u64, u64), file: usize) -> Option<Entry> {
    let PickledTensor { dtype, offset, shape, strides, .. } = tensor;
    let width = dtype.bitsize() as u64 / 8;
    let mut contiguous = true;
    let (mut count, mut last) = (1_u64, *offset);
    for (&side, &stride) in shape.iter().zip(strides).rev() {
        contiguous &= side == 1 || stride as u64 == count;
        count = count.checked_mul(side as u64)?;
        let steps = (side as u64).saturating_sub(1);
        last = last.checked_add(steps.checked_mul(stride as u64)?)?;
    }
    // A tensor that repeats its values could claim any size.
    let fits = count.checked_mul(width)? <= size;
    let ends = if count == 0 { *offset } else { last.checked_add(1)? }.checked_mul(width)?;
    let strides = (!contiguous && count != 0).then(|| strides.clone());
    let start = start.checked_add(offset.checked_mul(width)?)?;
    let form = Form::Plain(*dtype);
    let entry = Entry { form, shape: shape.clone(), file, start, strides };
    (fits && ends <= size).then_some(entry)
}

/// One entry of the zip.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    end: u64,
    /// As unpacked.
    size: u64,
    plain: bool,
}

impl Place {
    /// Start and size of the entry's bytes in the file; in words if they are not there as they are.
    fn plain(&self) -> Result<(u64, u64), &'static str> {
        let Self { start, end, size, plain } = *self;
        match plain && end.checked_sub(start) == Some(size) {
            true => Ok((start, size)),
            false => Err("compressed or encrypted, expected it plain"),
        }
    }

    /// The entry as a short text.
    fn text(&self, storage: &Storage<'_>) -> Result<String, String> {
        let (start, size) = self.plain()?;
        let mut text = vec![0; size.min(16) as usize];
        storage.read(start, &mut text).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }
}

/// Every entry of the zip by its name; in words if it is none.
fn places(storage: &Storage<'_>) -> Result<BTreeMap<String, Place>, String> {
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive: ZipArchive<&Storage<'_>> = ZipLocator::new()
        .locate_in_reader(storage, &mut buffer, storage.size())
        .map_err(|(_, error)| error.to_string())?;
    let mut places = BTreeMap::new();
    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry().map_err(|error| error.to_string())? {
        let Ok(name) = std::str::from_utf8(entry.file_path().as_bytes()).map(str::to_owned) else {
            return Err("the name of an entry is no UTF-8".to_owned());
        };
        if name.contains(char::is_control) {
            return Err("the name of an entry is no plain text".to_owned());
        }
        let (wayfinder, method) = (entry.wayfinder(), entry.compression_method());
        let plain = method == CompressionMethod::STORE && !entry.flags().is_encrypted();
        let size = entry.uncompressed_size_hint();
        let found = archive.get_entry(wayfinder).map_err(|error| format!("{name}: {error}"))?;
        let (start, end) = found.compressed_data_range();
        if storage.size() < end {
            return Err(format!("{name} ends at byte {end} of {}", storage.size()));
        }
        if places.insert(name.clone(), Place { start, end, size, plain }).is_some() {
            return Err(format!("the entry {name} is there twice"));
        }
        if MOST_ENTRIES < places.len() {
            return Err(format!("more than {MOST_ENTRIES} entries"));
        }
    }
    Ok(places)
}

impl ReaderAt for Storage<'_> {
    fn read_at(&self, buffer: &mut [u8], start: u64) -> io::Result<usize> {
        let count = self.size().saturating_sub(start).min(buffer.len() as u64) as usize;
        self.fill(start, &mut buffer[..count])?;
        Ok(count)
    }
}
