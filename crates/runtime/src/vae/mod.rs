//! The VAE as lists of steps: the decoder of a stream, and the encoder of single frames.
//!
//! | letter | means |
//! |---|---|
//! | `T` | frames that a convolution sees |
//! | `C`, `O` | channels in, channels out |
//! | `H`, `W` | height, width |
//!
//! Values lie position by position, all channels of a position beside each other. What a kernel
//! larger than a position reads lies in frames with a margin of zeros, and before them the frames
//! that the kernel saw last; so a convolution is a product whose rows overlap.

mod blocks;
mod decoder;
mod encoder;
mod pads;
mod picture;
mod sections;

pub use self::{
    decoder::{Decoder, State},
    encoder::Encoder,
};

/// Sizes of a VAE.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Channels of the encoder's first stage, and of the decoder's last.
    pub dims: [usize; 2],
    /// Channels of a latent frame.
    pub channels: usize,
    /// Width of each stage as a multiple of these, in the order of the encoder.
    pub multiples: Vec<usize>,
    /// Residual blocks of a stage of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Whether the halving after each stage but the last also halves time.
    pub halves_time: Vec<bool>,
    /// Side of the square of pixels that is one position.
    pub patch: usize,
    /// Mean of each latent channel.
    pub mean: Vec<f32>,
    /// Standard deviation of each latent channel.
    pub std: Vec<f32>,
}

impl Sizes {
    /// Channels of a position of a picture.
    fn picture(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// Channels of every stage, in the order of the encoder.
    fn widths(&self, base: usize) -> Vec<usize> {
        self.multiples.iter().map(|multiple| base * multiple).collect()
    }

    /// Latent frames of this size (rows, columns) that are decoded at once: several keep all threads
    /// busy, large ones one by one keep memory small.
    #[must_use]
    pub fn frames_at_once(&self, [rows, columns]: [usize; 2]) -> usize {
        /// Values of one frame of the last stage.
        const LARGE: usize = 1 << 22;
        let doubled = 1 << self.halves_time.len();
        let last = rows * columns * doubled * doubled * self.dims[1];
        if last > LARGE { 1 } else { 3 }
    }

    /// Pixels to a latent, in each direction.
    fn stride(&self) -> usize {
        self.patch << self.halves_time.len()
    }
}
