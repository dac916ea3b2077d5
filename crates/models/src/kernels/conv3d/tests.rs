//! The convolution and its derivatives against a loop over everything.

use proptest::prelude::*;

use super::{Conv3d, Space, Time};
use crate::kernels::check::normal;

/// Values for every number of a convolution.
struct Values {
    frames: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    gradient: Vec<f32>,
}

fn values(conv: &Conv3d, seed: u32) -> Values {
    let mut seeds = seed..;
    let mut draw = |count: usize| {
        let seed = seeds.next().unwrap_or_default();
        normal([count], seed).into_data().try_to_vec().unwrap()
    };
    let kernel: usize = conv.kernel.iter().product();
    let picture: usize = conv.size.iter().product();
    Values {
        frames: draw(conv.frames[0] * conv.frames[1] * conv.channels[0] * picture),
        weight: draw(conv.channels[0] * conv.channels[1] * kernel),
        bias: draw(conv.channels[1]),
        gradient: draw(conv.output_shape().iter().product()),
    }
}

/// Visit every product of the convolution: indices of the output, the frames and the weight.
fn products(conv: &Conv3d, mut visit: impl FnMut(usize, usize, usize)) {
    let [batch, frames_out, channels_out, rows, columns] = conv.output_shape();
    let [_, frames_in] = conv.frames;
    let [channels_in, _] = conv.channels;
    let kernel: usize = conv.kernel.iter().product();
    let size = [frames_in, conv.size[0], conv.size[1]];
    for out in 0..batch * frames_out * channels_out * rows * columns {
        let [column, row] = [out % columns, out / columns % rows];
        let channel_out = out / (columns * rows) % channels_out;
        let frame = out / (columns * rows * channels_out) % frames_out;
        let clip = out / (columns * rows * channels_out * frames_out);
        for tap in 0..kernel {
            let [_, kernel_rows, kernel_columns] = conv.kernel;
            let time = tap / (kernel_rows * kernel_columns);
            let place = [tap / kernel_columns % kernel_rows, tap % kernel_columns];
            let met = [0, 1].map(|axis| {
                let at = [row, column][axis] as isize;
                let tap = place[axis] as isize;
                let margin = (conv.kernel[axis + 1] / 2) as isize;
                match conv.space {
                    Space::Same => at + tap - margin,
                    Space::Halve => 2 * at + tap,
                    Space::Double => (at + tap - margin).div_euclid(2),
                }
            });
            let moment = (conv.time.stride * frame + time) as isize - conv.time.front as isize;
            let met = [moment, met[0], met[1]];
            if (0..3).any(|axis| met[axis] < 0 || met[axis] >= size[axis] as isize) {
                continue;
            }
            let [moment, row, column] = met.map(|index| index as usize);
            for channel in 0..channels_in {
                let plane = (clip * frames_in + moment) * channels_in + channel;
                let from = (plane * size[1] + row) * size[2] + column;
                visit(out, from, (channel_out * channels_in + channel) * kernel + tap);
            }
        }
    }
}

fn assert_close(found: &[f32], expected: &[f64], name: &str) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let scale = expected.iter().fold(1.0, |most: f64, value| most.max(value.abs()));
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error < 1e-5 * scale, "{name}[{index}]: {found} instead of {expected}");
    }
}

fn check(conv: &Conv3d, seed: u32) {
    let Values { frames, weight, bias, gradient } = values(conv, seed);
    let [_, _, channels, rows, columns] = conv.output_shape();
    let channel_of = |out: usize| out / (rows * columns) % channels;
    let mut out: Vec<_> = (0..gradient.len()).map(|out| f64::from(bias[channel_of(out)])).collect();
    let mut by_frames = vec![0.0; frames.len()];
    let mut by_weight = vec![0.0; weight.len()];
    let mut by_bias = vec![0.0; bias.len()];
    products(conv, |to, from, tap| {
        out[to] += f64::from(frames[from] * weight[tap]);
        by_frames[from] += f64::from(gradient[to] * weight[tap]);
        by_weight[tap] += f64::from(gradient[to] * frames[from]);
    });
    for (index, &value) in gradient.iter().enumerate() {
        by_bias[channel_of(index)] += f64::from(value);
    }
    assert_close(&conv.forward(&frames, &weight, Some(&bias)), &out, "output");
    assert_close(&conv.frames_gradient(&weight, &gradient), &by_frames, "by frames");
    assert_close(&conv.weight_gradient(&frames, &gradient), &by_weight, "by weight");
    assert_close(&conv.bias_gradient(&gradient), &by_bias, "by bias");
}

fn space() -> impl Strategy<Value = (Space, [usize; 2])> {
    prop_oneof![
        prop_oneof![Just([1, 1]), Just([3, 3]), Just([3, 1])].prop_map(|side| (Space::Same, side)),
        Just((Space::Halve, [3, 3])),
        Just((Space::Double, [3, 3])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn values_and_derivatives_are_those_of_the_plain_sums(
        frames in [1usize..3, 3usize..6],
        channels in [1usize..14, 1usize..22],
        halves in [1usize..6, 1usize..12],
        odd in [0usize..2, 0usize..2],
        (space, [rows, columns]) in space(),
        (taps, front, stride) in (1usize..4, 0usize..3, 1usize..3),
        seed in 1u32..1000,
    ) {
        let odd = if space == Space::Halve { [0, 0] } else { odd };
        let conv = Conv3d {
            frames,
            channels,
            size: [2 * halves[0] - odd[0], 2 * halves[1] - odd[1]],
            kernel: [taps, rows, columns],
            time: Time { front, stride },
            space,
        };
        check(&conv, seed);
    }
}

#[test]
fn a_frame_of_several_bands_is_convolved_whole() {
    for space in [Space::Same, Space::Halve, Space::Double] {
        let size = [70, 34];
        let time = Time { front: 2, stride: 1 };
        check(
            &Conv3d { frames: [1, 2], channels: [2, 5], size, kernel: [3, 3, 3], time, space },
            7,
        );
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let conv = Conv3d {
        frames: [2, 5],
        channels: [12, 20],
        size: [13, 18],
        kernel: [3, 3, 3],
        time: Time { front: 2, stride: 1 },
        space: Space::Same,
    };
    let Values { frames, weight, bias, gradient } = values(&conv, 3);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            [
                conv.forward(&frames, &weight, Some(&bias)),
                conv.frames_gradient(&weight, &gradient),
                conv.weight_gradient(&frames, &gradient),
                conv.bias_gradient(&gradient),
            ]
        })
    };
    assert_eq!(run(1), run(3));
}
