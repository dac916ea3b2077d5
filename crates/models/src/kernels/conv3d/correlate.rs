//! The derivative by the weight: sums of products of outgoing and incoming planes.
//!
//! | letter | means |
//! |---|---|
//! | `C`, `O` | channels in, channels out |
//! | `K` | offsets of a pass: its taps in every incoming channel |

use std::array;

use rayon::prelude::*;

use super::{
    Conv3d,
    plane::Planes,
    taps::Pass,
    tile::{Correlate, MOST_LANES, Pair, ROWS, TAPS, dispatch},
};

/// `[O, C, time, height, width]` from packed frames `[B, T, C, H, W]` and the packed derivative
/// by the output, `[B, U, O, h, w]`.
pub(super) fn weight_gradient(conv: &Conv3d, input: &Planes, output: &Planes) -> Vec<f32> {
    let [channels_in, channels_out] = conv.channels;
    let [times, rows, columns] = conv.kernel;
    let passes = conv.space.forward(conv.size, conv.side());
    let pairs: Vec<Vec<Vec<_>>> = passes
        .iter()
        .map(|pass| (0..times).map(|time| pairs(conv, time, pass, [input, output])).collect())
        .collect();
    let kernel_len = channels_in * times * rows * columns;
    let mut out = vec![0.0; channels_out * kernel_len];
    out.par_chunks_mut(ROWS * kernel_len).enumerate().for_each(|(block, kernels)| {
        let last = kernels.len() / kernel_len - 1;
        let channel_len = output.plane.channel_len();
        let rows = array::from_fn(|row| (block * ROWS + row.min(last)) * channel_len);
        for (pass, pairs) in passes.iter().zip(&pairs) {
            for (time, pairs) in pairs.iter().enumerate() {
                let sums = products(conv, pass, pairs, rows, [input, output]);
                scatter(conv, pass, time, &sums, kernels);
            }
        }
    });
    out
}

/// Every outgoing frame with the incoming one it meets at a tap in time.
fn pairs<'a>(
    conv: &Conv3d,
    time: usize,
    pass: &Pass,
    [input, output]: [&'a Planes; 2],
) -> Vec<Pair<'a>> {
    let [batch, frames_in] = conv.frames;
    let [_, frames_out, ..] = conv.output_shape();
    let first = output.plane.first(pass.parity);
    let frames = (0..batch).flat_map(|clip| (0..frames_out).map(move |frame| (clip, frame)));
    frames
        .flat_map(|(clip, frame)| {
            let met = conv.sources(frame).filter(|&[tap, _]| tap == time);
            met.map(move |[_, source]| Pair {
                rows: &output.frame(clip * frames_out + frame)[first..],
                planes: input.frame(clip * frames_in + source),
            })
        })
        .collect()
}

/// The sums of products of a block of outgoing channels with all offsets: `K` of them.
fn products(
    conv: &Conv3d,
    pass: &Pass,
    pairs: &[Pair<'_>],
    rows: [usize; ROWS],
    [input, output]: [&Planes; 2],
) -> Vec<[f32; ROWS]> {
    let [channels_in, _] = conv.channels;
    let offsets: Vec<_> = (0..channels_in)
        .flat_map(|channel| {
            let start = channel * input.plane.channel_len();
            pass.taps.iter().map(move |tap| start + tap.offset)
        })
        .collect();
    let positions = output.plane.num_positions().next_multiple_of(MOST_LANES);
    let mut out = Vec::with_capacity(offsets.len());
    for offsets in offsets.chunks(TAPS) {
        let last = offsets.len() - 1;
        let taps = array::from_fn(|tap| offsets[tap.min(last)]);
        let sums = dispatch(Correlate { pairs, rows, taps, positions });
        out.extend((0..offsets.len()).map(|tap| sums.map(|sums| sums[tap])));
    }
    out
}

/// Add the sums of a pass to the kernels `[channel out, C, time, height, width]` of a block.
fn scatter(conv: &Conv3d, pass: &Pass, time: usize, sums: &[[f32; ROWS]], kernels: &mut [f32]) {
    let [channels_in, _] = conv.channels;
    let [times, rows, columns] = conv.kernel;
    let kernel_len = channels_in * times * rows * columns;
    for (row, kernels) in kernels.chunks_exact_mut(kernel_len).enumerate() {
        for (channel, sums) in sums.chunks_exact(pass.taps.len()).enumerate() {
            let kernel = &mut kernels[(channel * times + time) * rows * columns..];
            for (tap, sums) in pass.taps.iter().zip(sums) {
                for &place in &tap.weights {
                    kernel[place] += sums[row];
                }
            }
        }
    }
}
