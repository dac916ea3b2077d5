//! A whole model of a few thousand random weights.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Distribution, Tensor},
};
use shotstream_models::{
    bundle::{Bundle, BundleConfig},
    dit::{Dit, DitConfig},
    tokenizer::Tokenizer,
    umt5::{Umt5, Umt5Config},
    vae::{Vae, VaeConfig},
};
use shotstream_plan::recipe::Recipe;

/// Sizes that still have every part of the large ones.
fn tiny_config(vocab_size: usize) -> BundleConfig {
    BundleConfig {
        dit: DitConfig {
            dim: 12,
            ffn_dim: 8,
            freq_dim: 4,
            num_heads: 2,
            num_layers: 2,
            in_channels: 4,
            out_channels: 4,
            text_dim: 8,
            text_len: 12,
            ..DitConfig::wan_1_3b()
        },
        vae: VaeConfig {
            dim: 2,
            decoder_dim: 2,
            z_dim: 4,
            latents_mean: vec![0.5; 4],
            latents_std: vec![2.0; 4],
            ..VaeConfig::tiny()
        },
        text: Umt5Config {
            vocab_size,
            dim: 8,
            dim_attn: 4,
            dim_ffn: 8,
            num_heads: 2,
            num_layers: 1,
            num_buckets: 8,
            max_distance: 16,
        },
        recipe: Recipe::tiny(),
    }
}

/// Random networks and a vocabulary of five words.
pub(crate) fn tiny_bundle() -> Bundle {
    let tokenizer = Tokenizer::train(["a red cat waves".to_owned()]).expect("a vocabulary");
    let config = tiny_config(tokenizer.vocab_size());
    let device = Device::flex();
    Bundle {
        dit: Dit::new(&config.dit, &device).map(&mut Shake),
        vae: Vae::new(&config.vae, &device).map(&mut Shake),
        text: Umt5::new(&config.text, &device),
        tokenizer,
        config,
    }
}

/// Moves every weight a little, because fresh networks begin with layers of zeros.
pub(crate) struct Shake;

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weight| {
            let push = weight.random_like(Distribution::Normal(0.0, 0.1));
            weight + push
        })
    }
}
