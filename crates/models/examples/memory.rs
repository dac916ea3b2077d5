//! How much memory one step of training takes: `memory TOKENS plain|checkpointed` runs a
//! transformer forwards and backwards once and prints the process's high-water mark.
//!
//! With `--features composed-attention` attention is a composition of tensor operations, which keeps
//! the scores of every query with every key. `docs/bench` holds what came out.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `C` | latent channels |
//! | `F` | latent frames |
//! | `h`, `w` | latent height and width |

#![expect(clippy::print_stdout, reason = "a program that measures")]

use std::{error::Error, time::Instant};

use burn::{
    module::{Module as _, ModuleMapper, Param},
    tensor::{Device, Distribution, Tensor},
};
use shotstream_models::dit::{Dit, DitConfig};
use shotstream_plan::layout::FrameSlot;

/// Tokens of a latent frame of 40 by 50.
const FRAME: usize = 20 * 25;

struct Learning;

impl ModuleMapper for Learning {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.autodiff().require_grad())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "memory TOKENS plain|checkpointed, TOKENS a multiple of 500";
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [tokens, way] = arguments.as_slice() else { return Err(usage.into()) };
    let frames = tokens.parse::<usize>()? / FRAME;
    let config = DitConfig {
        dim: 128,
        ffn_dim: 512,
        freq_dim: 64,
        num_heads: 2,
        num_layers: 6,
        text_dim: 64,
        text_len: 64,
        ..DitConfig::wan_1_3b()
    };
    let dit = Dit::new(&config, &Device::flex()).map(&mut Learning);
    let dit = match way.as_str() {
        "plain" => dit,
        "checkpointed" => dit.with_block_checkpointing(),
        _ => return Err(usage.into()),
    };
    let normal = Distribution::Normal(0.0, 1.0);
    let device = Device::flex();
    let clip = Tensor::<5>::random([1, 16, frames, 40, 50], normal, &device).autodiff();
    let text = Tensor::<4>::random([1, 1, 64, 64], normal, &device).autodiff();
    let timesteps = Tensor::<2>::full([1, frames], 500.0, &device).autodiff();
    let slots: Vec<_> =
        (0..frames as u32).map(|position| FrameSlot { position, phase: 0, caption: 0 }).collect();
    let before = high_water()?;
    let started = Instant::now();
    let made = dit.parallel(clip, timesteps, &slots, &dit.text_cache(text), None);
    let gradients = made.square().mean().backward();
    let secs = started.elapsed().as_secs_f64();
    let attention = if cfg!(feature = "composed-attention") { "composed" } else { "chunked" };
    println!(
        "{:5} tokens  {attention:8}  {way:12}  {:7.0} MB above {before:.0} MB  {secs:6.1} s",
        frames * FRAME,
        high_water()? - before,
    );
    drop(gradients);
    Ok(())
}

/// Most memory the process ever held, in MB, as Linux counts it.
fn high_water() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(kilobytes.parse::<f64>()? * 1.024e-3)
}
