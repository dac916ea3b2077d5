//! What a pickle can make.

use safetensors::Dtype;

use super::{PickledTensor, known::Global};

/// Which value of the machine.
pub(super) type Id = u32;

/// Something a pickle made.
#[derive(Debug)]
pub(super) enum Value<'p> {
    /// A value no tensor is made of: none, a float, bytes, a dtype.
    Plain,
    Int(i64),
    Text(&'p str),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    /// Pairs of key and value in the order they were set, repeated keys included.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Box<Storage>),
    Tensor(Box<PickledTensor>),
}

/// What a tensor's values are cut from.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) key: String,
    pub(super) dtype: Dtype,
}
