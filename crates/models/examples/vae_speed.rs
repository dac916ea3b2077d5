//! How fast the tiny VAE encodes, decodes and learns on this machine's CPU.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p shotstream-models --example vae_speed`

use std::{fs, time::Instant};

use burn::tensor::{Device, Distribution, Tensor};
use shotstream_models::vae::{Vae, VaeConfig};

/// Repetitions are added until one measurement has taken this long.
const MEASURED_SECS: f64 = 3.0;

/// Seconds of processor time this process has used, where the system tells.
fn processor_secs() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

/// Print what `work`, which handles `num_frames` frames, costs for each of them.
#[expect(clippy::print_stdout, reason = "an example that measures tells what it measured")]
fn measure(name: &str, num_frames: usize, mut work: impl FnMut()) {
    work();
    let (processor, clock) = (processor_secs(), Instant::now());
    let mut repeats = 0;
    while clock.elapsed().as_secs_f64() < MEASURED_SECS {
        work();
        repeats += 1;
    }
    let millis = 1e3 / (repeats * num_frames) as f64;
    let wall = clock.elapsed().as_secs_f64() * millis;
    let busy = processor_secs().zip(processor).map_or(f64::NAN, |(now, then)| now - then) * millis;
    println!("{name:<34} {wall:8.2} ms a frame, {busy:8.2} ms of one core");
}

fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn main() {
    let device = Device::flex();
    let vae = Vae::new(&VaeConfig::tiny(), &device);
    let clip = noise([1, 3, 33, 80, 128], &device);
    measure("encode 33 frames of 80 x 128", 33, || drop(vae.encode(clip.clone())));
    let frames = noise([6, 3, 80, 128], &device);
    measure("encode 6 single frames", 6, || drop(vae.encode_frames(frames.clone())));
    let latents = noise([1, 16, 9, 10, 16], &device);
    measure("decode 9 latents at once", 33, || drop(vae.decode(latents.clone())));
    let chunk = noise([1, 16, 3, 10, 16], &device);
    let mut state = vae.start();
    vae.decode_next(&mut state, chunk.clone());
    measure("decode 3 latents of a stream", 12, || {
        drop(vae.decode_next(&mut state, chunk.clone()))
    });

    let learning = device.autodiff();
    let vae = Vae::new(&VaeConfig::tiny(), &learning);
    let crops = noise([4, 3, 9, 48, 48], &learning);
    measure("training step, 4 crops of 48 x 48", 36, || {
        let (mean, log_variance) = vae.posterior(crops.clone());
        let spread = noise(mean.dims(), &learning);
        let latents = mean + (log_variance * 0.5).exp() * spread;
        drop((vae.decode_raw(latents) - crops.clone()).square().mean().backward());
    });
}
