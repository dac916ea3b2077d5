//! What a device must offer: packed weights, memory, pages, and lists of fused steps.
//!
//! A pass of a network is a list of sections. A section is a few steps over the same positions,
//! each of which reads and writes its own position, or what an earlier section wrote; so positions
//! may go through a section in any order and on any number of threads, and only between sections
//! does everyone wait. A list is made once for every size and run ever after.
//!
//! | letter | means |
//! |---|---|
//! | `F`, `H`, `W` | frames, rows and columns of positions; tokens have one column |
//! | `N`, `K` | what a product makes of a position, what it reads |
//! | `D` | width of a token |

use std::{fmt::Debug, ops::Range, sync::Arc};

use shotstream_engine::network::NetworkError;
use thiserror::Error;

use crate::weights::WeightsError;

/// A device that cannot do what it is asked for: one sentence that says why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct DeviceError(pub String);

impl From<DeviceError> for NetworkError {
    fn from(error: DeviceError) -> Self {
        Self::Failed { network: "device", source: Box::new(error) }
    }
}

/// In what products and attention multiply; sums are f32 in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Of 32 bits: a value in every place of the memory.
    F32,
    /// Rounded to 16 bits, to the nearest and then to the even one: two values in a place, and a
    /// zero behind the last where their number is odd.
    Bf16,
}

impl Precision {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Places of the memory that values take.
    #[inline(always)]
    #[must_use]
    pub fn places(self, values: usize) -> usize {
        match self {
            Self::F32 => values,
            Self::Bf16 => values.div_ceil(2),
        }
    }
}

/// Where the values of the positions of a section begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Of the first position.
    pub start: usize,
    /// Places from a frame to the next, from a row to the next, from a column to the next.
    pub strides: [usize; 3],
    /// What is there.
    pub precision: Precision,
}

impl Grid {
    /// Frames of `size` (rows, columns), `width` values a position, one behind the other.
    #[must_use]
    pub fn packed(
        start: usize,
        [rows, columns]: [usize; 2],
        width: usize,
        precision: Precision,
    ) -> Self {
        let width = precision.places(width);
        Self { start, strides: [rows * columns * width, columns * width, width], precision }
    }

    /// The same, `by` places further on.
    #[must_use]
    pub fn shifted(self, by: usize) -> Self {
        Self { start: self.start + by, ..self }
    }

    /// Where the values of a position begin.
    #[inline(always)]
    #[must_use]
    pub fn at(self, [frame, row, column]: [usize; 3]) -> usize {
        let [frames, rows, columns] = self.strides;
        self.start + frame * frames + row * rows + column * columns
    }
}

/// What becomes of the sums of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Then {
    /// They are the result.
    Plain,
    /// GELU of them, by its tanh.
    Gelu,
    /// They are added to what stands at another place.
    Add(Grid),
    /// As `Add`, after a factor for each of them, which begin at `gate`.
    Gated {
        /// What they are added to.
        onto: Grid,
        /// Where the factors begin.
        gate: usize,
    },
}

/// A product of what positions see with one matrix, and an offset: a projection or a convolution.
#[derive(Clone, Debug)]
pub struct Product {
    /// What a position reads, tap by tap, from here: in the device's precision.
    pub x: Grid,
    /// Distances from there in places; one tap of 0 is a projection.
    pub taps: Vec<usize>,
    /// Index of the matrix, `[N, taps × K]`.
    pub matrix: usize,
    /// Where its `N` values go.
    pub y: Grid,
    /// What becomes of them first.
    pub then: Then,
}

/// What keys are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The past, then the pages of the pass itself.
    All,
    /// The page of the pass that belongs to the frame of the position.
    OwnFrame,
    /// The page of the caption of the frame of the position.
    Caption,
}

/// Heads beside each other, `heads × width` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// How many.
    pub count: usize,
    /// Values of each.
    pub width: usize,
}

impl Heads {
    /// Values of all.
    #[must_use]
    pub fn total(self) -> usize {
        self.count * self.width
    }
}

/// The root-mean-square norm of `D` values before heads are split, and a rotation of each head.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Where the `D` gains begin.
    pub gain: usize,
    /// Added to the mean square.
    pub eps: f32,
    /// Cosines and then sines of the pairs of a head, `width` values a position; a pair is a value
    /// of the first half of a head and the one at the same place of the second.
    pub rotation: Option<Grid>,
}

/// One fused operation on every position of a section.
#[derive(Clone, Debug)]
pub enum Step {
    /// See [`Product`].
    Product(Product),
    /// `y = x / √(variance + eps)` around the mean, times `scale`, plus `shift`.
    LayerNorm {
        /// What is normalised.
        x: Grid,
        /// Where it goes.
        y: Grid,
        /// Values of a position.
        width: usize,
        /// Where factors begin.
        scale: usize,
        /// Where offsets begin.
        shift: usize,
        /// Added to the variance.
        eps: f32,
    },
    /// `y = x / ‖x‖ · √width · gain`, and SiLU of it.
    ChannelNorm {
        /// What is normalised.
        x: Grid,
        /// Where it goes.
        y: Grid,
        /// Values of a position.
        width: usize,
        /// Where gains begin.
        gain: usize,
        /// Whether SiLU follows.
        silu: bool,
    },
    /// Copy.
    Copy {
        /// From here.
        x: Grid,
        /// To here.
        y: Grid,
        /// Values of a position.
        width: usize,
    },
    /// Turn queries where they stand, and round the values of each head to the device's precision.
    Query {
        /// The queries.
        q: Grid,
        /// How they are split.
        heads: Heads,
        /// The norm and rotation before the rest, if there is one.
        turn: Option<Turn>,
        /// Multiplies them in the end.
        factor: f32,
    },
    /// Turn keys, and write keys and values into the pass's page of their frame.
    Remember {
        /// Keys; their values stand behind them.
        kv: Grid,
        /// How they are split.
        heads: Heads,
        /// The norm and rotation of keys, if there is one.
        turn: Option<Turn>,
        /// Which layer of the page.
        layer: usize,
    },
    /// Attention of queries over pages.
    Attention {
        /// Queries, with their factor.
        q: Grid,
        /// Where what was seen goes.
        y: Grid,
        /// How both are split.
        heads: Heads,
        /// Which layer of the pages.
        layer: usize,
        /// Which pages.
        over: Over,
    },
}

/// Steps over the same positions.
#[derive(Clone, Debug)]
pub struct Section {
    /// Frames, rows, columns.
    pub size: [usize; 3],
    /// In order.
    pub steps: Vec<Step>,
}

/// Sizes of a page: keys and values of some tokens in every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageShape {
    /// Tokens.
    pub tokens: usize,
    /// Layers.
    pub layers: usize,
    /// Heads.
    pub heads: usize,
    /// Values of a head.
    pub width: usize,
}

/// The pages a pass reads, and those it writes.
#[derive(Debug)]
pub struct Sight<'a, P> {
    /// What is remembered: of earlier shots, and of this one.
    pub past: [&'a [Arc<P>]; 2],
    /// The pass's own, one for every frame: nobody else has them.
    pub own: &'a [Arc<P>],
    /// Captions.
    pub captions: &'a [Arc<P>],
    /// Which caption every frame has; where nothing is said, the first.
    pub caption_of: &'a [usize],
}

impl<P> Clone for Sight<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Sight<'_, P> {}

impl<P> Sight<'_, P> {
    /// Nothing is remembered, nothing is written.
    #[must_use]
    pub fn nothing() -> Self {
        Self { past: [&[], &[]], own: &[], captions: &[], caption_of: &[] }
    }
}

/// A device.
pub trait Kernels: Debug + Send + Sync {
    /// A matrix of weights in the form its products read it.
    type Matrix: Debug + Send + Sync;
    /// The memory of one pass: a fixed number of values.
    type Memory: Debug + Send;
    /// Keys and values of some tokens in every layer.
    type Page: Debug + Send + Sync;

    /// In what products and attention multiply.
    fn precision(&self) -> Precision;

    /// The widest head that attention has room for.
    fn most_width(&self) -> usize;

    /// Refuse heads that are wider.
    ///
    /// # Errors
    /// When attention has no room for a head of this width.
    fn check_head(&self, width: usize) -> Result<(), WeightsError> {
        let most = self.most_width();
        if width <= most { Ok(()) } else { Err(WeightsError::WideHead { most, found: width }) }
    }

    /// The same device for another network, whose work waits for none of this one's.
    ///
    /// # Errors
    /// When the device has no more to give.
    fn beside(&self) -> Result<Self, DeviceError>
    where
        Self: Sized;

    /// Wait until everything is done that was asked for.
    ///
    /// # Errors
    /// When something failed, or the device is lost.
    fn finish(&self) -> Result<(), DeviceError>;

    /// Pack `weight` `[N, K]`, row by row, and `offset`, `[N]`. A row of weights meets `channels`
    /// values of one position after the other, each of which begins in a place of its own.
    ///
    /// # Errors
    /// As of everything below: when the device has no room left, or is lost.
    fn matrix(
        &self,
        weight: &[f32],
        offset: &[f32],
        channels: usize,
    ) -> Result<Self::Matrix, DeviceError>;

    /// Memory of `len` places of zeros.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn memory(&self, len: usize) -> Result<Self::Memory, DeviceError>;

    /// Write f32 values from `start` on.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn upload(
        &self,
        memory: &mut Self::Memory,
        start: usize,
        values: &[f32],
    ) -> Result<(), DeviceError>;

    /// Read the f32 values of a range.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn download(
        &self,
        memory: &Self::Memory,
        range: Range<usize>,
        to: &mut [f32],
    ) -> Result<(), DeviceError>;

    /// Copy places that may overlap where they go, which is before them.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn shift(
        &self,
        memory: &mut Self::Memory,
        from: Range<usize>,
        to: usize,
    ) -> Result<(), DeviceError>;

    /// Set the places of a range to zero.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn clear(&self, memory: &mut Self::Memory, range: Range<usize>) -> Result<(), DeviceError>;

    /// A page of zeros.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn page(&self, shape: PageShape) -> Result<Self::Page, DeviceError>;

    /// Run a list, in which no position reads or writes what another one writes in the same
    /// section: the networks of this crate make such lists, and nothing checks it.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn run(
        &self,
        list: &[Section],
        matrices: &[Self::Matrix],
        memory: &mut Self::Memory,
        sight: Sight<'_, Self::Page>,
    ) -> Result<(), DeviceError>;
}
