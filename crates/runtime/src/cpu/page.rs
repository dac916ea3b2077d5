//! Keys and values of some tokens, as attention reads them.
//!
//! For every layer and head: one row of keys for every token, then one row of values. In bf16 there
//! is a place for every two elements of a key, and a row for the values of every two tokens.

use super::{Vectors, floats::Floats};
use crate::kernels::{PageShape, Precision};

/// Keys and values of some tokens in every layer.
#[derive(Debug)]
pub struct Page {
    pub(super) values: Floats,
    pub(super) shape: PageShape,
    pub(super) precision: Precision,
    lanes: usize,
}

impl Page {
    /// Tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.shape.tokens
    }

    pub(super) fn new(shape: PageShape, precision: Precision, vectors: Vectors) -> Self {
        let mut page = Self { values: Floats::zeros(0), shape, precision, lanes: vectors.lanes };
        page.values = Floats::zeros(shape.layers * shape.heads * page.head());
        page
    }

    /// Places of a key.
    pub(super) fn depth(&self) -> usize {
        self.precision.places(self.shape.width)
    }

    /// From a row of values to the next.
    pub(super) fn stride(&self) -> usize {
        self.shape.width.next_multiple_of(self.lanes)
    }

    /// Places of one head of one layer.
    fn head(&self) -> usize {
        let Self { shape, precision, .. } = self;
        shape.tokens * self.depth() + precision.places(shape.tokens) * self.stride()
    }

    /// Where the keys of a head begin.
    #[inline(always)]
    pub(super) fn keys(&self, layer: usize, head: usize) -> usize {
        (layer * self.shape.heads + head) * self.head()
    }

    /// Where the values of a head begin.
    #[inline(always)]
    pub(super) fn rows(&self, layer: usize, head: usize) -> usize {
        self.keys(layer, head) + self.shape.tokens * self.depth()
    }
}
