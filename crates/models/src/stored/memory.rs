//! How much memory a model takes while it tells a story, from its sizes alone.
//!
//! What is kept is counted exactly: a text encoder as it is kept, everything else in the bytes of
//! every number that is computed with. What a step works in is counted too, but for some small
//! change.

use shotstream_plan::{geometry::LatentFrames, recipe::Recipe};
use shotstream_runtime::kernels::{Keeping, Precision};

use super::{StoredModel, StoredNetwork};
use crate::{
    checkpoint::Network, dit::DitConfig, fast::vae_sizes, text::Holding, umt5::Umt5Config,
    vae::VaeConfig,
};

/// Bytes of a number that is a sum of others, or is there but for a moment.
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
    /// What the model takes while it generates in a precision by `recipe`, which may differ from
    /// its own, with the transformer's weights kept in one way or another.
    #[must_use]
    pub fn memory(&self, recipe: &Recipe, precision: Precision, keeping: Keeping) -> MemoryPlan {
        let dit = &self.config.dit;
        let geometry = recipe.geometry();
        let tokens = |frames: usize| geometry.tokens_from_latent(LatentFrames(frames)).0 as u64;
        let key_values =
            |tokens: u64| tokens * 2 * (dit.dim * dit.num_layers) as u64 * precision.bytes();
        let (context, chunk) = (recipe.context_frames(), geometry.chunk.0);
        let local = tokens(recipe.window().0.saturating_sub(chunk));
        let captions = context as u64 + MORE_CAPTIONS;
        let [height, width] = geometry.latent_size();
        let weights = self.networks().map(|stored| {
            let parameters = stored.parameters();
            let kept = parameters * precision.bytes();
            let (part, bytes, why) = match stored.network() {
                Network::Dit => ("transformer", parameters * keeping.bytes(precision), ""),
                // What squares of results are made with, as the processor does it.
                Network::Vae => ("VAE", kept * 16 / 9, ", kernels of 3x3 as 4x4"),
                Network::Umt5 => return self.text_memory(stored, precision),
            };
            MemoryUse { part, bytes, why: format!("{parameters} parameters{why}") }
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
                part: "transformer's passes",
                bytes: key_values(tokens(chunk))
                    + working(dit, tokens(chunk) + tokens(context), precision),
                why: "what a chunk and the context are worked on in".to_owned(),
            },
            MemoryUse {
                part: "decoder",
                bytes: decoder(&self.config.vae, [height, width], precision),
                why: format!(
                    "the input of every convolution and two frames before it, {width}x{height} \
                     cells, {} at once",
                    vae_sizes(&self.config.vae).frames_at_once([height, width])
                ),
            },
        ];
        MemoryPlan(weights.into_iter().chain(rest).collect())
    }
}

impl StoredModel<'_> {
    /// The text encoder as it is kept, one block of it as it is computed with where that is another
    /// form, and the largest matrix on the way there.
    fn text_memory(&self, stored: &StoredNetwork<'_>, precision: Precision) -> MemoryUse {
        let Umt5Config { dim, dim_attn, dim_ffn, num_buckets, num_heads, .. } = self.config.text;
        let block = 4 * dim * dim_attn + 3 * dim * dim_ffn + num_buckets * num_heads + 2 * dim;
        let (numbers, bytes) = stored.kept();
        let (kept, how) = match Holding::beside(stored, precision) {
            Holding::Computed => (numbers * precision.bytes(), "as computed".to_owned()),
            _ => {
                let how = format!("as stored, one block of {block} as computed");
                (bytes + block as u64 * precision.bytes(), how)
            }
        };
        MemoryUse {
            part: "text encoder",
            bytes: kept + (dim * dim_ffn) as u64 * NUMBER,
            why: format!(
                "{} parameters {how}; --text-encoder drop keeps none",
                stored.parameters()
            ),
        }
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

/// Bytes of what the transformer works on so many tokens in.
fn working(dit: &DitConfig, tokens: u64, precision: Precision) -> u64 {
    let patch = dit.patch.iter().product::<usize>() * (dit.in_channels + dit.out_channels);
    let (sums, factors) = (4 * dit.dim + dit.head_dim() + patch, 2 * dit.dim + dit.ffn_dim);
    tokens * (sums as u64 * NUMBER + factors as u64 * precision.bytes())
}

/// Bytes of what a decoder works in: of every convolution the frames it sees, in a margin, and a
/// few tensors of every stage.
fn decoder(vae: &VaeConfig, cells: [usize; 2], precision: Precision) -> u64 {
    let stages = stages(vae, cells);
    let mut frames = vae_sizes(vae).frames_at_once(cells) as u64;
    let seen = |channels: u64, frames: u64, height: u64, width: u64| {
        channels * frames * (height + 2) * (width + 2)
    };
    let [_, deepest, height, width] = stages[0];
    // The first convolution, the two blocks around the attention, and what attention reads.
    let middle = vae.z_dim as u64 + 4 * deepest;
    let mut factors = seen(middle, PAST + frames, height, width);
    let mut sums = 4 * deepest * frames * height * width;
    let convolutions = 2 * (1 + vae.num_res_blocks as u64);
    for (index, &[channels_in, channels, height, width]) in stages.iter().enumerate() {
        let blocks = channels_in + (convolutions - 1) * channels;
        factors += seen(blocks, PAST + frames, height, width);
        sums += (channels_in + 2 * channels) * frames * height * width;
        let last = index + 1 == stages.len();
        let doubles_time = !last && vae.temporal_downsample[stages.len() - 2 - index];
        if doubles_time {
            factors += channels * (PAST + frames) * height * width;
            frames *= 2;
            sums += channels * frames * height * width;
        }
        let after = if last { PAST + frames } else { frames };
        factors += seen(channels, after, height, width);
    }
    sums * NUMBER + factors * precision.bytes()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use shotstream_runtime::{cpu::Cpu, vae::Decoder};

    use super::*;
    use crate::{source::Parameters, vae::Vae};

    #[test]
    fn a_decoder_takes_what_was_said() {
        let wide = VaeConfig { dim: 8, decoder_dim: 8, ..VaeConfig::wan() };
        let models = [(VaeConfig::tiny(), [10, 16]), (wide, [12, 20])];
        let precisions = [Precision::F32, Precision::Bf16];
        let cases = models.into_iter().flat_map(|model| precisions.map(|p| (model.clone(), p)));
        for ((vae, cells), precision) in cases {
            let cpu = Cpu::new().in_precision(precision);
            let network = Vae::new(&vae, &Device::flex());
            let weights = Parameters::of(network, Network::Vae);
            let decoder_made = Decoder::new(cpu, vae_sizes(&vae), &weights);
            let taken = decoder_made.expect("weights that fit").memory_bytes(cells);
            let said = decoder(&vae, cells, precision);
            let differs = said.abs_diff(taken);
            assert!(differs * 10 < taken, "{said} bytes were said, {taken} are taken");
        }
    }
}
