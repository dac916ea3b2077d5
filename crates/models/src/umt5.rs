//! The text encoder: token ids to text embeddings, a umT5 encoder of any size.
//!
//! | letter | means | umT5-XXL |
//! |---|---|---|
//! | `B` | captions | 1 |
//! | `T` | tokens of the padded caption | 512 |
//! | `S` | tokens of the longest caption of the batch, at most `T` | |
//! | `N` | heads | 64 |
//! | `H` | width of one head | 64 |
//! | `A` | width of all heads, `N × H` | 4 096 |
//! | `D` | model width | 4 096 |
//!
//! Every block owns its table of relative positions, attention scores are not scaled by the head
//! width, and nothing has a bias. Padding is never read: keys past a caption's length are masked,
//! and the rows they would have produced are zero, as the denoiser was trained to see them.
//! Scores, sums of squares and softmax stay in the dtype of the weights, except the mean square
//! of the norm, which is taken in f32.
//!
//! Method: T5 (arXiv 1910.10683) with gated GELU (2002.05202), in the multilingual form of umT5
//! (2304.09151).

mod positions;

use burn::module::Module;
use burn::nn::{
    Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig, RmsNorm, RmsNormConfig,
};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shotstream_runtime::text::Positions;

use self::positions::relative_buckets;
use crate::kernels::activation::gelu;

/// Added to the mean square inside every norm.
const NORM_EPS: f64 = 1e-6;

/// The sizes of a [`Umt5`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Umt5Config {
    /// Rows of the token embedding; zero where the tokenizer is still to decide.
    #[serde(default)]
    pub vocab_size: usize,
    /// Width of an embedding, `D`.
    pub dim: usize,
    /// Width of all heads together, `A`.
    pub dim_attn: usize,
    /// Hidden width of the feed-forward layers.
    pub dim_ffn: usize,
    /// Attention heads, `N`; divides `dim_attn`.
    pub num_heads: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Buckets of relative positions, half of them for keys to the right.
    pub num_buckets: usize,
    /// Distance from which all positions share the last bucket.
    pub max_distance: usize,
}

impl Umt5Config {
    /// The encoder of Wan2.1: umT5-XXL.
    #[must_use]
    pub fn wan() -> Self {
        Self {
            vocab_size: 256_384,
            dim: 4096,
            dim_attn: 4096,
            dim_ffn: 10_240,
            num_heads: 64,
            num_layers: 24,
            num_buckets: 32,
            max_distance: 128,
        }
    }

    /// How far apart tokens are told apart.
    pub(crate) fn positions(&self) -> Positions {
        Positions { buckets: self.num_buckets, max_distance: self.max_distance }
    }
}

/// A umT5 encoder.
#[derive(Module, Debug)]
pub struct Umt5 {
    token_embedding: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    #[module(skip)]
    config: Umt5Config,
}

impl Umt5 {
    /// An encoder with random weights.
    #[must_use]
    pub fn new(config: &Umt5Config, device: &Device) -> Self {
        Self {
            token_embedding: EmbeddingConfig::new(config.vocab_size, config.dim).init(device),
            blocks: (0..config.num_layers).map(|_| Block::new(config, device)).collect(),
            norm: norm(config.dim, device),
            config: config.clone(),
        }
    }

    /// The sizes this encoder was made with.
    #[must_use]
    pub fn config(&self) -> &Umt5Config {
        &self.config
    }

    /// Ids `[B, T]` to embeddings `[B, T, D]`; rows from `lengths[b]` on are zero.
    ///
    /// # Panics
    /// When `lengths` does not hold one length per caption.
    #[must_use]
    pub fn forward(&self, ids: Tensor<2, Int>, lengths: &[usize]) -> Tensor<3> {
        let [batch, tokens] = ids.dims();
        // What lies beyond the longest caption is masked for everyone, so it is not computed.
        let longest = longest(lengths, tokens);
        let x = self.token_embedding.forward(ids.slice([0..batch, 0..longest]));
        let mut reading = Reading::new(&self.config, x, lengths, tokens);
        for block in &self.blocks {
            reading = block.read(reading);
        }
        reading.end(&self.norm)
    }
}

/// Tokens of the longest caption, at least one and at most `tokens`.
pub(crate) fn longest(lengths: &[usize], tokens: usize) -> usize {
    lengths.iter().copied().max().unwrap_or(0).clamp(1, tokens.max(1))
}

/// Captions on their way through the blocks.
#[derive(Clone, Debug)]
struct Reading {
    /// `[B, S, D]`.
    x: Tensor<3>,
    /// `[B, S]`, one where there is a token.
    present: Tensor<2>,
    /// `[B, N, S, S]`, true where a key is padding.
    absent: Tensor<4, Bool>,
    /// `[S, S]`.
    buckets: Tensor<2, Int>,
    /// How many rows an embedding has in the end, `T`.
    tokens: usize,
}

impl Reading {
    /// Captions whose tokens were looked up, `[B, S, D]`, to become `[B, tokens, D]`.
    ///
    /// # Panics
    /// When `lengths` does not hold one length per caption.
    fn new(config: &Umt5Config, x: Tensor<3>, lengths: &[usize], tokens: usize) -> Self {
        let [batch, longest, _] = x.dims();
        assert_eq!(lengths.len(), batch, "one length per caption");
        let device = x.device();
        let present = presence(lengths, longest, &device);
        let absent = present.clone().equal_elem(0.0).reshape([batch, 1, 1, longest]);
        Self {
            absent: absent.expand([batch, config.num_heads, longest, longest]),
            buckets: relative_buckets(config, longest, &device),
            x,
            present,
            tokens,
        }
    }

    /// The embeddings `[B, T, D]`; rows past a caption's length are zero.
    fn end(self, norm: &RmsNorm) -> Tensor<3> {
        let Self { x, present, tokens, .. } = self;
        let [batch, longest, width] = x.dims();
        let (device, x) = (x.device(), norm.forward(x));
        let dtype = x.dtype();
        let x = x * present.cast(dtype).reshape([batch, longest, 1]);
        let rest = Tensor::zeros([batch, tokens - longest, width], (&device, dtype));
        Tensor::cat(vec![x, rest], 1)
    }
}

/// One transformer layer.
#[derive(Module, Debug)]
struct Block {
    norm1: RmsNorm,
    attention: Attention,
    /// `[buckets, N]`.
    positions: Embedding,
    norm2: RmsNorm,
    ffn: FeedForward,
}

impl Block {
    fn new(config: &Umt5Config, device: &Device) -> Self {
        let std = (config.dim as f64).powf(-0.5);
        Self {
            norm1: norm(config.dim, device),
            attention: Attention::new(config, device),
            positions: EmbeddingConfig::new(config.num_buckets, config.num_heads)
                .with_initializer(Initializer::Normal { mean: 0.0, std })
                .init(device),
            norm2: norm(config.dim, device),
            ffn: FeedForward::new(config, device),
        }
    }

    /// Take captions through this layer.
    fn read(&self, reading: Reading) -> Reading {
        let Reading { x, absent, buckets, .. } = &reading;
        let bias = self.position_bias(buckets.clone());
        let mixed = self.attention.forward(self.norm1.forward(x.clone()), bias, absent.clone());
        let x = x.clone() + mixed;
        let x = x.clone() + self.ffn.forward(self.norm2.forward(x));
        Reading { x, ..reading }
    }

    /// Buckets `[S, S]` to what is added to the scores, `[1, N, S, S]`.
    fn position_bias(&self, buckets: Tensor<2, Int>) -> Tensor<4> {
        self.positions.forward(buckets).permute([2, 0, 1]).unsqueeze()
    }
}

/// Self-attention without scaling and without biases.
#[derive(Module, Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    num_heads: usize,
}

impl Attention {
    fn new(config: &Umt5Config, device: &Device) -> Self {
        let Umt5Config { dim, dim_attn, num_heads, .. } = *config;
        // Scores are not divided by the square root of the head width; small queries stand in.
        let head_width = dim_attn / num_heads;
        Self {
            q: linear([dim, dim_attn], dim * head_width, device),
            k: linear([dim, dim_attn], dim, device),
            v: linear([dim, dim_attn], dim, device),
            o: linear([dim_attn, dim], dim_attn, device),
            num_heads,
        }
    }

    /// `[B, S, D]` to the same; `bias` is `[1, N, S, S]`, `mask` `[B, N, S, S]` true at padding.
    fn forward(&self, x: Tensor<3>, bias: Tensor<4>, mask: Tensor<4, Bool>) -> Tensor<3> {
        let q = self.split_heads(self.q.forward(x.clone()));
        let k = self.split_heads(self.k.forward(x.clone()));
        let v = self.split_heads(self.v.forward(x));
        let scores = q.matmul(k.swap_dims(2, 3)) + bias;
        let weights = softmax(scores.mask_fill(mask, f32::MIN), 3);
        let mixed = weights.matmul(v).swap_dims(1, 2);
        let [batch, tokens, heads, width] = mixed.dims();
        self.o.forward(mixed.reshape([batch, tokens, heads * width]))
    }

    /// `[B, S, A]` to `[B, N, S, H]`.
    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, tokens, width] = x.dims();
        x.reshape([batch, tokens, self.num_heads, width / self.num_heads]).swap_dims(1, 2)
    }
}

/// A gated feed-forward layer: `W2(W1(x) ⊙ GELU(G(x)))`.
#[derive(Module, Debug)]
struct FeedForward {
    gate: Linear,
    fc1: Linear,
    fc2: Linear,
}

impl FeedForward {
    fn new(config: &Umt5Config, device: &Device) -> Self {
        let Umt5Config { dim, dim_ffn, .. } = *config;
        Self {
            gate: linear([dim, dim_ffn], dim, device),
            fc1: linear([dim, dim_ffn], dim, device),
            fc2: linear([dim_ffn, dim], dim_ffn, device),
        }
    }

    /// `[B, S, D]` to the same.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = gelu(self.gate.forward(x.clone()));
        self.fc2.forward(self.fc1.forward(x) * gate)
    }
}

fn norm(dim: usize, device: &Device) -> RmsNorm {
    RmsNormConfig::new(dim).with_epsilon(NORM_EPS).init(device)
}

/// A layer without bias whose weights have variance `1 / fan`.
fn linear([d_input, d_output]: [usize; 2], fan: usize, device: &Device) -> Linear {
    let std = (fan as f64).powf(-0.5);
    LinearConfig::new(d_input, d_output)
        .with_bias(false)
        .with_initializer(Initializer::Normal { mean: 0.0, std })
        .init(device)
}

/// `[B, S]`: one where a caption has a token, zero where it is padding.
fn presence(lengths: &[usize], tokens: usize, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = lengths
        .iter()
        .flat_map(|&length| (0..tokens).map(move |t| f32::from(u8::from(t < length))))
        .collect();
    Tensor::from_data(TensorData::new(values, [lengths.len(), tokens]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Umt5Config {
        Umt5Config {
            vocab_size: 20,
            dim: 16,
            dim_attn: 16,
            dim_ffn: 24,
            num_heads: 2,
            num_layers: 2,
            num_buckets: 32,
            max_distance: 128,
        }
    }

    fn ids(rows: &[[i64; 6]]) -> Tensor<2, Int> {
        let data: Vec<i64> = rows.concat();
        Tensor::from_data(TensorData::new(data, [rows.len(), 6]), &Device::flex())
    }

    fn largest_difference(a: Tensor<3>, b: Tensor<3>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    #[test]
    fn rows_past_the_length_are_zero() {
        let encoder = Umt5::new(&config(), &Device::flex());
        let out = encoder.forward(ids(&[[3, 4, 1, 0, 0, 0]]), &[3]);
        assert_eq!(out.dims(), [1, 6, 16]);
        let rest: f32 = out.clone().slice([0..1, 3..6]).abs().sum().into_scalar();
        let kept: f32 = out.slice([0..1, 0..3]).abs().sum().into_scalar();
        assert_eq!(rest, 0.0);
        assert!(kept > 0.0);
    }

    #[test]
    fn what_stands_in_the_padding_is_never_read() {
        let encoder = Umt5::new(&config(), &Device::flex());
        let a = encoder.forward(ids(&[[3, 4, 1, 0, 0, 0]]), &[3]);
        let b = encoder.forward(ids(&[[3, 4, 1, 9, 8, 7]]), &[3]);
        assert_eq!(largest_difference(a, b), 0.0);
    }

    #[test]
    fn a_caption_is_embedded_the_same_alone_and_beside_a_longer_one() {
        let encoder = Umt5::new(&config(), &Device::flex());
        let alone = encoder.forward(ids(&[[3, 4, 1, 0, 0, 0]]), &[3]);
        let both = encoder.forward(ids(&[[3, 4, 1, 0, 0, 0], [5, 6, 7, 8, 9, 1]]), &[3, 6]);
        assert!(largest_difference(alone, both.slice_dim(0, 0..1)) < 1e-5);
    }

    #[test]
    fn gradients_reach_the_table_of_positions() {
        let encoder = Umt5::new(&config(), &Device::flex().autodiff());
        let device = Device::flex().autodiff();
        let data = TensorData::new(vec![3_i64, 4, 1], [1, 3]);
        let out = encoder.forward(Tensor::from_data(data, &device), &[3]);
        let grads = out.square().sum().backward();
        let grad = encoder.blocks[0].positions.weight.val().grad(&grads).unwrap();
        assert!(grad.abs().sum().into_scalar::<f32>() > 0.0);
    }
}
