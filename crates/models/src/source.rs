//! Weights on their way into the runtime.

use std::{cell::RefCell, collections::BTreeMap};

use burn::module::Module;
use shotstream_runtime::weights::{Source, Tensor};

use crate::{
    checkpoint::{CheckpointError, Network, Packed, tensors},
    stored::StoredNetwork,
};

/// What a network had in its parameters, by official name; whatever is asked for is gone.
pub(crate) struct Parameters(RefCell<BTreeMap<String, Tensor>>);

impl Parameters {
    pub(crate) fn of<M: Module>(module: M, network: Network) -> Self {
        Self(RefCell::new(tensors(&module, network)))
    }
}

impl Source for Parameters {
    fn tensor(&self, name: &str, _expected: &[usize]) -> Option<Tensor> {
        self.0.borrow_mut().remove(name)
    }
}

/// A network where it is stored: whatever is asked for is read then, or taken from what was kept of
/// it. What could not be read is remembered, and looks like a tensor that is not there.
pub(crate) struct Unread<'a> {
    network: &'a StoredNetwork<'a>,
    /// By official name.
    names: &'a BTreeMap<String, String>,
    kept: Option<&'a Packed>,
    failed: RefCell<Option<CheckpointError>>,
}

impl<'a> Unread<'a> {
    pub(crate) fn new(
        network: &'a StoredNetwork<'a>,
        names: &'a BTreeMap<String, String>,
        kept: Option<&'a Packed>,
    ) -> Self {
        Self { network, names, kept, failed: RefCell::default() }
    }

    /// # Errors
    /// When something could not be read.
    pub(crate) fn done(self) -> Result<(), CheckpointError> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }
}

impl Source for Unread<'_> {
    fn tensor(&self, name: &str, _expected: &[usize]) -> Option<Tensor> {
        match self.network.read(self.names.get(name)?, self.kept) {
            Ok(tensor) => Some(tensor),
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}
