//! The text encoder where it is stored: a block becomes numbers when it is run, and is gone after.
//!
//! | letter | means | umT5-XXL |
//! |---|---|---|
//! | `S` | tokens of a caption | at most 512 |
//! | `D` | model width | 4 096 |
//!
//! Of the 11 GB of the published file one block is in memory, 0.8 GB as it is computed with, and of
//! the table of tokens the rows that a caption names. What comes out has the same bits as with all
//! weights in memory: bf16 and f16 become f32 without loss, whenever that is done.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use crate::{
    bundle::{BundleConfig, BundleError},
    checkpoint::{CheckpointError, Naming, Network, Packed, Weights},
    umt5::{Block, Reading, Umt5, Umt5Config, norm},
};

/// What of a stored text encoder stays in memory between two prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Nothing: its blocks are read again, from the disk or from what the system remembers of it.
    Nothing,
    /// The bytes of its blocks as they are stored.
    AsStored,
    /// Its matrices in one byte a number with a scale for every row; what is computed changes.
    InBytes,
}

/// A umT5 encoder that stays where it is stored. Clones share what they hold.
#[derive(Clone, Debug)]
pub struct StoredUmt5 {
    weights: Arc<Weights<'static>>,
    naming: Naming,
    prefix: String,
    config: Umt5Config,
    kept: Option<Arc<Packed>>,
    device: Device,
}

impl StoredUmt5 {
    /// The text encoder in some weights, to be run on `device`. Names and shapes are checked, and
    /// what is to be held is read.
    ///
    /// # Errors
    /// When the tensors are not those of the network, or cannot be read.
    pub(crate) fn open(
        (weights, naming, prefix): (Arc<Weights<'static>>, Naming, &str),
        config: &BundleConfig,
        holding: Holding,
        device: &Device,
    ) -> Result<Self, BundleError> {
        // Nothing is initialised for it: no parameter is asked for its value.
        let whole = Umt5::new(&config.text, device);
        let names = weights.fitting(&whole, Network::Umt5, naming, prefix)?;
        let mut kept = Packed::default();
        for (official, name) in names.iter().filter(|(official, _)| !is_table(official)) {
            match holding {
                Holding::Nothing => {}
                Holding::InBytes if is_matrix(official) => kept.keep_in_bytes(&weights, name)?,
                Holding::AsStored | Holding::InBytes => kept.keep(&weights, name)?,
            }
        }
        Ok(Self {
            kept: (holding != Holding::Nothing).then(|| Arc::new(kept)),
            naming,
            prefix: prefix.to_owned(),
            config: config.text.clone(),
            device: device.clone(),
            weights,
        })
    }

    /// The sizes of the network.
    #[must_use]
    pub fn config(&self) -> &Umt5Config {
        &self.config
    }

    /// Where it is run.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes that are held in memory between two prompts.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.bytes())
    }

    /// The embeddings `[1, S, D]` of some captions, each given as its ids and computed as if it
    /// were alone.
    ///
    /// # Errors
    /// When a weight is no number, or cannot be read.
    pub fn embed(&self, captions: &[&[u32]]) -> Result<Vec<Tensor<3>>, CheckpointError> {
        let mut readings = Vec::with_capacity(captions.len());
        for ids in captions {
            readings.push(self.look_up(ids)?);
        }
        for index in 0..self.config.num_layers {
            let block = Block::new(&self.config, &self.device);
            let block = self.part(block, &format!("blocks.{index}."))?;
            readings = readings.into_iter().map(|reading| block.read(reading)).collect();
        }
        let norm = self.part(norm(self.config.dim, &self.device), "norm.")?;
        Ok(readings.into_iter().map(|reading| reading.end(&norm)).collect())
    }

    /// Hand what tells these weights from others to `sink`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn fingerprint(&self, sink: &mut dyn FnMut(&[u8])) -> Result<(), CheckpointError> {
        self.weights.fingerprint(&self.prefix, sink)
    }

    /// A caption before the first block.
    fn look_up(&self, ids: &[u32]) -> Result<Reading, CheckpointError> {
        let name = self.naming.names(Network::Umt5, &[TABLE], &self.prefix).concat();
        let rows: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        let values = self.weights.rows(&name, &rows)?;
        let data = TensorData::new(values, [1, ids.len(), self.config.dim]);
        let x = Tensor::from_data(data, &self.device);
        Ok(Reading::new(&self.config, x, &[ids.len()], ids.len()))
    }

    /// A part of the network with its weights.
    fn part<M: burn::module::Module>(&self, module: M, part: &str) -> Result<M, CheckpointError> {
        let place = (Network::Umt5, self.naming, self.prefix.as_str());
        self.weights.load_part(module, place, part, self.kept.as_deref())
    }
}

/// The table of tokens, of which only rows are read.
pub(crate) const TABLE: &str = "token_embedding.weight";

fn is_table(official: &str) -> bool {
    official == TABLE
}

/// Whether a tensor is one of the large matrices: neither a norm nor the positions.
fn is_matrix(official: &str) -> bool {
    !official.contains("norm") && !official.contains("pos_embedding")
}
