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

mod device;

use std::sync::Arc;

pub use self::device::{DeviceError, Kernels};

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

    /// Bytes of a value.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
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

/// The bits of one value rounded to bf16. What is no number does not stay none.
#[inline(always)]
pub(crate) fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    (bits.wrapping_add((bits >> 16 & 1) + 0x7fff) >> 16) as u16
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
    /// They are multiplied with what stands at another place.
    Times(Grid),
    /// As `Add`, after a factor for each of them, which begin at `gate`.
    Gated {
        /// What they are added to.
        onto: Grid,
        /// Where the factors begin.
        gate: usize,
    },
}

/// What a row of weights meets: values of positions, each of which begins in a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meets {
    /// So many values of a token: see [`Keeping`].
    Tokens(usize),
    /// So many values of one position after the other.
    Positions(usize),
    /// So many values of every position of a square of 3 × 3 around the result's own, in one frame
    /// after the other: a device may take fewer multiplications for it. Behind the last position it
    /// may read 16 places more, which count for nothing.
    Squares(usize),
}

impl Meets {
    /// Values of a position.
    #[must_use]
    pub fn channels(self) -> usize {
        match self {
            Self::Tokens(channels) | Self::Positions(channels) | Self::Squares(channels) => {
                channels
            }
        }
    }
}

/// How a device keeps the weights that tokens meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// As it multiplies them.
    Whole,
    /// As whole numbers of a byte, with a factor for every row: each is off by half a 127th of the
    /// largest of its row at most. Products with the whole numbers are as exact as with any weights.
    Bytes,
}

impl Keeping {
    /// Bytes of a weight that is multiplied in a precision.
    #[must_use]
    pub fn bytes(self, precision: Precision) -> u64 {
        match self {
            Self::Whole => precision.bytes(),
            Self::Bytes => 1,
        }
    }
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
    /// `y = x / √(mean square + eps) · gain`, and SiLU of it if wanted.
    RmsNorm {
        /// What is normalised.
        x: Grid,
        /// Where it goes.
        y: Grid,
        /// Values of a position.
        width: usize,
        /// Where gains begin.
        gain: usize,
        /// Added to the mean square.
        eps: f32,
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
        /// Added to the scores, if anything is: over the frame's own page only.
        bias: Option<Distances>,
    },
}

impl Step {
    /// A product of what every position reads at its own place.
    #[must_use]
    pub fn projection(x: Grid, matrix: usize, y: Grid, then: Then) -> Self {
        Self::Product(Product { x, taps: vec![0], matrix, y, then })
    }
}

/// What is added to the score of a query and a key for how far apart they are, as logarithms to
/// base 2: for every head, a value for every distance of the query from the key, `1 − tokens` to
/// `tokens − 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distances {
    /// Where they begin.
    pub start: usize,
    /// The most tokens that they serve.
    pub tokens: usize,
}

impl Distances {
    /// Values of a head.
    #[inline(always)]
    #[must_use]
    pub fn each(self) -> usize {
        2 * self.tokens - 1
    }

    /// Where the value of a head's key and the first query stands; those of the next queries follow.
    #[inline(always)]
    #[must_use]
    pub fn at(self, head: usize, key: usize) -> usize {
        self.start + head * self.each() + self.tokens - 1 - key
    }
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
