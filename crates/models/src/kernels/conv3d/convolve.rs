//! Frames out of frames: the convolution itself and its derivative by the frames.
//!
//! | letter | means |
//! |---|---|
//! | `C`, `O` | channels of the convolution, in and out |
//! | `K` | offsets of a pass: its taps in every channel of a source |

use std::{array, borrow::Cow};

use rayon::prelude::*;

use super::{
    Conv3d,
    plane::{Plane, Planes},
    taps::Pass,
    tile::{BLOCK, Convolve, MOST_LANES, Source, dispatch},
};

/// Positions that are convolved before they are copied to where they belong.
const BAND: usize = 1024;

/// `[B, U, O, h, w]` from packed `[B, T, C, H, W]`.
pub(super) fn forward(
    conv: &Conv3d,
    input: &Planes,
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let [channels_in, channels_out] = conv.channels;
    let [batch, frames_out, ..] = conv.output_shape();
    let [_, frames_in] = conv.frames;
    let kernel =
        Kernel { conv, weight, channels: [channels_in, channels_out], steps: [channels_in, 1] };
    let passes = conv.space.forward(conv.size, conv.side());
    let passes = passes.into_iter().map(|pass| Packed::new(pass, &input.plane, &kernel));
    let work = Work { passes: passes.collect(), result: conv.output_plane(), bias };
    work.run(batch * frames_out, channels_out, |index| {
        let first = index / frames_out * frames_in;
        let sources = conv.sources(index % frames_out);
        sources.map(|[tap, source]| (tap, input.frame(first + source))).collect()
    })
}

/// `[B, T, C, H, W]` from packed `[B, U, O, h, w]`.
pub(super) fn backward(conv: &Conv3d, gradient: &Planes, weight: &[f32]) -> Vec<f32> {
    let [channels_in, channels_out] = conv.channels;
    let [_, frames_out, ..] = conv.output_shape();
    let [batch, frames_in] = conv.frames;
    let kernel =
        Kernel { conv, weight, channels: [channels_out, channels_in], steps: [1, channels_in] };
    let passes = conv.space.backward(conv.size, conv.side());
    let passes = passes.into_iter().map(|pass| Packed::new(pass, &gradient.plane, &kernel));
    let work = Work { passes: passes.collect(), result: conv.input_plane(), bias: None };
    work.run(batch * frames_in, channels_in, |index| {
        let first = index / frames_in * frames_out;
        let targets = conv.targets(index % frames_in);
        targets.map(|[tap, target]| (tap, gradient.frame(first + target))).collect()
    })
}

/// A weight `[O, C, time, height, width]`, seen from one of its sides.
struct Kernel<'a> {
    conv: &'a Conv3d,
    weight: &'a [f32],
    /// Channels of a source and of a result.
    channels: [usize; 2],
    /// Kernels from one result to the next, and from one source to the next.
    steps: [usize; 2],
}

impl Kernel<'_> {
    /// The weight `[O, C, time, taps of the pass]`.
    fn folded(&self, pass: &Pass) -> Cow<'_, [f32]> {
        let [_, rows, columns] = self.conv.kernel;
        let mut places = pass.taps.iter().map(|tap| tap.weights.as_slice()).enumerate();
        if pass.taps.len() == rows * columns && places.all(|(tap, places)| places == [tap]) {
            return Cow::Borrowed(self.weight);
        }
        let kernels = self.weight.chunks_exact(rows * columns);
        let folded = kernels.flat_map(|kernel| {
            pass.taps.iter().map(|tap| tap.weights.iter().map(|&place| kernel[place]).sum())
        });
        Cow::Owned(folded.collect())
    }
}

/// Append the weights of the taps, those of `LANES` channels side by side; none count as zero.
fn interleave<'a, const LANES: usize>(
    lane: impl Fn(usize) -> &'a [f32],
    taps: usize,
    to: &mut Vec<f32>,
) {
    let lanes: [&[f32]; LANES] = array::from_fn(lane);
    if lanes.iter().all(|lane| lane.len() == taps) {
        (0..taps).for_each(|tap| to.extend(lanes.map(|lane| lane[tap])));
    } else {
        let weight = |lane: &[f32], tap: usize| lane.get(tap).copied().unwrap_or(0.0);
        (0..taps).for_each(|tap| to.extend(lanes.map(|lane| weight(lane, tap))));
    }
}

/// A pass with its weights in the order they are used.
struct Packed {
    parity: [usize; 2],
    /// `[K]`.
    offsets: Vec<usize>,
    /// `[block, time, K, width of the block]`.
    weights: Vec<f32>,
    times: usize,
}

/// Channels that are convolved together where `left` are left.
fn width(left: usize) -> usize {
    if left > BLOCK / 2 { BLOCK } else { BLOCK / 2 }
}

impl Packed {
    fn new(pass: Pass, source: &Plane, kernel: &Kernel<'_>) -> Self {
        let [sources, results] = kernel.channels;
        let [times, ..] = kernel.conv.kernel;
        let offsets = (0..sources).flat_map(|channel| {
            pass.taps.iter().map(move |tap| channel * source.channel_len() + tap.offset)
        });
        let folded = kernel.folded(&pass);
        let taps = pass.taps.len();
        let mut weights =
            Vec::with_capacity(results.next_multiple_of(BLOCK) * times * sources * taps);
        for first in (0..results).step_by(BLOCK) {
            for time in 0..times {
                for source in 0..sources {
                    let lane = |lane: usize| {
                        let index = (first + lane) * kernel.steps[0] + source * kernel.steps[1];
                        let known = first + lane < results;
                        if known { &folded[(index * times + time) * taps..][..taps] } else { &[] }
                    };
                    if width(results - first) == BLOCK {
                        interleave::<BLOCK>(lane, taps, &mut weights);
                    } else {
                        interleave::<{ BLOCK / 2 }>(lane, taps, &mut weights);
                    }
                }
            }
        }
        Self { parity: pass.parity, offsets: offsets.collect(), weights, times }
    }

    /// The weights of a block at a tap in time.
    fn weights(&self, block: usize, width: usize, time: usize) -> &[f32] {
        let taps = self.offsets.len();
        &self.weights[(block * BLOCK * self.times + time * width) * taps..][..taps * width]
    }
}

/// Everything that is the same for all frames.
struct Work<'a> {
    passes: Vec<Packed>,
    result: Plane,
    bias: Option<&'a [f32]>,
}

impl Work<'_> {
    /// Make frames, each from its own sources with their taps in time.
    fn run<'a>(
        &self,
        num_frames: usize,
        channels: usize,
        sources: impl Fn(usize) -> Vec<(usize, &'a [f32])> + Sync,
    ) -> Vec<f32> {
        let picture: usize = self.result.size.iter().product();
        let mut out = vec![0.0; num_frames * channels * picture];
        out.par_chunks_mut(channels * picture).enumerate().for_each(|(index, frame)| {
            let sources = sources(index);
            frame.par_chunks_mut(BLOCK * picture).enumerate().for_each(|(block, channels)| {
                for pass in &self.passes {
                    self.block(pass, block, &sources, channels);
                }
            });
        });
        out
    }

    /// Fill a block of channels, `[channels, height, width]`, at the positions of one pass.
    fn block(&self, pass: &Packed, block: usize, sources: &[(usize, &[f32])], out: &mut [f32]) {
        let Plane { size, step, pitch, .. } = self.result;
        let [height, columns] = size.map(|side| side / step);
        let channels = out.len() / (size[0] * size[1]);
        let block_width = width(channels);
        let mut start = vec![0.0; block_width];
        if let Some(bias) = self.bias {
            start[..channels].copy_from_slice(&bias[block * BLOCK..][..channels]);
        }
        let rows = (BAND / pitch).clamp(1, height);
        let mut scratch = vec![0.0; block_width * (rows * pitch).next_multiple_of(MOST_LANES)];
        for first in (0..height).step_by(rows) {
            let rows = rows.min(height - first);
            let positions = ((rows - 1) * pitch + columns).next_multiple_of(MOST_LANES);
            let band = &mut scratch[..block_width * positions];
            let sources: Vec<_> = sources
                .iter()
                .map(|&(time, planes)| Source {
                    planes: &planes[first * pitch..],
                    weights: pass.weights(block, block_width, time),
                })
                .collect();
            dispatch(Convolve {
                sources: &sources,
                offsets: &pass.offsets,
                bias: &start,
                out: &mut *band,
            });
            for (values, channel) in
                band.chunks_exact(positions).zip(out.chunks_exact_mut(size[0] * size[1]))
            {
                for row in 0..rows {
                    let line = (first + row) * step + pass.parity[0];
                    let line = &mut channel[line * size[1] + pass.parity[1]..];
                    copy_row(&values[row * pitch..][..columns], line, step);
                }
            }
        }
    }
}

/// Copy values to every `step`-th place.
fn copy_row(values: &[f32], line: &mut [f32], step: usize) {
    if step == 1 {
        line[..values.len()].copy_from_slice(values);
        return;
    }
    for (place, &value) in line.iter_mut().step_by(step).zip(values) {
        *place = value;
    }
}
