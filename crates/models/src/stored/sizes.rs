//! The sizes of published networks, from the shapes of their tensors.
//!
//! A configuration beside the weights is asked only for what no shape tells; where both speak, the
//! shapes are right, because it is they that must fit.

use serde_json::Value;

use super::StoredNetwork;
use crate::{
    bundle::BundleError, checkpoint::CheckpointError, dit::DitConfig, umt5::Umt5Config,
    vae::VaeConfig,
};

/// Width of one head of every published transformer.
const HEAD_WIDTH: usize = 128;

/// Entries of a list of the VAE, or blocks; the configuration's own check is stricter.
const MOST_ENTRIES: usize = 1 << 11;

impl StoredNetwork<'_> {
    /// The shape of a tensor of `D` axes, given its official name.
    fn shape<const D: usize>(&self, official: &str) -> Result<[usize; D], BundleError> {
        let name = self.naming.names(self.network, &[official], &self.prefix).concat();
        let path = || self.path().to_owned();
        let Some(found) = self.weights.shape(&name) else {
            return Err(CheckpointError::Missing { count: 1, first: name, path: path() }.into());
        };
        found.try_into().map_err(|_| {
            let reason = format!("tensor {name} has {} axes, expected {D}", found.len());
            BundleError::Inconsistent { reason, path: path() }
        })
    }

    /// How many tensors there are whose official names differ in a counted index.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        let there = |&index: &usize| {
            let name = self.naming.names(self.network, &[&name(index)], &self.prefix).concat();
            self.weights.shape(&name).is_some()
        };
        (0..MOST_ENTRIES).take_while(there).count()
    }

    fn inconsistent(&self, reason: String) -> BundleError {
        BundleError::Inconsistent { reason, path: self.path().to_owned() }
    }
}

/// A number of a configuration, under the first of some keys that is there.
fn number(settings: &Value, keys: &[&str]) -> Option<usize> {
    let found = keys.iter().find_map(|key| settings.get(key)?.as_u64());
    found.and_then(|number| usize::try_from(number).ok())
}

pub(super) fn dit(
    stored: &StoredNetwork<'_>,
    settings: &Value,
    shot_phase: f32,
) -> Result<DitConfig, BundleError> {
    let [dim, in_channels, frames, rows, columns] = stored.shape("patch_embedding.weight")?;
    let [_, freq_dim] = stored.shape("time_embedding.0.weight")?;
    let [_, text_dim] = stored.shape("text_embedding.0.weight")?;
    let [ffn_dim, _] = stored.shape("blocks.0.ffn.0.weight")?;
    let [outputs, _] = stored.shape("head.head.weight")?;
    let shot_embeddings =
        stored.shape("shot_embedding.weight").map_or(0, |[count, _]: [_; 2]| count);
    let published = DitConfig::wan_1_3b();
    let num_heads = number(settings, &["num_heads", "num_attention_heads"]);
    let num_heads = num_heads.or((dim % HEAD_WIDTH == 0).then_some(dim / HEAD_WIDTH));
    let no_heads = || {
        stored.inconsistent(format!(
            "a width of {dim} does not tell the number of heads, expected num_heads in config.json"
        ))
    };
    let patch = [frames, rows, columns];
    let cell = patch.iter().try_fold(1_usize, |cell, &side| cell.checked_mul(side));
    let out_channels = cell.and_then(|cell| outputs.checked_div(cell)).unwrap_or(0);
    Ok(DitConfig {
        dim,
        ffn_dim,
        freq_dim,
        num_heads: num_heads.ok_or_else(no_heads)?,
        num_layers: stored.count(|block| format!("blocks.{block}.modulation")),
        in_channels,
        out_channels,
        patch,
        text_dim,
        text_len: number(settings, &["text_len"]).unwrap_or(published.text_len),
        eps: settings.get("eps").and_then(Value::as_f64).unwrap_or(published.eps),
        shot_phase,
        shot_embeddings,
    })
}

pub(super) fn vae(stored: &StoredNetwork<'_>, settings: &Value) -> Result<VaeConfig, BundleError> {
    let [dim, colours, ..] = stored.shape::<5>("encoder.conv1.weight")?;
    let [decoder_dim, ..] = stored.shape::<4>("decoder.head.0.gamma")?;
    let [z_dim, ..] = stored.shape::<5>("conv2.weight")?;
    let entry = |index, end: &str| format!("encoder.downsamples.{index}.{end}");
    let num_res_blocks = stored.count(|index| entry(index, "residual.2.weight"));
    // A stage is its blocks and the halving behind them, which the last one lacks.
    let stage = num_res_blocks + 1;
    let halvings = stored.count(|index| entry(index * stage + num_res_blocks, "resample.1.weight"));
    let widths = (0..=halvings).map(|index| {
        let last = index * stage + num_res_blocks.saturating_sub(1);
        let [width, ..] = stored.shape::<5>(&entry(last, "residual.6.weight"))?;
        width.checked_div(dim).ok_or_else(|| stored.inconsistent("the vae has no width".to_owned()))
    });
    let published = VaeConfig::wan();
    let statistics = |key: &str, published: Vec<f32>| match settings.get(key) {
        Some(values) => serde_json::from_value(values.clone()).map_err(|source| {
            BundleError::Config { source, path: stored.path().with_file_name("config.json") }
        }),
        None => Ok(published),
    };
    Ok(VaeConfig {
        dim,
        decoder_dim,
        z_dim,
        dim_mult: widths.collect::<Result<_, _>>()?,
        num_res_blocks,
        temporal_downsample: (0..halvings)
            .map(|index| {
                let name = entry(index * stage + num_res_blocks, "time_conv.weight");
                stored.shape::<5>(&name).is_ok()
            })
            .collect(),
        patch: (colours / 3).isqrt(),
        latents_mean: statistics("latents_mean", published.latents_mean)?,
        latents_std: statistics("latents_std", published.latents_std)?,
    })
}

pub(super) fn text(
    stored: &StoredNetwork<'_>,
    settings: &Value,
) -> Result<Umt5Config, BundleError> {
    let [vocab_size, dim] = stored.shape("token_embedding.weight")?;
    let [dim_attn, _] = stored.shape("blocks.0.attn.q.weight")?;
    let [dim_ffn, _] = stored.shape("blocks.0.ffn.fc1.weight")?;
    let [num_buckets, num_heads] = stored.shape("blocks.0.pos_embedding.embedding.weight")?;
    let farthest = number(settings, &["relative_attention_max_distance"]);
    Ok(Umt5Config {
        vocab_size,
        dim,
        dim_attn,
        dim_ffn,
        num_heads,
        num_layers: stored.count(|block| format!("blocks.{block}.norm1.weight")),
        num_buckets,
        max_distance: farthest.unwrap_or(Umt5Config::wan().max_distance),
    })
}
