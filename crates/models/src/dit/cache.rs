//! What the network remembers between passes: keys and values of context, shot and captions.
//!
//! Keys are stored rotated and normalised, ready to be attended.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `L` | tokens |
//! | `D` | model width, the heads beside each other |
//! | `K` | captions |
//! | `T` | tokens of one caption |

use std::ops::Range;

use burn::tensor::Tensor;

/// Keys and values of some tokens in one block, `[B, L, D]` each.
#[derive(Clone, Debug)]
pub struct KeyValue {
    pub(super) key: Tensor<3>,
    pub(super) value: Tensor<3>,
}

impl KeyValue {
    /// The same values, as constants of a graph.
    fn autodiff(&self) -> Self {
        Self { key: self.key.clone().autodiff(), value: self.value.clone().autodiff() }
    }

    /// The same values outside any graph.
    fn inner(&self) -> Self {
        Self { key: self.key.clone().inner(), value: self.value.clone().inner() }
    }

    /// All of `parts`, one after the other.
    pub(super) fn concat(parts: Vec<Self>) -> Self {
        let (keys, values) = parts.into_iter().map(|part| (part.key, part.value)).unzip();
        Self { key: Tensor::cat(keys, 1), value: Tensor::cat(values, 1) }
    }

    /// The tokens of a range.
    pub(super) fn slice(&self, tokens: Range<usize>) -> Self {
        let cut = |tensor: &Tensor<3>| tensor.clone().narrow(1, tokens.start, tokens.len());
        Self { key: cut(&self.key), value: cut(&self.value) }
    }

    /// Number of tokens `L`.
    pub(super) fn tokens(&self) -> usize {
        let [_, tokens, _] = self.key.dims();
        tokens
    }
}

/// Keys and values of the context frames, block by block. Replaced at every cut.
#[derive(Clone, Debug, Default)]
pub struct ContextCache {
    pub(super) layers: Vec<KeyValue>,
}

impl ContextCache {
    /// The same values as constants of a graph, for a pass that learns.
    #[must_use]
    pub fn autodiff(&self) -> Self {
        Self { layers: self.layers.iter().map(KeyValue::autodiff).collect() }
    }

    /// The same values outside any graph.
    #[must_use]
    pub fn inner(&self) -> Self {
        Self { layers: self.layers.iter().map(KeyValue::inner).collect() }
    }

    /// Tokens remembered.
    pub fn tokens(&self) -> usize {
        self.layers.first().map_or(0, KeyValue::tokens)
    }
}

/// Keys and values of the current shot's finished chunks, block by block. Empty at every cut.
#[derive(Clone, Debug, Default)]
pub struct LocalCache {
    pub(super) layers: Vec<KeyValue>,
    /// Latent frames remembered.
    pub(super) latents: usize,
}

impl LocalCache {
    /// The same values as constants of a graph, for a pass that learns.
    #[must_use]
    pub fn autodiff(&self) -> Self {
        Self { layers: self.layers.iter().map(KeyValue::autodiff).collect(), ..*self }
    }

    /// The same values outside any graph.
    #[must_use]
    pub fn inner(&self) -> Self {
        Self { layers: self.layers.iter().map(KeyValue::inner).collect(), ..*self }
    }

    /// Tokens remembered.
    pub fn tokens(&self) -> usize {
        self.layers.first().map_or(0, KeyValue::tokens)
    }

    /// Forget the oldest latent frames behind the first `sink`, so that at most `latents` are left,
    /// the sink among them.
    ///
    /// # Panics
    ///
    /// If the sink is larger than what is left.
    pub fn keep(&mut self, sink: usize, latents: usize) {
        if latents >= self.latents {
            return;
        }
        assert!(sink <= latents, "a sink of {sink} latent frames, {latents} are kept");
        if latents == 0 {
            *self = Self::default();
            return;
        }
        let all = self.tokens();
        let frame = all / self.latents;
        let newest = all - (latents - sink) * frame..all;
        for layer in &mut self.layers {
            let kept = [0..sink * frame, newest.clone()];
            let kept = kept.into_iter().filter(|tokens| !tokens.is_empty());
            let mut kept: Vec<_> = kept.map(|tokens| layer.slice(tokens)).collect();
            *layer = if kept.len() == 1 { kept.remove(0) } else { KeyValue::concat(kept) };
        }
        self.latents = latents;
    }

    /// Append the newest tokens of block `layer`.
    pub(super) fn append(&mut self, layer: usize, newest: KeyValue) {
        match self.layers.get_mut(layer) {
            Some(past) => *past = KeyValue::concat(vec![past.clone(), newest]),
            None => self.layers.push(newest),
        }
    }
}

/// Keys and values of captions, block by block, `[B, K, T, D]` each.
#[derive(Clone, Debug)]
pub struct TextCache {
    pub(super) layers: Vec<Captions>,
}

impl TextCache {
    /// The captions of all `parts`, one after the other, as if they had been cached together.
    pub fn concat(parts: &[Self]) -> Self {
        let num_layers = parts.first().map_or(0, |part| part.layers.len());
        let layers = (0..num_layers).map(|layer| {
            let captions = parts.iter().filter_map(|part| part.layers.get(layer).cloned());
            let (keys, values) = captions.map(|captions| (captions.key, captions.value)).unzip();
            Captions { key: Tensor::cat(keys, 1), value: Tensor::cat(values, 1) }
        });
        Self { layers: layers.collect() }
    }
}

/// Keys and values of all captions in one block, `[B, K, T, D]` each.
#[derive(Clone, Debug)]
pub(super) struct Captions {
    pub(super) key: Tensor<4>,
    pub(super) value: Tensor<4>,
}

impl Captions {
    /// All captions, one after the other.
    pub(super) fn all(&self) -> KeyValue {
        KeyValue { key: self.key.clone().flatten(1, 2), value: self.value.clone().flatten(1, 2) }
    }

    /// The tokens of one caption among [`Captions::all`].
    ///
    /// # Panics
    ///
    /// If there are not that many captions.
    pub(super) fn tokens(&self, caption: usize) -> Range<usize> {
        let [_, captions, tokens, _] = self.key.dims();
        assert!(caption < captions, "caption {caption} of {captions}");
        caption * tokens..(caption + 1) * tokens
    }
}
