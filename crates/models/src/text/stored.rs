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

use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, TensorData},
};

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
    /// All of it as it is computed with: the quickest for a small one.
    Computed,
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
    holding: Holding,
    /// Read with the first prompt that needs it.
    kept: Arc<Mutex<Option<Kept>>>,
    device: Device,
}

/// What is held.
#[derive(Clone, Debug)]
enum Kept {
    Packed(Arc<Packed>),
    Whole(Arc<Umt5>),
}

/// Captions that go through a block together: what they need meanwhile stays small beside a block.
const TOGETHER: usize = 32;

impl StoredUmt5 {
    /// The text encoder in some weights, to be run on `device`. Names and shapes are checked; no
    /// weight is read.
    ///
    /// # Errors
    /// When the tensors are not those of the network.
    pub(crate) fn open(
        (weights, naming, prefix): (Arc<Weights<'static>>, Naming, &str),
        config: &BundleConfig,
        holding: Holding,
        device: &Device,
    ) -> Result<Self, BundleError> {
        // Nothing is initialised for it: no parameter is asked for its value.
        let whole = Umt5::new(&config.text, device);
        weights.fitting(&whole, Network::Umt5, naming, prefix)?;
        Ok(Self {
            weights,
            naming,
            prefix: prefix.to_owned(),
            config: config.text.clone(),
            holding,
            kept: Arc::default(),
            device: device.clone(),
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

    /// What stays in memory between two prompts.
    #[must_use]
    pub fn holding(&self) -> Holding {
        self.holding
    }

    /// Bytes that are held in memory by now.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            None => 0,
            Some(Kept::Packed(packed)) => packed.bytes(),
            Some(Kept::Whole(whole)) => 4 * whole.num_params() as u64,
        }
    }

    /// The embeddings `[1, S, D]` of some captions, each given as its ids and computed as if it
    /// were alone.
    ///
    /// # Errors
    /// When a weight is no number, or cannot be read.
    pub fn embed(&self, captions: &[&[u32]]) -> Result<Vec<Tensor<3>>, CheckpointError> {
        let mut embeddings = Vec::with_capacity(captions.len());
        for captions in captions.chunks(TOGETHER) {
            embeddings.extend(self.embed_together(captions)?);
        }
        Ok(embeddings)
    }

    fn embed_together(&self, captions: &[&[u32]]) -> Result<Vec<Tensor<3>>, CheckpointError> {
        let kept = self.kept()?;
        let kept = match &kept {
            Some(Kept::Whole(whole)) => {
                let embed = |ids: &&[u32]| {
                    let values: Vec<i64> = ids.iter().copied().map(i64::from).collect();
                    let values = TensorData::new(values, [1, ids.len()]);
                    let values = Tensor::<2, Int>::from_data(values, &self.device);
                    whole.forward(values, &[ids.len()])
                };
                return Ok(captions.iter().map(embed).collect());
            }
            Some(Kept::Packed(packed)) => Some(&**packed),
            None => None,
        };
        let mut readings = Vec::with_capacity(captions.len());
        for ids in captions {
            readings.push(self.look_up(ids)?);
        }
        for index in 0..self.config.num_layers {
            let block = Block::new(&self.config, &self.device);
            let block = self.part(block, &format!("blocks.{index}."), kept)?;
            readings = readings.into_iter().map(|reading| block.read(reading)).collect();
        }
        let norm = self.part(norm(self.config.dim, &self.device), "norm.", kept)?;
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

    /// What is held of the weights, read if nobody has needed it before.
    fn kept(&self) -> Result<Option<Kept>, CheckpointError> {
        if self.holding == Holding::Nothing {
            return Ok(None);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*kept {
            return Ok(Some(kept.clone()));
        }
        let whole = Umt5::new(&self.config, &self.device);
        let (weights, network) = (&self.weights, Network::Umt5);
        if self.holding == Holding::Computed {
            let whole = weights.load_named(whole, network, self.naming, &self.prefix)?;
            return Ok(Some(kept.insert(Kept::Whole(Arc::new(whole))).clone()));
        }
        let mut packed = Packed::default();
        for (official, name) in weights.fitting(&whole, network, self.naming, &self.prefix)? {
            match self.holding {
                _ if official == TABLE => {}
                Holding::InBytes if is_matrix(&official) => packed.keep_in_bytes(weights, &name)?,
                _ => packed.keep(weights, &name)?,
            }
        }
        Ok(Some(kept.insert(Kept::Packed(Arc::new(packed))).clone()))
    }

    /// A part of the network with its weights.
    fn part<M: Module>(
        &self,
        module: M,
        part: &str,
        kept: Option<&Packed>,
    ) -> Result<M, CheckpointError> {
        let place = (Network::Umt5, self.naming, self.prefix.as_str());
        self.weights.load_part(module, place, part, kept)
    }
}

/// The table of tokens, of which only rows are read.
pub(crate) const TABLE: &str = "token_embedding.weight";

/// Whether a tensor is one of the large matrices: neither a norm nor the positions.
fn is_matrix(official: &str) -> bool {
    !official.contains("norm") && !official.contains("pos_embedding")
}
