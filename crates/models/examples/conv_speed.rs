//! How fast the convolutions of the VAE and their derivatives are, beside the framework's own.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p shotstream-models --example conv_speed`

use std::{hint::black_box, time::Instant};

use burn::tensor::{Device, Distribution, Tensor, module, ops::ConvOptions};
use shotstream_models::kernels::conv3d::{Conv3d, Space, Time};

/// Channels in and out, side of the frame, kernel, what happens in space.
type Case = ([usize; 2], usize, [usize; 3], Space);

/// The convolutions of the tiny VAE, and a few wider ones.
const CASES: [Case; 12] = [
    ([12, 12], 24, [3, 3, 3], Space::Same),
    ([12, 16], 24, [3, 3, 3], Space::Same),
    ([16, 16], 24, [3, 3, 3], Space::Same),
    ([20, 20], 24, [3, 3, 3], Space::Same),
    ([24, 24], 12, [3, 3, 3], Space::Same),
    ([40, 40], 12, [3, 3, 3], Space::Same),
    ([80, 80], 6, [3, 3, 3], Space::Same),
    ([64, 64], 24, [3, 3, 3], Space::Same),
    ([48, 96], 12, [3, 1, 1], Space::Same),
    ([24, 12], 24, [1, 1, 1], Space::Same),
    ([40, 20], 12, [1, 3, 3], Space::Double),
    ([12, 12], 24, [1, 3, 3], Space::Halve),
];

/// The shortest of many runs, in seconds: others may use this machine, too.
fn shortest<T>(mut work: impl FnMut() -> T) -> f64 {
    let runs = (0..40).map(|_| {
        let clock = Instant::now();
        black_box(work());
        clock.elapsed().as_secs_f64()
    });
    runs.fold(f64::INFINITY, f64::min)
}

/// Billions of operations a second of the framework's convolution forwards, where it has the same.
fn framework(conv: &Conv3d, operations: f64) -> f64 {
    if conv.space != Space::Same {
        return f64::NAN;
    }
    let device = Device::flex();
    let Conv3d { frames: [batch, num_frames], channels, size, kernel, time, .. } = *conv;
    let noise = Distribution::Normal(0.0, 1.0);
    let shape = [batch, channels[0], num_frames + time.front, size[0], size[1]];
    let frames = Tensor::<5>::random(shape, noise, &device);
    let shape = [channels[1], channels[0], kernel[0], kernel[1], kernel[2]];
    let weight = Tensor::<5>::random(shape, noise, &device);
    let options = ConvOptions::new([1; 3], [0, kernel[1] / 2, kernel[2] / 2], [1; 3], 1);
    let run = || module::conv3d(frames.clone(), weight.clone(), None, options.clone());
    operations / shortest(run) * 1e-9
}

#[expect(clippy::print_stdout, reason = "an example that measures tells what it measured")]
fn main() {
    println!("GFLOP/s, two clips of nine frames     forward  by frames  by weight | framework");
    for (channels, side, kernel, space) in CASES {
        let time = Time { front: kernel[0] - 1, stride: 1 };
        let conv = Conv3d { frames: [2, 9], channels, size: [side; 2], kernel, time, space };
        let taps: usize = kernel.iter().product();
        let out: usize = conv.output_shape().iter().product();
        let operations = (2 * out * channels[0] * taps) as f64;
        let values = |count: usize| (0..count).map(|i| (i as f32).sin()).collect::<Vec<_>>();
        let frames = values(18 * channels[0] * side * side);
        let weight = values(channels[0] * channels[1] * taps);
        let gradient = values(out);
        let [forward, by_frames, by_weight] = [
            shortest(|| conv.forward(&frames, &weight, None)),
            shortest(|| conv.frames_gradient(&weight, &gradient)),
            shortest(|| conv.weight_gradient(&frames, &gradient)),
        ]
        .map(|secs| operations / secs * 1e-9);
        let framework = framework(&conv, operations);
        println!(
            "{channels:?} {side} {kernel:?} {space:?}: \
             {forward:8.1} {by_frames:10.1} {by_weight:10.1} | {framework:6.1}"
        );
    }
}
