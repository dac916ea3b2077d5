//! Pixels, latent frames, chunks and tokens: every conversion between them, in one place.
//!
//! The VAE turns the first pixel frame of a shot into one latent frame and every further group of
//! `vae_stride[0]` pixel frames into one more. The network cuts a latent frame into patches, one
//! token each, and generates a fixed number of latent frames, a chunk, at a time.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A number of RGB frames as a viewer counts them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PixelFrames(pub usize);

/// A number of time steps of the VAE.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LatentFrames(pub usize);

/// A number of positions the transformer attends over.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Tokens(pub usize);

/// How a video of one size becomes transformer tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Height and width in pixels.
    pub pixels: [usize; 2],
    /// Pixels per latent cell: time, height, width. The first latent frame covers one pixel frame.
    pub vae_stride: [usize; 3],
    /// Latent cells per token: height, width.
    pub patch: [usize; 2],
    /// Latent frames denoised together.
    pub chunk: LatentFrames,
}

/// A size that does not fit the grid of the networks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// The VAE cannot cover this many frames exactly.
    #[error("{frames} frames are not 1 plus a multiple of {stride}")]
    RaggedFrames {
        /// What was asked for.
        frames: usize,
        /// Pixel frames per latent frame.
        stride: usize,
    },
    /// The latent frames do not fill their last chunk.
    #[error("{latent_frames} latent frames are not a whole number of chunks of {chunk}")]
    RaggedChunks {
        /// What was asked for.
        latent_frames: usize,
        /// Latent frames per chunk.
        chunk: usize,
    },
    /// A shot of this length does not end at a chunk border.
    #[error("a shot of {frames} frames does not end with a chunk, {hint}")]
    RaggedShot {
        /// What was asked for.
        frames: usize,
        /// The nearest lengths that would do.
        hint: String,
    },
    /// A side of the picture cannot be cut into tokens.
    #[error("{side} of {pixels} pixels is not a positive multiple of {multiple}")]
    RaggedPixels {
        /// `height` or `width`.
        side: &'static str,
        /// What was asked for.
        pixels: usize,
        /// Pixels per token along this side.
        multiple: usize,
    },
    /// A divisor is zero.
    #[error("{name} must be at least 1")]
    Zero {
        /// The field.
        name: &'static str,
    },
}

impl Geometry {
    /// Wan2.1-1.3B, the size ShotStream was trained at.
    pub const fn wan_480p() -> Self {
        Self { pixels: [480, 832], vae_stride: [4, 8, 8], patch: [2, 2], chunk: LatentFrames(3) }
    }

    /// The tiny model that tests and the embedded weights use.
    pub const fn tiny() -> Self {
        Self { pixels: [80, 128], ..Self::wan_480p() }
    }

    /// The same networks at another height and width.
    ///
    /// # Errors
    /// When a side is not a positive multiple of the pixels per token.
    pub fn with_pixels(&self, pixels: [usize; 2]) -> Result<Self, GeometryError> {
        let geometry = Self { pixels, ..self.clone() };
        geometry.check()?;
        Ok(geometry)
    }

    /// # Errors
    /// When a stride is zero or a side cannot be cut into tokens.
    pub fn check(&self) -> Result<(), GeometryError> {
        let zero = |name| Err(GeometryError::Zero { name });
        if self.vae_stride.contains(&0) {
            return zero("vae_stride");
        }
        if self.patch.contains(&0) {
            return zero("patch");
        }
        if self.chunk.0 == 0 {
            return zero("chunk");
        }
        for (axis, side) in ["height", "width"].into_iter().enumerate() {
            let multiple = self.vae_stride[1 + axis] * self.patch[axis];
            let pixels = self.pixels[axis];
            if pixels == 0 || !pixels.is_multiple_of(multiple) {
                return Err(GeometryError::RaggedPixels { side, pixels, multiple });
            }
        }
        Ok(())
    }

    /// Height and width of a latent frame.
    pub const fn latent_size(&self) -> [usize; 2] {
        let [height, width] = self.pixels;
        let [_, stride_h, stride_w] = self.vae_stride;
        [height / stride_h, width / stride_w]
    }

    /// Rows and columns of tokens in a latent frame.
    pub const fn token_grid(&self) -> [usize; 2] {
        let [height, width] = self.latent_size();
        let [patch_h, patch_w] = self.patch;
        [height / patch_h, width / patch_w]
    }

    /// # Errors
    /// When the VAE cannot cover `frames` exactly.
    pub fn latent_from_pixel(&self, frames: PixelFrames) -> Result<LatentFrames, GeometryError> {
        let stride = self.vae_stride[0];
        match frames.0.checked_sub(1) {
            Some(rest) if rest % stride == 0 => Ok(LatentFrames(1 + rest / stride)),
            _ => Err(GeometryError::RaggedFrames { frames: frames.0, stride }),
        }
    }

    /// The pixel frames that `latent` latent frames from the start of a shot decode to.
    pub const fn pixel_from_latent(&self, latent: LatentFrames) -> PixelFrames {
        match latent.0.checked_sub(1) {
            // Nobody can ask for as many; an error may name them.
            Some(rest) => PixelFrames(rest.saturating_mul(self.vae_stride[0]).saturating_add(1)),
            None => PixelFrames(0),
        }
    }

    /// Tokens of `latent` whole latent frames.
    pub const fn tokens_from_latent(&self, latent: LatentFrames) -> Tokens {
        let [rows, columns] = self.token_grid();
        Tokens(latent.0 * rows * columns)
    }

    /// How many chunks make up `latent` latent frames.
    ///
    /// # Errors
    /// When the last chunk would not be full, or there is none.
    pub fn chunks_in(&self, latent: LatentFrames) -> Result<usize, GeometryError> {
        let chunk = self.chunk.0;
        if latent.0 == 0 || !latent.0.is_multiple_of(chunk) {
            return Err(GeometryError::RaggedChunks { latent_frames: latent.0, chunk });
        }
        Ok(latent.0 / chunk)
    }

    /// The length of a shot of `chunks` chunks.
    pub const fn shot_from_chunks(&self, chunks: usize) -> PixelFrames {
        self.pixel_from_latent(LatentFrames(chunks.saturating_mul(self.chunk.0)))
    }

    /// How many chunks a shot of `frames` frames takes.
    ///
    /// # Errors
    /// When the shot would not end at a chunk border; the error names the nearest lengths.
    pub fn chunks_from_shot(&self, frames: PixelFrames) -> Result<usize, GeometryError> {
        let exact = self.latent_from_pixel(frames).and_then(|latent| self.chunks_in(latent));
        exact.map_err(|_| {
            let per_chunk = self.vae_stride[0] * self.chunk.0;
            let below = frames.0.saturating_add(self.vae_stride[0] - 1) / per_chunk;
            let hint = match below {
                0 => format!("the shortest has {}", self.shot_from_chunks(1).0),
                _ => format!(
                    "the nearest have {} and {}",
                    self.shot_from_chunks(below).0,
                    self.shot_from_chunks(below + 1).0
                ),
            };
            GeometryError::RaggedShot { frames: frames.0, hint }
        })
    }

    /// The latent frames of one chunk, counted from the start of its shot.
    pub const fn chunk_latents(&self, chunk: usize) -> Range<usize> {
        chunk * self.chunk.0..(chunk + 1) * self.chunk.0
    }

    /// The pixel frames one chunk decodes to, counted from the start of its shot.
    pub const fn chunk_frames(&self, chunk: usize) -> Range<usize> {
        self.shot_from_chunks(chunk).0..self.shot_from_chunks(chunk + 1).0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_latent_frame_at_480p_is_1560_tokens() {
        let geometry = Geometry::wan_480p();
        assert_eq!(geometry.latent_size(), [60, 104]);
        assert_eq!(geometry.tokens_from_latent(LatentFrames(1)), Tokens(1560));
        assert_eq!(geometry.tokens_from_latent(LatentFrames(21)), Tokens(32_760));
    }

    #[test]
    fn a_tiny_latent_frame_is_forty_tokens() {
        assert_eq!(Geometry::tiny().tokens_from_latent(LatentFrames(1)), Tokens(40));
    }

    #[test]
    fn a_shot_of_81_frames_is_seven_chunks_of_nine_then_twelve_frames() {
        let geometry = Geometry::wan_480p();
        assert_eq!(geometry.latent_from_pixel(PixelFrames(81)), Ok(LatentFrames(21)));
        assert_eq!(geometry.chunks_from_shot(PixelFrames(81)), Ok(7));
        assert_eq!(geometry.chunk_frames(0), 0..9);
        assert_eq!(geometry.chunk_frames(1), 9..21);
        assert_eq!(geometry.chunk_frames(6), 69..81);
        assert_eq!(geometry.chunk_latents(6), 18..21);
    }

    #[test]
    fn a_ragged_shot_is_told_the_nearest_lengths() {
        let said = |frames| {
            let error = Geometry::tiny().chunks_from_shot(PixelFrames(frames));
            error.expect_err("the length is ragged").to_string()
        };
        assert_eq!(
            said(34),
            "a shot of 34 frames does not end with a chunk, the nearest have 33 and 45"
        );
        assert_eq!(
            said(37),
            "a shot of 37 frames does not end with a chunk, the nearest have 33 and 45"
        );
        assert_eq!(said(0), "a shot of 0 frames does not end with a chunk, the shortest has 9");
        assert_eq!(said(8), "a shot of 8 frames does not end with a chunk, the shortest has 9");
    }

    #[test]
    fn sides_must_be_cut_into_whole_tokens() {
        let error = Geometry::tiny().with_pixels([90, 128]).expect_err("90 is not 16 times n");
        assert_eq!(error.to_string(), "height of 90 pixels is not a positive multiple of 16");
        assert!(Geometry::tiny().with_pixels([96, 160]).is_ok());
        assert!(Geometry::tiny().with_pixels([96, 0]).is_err());
    }

    proptest! {
        #[test]
        fn pixel_and_latent_counts_convert_back_and_forth(latent in 1usize..500) {
            let geometry = Geometry::wan_480p();
            let frames = geometry.pixel_from_latent(LatentFrames(latent));
            prop_assert_eq!(geometry.latent_from_pixel(frames), Ok(LatentFrames(latent)));
        }

        #[test]
        fn chunks_tile_their_shot(chunks in 1usize..100) {
            let geometry = Geometry::tiny();
            let frames: usize = (0..chunks).map(|chunk| geometry.chunk_frames(chunk).len()).sum();
            prop_assert_eq!(geometry.chunks_from_shot(PixelFrames(frames)), Ok(chunks));
        }
    }
}
