//! The pickles of PyTorch, parsed and never executed.
//!
//! A pickle is a program for a machine with a stack. What builds plain values is carried out here;
//! a global is a name and nothing more, and only the few that stand for tensors, their storages and
//! plain containers are known. Everything else is refused by name, so no code is ever run.
//!
//! The machine makes at most [`MOST_VALUES`] values and twice [`MOST_TENSORS`] tensors, shares what the program shares, and never
//! recurses deeper than [`DEEPEST`], whatever the program says.

mod known;
mod machine;
mod value;

use safetensors::Dtype;

use self::{
    machine::Machine,
    value::{Id, Value},
};

/// Values a pickle may make.
const MOST_VALUES: usize = 1 << 21;

/// Tensors a pickle may name.
const MOST_TENSORS: usize = 1 << 16;

/// Bytes of a tensor's name, those of the dictionaries around it included.
const LONGEST_NAME: usize = 1 << 10;

/// Dictionaries around a tensor.
const DEEPEST: usize = 6;

/// A tensor as a pickle describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PickledTensor {
    /// Which storage holds its values.
    pub(super) key: String,
    pub(super) dtype: Dtype,
    /// Where in the storage it begins, in elements.
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    /// From one element to the next along each axis, in elements.
    pub(super) strides: Vec<usize>,
}

/// Why a pickle holds no tensors for us.
#[derive(Debug)]
pub(super) enum PickleError {
    /// It asks for something that is neither a tensor nor a plain container.
    Refused(String),
    /// Two tensors have one name.
    Duplicate(String),
    /// It makes no sense, or is too large.
    Malformed(String),
}

/// Every tensor of a pickle under the keys that lead to it, joined by dots.
///
/// Lists and tuples are not searched: the tensors of a network are in dictionaries.
///
/// # Errors
/// See [`PickleError`].
pub(super) fn tensors(program: &[u8]) -> Result<Vec<(String, PickledTensor)>, PickleError> {
    let mut machine = Machine::new(program);
    let root = machine.run()?;
    if !matches!(machine.value(root), Value::Dict(_)) {
        let reason = "expected a dictionary of tensors, found another value";
        return Err(PickleError::Malformed(reason.to_owned()));
    }
    let mut gathered = Gathered { machine: &machine, visits: 0, tensors: Vec::new() };
    gathered.gather("", root, 0)?;
    let mut names: Vec<&String> = gathered.tensors.iter().map(|(name, _)| name).collect();
    names.sort();
    match names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b) {
        Some((name, _)) => Err(PickleError::Duplicate((*name).clone())),
        None => Ok(gathered.tensors),
    }
}

struct Gathered<'m, 'p> {
    machine: &'m Machine<'p>,
    visits: usize,
    tensors: Vec<(String, PickledTensor)>,
}

impl Gathered<'_, '_> {
    fn gather(&mut self, prefix: &str, dict: Id, depth: usize) -> Result<(), PickleError> {
        let Value::Dict(pairs) = self.machine.value(dict) else { return Ok(()) };
        for &(key, value) in pairs {
            self.visits += 1;
            if MOST_VALUES < self.visits || MOST_TENSORS < self.tensors.len() {
                let reason = format!("more than {MOST_TENSORS} tensors");
                return Err(PickleError::Malformed(reason));
            }
            let key = match self.machine.value(key) {
                Value::Text(text) => (*text).to_owned(),
                Value::Int(number) => number.to_string(),
                _ => continue,
            };
            let name = if depth == 0 { key } else { format!("{prefix}.{key}") };
            if LONGEST_NAME < name.len() {
                let reason = format!("a name of more than {LONGEST_NAME} bytes");
                return Err(PickleError::Malformed(reason));
            }
            if name.contains(char::is_control) {
                let reason = "the name of a tensor is no plain text".to_owned();
                return Err(PickleError::Malformed(reason));
            }
            match self.machine.value(value) {
                Value::Tensor(tensor) => self.tensors.push((name, (**tensor).clone())),
                Value::Dict(_) if depth < DEEPEST => self.gather(&name, value, depth + 1)?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
