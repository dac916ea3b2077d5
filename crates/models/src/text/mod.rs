//! Prompts to embeddings: the tokenizer and the text encoder behind the engine's trait.
//!
//! | letter | means | Wan 2.1 |
//! |---|---|---|
//! | `L` | tokens of the padded caption | 512 |
//! | `D` | width of a caption's embeddings | 4 096 |
//!
//! The text encoder is the largest network and the one that is needed least. So it may be a
//! [`StoredUmt5`], which the runtime runs, of which one block at a time is in memory; and what it
//! made may be kept on disk in an [`EmbeddingCache`]: a prompt that was embedded before needs no text
//! encoder at all.

mod cache;
mod prompt;
mod stored;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use burn::tensor::{Device, Int, Tensor, TensorData};
use shotstream_engine::network::{Embedded, NetworkError, TextEncoder};
use shotstream_runtime::kernels::Kernels;

use crate::{
    networks::BurnEmbedding,
    tokenizer::{Encoding, Tokenizer},
    umt5::Umt5,
};

pub(crate) use self::stored::TABLE;
pub use self::{
    cache::{EmbeddingCache, Identity},
    prompt::Cut,
    stored::{Holding, StoredUmt5},
};

/// The tokenizer and the text encoder. Clones share weights, cache and counts.
#[derive(Clone, Debug)]
pub struct BurnTextEncoder {
    tokenizer: Tokenizer,
    network: Arc<dyn TextNetwork>,
    text_len: usize,
    device: Device,
    cut: Cut,
    cache: Option<Arc<EmbeddingCache>>,
    /// What was embedded ahead, by the ids of its tokens.
    ahead: Arc<Mutex<BTreeMap<Vec<u32>, Vec<f32>>>>,
    counts: Arc<Counts>,
}

/// A text encoder of any kind.
trait TextNetwork: Debug + Send + Sync {
    /// Width of an embedding, `D`.
    fn width(&self) -> usize;

    /// The embeddings `[S, D]` of some captions, each given as its `S` ids and computed as if it
    /// were alone.
    ///
    /// # Errors
    /// When weights cannot be read, or the device fails.
    fn embed(&self, captions: &[&[u32]]) -> Result<Vec<Vec<f32>>, NetworkError>;
}

/// The text encoder as it is trained.
#[derive(Debug)]
struct Whole {
    text: Umt5,
    device: Device,
}

impl TextNetwork for Whole {
    fn width(&self) -> usize {
        self.text.config().dim
    }

    fn embed(&self, captions: &[&[u32]]) -> Result<Vec<Vec<f32>>, NetworkError> {
        let embed = |ids: &&[u32]| {
            if ids.is_empty() {
                return Vec::new();
            }
            let values: Vec<i64> = ids.iter().copied().map(i64::from).collect();
            let values = TensorData::new(values, [1, ids.len()]);
            let values = Tensor::<2, Int>::from_data(values, &self.device);
            self.text.forward(values, &[ids.len()]).into_data().iter::<f32>().collect()
        };
        Ok(captions.iter().map(embed).collect())
    }
}

#[derive(Debug, Default)]
struct Counts {
    embedded: AtomicU64,
    found: AtomicU64,
}

impl BurnTextEncoder {
    /// A text encoder in memory, which reads `text_len` tokens.
    #[must_use]
    pub fn whole(tokenizer: Tokenizer, text: Umt5, text_len: usize, device: Device) -> Self {
        Self::of(tokenizer, Arc::new(Whole { text, device: device.clone() }), text_len, device)
    }

    /// A text encoder that stays where it is stored, and reads `text_len` tokens.
    #[must_use]
    pub fn stored<K: Kernels + 'static>(
        tokenizer: Tokenizer,
        text: StoredUmt5<K>,
        text_len: usize,
    ) -> Self {
        Self::of(tokenizer, Arc::new(text), text_len, Device::flex())
    }

    fn of(
        tokenizer: Tokenizer,
        network: Arc<dyn TextNetwork>,
        text_len: usize,
        device: Device,
    ) -> Self {
        Self {
            tokenizer,
            network,
            text_len,
            device,
            cut: Cut::default(),
            cache: None,
            ahead: Arc::default(),
            counts: Arc::default(),
        }
    }

    /// The same with a cache on disk.
    #[must_use]
    pub fn with_cache(self, cache: EmbeddingCache) -> Self {
        Self { cache: Some(Arc::new(cache)), ..self }
    }

    /// The same with another way to shorten prompts that are too long.
    #[must_use]
    pub fn with_cut(self, cut: Cut) -> Self {
        Self { cut, ..self }
    }

    /// Prompts that went through the network so far, and prompts that were found on disk.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let Counts { embedded, found } = &*self.counts;
        (embedded.load(Ordering::Relaxed), found.load(Ordering::Relaxed))
    }

    /// Embed prompts, each after its global caption, before they are asked for: all of them go
    /// through a block together, so that the weights are read once.
    ///
    /// # Errors
    /// When the tokenizer or the network fails.
    pub fn read_ahead(&self, prompts: &[(&str, &str)]) -> Result<(), NetworkError> {
        let mut missing: Vec<Encoding> = Vec::new();
        for &(global, prompt) in prompts {
            let encoding = self.encode(global, prompt)?;
            let known = missing.iter().any(|other| other.ids == encoding.ids);
            if known {
                continue;
            }
            match self.look_up(&encoding) {
                Some(values) => self.remember(&encoding, values),
                None => missing.push(encoding),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let made = self.compute(&missing)?;
        for (encoding, values) in missing.iter().zip(made) {
            self.keep(encoding, &values);
            self.remember(encoding, values);
        }
        Ok(())
    }

    /// The ids of a prompt that begins with its global caption.
    fn encode(&self, global: &str, prompt: &str) -> Result<Encoding, NetworkError> {
        let encoding = self.cut.encode(&self.tokenizer, global, prompt, self.text_len);
        encoding.map_err(|error| failed("tokenizer", error))
    }

    fn remember(&self, encoding: &Encoding, values: Vec<f32>) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.insert(encoding.ids.clone(), values);
    }

    /// The rows of a prompt that are on disk or were made ahead.
    fn look_up(&self, encoding: &Encoding) -> Option<Vec<f32>> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = ahead.get(&encoding.ids) {
            return Some(values.clone());
        }
        drop(ahead);
        let values =
            self.cache.as_ref()?.get(&encoding.ids, encoding.length, self.network.width())?;
        self.counts.found.fetch_add(1, Ordering::Relaxed);
        Some(values)
    }

    /// Write the rows of a prompt to the disk, if there is a cache. That a disk is full or slow is
    /// no reason to stop: the prompt is embedded again next time.
    fn keep(&self, encoding: &Encoding, values: &[f32]) {
        if let Some(cache) = &self.cache {
            let _ = cache.put(&encoding.ids, encoding.length, values);
        }
    }

    /// The rows of some prompts, through the network.
    fn compute(&self, encodings: &[Encoding]) -> Result<Vec<Vec<f32>>, NetworkError> {
        self.counts.embedded.fetch_add(encodings.len() as u64, Ordering::Relaxed);
        let ids: Vec<_> = encodings.iter().map(|it| &it.ids[..it.length]).collect();
        self.network.embed(&ids)
    }

    /// Rows `[length, D]` of a prompt as its embedding, `[1, L, D]` with zeros after them.
    fn padded(&self, mut values: Vec<f32>) -> BurnEmbedding {
        let width = self.network.width();
        values.resize(self.text_len * width, 0.0);
        let data = TensorData::new(values, [1, self.text_len, width]);
        BurnEmbedding(Tensor::from_data(data, &self.device))
    }
}

impl TextEncoder for BurnTextEncoder {
    type Embedding = BurnEmbedding;

    fn embed(&self, prompt: &str) -> Result<Embedded<BurnEmbedding>, NetworkError> {
        self.embed_under("", prompt)
    }

    fn embed_under(
        &self,
        global: &str,
        prompt: &str,
    ) -> Result<Embedded<BurnEmbedding>, NetworkError> {
        let encoding = self.encode(global, prompt)?;
        let values = match self.look_up(&encoding) {
            Some(values) => values,
            None => {
                let made = self.compute(std::slice::from_ref(&encoding))?;
                let values = made.into_iter().flatten().collect::<Vec<_>>();
                self.keep(&encoding, &values);
                values
            }
        };
        Ok(Embedded {
            embedding: self.padded(values),
            unknown_words: encoding.unknown,
            dropped_tokens: encoding.dropped,
        })
    }
}

fn failed(
    network: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> NetworkError {
    NetworkError::Failed { network, source: Box::new(error) }
}
