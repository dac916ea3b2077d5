//! Time of one forward and of one forward and backward pass of a small DiT on the CPU.
//!
//! Prints the processor time of a clip in milliseconds: the median over rounds, on the threads
//! `RAYON_NUM_THREADS` allows. Optional arguments: rounds, and what to run (`forward`, `causal`,
//! `chunk`, `train`).
#![expect(clippy::print_stdout, reason = "a program for people to run")]

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use shotstream_models::dit::{Dit, DitConfig, FrameMask, LocalCache, TextCache};
use shotstream_plan::layout::FrameSlot;

const BATCH: usize = 4;
const CONTEXT: usize = 6;
const FRAMES: usize = 15;
const GRID: [usize; 2] = [10, 16];
const CAPTIONS: usize = 3;

fn config() -> DitConfig {
    DitConfig {
        dim: 128,
        ffn_dim: 512,
        freq_dim: 256,
        num_heads: 4,
        num_layers: 6,
        text_dim: 128,
        text_len: 64,
        ..DitConfig::wan_1_3b()
    }
}

fn slots() -> Vec<FrameSlot> {
    (0..FRAMES)
        .map(|frame| FrameSlot {
            position: frame as u32,
            phase: u32::from(frame >= CONTEXT),
            caption: frame * CAPTIONS / FRAMES,
        })
        .collect()
}

struct Bench {
    dit: Dit,
    device: Device,
    latents: Tensor<5>,
    timesteps: Tensor<2>,
    slots: Vec<FrameSlot>,
}

impl Bench {
    fn new(device: Device) -> Self {
        let config = config();
        let [height, width] = GRID;
        let shape = [BATCH, config.in_channels, FRAMES, height, width];
        Self {
            dit: Dit::new(&config, &device),
            latents: Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device),
            timesteps: Tensor::random([BATCH, FRAMES], Distribution::Uniform(0.0, 1000.0), &device),
            slots: slots(),
            device,
        }
    }

    fn text(&self) -> TextCache {
        let shape = [BATCH, CAPTIONS, config().text_len, config().text_dim];
        let noise = Distribution::Normal(0.0, 1.0);
        self.dit.text_cache(Tensor::random(shape, noise, &self.device))
    }

    fn clip(&self, mask: Option<&FrameMask>) -> Tensor<5> {
        let (latents, timesteps) = (self.latents.clone(), self.timesteps.clone());
        self.dit.parallel(latents, timesteps, &self.slots, &self.text(), mask)
    }

    fn chunk(&self) -> Tensor<5> {
        let (context, chunk) = self.slots.split_at(CONTEXT);
        let text = self.text();
        let latents = |from: usize, count| self.latents.clone().narrow(2, from, count);
        let cache = self.dit.encode_context(latents(0, CONTEXT), context, &text);
        let mut local = LocalCache::default();
        self.dit.commit(latents(CONTEXT, 3), &chunk[..3], &text, &cache, &mut local);
        let timesteps = self.timesteps.clone().narrow(1, 0, 3);
        let noisy = latents(CONTEXT + 3, 3);
        self.dit.denoise(noisy, timesteps, &chunk[3..6], &text, &cache, &local)
    }
}

fn measure(name: &str, rounds: usize, mut run: impl FnMut()) {
    run();
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (ticks, start) = (cpu_ticks(), Instant::now());
        for _ in 0..4 {
            run();
        }
        let clips = (4 * BATCH) as f64;
        cpu.push((cpu_ticks() - ticks) as f64 * 10.0 / clips);
        wall.push(start.elapsed().as_secs_f64() * 1e3 / clips);
    }
    cpu.sort_by(f64::total_cmp);
    wall.sort_by(f64::total_cmp);
    println!(
        "{name:<24} {:8.2} ms processor {:8.2} ms wall (best {:.2}) a clip",
        cpu[rounds / 2],
        wall[rounds / 2],
        wall[0]
    );
}

/// Hundredths of a second this process has computed for, on Linux; elsewhere 0.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.first().and_then(|word| word.parse().ok()).unwrap_or(5);
    let wanted = |name: &str| arguments.len() < 2 || arguments[1..].iter().any(|word| word == name);
    let mask = FrameMask::block_causal(CONTEXT, FRAMES - CONTEXT, 3);

    let plain = Bench::new(Device::flex());
    if wanted("forward") {
        measure("forward", rounds, || drop(plain.clip(None).into_data()));
    }
    if wanted("causal") {
        measure("forward, block-causal", rounds, || drop(plain.clip(Some(&mask)).into_data()));
    }
    if wanted("chunk") {
        measure("context, commit, denoise", rounds, || drop(plain.chunk().into_data()));
    }
    let learner = Bench::new(Device::flex().autodiff());
    if wanted("train") {
        let train = |mask| drop(learner.clip(mask).square().mean().backward());
        measure("forward and backward", rounds, || train(None));
        measure("the same, block-causal", rounds, || train(Some(&mask)));
    }
}
