//! Weights of the VAE's parts, and the sections they become.

use std::mem;

use super::pads::{Pad, Size};
use crate::{
    kernels::{Grid, Heads, Kernels, Over, Product, Section, Step, Then},
    memory::Plan,
    weights::{Linear, Matrices, Names, WeightsError},
};

/// Weights on their way into a device.
pub(super) struct Weights<'a, K: Kernels> {
    pub(super) kernels: &'a K,
    pub(super) matrices: Matrices<K>,
    pub(super) plan: Plan,
    /// Taps in time that there is something behind: three in a stream, one in a single frame.
    pub(super) time: usize,
}

/// A convolution: the index of its matrix, and taps in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    pub(super) matrix: usize,
    pub(super) time: usize,
    pub(super) channels: [usize; 2],
    /// Positions on each side.
    pub(super) margin: usize,
}

/// A tensor `[O, C, time, rows, columns]` as `[O, taps, C]` from the `first` tap in time on.
fn by_taps(weight: &[f32], shape: [usize; 5], first: usize) -> Vec<f32> {
    let [outputs, channels, time, rows, columns] = shape;
    let area = rows * columns;
    let mut taps = Vec::with_capacity(outputs * channels * (time - first) * area);
    for output in 0..outputs {
        for tap in first * area..time * area {
            let of = |channel: usize| weight[(output * channels + channel) * time * area + tap];
            taps.extend((0..channels).map(of));
        }
    }
    taps
}

impl<K: Kernels> Weights<'_, K> {
    fn add(&mut self, weight: Vec<f32>, offset: Vec<f32>) -> usize {
        self.matrices.add(self.kernels, &Linear { weight, offset })
    }

    /// A causal convolution of `[time, side]` taps.
    pub(super) fn conv(
        &mut self,
        names: &Names<'_>,
        channels: [usize; 2],
        [time, side]: [usize; 2],
    ) -> Result<Conv, WeightsError> {
        let [from, to] = channels;
        let shape = [to, from, time, side, side];
        let weight = names.tensor("weight", &shape)?;
        let offset = names.tensor("bias", &[to])?;
        let seen = time.min(self.time);
        let matrix = self.add(by_taps(&weight, shape, time - seen), offset);
        Ok(Conv { matrix, time: seen, channels, margin: side / 2 })
    }

    /// A projection of every position, stored as a convolution of one frame.
    fn pointwise(
        &mut self,
        names: &Names<'_>,
        [from, to]: [usize; 2],
    ) -> Result<usize, WeightsError> {
        let weight = names.tensor("weight", &[to, from, 1, 1])?;
        let offset = names.tensor("bias", &[to])?;
        Ok(self.add(weight, offset))
    }

    /// A convolution of 3 x 3 that halves the picture.
    pub(super) fn halving(
        &mut self,
        names: &Names<'_>,
        channels: usize,
    ) -> Result<usize, WeightsError> {
        let weight = names.tensor("weight", &[channels, channels, 3, 3])?;
        let offset = names.tensor("bias", &[channels])?;
        Ok(self.add(by_taps(&weight, [channels, channels, 1, 3, 3], 0), offset))
    }

    /// A convolution of 3 x 3 over a doubled picture: one of 2 x 2 for every parity, whose weights
    /// are sums of those that meet the same position.
    pub(super) fn doubling(
        &mut self,
        names: &Names<'_>,
        channels: usize,
    ) -> Result<[usize; 4], WeightsError> {
        let half = channels / 2;
        let weight = names.tensor("weight", &[half, channels, 3, 3])?;
        let offset = names.tensor("bias", &[half])?;
        let meet = |parity: usize, near: usize| match (parity, near) {
            (0, 0) => 0..1,
            (0, _) => 1..3,
            (_, 0) => 0..2,
            _ => 2..3,
        };
        let mut parity = |[odd_row, odd_column]: [usize; 2]| {
            let mut sums = Vec::with_capacity(half * channels * 4);
            for kernel in weight.chunks_exact(channels * 9) {
                for near in [[0, 0], [0, 1], [1, 0], [1, 1]] {
                    for kernel in kernel.chunks_exact(9) {
                        let rows = meet(odd_row, near[0]);
                        let sum: f32 = rows
                            .flat_map(|row| {
                                meet(odd_column, near[1]).map(move |column| [row, column])
                            })
                            .map(|[row, column]| kernel[3 * row + column])
                            .sum();
                        sums.push(sum);
                    }
                }
            }
            self.add(sums, offset.clone())
        };
        Ok(PARITIES.map(&mut parity))
    }

    /// Two frames of one: three taps in time, once for each of the two.
    pub(super) fn time_doubling(
        &mut self,
        names: &Names<'_>,
        channels: usize,
    ) -> Result<[usize; 2], WeightsError> {
        let shape = [2 * channels, channels, 3, 1, 1];
        let weight = by_taps(&names.tensor("weight", &shape)?, shape, 0);
        let offset = names.tensor("bias", &[2 * channels])?;
        let (first, second) = weight.split_at(weight.len() / 2);
        let (before, after) = offset.split_at(channels);
        Ok([self.add(first.to_vec(), before.to_vec()), self.add(second.to_vec(), after.to_vec())])
    }

    /// The gains of a norm, stored with `ones` axes of one behind the channels.
    fn gain(
        &mut self,
        names: &Names<'_>,
        channels: usize,
        ones: usize,
    ) -> Result<usize, WeightsError> {
        let mut shape = vec![channels];
        shape.resize(1 + ones, 1);
        Ok(self.plan.constant(&names.tensor("gamma", &shape)?))
    }

    pub(super) fn residual(
        &mut self,
        names: &Names<'_>,
        channels: [usize; 2],
    ) -> Result<Residual, WeightsError> {
        let [from, to] = channels;
        let inner = names.under("residual");
        Ok(Residual {
            norms: [self.gain(&inner.under(0), from, 3)?, self.gain(&inner.under(3), to, 3)?],
            convs: [
                self.conv(&inner.under(2), channels, [3, 3])?,
                self.conv(&inner.under(6), [to, to], [3, 3])?,
            ],
            shortcut: match from == to {
                true => None,
                false => Some(self.conv(&names.under("shortcut"), channels, [1, 1])?.matrix),
            },
        })
    }

    pub(super) fn middle(
        &mut self,
        names: &Names<'_>,
        channels: usize,
    ) -> Result<Middle, WeightsError> {
        let look = names.under(1);
        Ok(Middle {
            first: self.residual(&names.under(0), [channels; 2])?,
            norm: self.gain(&look.under("norm"), channels, 2)?,
            query_key_value: self.pointwise(&look.under("to_qkv"), [channels, 3 * channels])?,
            project: self.pointwise(&look.under("proj"), [channels; 2])?,
            last: self.residual(&names.under(2), [channels; 2])?,
        })
    }

    pub(super) fn head(
        &mut self,
        names: &Names<'_>,
        channels: [usize; 2],
    ) -> Result<Head, WeightsError> {
        Ok(Head {
            norm: self.gain(&names.under(0), channels[0], 3)?,
            conv: self.conv(&names.under(2), channels, [3, 3])?,
        })
    }
}

/// Parities of rows and columns.
pub(super) const PARITIES: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// Two normalised, activated convolutions around a shortcut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Residual {
    norms: [usize; 2],
    convs: [Conv; 2],
    shortcut: Option<usize>,
}

/// Two residual blocks around an attention inside each frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Middle {
    first: Residual,
    norm: usize,
    query_key_value: usize,
    project: usize,
    last: Residual,
}

/// A normalised, activated convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    norm: usize,
    conv: Conv,
}

/// Frames on their way through a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    pub(super) start: usize,
    pub(super) size: Size,
    pub(super) channels: usize,
}

impl Frames {
    pub(super) fn grid(&self) -> Grid {
        self.size.packed(self.start, self.channels)
    }

    fn len(&self) -> usize {
        self.size.positions() * self.channels
    }
}

/// Sections in the making.
pub(super) struct Builder<'a> {
    plan: &'a mut Plan,
    /// The pads of a network, in the order of its list; the first list makes them.
    pads: &'a mut Vec<Pad>,
    next_pad: usize,
    /// Pads of the list, and the frames it leaves in them.
    used: Vec<(Pad, usize)>,
    sections: Vec<Section>,
    steps: Vec<Step>,
    size: [usize; 3],
}

/// A list, and which pads have frames to be kept behind it.
#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) sections: Vec<Section>,
    pub(super) used: Vec<(Pad, usize)>,
    pub(super) output: Frames,
}

impl<'a> Builder<'a> {
    pub(super) fn new(plan: &'a mut Plan, pads: &'a mut Vec<Pad>) -> Self {
        let (used, sections, steps) = (Vec::new(), Vec::new(), Vec::new());
        Self { plan, pads, next_pad: 0, used, sections, steps, size: [0; 3] }
    }

    /// Everyone waits for what was pushed so far.
    pub(super) fn wait(&mut self) {
        let steps = mem::take(&mut self.steps);
        if !steps.is_empty() {
            self.sections.push(Section { size: self.size, steps });
        }
    }

    /// One more step over positions of this size.
    pub(super) fn push(&mut self, size: [usize; 3], step: Step) {
        if self.size != size {
            self.wait();
            self.size = size;
        }
        self.steps.push(step);
    }

    pub(super) fn finish(mut self, output: Frames) -> List {
        self.wait();
        List { sections: self.sections, used: self.used, output }
    }

    /// The next pad, whose frames a step may write now.
    pub(super) fn pad(&mut self, size: Size, channels: usize, [time, margin]: [usize; 2]) -> Pad {
        if self.next_pad == self.pads.len() {
            self.pads.push(Pad::new(0, size, channels, time - 1, margin));
        }
        let pad = self.pads[self.next_pad];
        self.next_pad += 1;
        self.used.push((pad, size.frames));
        pad
    }

    /// A pad that this list has no use for.
    pub(super) fn pass_over(&mut self) {
        self.next_pad += 1;
    }

    pub(super) fn scratch(&mut self, size: Size, channels: usize) -> Frames {
        let start = self.plan.scratch(size.positions() * channels);
        Frames { start, size, channels }
    }

    pub(super) fn free(&mut self, frames: Frames) {
        self.plan.free(frames.start, frames.len());
    }

    /// Normalise and activate frames into a pad, and convolve: the section that waits is begun.
    fn activated(&mut self, x: Frames, gain: usize, conv: Conv, y: Grid, then: Then) -> Product {
        let pad = self.pad(x.size, x.channels, [conv.time, conv.margin]);
        let (grid, width) = (x.grid(), x.channels);
        let norm = Step::ChannelNorm { x: grid, y: pad.inside(), width, gain, silu: true };
        self.push(x.size.array(), norm);
        self.wait();
        pad.same(conv.time, conv.matrix, y, then)
    }

    /// A convolution of what stands in a pad.
    pub(super) fn convolve(&mut self, pad: Pad, conv: Conv, size: Size) -> Frames {
        let y = self.scratch(size, conv.channels[1]);
        self.wait();
        let product = pad.same(conv.time, conv.matrix, y.grid(), Then::Plain);
        self.push(size.array(), Step::Product(product));
        y
    }

    pub(super) fn residual(&mut self, x: Frames, block: &Residual) -> Frames {
        let ([first, second], [norm_in, norm_out]) = (block.convs, block.norms);
        let (size, to) = (x.size, first.channels[1]);
        let hidden = self.scratch(size, to);
        let product = self.activated(x, norm_in, first, hidden.grid(), Then::Plain);
        self.push(size.array(), Step::Product(product));
        let y = self.scratch(size, to);
        let kept = match block.shortcut {
            None => x.grid(),
            Some(matrix) => {
                let product =
                    Product { x: x.grid(), taps: vec![0], matrix, y: y.grid(), then: Then::Plain };
                self.push(size.array(), Step::Product(product));
                y.grid()
            }
        };
        let product = self.activated(hidden, norm_out, second, y.grid(), Then::Add(kept));
        self.push(size.array(), Step::Product(product));
        // What is freed may be written by the next section that asks for room.
        self.free(hidden);
        self.free(x);
        y
    }

    pub(super) fn middle(&mut self, x: Frames, middle: &Middle) -> Frames {
        let x = self.residual(x, &middle.first);
        let Frames { size, channels, .. } = x;
        let Size { frames, rows, columns } = size;
        let tokens = [frames, rows * columns, 1];
        let token =
            |frames: Frames| Grid::packed(frames.start, [rows * columns, 1], frames.channels);
        let (normed, three) = (self.scratch(size, channels), self.scratch(size, 3 * channels));
        let y = self.scratch(size, channels);
        let heads = Heads { count: 1, width: channels };
        let q = token(three);
        let plain =
            |x, matrix, y, then| Step::Product(Product { x, taps: vec![0], matrix, y, then });
        let norm = Step::ChannelNorm {
            x: token(x),
            y: token(normed),
            width: channels,
            gain: middle.norm,
            silu: false,
        };
        let factor = (channels as f32).sqrt().recip();
        self.wait();
        for step in [
            norm,
            plain(token(normed), middle.query_key_value, q, Then::Plain),
            Step::Query { q, heads, turn: None, factor },
            Step::Remember { kv: q.shifted(channels), heads, turn: None, layer: 0 },
        ] {
            self.push(tokens, step);
        }
        self.wait();
        let over = Over::OwnFrame;
        self.push(tokens, Step::Attention { q, y: token(normed), heads, layer: 0, over });
        self.push(tokens, plain(token(normed), middle.project, token(y), Then::Add(token(x))));
        self.wait();
        [x, normed, three].into_iter().for_each(|frames| self.free(frames));
        self.residual(y, &middle.last)
    }

    pub(super) fn head(&mut self, x: Frames, head: &Head) -> Frames {
        let y = self.scratch(x.size, head.conv.channels[1]);
        let product = self.activated(x, head.norm, head.conv, y.grid(), Then::Plain);
        self.push(x.size.array(), Step::Product(product));
        y
    }
}
