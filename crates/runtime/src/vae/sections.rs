//! Sections in the making: the VAE's parts, one behind the other, over frames in planned memory.

use std::mem;

use super::{
    blocks::{Conv, Head, Middle, Residual},
    pads::{Pad, Size},
};
use crate::{
    kernels::{Grid, Heads, Over, Precision, Product, Section, Step, Then},
    memory::Plan,
};

/// Frames on their way through a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    pub(super) start: usize,
    pub(super) size: Size,
    pub(super) channels: usize,
    pub(super) precision: Precision,
}

impl Frames {
    pub(super) fn grid(&self) -> Grid {
        self.size.packed(self.start, self.channels, self.precision)
    }

    /// Places.
    fn len(&self) -> usize {
        self.size.positions() * self.precision.places(self.channels)
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
            self.pads.push(Pad::new(size, channels, self.plan.precision, [time - 1, margin]));
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

    /// Room for frames that are written before they are read.
    pub(super) fn scratch(&mut self, size: Size, channels: usize) -> Frames {
        self.scratch_in(Precision::F32, size, channels)
    }

    fn scratch_in(&mut self, precision: Precision, size: Size, channels: usize) -> Frames {
        let mut frames = Frames { start: 0, size, channels, precision };
        frames.start = self.plan.scratch(frames.len());
        frames
    }

    /// The same frames as products read them: they themselves, or a copy that was rounded.
    pub(super) fn rounded(&mut self, x: Frames) -> Frames {
        if x.precision == self.plan.precision {
            return x;
        }
        let y = self.scratch_in(self.plan.precision, x.size, x.channels);
        let copy = Step::Copy { x: x.grid(), y: y.grid(), width: x.channels };
        self.push(x.size.array(), copy);
        y
    }

    pub(super) fn free(&mut self, frames: Frames) {
        self.plan.free(frames.start, frames.len());
    }

    /// Normalise and activate frames into a pad, and convolve: the section that waits is begun.
    fn activated(&mut self, x: Frames, gain: usize, conv: Conv, y: Grid, then: Then) -> Product {
        let pad = self.pad(x.size, x.channels, [conv.time, conv.margin]);
        let (grid, width) = (x.grid(), x.channels);
        let norm = Step::RmsNorm { x: grid, y: pad.inside(), width, gain, eps: 0.0, silu: true };
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
                let rounded = self.rounded(x);
                let (x, taps) = (rounded.grid(), vec![0]);
                let product = Product { x, taps, matrix, y: y.grid(), then: Then::Plain };
                self.push(size.array(), Step::Product(product));
                if rounded.precision != Precision::F32 {
                    self.free(rounded);
                }
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
        let token = |Frames { start, channels, precision, .. }: Frames| {
            Grid::packed(start, [rows * columns, 1], channels, precision)
        };
        let normed = self.scratch_in(self.plan.precision, size, channels);
        let three = self.scratch(size, 3 * channels);
        let y = self.scratch(size, channels);
        let heads = Heads { count: 1, width: channels };
        let q = token(three);
        let norm = Step::RmsNorm {
            x: token(x),
            y: token(normed),
            width: channels,
            gain: middle.norm,
            eps: 0.0,
            silu: false,
        };
        let factor = (channels as f32).sqrt().recip();
        self.wait();
        for step in [
            norm,
            Step::projection(token(normed), middle.query_key_value, q, Then::Plain),
            Step::Query { q, heads, turn: None, factor },
            Step::Remember { kv: q.shifted(channels), heads, turn: None, layer: 0 },
        ] {
            self.push(tokens, step);
        }
        self.wait();
        let over = Over::OwnFrame;
        self.push(
            tokens,
            Step::Attention { q, y: token(normed), heads, layer: 0, over, bias: None },
        );
        let then = Then::Add(token(x));
        self.push(tokens, Step::projection(token(normed), middle.project, token(y), then));
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
