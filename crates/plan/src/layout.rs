//! Where a latent frame stands in time, in the story and among the captions, in integers.

/// What the denoiser must know about one latent frame besides its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameSlot {
    /// Temporal position for the rotary embedding: context frames first, then the shot's own.
    pub position: u32,
    /// Shot phase: tells the frames of one shot from those of another.
    pub phase: u32,
    /// Index into the captions handed to the pass.
    pub caption: usize,
}
