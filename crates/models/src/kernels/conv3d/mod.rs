//! Convolution of clips over time and space, and its derivatives, on the CPU.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `T`, `U` | frames in, frames out |
//! | `C`, `O` | channels in, channels out |
//! | `H`, `W` | height, width of a frame going in |
//! | `h`, `w` | height, width of a frame coming out |
//!
//! Frames are copied once into planes with a margin of zeros (`plane`). From there on every tap of
//! the kernel is a distance in memory and a plane is convolved as if it were a line, a few vectors
//! of positions by a block of output channels at a time, all in registers (`tile`). The derivative
//! by the frames is a convolution of the same kind (`convolve`), the one by the weight a sum of
//! products of planes (`correlate`). A picture that is halved or doubled is several planes to a
//! channel, which `taps` knows about.
//!
//! Every number is the sum of the same terms in the same order whatever the number of threads.

mod convolve;
mod correlate;
mod op;
mod plane;
mod taps;
mod tile;

#[cfg(test)]
mod tests;

use self::plane::{Plane, Planes};

pub use self::{op::conv3d, taps::Space};

/// Stride and padding in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Frames of zeros before the first.
    pub front: usize,
    /// Frames from one result to the next.
    pub stride: usize,
}

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv3d {
    /// `B` and `T`.
    pub frames: [usize; 2],
    /// `C` and `O`.
    pub channels: [usize; 2],
    /// `H` and `W`.
    pub size: [usize; 2],
    /// Taps in time, height and width.
    pub kernel: [usize; 3],
    /// Stride and padding in time.
    pub time: Time,
    /// Stride and padding in space.
    pub space: Space,
}

impl Conv3d {
    /// `[B, U, O, h, w]`.
    ///
    /// # Panics
    /// If there are fewer frames than taps, or the space cannot have this size and kernel.
    pub fn output_shape(&self) -> [usize; 5] {
        let [batch, num_frames] = self.frames;
        let [_, channels_out] = self.channels;
        let [time, ..] = self.kernel;
        let seen = num_frames + self.time.front;
        assert!(seen >= time, "{seen} frames are fewer than the {time} taps of the kernel");
        let [height, width] = self.space.output_size(self.size, self.side());
        [batch, (seen - time) / self.time.stride + 1, channels_out, height, width]
    }

    /// The convolution `[B, U, O, h, w]` of frames `[B, T, C, H, W]` with a weight
    /// `[O, C, time, height, width]`, plus a bias `[O]`.
    ///
    /// # Panics
    /// If a slice has another length than its shape says, or as [`Conv3d::output_shape`].
    pub fn forward(&self, frames: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        self.check(Some(frames), Some(weight), None);
        let [channels_in, channels_out] = self.channels;
        assert!(bias.is_none_or(|bias| bias.len() == channels_out), "a bias for every channel");
        let planes = Planes::pack(frames, channels_in, &self.input_plane());
        convolve::forward(self, &planes, weight, bias)
    }

    /// The derivative `[B, T, C, H, W]` by the frames, from the one by the output
    /// `[B, U, O, h, w]`.
    ///
    /// # Panics
    /// As [`Conv3d::forward`].
    pub fn frames_gradient(&self, weight: &[f32], gradient: &[f32]) -> Vec<f32> {
        self.check(None, Some(weight), Some(gradient));
        let [_, channels_out] = self.channels;
        let planes = Planes::pack(gradient, channels_out, &self.output_plane());
        convolve::backward(self, &planes, weight)
    }

    /// The derivative `[O, C, time, height, width]` by the weight, from the one by the output
    /// `[B, U, O, h, w]`.
    ///
    /// # Panics
    /// As [`Conv3d::forward`].
    pub fn weight_gradient(&self, frames: &[f32], gradient: &[f32]) -> Vec<f32> {
        self.check(Some(frames), None, Some(gradient));
        let [channels_in, channels_out] = self.channels;
        let input = Planes::pack(frames, channels_in, &self.input_plane());
        let output = Planes::pack(gradient, channels_out, &self.output_plane());
        correlate::weight_gradient(self, &input, &output)
    }

    /// The derivative `[O]` by the bias, from the one by the output `[B, U, O, h, w]`.
    ///
    /// # Panics
    /// As [`Conv3d::forward`].
    pub fn bias_gradient(&self, gradient: &[f32]) -> Vec<f32> {
        self.check(None, None, Some(gradient));
        let [.., channels_out, height, width] = self.output_shape();
        let mut sums = vec![0.0; channels_out];
        for (index, plane) in gradient.chunks_exact(height * width).enumerate() {
            sums[index % channels_out] += tile::sum(plane);
        }
        sums
    }

    fn check(&self, frames: Option<&[f32]>, weight: Option<&[f32]>, gradient: Option<&[f32]>) {
        let [batch, num_frames] = self.frames;
        let [channels_in, channels_out] = self.channels;
        let [height, width] = self.size;
        let [time, rows, columns] = self.kernel;
        let check = |slice: Option<&[f32]>, shape: [usize; 5], name: &str| {
            let expected: usize = shape.iter().product();
            let found = slice.map_or(expected, <[f32]>::len);
            assert_eq!(found, expected, "values of the {name}, of shape {shape:?}");
        };
        check(frames, [batch, num_frames, channels_in, height, width], "frames");
        check(weight, [channels_out, channels_in, time, rows, columns], "weight");
        check(gradient, self.output_shape(), "gradient");
    }

    fn input_plane(&self) -> Plane {
        self.space.input_plane(self.size, self.side())
    }

    fn output_plane(&self) -> Plane {
        self.space.output_plane(self.size, self.side())
    }

    /// Height and width of the kernel.
    fn side(&self) -> [usize; 2] {
        let [_, rows, columns] = self.kernel;
        [rows, columns]
    }

    /// The tap in time and the incoming frame, for everything an outgoing frame is made of.
    fn sources(&self, frame: usize) -> impl Iterator<Item = [usize; 2]> {
        let Self {
            frames: [_, num_frames], kernel: [taps, ..], time: Time { front, stride }, ..
        } = *self;
        (0..taps).filter_map(move |tap| {
            let source = (stride * frame + tap).checked_sub(front)?;
            (source < num_frames).then_some([tap, source])
        })
    }

    /// The tap in time and the outgoing frame, for everything an incoming frame goes into.
    fn targets(&self, frame: usize) -> impl Iterator<Item = [usize; 2]> {
        let [_, num_frames, ..] = self.output_shape();
        let Self { kernel: [taps, ..], time: Time { front, stride }, .. } = *self;
        (0..taps).filter_map(move |tap| {
            let moment = (frame + front).checked_sub(tap)?;
            let target = moment / stride;
            (moment % stride == 0 && target < num_frames).then_some([tap, target])
        })
    }
}
