//! What the engine asks of the networks, and the host values that travel to and from them.
//!
//! Letters: `F` latent frames, `C` latent channels, `h`, `w` latent height and width, `T` pixel
//! frames, `H`, `W` pixel height and width.

use std::error::Error as StdError;
use std::ops::Range;

use shotstream_plan::{geometry::LatentFrames, layout::FrameSlot};
use thiserror::Error;

/// Latents on the host: noise on its way in, clean latents on their way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    /// `[F, C, h, w]`.
    pub shape: [usize; 4],
    /// `F * C * h * w` values, the last dimension fastest.
    pub data: Vec<f32>,
}

/// Pictures on the host as the networks see them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// `[T, 3, H, W]`.
    pub shape: [usize; 4],
    /// `T * 3 * H * W` values in `[-1, 1]`, the last dimension fastest.
    pub data: Vec<f32>,
}

/// A value of which weighted sums can be taken: all the sampler needs to know about latents.
pub trait Blend: Clone {
    /// `a * self + b * other`, element by element.
    #[must_use]
    fn blend(&self, a: f32, other: &Self, b: f32) -> Self;
}

impl Latents {
    /// Latents of zeros: the null context.
    pub fn zeros(shape: [usize; 4]) -> Self {
        Self { shape, data: vec![0.0; shape.iter().product()] }
    }

    /// The latent frames of `range`, or nothing where the latents are shorter.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        let [_, c, h, w] = self.shape;
        let data = self.data.get(range.start * c * h * w..range.end * c * h * w)?.to_vec();
        Some(Self { shape: [range.len(), c, h, w], data })
    }

    /// All latent frames of `parts` one after another; nothing where there are no parts or their
    /// frames differ in size.
    pub fn concat<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut parts = parts.into_iter();
        let mut whole = parts.next()?.clone();
        for part in parts {
            if part.shape[1..] != whole.shape[1..] {
                return None;
            }
            whole.shape[0] += part.shape[0];
            whole.data.extend_from_slice(&part.data);
        }
        Some(whole)
    }
}

impl Blend for Latents {
    fn blend(&self, a: f32, other: &Self, b: f32) -> Self {
        let pairs = self.data.iter().zip(&other.data);
        Self { shape: self.shape, data: pairs.map(|(x, y)| a * x + b * y).collect() }
    }
}

impl Pixels {
    /// One frame of `[T, 3, H, W]`, as `3 * H * W` values.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn frame(&self, index: usize) -> &[f32] {
        let [_, channels, height, width] = self.shape;
        let length = channels * height * width;
        &self.data[index * length..(index + 1) * length]
    }
}

/// Why a network could not do what it was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A value of the wrong size was handed in or came out.
    #[error("{what} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The value, in words.
        what: &'static str,
        /// The shape the network was made for.
        expected: Vec<usize>,
        /// The shape that came.
        found: Vec<usize>,
    },
    /// The network itself failed.
    #[error("the {network} failed: {source}")]
    Failed {
        /// Which network, in words.
        network: &'static str,
        /// What it said.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// A prompt as the text encoder saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded<E> {
    /// What the denoiser's cross-attention reads.
    pub embedding: E,
    /// Words the tokenizer has never seen, in the order of the prompt.
    pub unknown_words: Vec<String>,
    /// Tokens cut off because the prompt is longer than the network reads.
    pub dropped_tokens: usize,
}

/// Text in, embedding out.
pub trait TextEncoder {
    /// One prompt as the denoiser wants it.
    type Embedding: Clone + Send;

    /// Embed one whole prompt (global caption, label and shot caption in one text).
    ///
    /// # Errors
    /// When the tokenizer or the network fails; an unknown word is not an error.
    fn embed(&self, prompt: &str) -> Result<Embedded<Self::Embedding>, NetworkError>;

    /// As [`Self::embed`], for encoders that know what to leave out of a prompt that is too long:
    /// `global` is the global caption, with which the prompt begins as a rule.
    ///
    /// # Errors
    /// As [`Self::embed`].
    fn embed_under(
        &self,
        global: &str,
        prompt: &str,
    ) -> Result<Embedded<Self::Embedding>, NetworkError> {
        let _ = global;
        self.embed(prompt)
    }
}

/// What a denoising pass reads besides its own chunk.
#[derive(Debug)]
pub struct Memory<'a, C, L> {
    /// Keys and values of the context frames.
    pub context: &'a C,
    /// Keys and values of the committed chunks of this shot.
    pub local: &'a L,
}

impl<C, L> Clone for Memory<'_, C, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C, L> Copy for Memory<'_, C, L> {}

/// The diffusion transformer behind its caches.
///
/// Every timestep is in `0..=1000`. Slots come one per latent frame. Where one text is given, it
/// serves every latent frame and [`FrameSlot::caption`] is not read.
pub trait Denoiser {
    /// Latents `[F, C, h, w]` where the network computes (training adds a batch of its own).
    type Latents: Blend + Send;
    /// Cross-attention keys and values of one caption.
    type TextCache: Clone;
    /// Keys and values of the context frames.
    type ContextCache;
    /// Keys and values of the committed chunks of the current shot.
    type LocalCache;

    /// The local cache of a shot with no committed chunk.
    fn empty_local(&self) -> Self::LocalCache;

    /// Forget the oldest of the committed chunks behind the first `sink` latent frames, so that
    /// `latents` are left, the sink among them.
    fn forget(&self, local: &mut Self::LocalCache, sink: LatentFrames, latents: LatentFrames);

    /// The denoising pass: the velocity of one noisy chunk.
    ///
    /// # Errors
    /// When the network fails or sizes do not agree.
    fn velocity(
        &self,
        noisy: &Self::Latents,
        timestep: f32,
        slots: &[FrameSlot],
        text: &Self::TextCache,
        memory: Memory<'_, Self::ContextCache, Self::LocalCache>,
    ) -> Result<Self::Latents, NetworkError>;

    /// The commit pass: timestep 0; appends the keys and values of a finished chunk to `local`.
    ///
    /// # Errors
    /// When the network fails or sizes do not agree.
    fn commit(
        &self,
        clean: &Self::Latents,
        slots: &[FrameSlot],
        text: &Self::TextCache,
        context: &Self::ContextCache,
        local: &mut Self::LocalCache,
    ) -> Result<(), NetworkError>;
}

/// A denoiser that a story can be told with: what lies between the shots, besides the shots.
pub trait StoryDenoiser: Denoiser {
    /// What the text encoder makes.
    type Embedding;

    /// Host latents to where the network computes.
    fn upload(&self, latents: &Latents) -> Self::Latents;

    /// The network's latents to the host.
    fn download(&self, latents: &Self::Latents) -> Latents;

    /// Cross-attention keys and values of one caption.
    ///
    /// # Errors
    /// When the network fails.
    fn cache_text(&self, embedding: &Self::Embedding) -> Result<Self::TextCache, NetworkError>;

    /// The context of a shot without context frames: nothing is seen in it.
    fn empty_context(&self) -> Self::ContextCache;

    /// The context pass: timestep 0, all context frames at once; a slot's caption indexes `texts`.
    ///
    /// # Errors
    /// When the network fails or sizes do not agree.
    fn encode_context(
        &self,
        context: &Self::Latents,
        slots: &[FrameSlot],
        texts: &[Self::TextCache],
    ) -> Result<Self::ContextCache, NetworkError>;
}

/// Clean latents in, frames out, chunk by chunk.
pub trait Decoder: Sync {
    /// The denoiser's latents.
    type Latents;
    /// What the decoder carries from one chunk of a shot to the next.
    type State: Send;

    /// The state before the first chunk of a shot.
    fn start(&self) -> Self::State;

    /// Decode the next `n` latent frames: `1 + 4 * (n - 1)` frames for the first call of a shot,
    /// `4 * n` for later ones. Values outside `[-1, 1]` are allowed; the engine clamps.
    ///
    /// # Errors
    /// When the network fails or sizes do not agree.
    fn decode(
        &self,
        state: &mut Self::State,
        latents: &Self::Latents,
    ) -> Result<Pixels, NetworkError>;
}

/// Frames in, latents out, every frame alone: the way into the context.
pub trait FrameEncoder: Sync {
    /// `[T, 3, H, W]` frames in `[-1, 1]` to `[T, C, h, w]` latents, each frame by itself.
    ///
    /// # Errors
    /// When the network fails or sizes do not agree.
    fn encode(&self, frames: &Pixels) -> Result<Latents, NetworkError>;
}
