//! How much memory a model takes while it tells a story, from its sizes alone.
//!
//! What is kept is counted exactly, in the four bytes of every number that is computed with, and for
//! a text encoder, unless it is a small one, as it is stored. What a step needs while it runs is an estimate: the largest
//! tensors that live at the same time.

use shotstream_plan::{geometry::LatentFrames, recipe::Recipe};

use super::{StoredModel, StoredNetwork};
use crate::{checkpoint::Network, text::TABLE, umt5::Umt5Config, vae::VaeConfig};

/// Bytes of a number while it is computed with.
const NUMBER: u64 = 4;

/// Frames of its input that a causal convolution remembers.
const PAST: u64 = 2;

/// Text caches kept beside those of the context frames: the shot's own and the next one's.
const MORE_CAPTIONS: u64 = 2;

/// What one part of a running model takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Which part.
    pub part: &'static str,
    /// How large it becomes.
    pub bytes: u64,
    /// What its size comes from, in words.
    pub why: String,
}

/// What a running model takes, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan(pub Vec<MemoryUse>);

impl MemoryPlan {
    /// All parts together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|part| part.bytes).sum()
    }
}

impl StoredModel<'_> {
    /// What the model takes while it generates by `recipe`, which may differ from its own.
    #[must_use]
    pub fn memory(&self, recipe: &Recipe) -> MemoryPlan {
        let dit = &self.config.dit;
        let geometry = recipe.geometry();
        let tokens = |frames: usize| geometry.tokens_from_latent(LatentFrames(frames)).0 as u64;
        let key_values = |tokens: u64| tokens * 2 * (dit.dim * dit.num_layers) as u64 * NUMBER;
        let (context, chunk) = (recipe.context_frames(), geometry.chunk.0);
        let local = tokens(recipe.window().0.saturating_sub(chunk));
        let captions = context as u64 + MORE_CAPTIONS;
        let [height, width] = geometry.latent_size();
        let weights = self.networks().map(|stored| {
            let part = match stored.network() {
                Network::Dit => "transformer",
                Network::Vae => "VAE",
                Network::Umt5 => return self.text_memory(stored),
            };
            let parameters = stored.parameters();
            let (bytes, why) = (parameters * NUMBER, format!("{parameters} parameters"));
            MemoryUse { part, bytes, why }
        });
        let rest = [
            MemoryUse {
                part: "local cache",
                bytes: key_values(local),
                why: format!("{local} tokens of the shot, a window of {}", recipe.window().0),
            },
            MemoryUse {
                part: "context cache",
                bytes: key_values(tokens(context)),
                why: format!("{} tokens, {context} frames", tokens(context)),
            },
            MemoryUse {
                part: "text caches",
                bytes: captions * key_values(dit.text_len as u64),
                why: format!("{captions} captions of {} tokens at most", dit.text_len),
            },
            MemoryUse {
                part: "decoder state",
                bytes: decoder_state(&self.config.vae, [height, width]),
                why: format!(
                    "two frames of the input of every convolution, {width}x{height} cells"
                ),
            },
            MemoryUse {
                part: "while denoising",
                bytes: {
                    let widest = (2 * dit.ffn_dim + 2 * dit.dim).max(10 * dit.dim) as u64;
                    tokens(context.max(chunk)) * widest * NUMBER
                },
                why: "an estimate".to_owned(),
            },
            MemoryUse {
                part: "while decoding",
                bytes: decoding(&self.config.vae, [height, width], chunk),
                why: "an estimate, at the same time as the next chunk is denoised".to_owned(),
            },
        ];
        MemoryPlan(weights.into_iter().chain(rest).collect())
    }
}

impl StoredModel<'_> {
    /// The blocks of the text encoder as they are stored, and one of them while it is run.
    fn text_memory(&self, stored: &StoredNetwork<'_>) -> MemoryUse {
        let Umt5Config { dim, dim_attn, dim_ffn, num_buckets, num_heads, .. } = self.config.text;
        let block = 4 * dim * dim_attn + 3 * dim * dim_ffn + num_buckets * num_heads + 2 * dim;
        let kept = stored.weights.bytes_under(&stored.prefix, &stored.table());
        MemoryUse {
            part: "text encoder",
            bytes: kept + block as u64 * NUMBER,
            why: format!(
                "{} parameters as stored, one block of {block} as computed; --text-encoder drop \
                 keeps none",
                stored.parameters()
            ),
        }
    }
}

impl StoredNetwork<'_> {
    /// What the table of a text encoder's tokens is called here.
    fn table(&self) -> String {
        self.naming.names(self.network, &[TABLE], &self.prefix).concat()
    }
}

/// Stages of the decoder from the deepest on: channels going in, channels, height and width.
fn stages(vae: &VaeConfig, [height, width]: [usize; 2]) -> Vec<[u64; 4]> {
    let mut channels = vae.dim_mult.last().map_or(0, |multiple| multiple * vae.decoder_dim);
    let stages = vae.dim_mult.iter().rev().enumerate().map(|(index, multiple)| {
        let own = multiple * vae.decoder_dim;
        let stage = [channels, own, height << index, width << index].map(|side| side as u64);
        channels = own / 2;
        stage
    });
    stages.collect()
}

/// Bytes of what a decoder remembers between chunks.
fn decoder_state(vae: &VaeConfig, cells: [usize; 2]) -> u64 {
    let stages = stages(vae, cells);
    let (deepest, last) = (stages[0], stages[stages.len() - 1]);
    // The first convolution, and the two blocks around the attention.
    let middle = (vae.z_dim as u64 + 4 * deepest[1]) * deepest[2] * deepest[3];
    let blocks = 1 + vae.num_res_blocks as u64;
    let halved_time = vae.temporal_downsample.iter().rev().map(|&halved| u64::from(halved));
    let lists = stages.iter().zip(halved_time.chain([0]));
    let upsamples: u64 = lists
        .map(|(&[channels_in, channels, height, width], doubles_time)| {
            let convolutions = channels_in + (2 * blocks - 1) * channels;
            (convolutions + doubles_time * channels) * height * width
        })
        .sum();
    let head = last[1] * last[2] * last[3];
    PAST * NUMBER * (middle + upsamples + head)
}

/// Bytes of the largest tensors of a chunk that is decoded: what a block gets, is making and made.
fn decoding(vae: &VaeConfig, cells: [usize; 2], chunk: usize) -> u64 {
    let mut frames = chunk as u64;
    let halved_time = vae.temporal_downsample.iter().rev().copied().chain([false]);
    let largest = stages(vae, cells).into_iter().zip(halved_time).map(|(stage, doubles_time)| {
        let [channels_in, channels, height, width] = stage;
        let bytes = 3 * frames * channels.max(channels_in) * height * width * NUMBER;
        frames *= 1 + u64::from(doubles_time);
        bytes
    });
    largest.max().unwrap_or(0)
}
