//! Frames with a margin of zeros, laid out so that a tap of a kernel is a distance in memory.
//!
//! | letter | means |
//! |---|---|
//! | `N` | frames |
//! | `C` | channels |
//! | `H`, `W` | height, width of a frame |
//!
//! Rows follow each other at a pitch that leaves no more than one column of zeros between them: it
//! is the right margin of one row and the left margin of the next. A plane that steps over every
//! second position is kept as four, one for every parity of row and column.

use rayon::prelude::*;

use super::tile::MOST_LANES;

/// How the frames of one channel lie in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane {
    /// `H` and `W`.
    pub(super) size: [usize; 2],
    /// Rows and columns from one element of a parity to the next: one or two.
    pub(super) step: usize,
    /// Rows and columns of zeros before the first element.
    pub(super) margin: [usize; 2],
    /// Elements from one row to the next.
    pub(super) pitch: usize,
    /// Elements of one parity, with all zeros around them.
    pub(super) len: usize,
}

impl Plane {
    /// A plane of frames of `size` with rows and columns of zeros before and after them.
    pub(super) fn new(
        size: [usize; 2],
        step: usize,
        before: [usize; 2],
        after: [usize; 2],
    ) -> Self {
        let [height, width] = size.map(|side| side.div_ceil(step));
        let pitch = width + before[1].max(after[1]);
        // A vector may reach past the last position; what it finds there must be zero.
        let slack = before[1] + after[1] + MOST_LANES;
        let len = (before[0] + height + after[0]) * pitch + slack;
        Self { size, step, margin: before, pitch, len }
    }

    /// Elements of one channel of one frame.
    pub(super) fn channel_len(&self) -> usize {
        self.step * self.step * self.len
    }

    /// Where the plane of a parity of rows and columns begins.
    pub(super) fn parity(&self, [row, column]: [usize; 2]) -> usize {
        (row * self.step + column) * self.len
    }

    /// Positions of one parity, from its first element to its last.
    pub(super) fn num_positions(&self) -> usize {
        let [height, width] = self.size.map(|side| side / self.step);
        (height - 1) * self.pitch + width
    }

    /// Where the first element of a parity lies.
    pub(super) fn first(&self, parity: [usize; 2]) -> usize {
        self.parity(parity) + self.margin[0] * self.pitch + self.margin[1]
    }

    /// Copy one channel of a frame to its place.
    fn fill(&self, frame: &[f32], channel: &mut [f32]) {
        let [_, width] = self.size;
        for (row, values) in frame.chunks_exact(width).enumerate() {
            let line = row / self.step * self.pitch;
            if self.step == 1 {
                channel[self.first([0, 0]) + line..][..width].copy_from_slice(values);
                continue;
            }
            for parity in 0..self.step {
                let start = self.first([row % self.step, parity]) + line;
                let picked = values[parity..].iter().step_by(self.step);
                for (element, &value) in channel[start..].iter_mut().zip(picked) {
                    *element = value;
                }
            }
        }
    }
}

/// Packed frames.
#[derive(Debug)]
pub(super) struct Planes {
    data: Vec<f32>,
    frame_len: usize,
    pub(super) plane: Plane,
}

impl Planes {
    /// Frames `[N, C, H, W]`.
    pub(super) fn pack(frames: &[f32], channels: usize, plane: &Plane) -> Self {
        let [height, width] = plane.size;
        let picture = height * width;
        let frame_len = channels * plane.channel_len();
        let num_frames = frames.len() / (channels * picture);
        let mut data = vec![0.0; num_frames * frame_len];
        data.par_chunks_mut(frame_len).zip(frames.par_chunks(channels * picture)).for_each(
            |(packed, frame)| {
                let channels = packed.chunks_exact_mut(plane.channel_len());
                for (channel, values) in channels.zip(frame.chunks_exact(picture)) {
                    plane.fill(values, channel);
                }
            },
        );
        Self { data, frame_len, plane: *plane }
    }

    /// All channels of one frame.
    pub(super) fn frame(&self, index: usize) -> &[f32] {
        &self.data[index * self.frame_len..][..self.frame_len]
    }
}
