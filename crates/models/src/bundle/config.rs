//! The sizes of a whole model, and the rules that tie its parts together.

use serde::{Deserialize, Serialize};
use shotstream_plan::recipe::Recipe;

use crate::{dit::DitConfig, umt5::Umt5Config, vae::VaeConfig};

/// No size of a network comes near this. A number above it is damage or malice, and products of
/// several could overflow.
const MOST: usize = 1 << 20;

/// The same for what is repeated: blocks of a network.
const MOST_BLOCKS: usize = 1 << 10;

/// The sizes of the networks, and how to generate with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleConfig {
    /// The diffusion transformer.
    pub dit: DitConfig,
    /// The VAE.
    pub vae: VaeConfig,
    /// The text encoder.
    pub text: Umt5Config,
    /// Noise levels, memory, picture size.
    pub recipe: Recipe,
}

impl BundleConfig {
    /// Whether networks of these sizes can be built and work together.
    ///
    /// # Errors
    /// The first contradiction, in words.
    pub fn check(&self) -> Result<(), String> {
        let Self { dit, vae, text, recipe } = self;
        check_dit(dit)?;
        check_vae(vae)?;
        check_text(text)?;
        let geometry = recipe.geometry();
        let [_, rows, columns] = dit.patch;
        equal("dit in_dim", dit.in_channels, "vae z_dim", vae.z_dim)?;
        equal("dit out_dim", dit.out_channels, "vae z_dim", vae.z_dim)?;
        equal("dit text_dim", dit.text_dim, "text dim", text.dim)?;
        equal("vae stride", vae.stride(), "recipe vae_stride", geometry.vae_stride)?;
        equal("dit patch", [rows, columns], "recipe patch", geometry.patch)?;
        equal(
            "dit shot_phase",
            dit.shot_phase,
            "recipe shot_phase_radians",
            recipe.shot_phase_radians(),
        )
    }
}

fn check_dit(dit: &DitConfig) -> Result<(), String> {
    let DitConfig { dim, ffn_dim, freq_dim, num_heads, text_dim, text_len, .. } = *dit;
    let sizes = [dim, ffn_dim, freq_dim, num_heads, text_dim, text_len, dit.in_channels];
    check_sizes("dit", sizes.into_iter().chain(dit.patch))?;
    check_blocks("dit num_layers", dit.num_layers)?;
    require(dim.is_multiple_of(2 * num_heads), || {
        format!("{num_heads} heads do not divide a dit dim of {dim} into even parts")
    })?;
    require(freq_dim.is_multiple_of(2), || format!("dit freq_dim {freq_dim} is not even"))?;
    let phases = dit.shot_embeddings;
    require(phases <= MOST_BLOCKS, || {
        format!("dit shot_embeddings is {phases}, expected at most {MOST_BLOCKS}")
    })?;
    let frames = dit.patch[0];
    require(frames == 1, || format!("a dit token spans {frames} latent frames, expected 1"))?;
    require(dit.eps.is_finite() && 0.0 < dit.eps, || format!("dit eps is {}", dit.eps))
}

fn check_vae(vae: &VaeConfig) -> Result<(), String> {
    check_sizes("vae", [vae.dim, vae.decoder_dim, vae.z_dim, vae.patch].into_iter())?;
    check_sizes("vae dim_mult", vae.dim_mult.iter().copied())?;
    check_blocks("vae num_res_blocks", vae.num_res_blocks)?;
    let (stages, halvings) = (vae.dim_mult.len(), vae.temporal_downsample.len());
    require((1..=8).contains(&stages), || format!("the vae has {stages} stages"))?;
    equal("vae dim_mult", stages, "temporal_downsample and one", halvings + 1)?;
    let doubled = vae.dim_mult.iter().skip(1).map(|multiple| multiple * vae.decoder_dim);
    for width in doubled {
        require(width.is_multiple_of(2), || format!("a vae stage {width} wide cannot be halved"))?;
    }
    equal("vae latents_mean", vae.latents_mean.len(), "z_dim", vae.z_dim)?;
    equal("vae latents_std", vae.latents_std.len(), "z_dim", vae.z_dim)?;
    let (mean, std) = (&vae.latents_mean, &vae.latents_std);
    require(mean.iter().all(|mean| mean.is_finite()), || "a vae mean is not finite".to_owned())?;
    require(std.iter().all(|std| std.is_finite() && 0.0 < *std), || {
        "a vae standard deviation is not positive".to_owned()
    })
}

fn check_text(text: &Umt5Config) -> Result<(), String> {
    let Umt5Config { vocab_size, dim, dim_attn, dim_ffn, num_heads, .. } = *text;
    let Umt5Config { num_buckets, max_distance, .. } = *text;
    let sizes = [vocab_size, dim, dim_attn, dim_ffn, num_heads, num_buckets, max_distance];
    check_sizes("text", sizes.into_iter())?;
    check_blocks("text num_layers", text.num_layers)?;
    require(dim_attn.is_multiple_of(num_heads), || {
        format!("{num_heads} heads do not divide a text dim_attn of {dim_attn}")
    })?;
    require(num_buckets.is_multiple_of(4) && num_buckets / 4 < max_distance, || {
        format!("{num_buckets} text buckets cannot cover a distance of {max_distance}")
    })
}

/// Every size of a part is at least one and not absurd.
fn check_sizes(part: &str, mut sizes: impl Iterator<Item = usize>) -> Result<(), String> {
    match sizes.find(|size| !(1..=MOST).contains(size)) {
        Some(size) => Err(format!("a size of {part} is {size}, expected 1 to {MOST}")),
        None => Ok(()),
    }
}

/// The number of blocks of a part is at least one and not absurd.
fn check_blocks(part: &str, count: usize) -> Result<(), String> {
    let range = 1..=MOST_BLOCKS;
    require(range.contains(&count), || format!("{part} is {count}, expected 1 to {MOST_BLOCKS}"))
}

fn equal<T: PartialEq + std::fmt::Debug>(
    left: &str,
    a: T,
    right: &str,
    b: T,
) -> Result<(), String> {
    require(a == b, || format!("{left} is {a:?}, but {right} is {b:?}"))
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wan() -> BundleConfig {
        BundleConfig {
            dit: DitConfig::wan_1_3b(),
            vae: VaeConfig::wan(),
            text: Umt5Config::wan(),
            recipe: Recipe::wan(),
        }
    }

    #[test]
    fn the_published_sizes_fit_together() {
        assert_eq!(wan().check(), Ok(()));
    }

    #[test]
    fn a_configuration_survives_the_way_through_json() {
        let json = serde_json::to_string(&wan()).unwrap();
        assert_eq!(serde_json::from_str::<BundleConfig>(&json).unwrap(), wan());
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let mut json = serde_json::to_value(wan()).unwrap();
        json["steps"] = 4.into();
        assert!(serde_json::from_value::<BundleConfig>(json).is_err());
    }

    #[test]
    fn every_contradiction_is_told() {
        type Contradiction = (fn(&mut BundleConfig), &'static str);
        let contradictions: [Contradiction; 12] = [
            (|c| c.dit.num_heads = 0, "a size of dit is 0, expected 1 to 1048576"),
            (|c| c.dit.num_heads = 5, "5 heads do not divide a dit dim of 1536 into even parts"),
            (|c| c.dit.num_layers = 1 << 40, "dit num_layers is 1099511627776, expected 1 to 1024"),
            (|c| c.dit.patch[0] = 2, "a dit token spans 2 latent frames, expected 1"),
            (|c| c.dit.text_dim = 96, "dit text_dim is 96, but text dim is 4096"),
            (|c| c.dit.in_channels = 8, "dit in_dim is 8, but vae z_dim is 16"),
            (
                |c| c.dit.shot_phase = 0.5,
                "dit shot_phase is 0.5, but recipe shot_phase_radians is 0.16666667",
            ),
            (|c| c.dit.patch[1] = 4, "dit patch is [4, 2], but recipe patch is [2, 2]"),
            (|c| c.vae.patch = 2, "vae stride is [4, 16, 16], but recipe vae_stride is [4, 8, 8]"),
            (
                |c| c.vae.dim_mult = vec![1],
                "vae dim_mult is 1, but temporal_downsample and one is 4",
            ),
            (|c| c.vae.latents_std[3] = 0.0, "a vae standard deviation is not positive"),
            (|c| c.text.num_buckets = 2, "2 text buckets cannot cover a distance of 128"),
        ];
        for (contradict, expected) in contradictions {
            let mut config = wan();
            contradict(&mut config);
            assert_eq!(config.check(), Err(expected.to_owned()));
        }
    }
}
