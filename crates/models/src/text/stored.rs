//! The text encoder where it is stored: a block becomes numbers when it is run, and is gone after.
//!
//! | letter | means | umT5-XXL |
//! |---|---|---|
//! | `S` | tokens of a caption | at most 512 |
//! | `D` | model width | 4 096 |
//!
//! Of the 11 GB of the published file one block is in memory, 0.8 GB as it is computed with in f32
//! and half of it in bf16, and of the table of tokens the rows that a caption names. What comes out
//! has the same bits however much of it is kept; only kernels that keep matrices in bytes lose any.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use burn::tensor::Device;
use shotstream_engine::network::NetworkError;
use shotstream_runtime::{
    kernels::{Keeping, Kernels, Precision},
    text::{Blocks, Sizes},
    weights::WeightsError,
};

use super::{TextNetwork, failed};
use crate::{
    bundle::{BundleConfig, BundleError},
    checkpoint::{CheckpointError, Packed},
    source::Unread,
    stored::StoredNetwork,
    umt5::{Umt5, Umt5Config},
};

/// What of a stored text encoder stays in memory between two prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Nothing: its blocks are read again, from the disk or from what the system remembers of it.
    Nothing,
    /// The bytes of its blocks as they are stored.
    AsStored,
    /// All of it as it is computed with, where it is computed: the quickest.
    Computed,
}

/// Numbers up to which a text encoder is kept as it is computed with whatever that takes: 128 MB at
/// most.
const SMALL: u64 = 1 << 25;

impl Holding {
    /// How a text encoder is best kept beside a film that is made on the processor: as it is computed
    /// with if it is small, or if that takes no more memory than its bytes as they are stored.
    #[must_use]
    pub fn beside(network: &StoredNetwork<'_>, precision: Precision) -> Self {
        let (numbers, bytes) = network.kept();
        match numbers <= SMALL || numbers * precision.bytes() <= bytes {
            true => Self::Computed,
            false => Self::AsStored,
        }
    }
}

/// A umT5 encoder that stays where it is stored, and is run by the runtime.
#[derive(Debug)]
pub struct StoredUmt5<K: Kernels> {
    kernels: K,
    network: StoredNetwork<'static>,
    /// What its tensors are called there, by official name.
    names: BTreeMap<String, String>,
    config: Umt5Config,
    sizes: Sizes,
    holding: Holding,
    /// Read with the first prompt that needs it.
    kept: Mutex<Option<Arc<Kept<K>>>>,
}

/// What is held.
#[derive(Debug)]
enum Kept<K: Kernels> {
    Packed(Packed),
    Computed(Box<Blocks<K>>),
}

/// Captions that go through a block together: what they need meanwhile stays small beside a block.
const TOGETHER: usize = 32;

impl<K: Kernels> StoredUmt5<K> {
    /// The text encoder of a model, to be run by `kernels`. Names and shapes are checked; no weight
    /// is read.
    ///
    /// # Errors
    /// When the tensors are not those of the network, or its heads are wider than there is room for.
    pub(crate) fn open(
        network: StoredNetwork<'static>,
        config: &BundleConfig,
        holding: Holding,
        kernels: K,
    ) -> Result<Self, BundleError> {
        let BundleConfig { text: config, dit, .. } = config.clone();
        // Nothing is initialised for it: no parameter is asked for its value.
        let names = network.names(&Umt5::new(&config, &Device::flex()))?;
        let sizes = sizes(&config, dit.text_len);
        kernels.check_head(sizes.dim_attn / sizes.num_heads)?;
        let kept = Mutex::default();
        Ok(Self { kernels, network, names, config, sizes, holding, kept })
    }

    /// The sizes of the network.
    #[must_use]
    pub fn config(&self) -> &Umt5Config {
        &self.config
    }

    /// What stays in memory between two prompts.
    #[must_use]
    pub fn holding(&self) -> Holding {
        self.holding
    }

    /// In what it multiplies.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.kernels.precision()
    }

    /// How its matrices are kept where they are computed with.
    #[must_use]
    pub fn keeping(&self) -> Keeping {
        self.kernels.keeping()
    }

    /// Bytes that are held in memory by now.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_deref() {
            None => 0,
            Some(Kept::Packed(packed)) => packed.bytes(),
            Some(Kept::Computed(_)) => {
                self.network.kept().0 * self.keeping().bytes(self.precision())
            }
        }
    }

    /// The embeddings `[S, D]` of some captions, each given as its ids and computed as if it were
    /// alone.
    ///
    /// # Errors
    /// When a weight is no number or cannot be read, or the device fails.
    pub fn embed(&self, captions: &[&[u32]]) -> Result<Vec<Vec<f32>>, BundleError> {
        let mut embeddings = Vec::with_capacity(captions.len());
        for captions in captions.chunks(TOGETHER) {
            embeddings.extend(self.embed_together(captions)?);
        }
        Ok(embeddings)
    }

    fn embed_together(&self, captions: &[&[u32]]) -> Result<Vec<Vec<f32>>, BundleError> {
        let kept = self.kept()?;
        let mut readings = Vec::with_capacity(captions.len());
        for ids in captions {
            readings.push(self.look_up(ids)?);
        }
        let mut read = |blocks: &Blocks<K>| -> Result<(), WeightsError> {
            readings.iter_mut().try_for_each(|reading| Ok(blocks.read(reading)?))
        };
        let packed = match kept.as_deref() {
            Some(Kept::Computed(blocks)) => {
                read(blocks)?;
                return Ok(readings);
            }
            Some(Kept::Packed(packed)) => Some(packed),
            None => None,
        };
        for block in 0..self.config.num_layers {
            read(&self.blocks(block..block + 1, packed)?)?;
        }
        Ok(readings)
    }

    /// Hand what tells these weights from others to `sink`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn fingerprint(&self, sink: &mut dyn FnMut(&[u8])) -> Result<(), CheckpointError> {
        self.network.fingerprint(sink)
    }

    /// A caption before the first block, `[S, D]`.
    fn look_up(&self, ids: &[u32]) -> Result<Vec<f32>, CheckpointError> {
        let rows: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        self.network.rows(&self.names[TABLE], &rows)
    }

    /// Some neighbouring blocks as they are computed with.
    fn blocks(
        &self,
        blocks: Range<usize>,
        kept: Option<&Packed>,
    ) -> Result<Blocks<K>, BundleError> {
        let source = Unread::new(&self.network, &self.names, kept);
        let kernels = self.kernels.beside().map_err(WeightsError::from)?;
        let made = Blocks::new(kernels, self.sizes.clone(), blocks, &source);
        source.done()?;
        Ok(made?)
    }

    /// What is held of the weights, read if nobody has needed it before.
    fn kept(&self) -> Result<Option<Arc<Kept<K>>>, BundleError> {
        if self.holding == Holding::Nothing {
            return Ok(None);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*kept {
            return Ok(Some(kept.clone()));
        }
        let read = match self.holding {
            Holding::Computed => {
                Kept::Computed(Box::new(self.blocks(0..self.config.num_layers, None)?))
            }
            _ => Kept::Packed(self.packed()?),
        };
        Ok(Some(kept.insert(Arc::new(read)).clone()))
    }

    /// All tensors but the table, as they are stored.
    fn packed(&self) -> Result<Packed, CheckpointError> {
        let mut packed = Packed::default();
        for (official, name) in &self.names {
            if official != TABLE {
                self.network.keep(&mut packed, name)?;
            }
        }
        Ok(packed)
    }
}

impl<K: Kernels> TextNetwork for StoredUmt5<K> {
    fn width(&self) -> usize {
        self.config.dim
    }

    fn embed(&self, captions: &[&[u32]]) -> Result<Vec<Vec<f32>>, NetworkError> {
        Self::embed(self, captions).map_err(|error| failed("text encoder", error))
    }
}

/// What the runtime calls the sizes of a text encoder that reads so many tokens.
fn sizes(config: &Umt5Config, tokens: usize) -> Sizes {
    let &Umt5Config { dim, dim_attn, dim_ffn, num_heads, num_layers, .. } = config;
    let positions = config.positions();
    Sizes { tokens, dim, dim_attn, dim_ffn, num_heads, num_layers, positions }
}

/// The table of tokens, of which only rows are read.
pub(crate) const TABLE: &str = "token_embedding.weight";

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, Tensor, TensorData};
    use proptest::prelude::*;
    use shotstream_runtime::{cpu::Cpu, weights::Source as _};

    use super::*;
    use crate::{checkpoint::Network, source::Parameters};

    /// Root mean square of the difference, over that of the values.
    fn differs(a: &[f32], b: &[f32]) -> f32 {
        let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|it| it * it).sum::<f32>();
        let difference = squares(&mut a.iter().zip(b).map(|(a, b)| a - b));
        (difference / squares(&mut a.iter().copied())).sqrt()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn the_runtime_reads_as_the_network_does(
            heads in 1usize..5,
            width in 1usize..40,
            dim in 2usize..70,
            dim_ffn in 1usize..90,
            num_layers in 1usize..4,
            num_buckets in prop::sample::select(vec![8usize, 12, 32]),
            ids in prop::collection::vec(0i64..20, 1..90),
        ) {
            let config = Umt5Config {
                vocab_size: 20,
                dim,
                dim_attn: heads * width,
                dim_ffn,
                num_heads: heads,
                num_layers,
                num_buckets,
                max_distance: 40,
            };
            let device = Device::flex();
            let network = Umt5::new(&config, &device);
            let count = ids.len();
            let read = TensorData::new(ids.clone(), [1, count]);
            let read = Tensor::<2, Int>::from_data(read, &device);
            let expected = network.forward(read, &[count]);
            let expected: Vec<f32> = expected.into_data().iter().collect();
            let weights = Parameters::of(network.clone(), Network::Umt5);
            let (_, table) = weights.tensor(TABLE, &[]).expect("a table");
            let rows = |id: i64| &table[id as usize * dim..][..dim];
            let start: Vec<f32> = ids.iter().flat_map(|&id| rows(id)).copied().collect();
            for cpu in Cpu::all() {
                for (precision, allowed) in [(Precision::F32, 1e-5), (Precision::Bf16, 0.05)] {
                    let (cpu, sizes) = (cpu.in_precision(precision), sizes(&config, 90));
                    let weights = Parameters::of(network.clone(), Network::Umt5);
                    let mut one_by_one = start.clone();
                    for block in 0..num_layers {
                        let part = Blocks::new(cpu, sizes.clone(), block..block + 1, &weights);
                        part.expect("it fits").read(&mut one_by_one).expect("it fits");
                    }
                    let found = differs(&expected, &one_by_one);
                    prop_assert!(found < allowed, "{found} in {precision:?}, {cpu:?}");
                    let weights = Parameters::of(network.clone(), Network::Umt5);
                    let whole = Blocks::new(cpu, sizes, 0..num_layers, &weights).expect("it fits");
                    let mut at_once = start.clone();
                    whole.read(&mut at_once).expect("it fits");
                    prop_assert!(at_once == one_by_one);
                    // The same memory once more.
                    let mut again = start.clone();
                    whole.read(&mut again).expect("it fits");
                    prop_assert!(at_once == again);
                }
            }
        }
    }
}
