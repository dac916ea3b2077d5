//! Keys and values of some tokens, as attention reads them.
//!
//! For every layer and head: panels of keys, each `width` rows of neighbouring tokens, then one row
//! of values for every token. Keys are a matrix packed as weights are, values the matrix itself.
//! In bf16 there is a row for every two elements of keys, and one for the values of every two tokens.

use super::{Vectors, floats::Floats};
use crate::kernels::{PageShape, Precision};

/// Keys and values of some tokens in every layer.
#[derive(Debug)]
pub struct Page {
    pub(super) values: Floats,
    pub(super) shape: PageShape,
    pub(super) precision: Precision,
    lanes: usize,
    /// Most vectors of a panel of keys: panels are as even as they can be.
    most: usize,
}

impl Page {
    /// Tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.shape.tokens
    }

    pub(super) fn new(shape: PageShape, precision: Precision, vectors: Vectors) -> Self {
        let Vectors { lanes, most_of_tall, .. } = vectors;
        let all = shape.tokens.div_ceil(lanes).max(1);
        let most = all.div_ceil(all.div_ceil(most_of_tall));
        let mut page = Self { values: Floats::zeros(0), shape, precision, lanes, most };
        page.values = Floats::zeros(shape.layers * shape.heads * page.head());
        page
    }

    /// Tokens that there is room for: whole vectors.
    fn room(&self) -> usize {
        self.shape.tokens.next_multiple_of(self.lanes)
    }

    /// Rows of a panel of keys.
    pub(super) fn depth(&self) -> usize {
        self.precision.places(self.shape.width)
    }

    /// From a row of values to the next.
    pub(super) fn stride(&self) -> usize {
        self.shape.width.next_multiple_of(self.lanes)
    }

    /// Places of one head of one layer.
    fn head(&self) -> usize {
        let rows = self.precision.places(self.shape.tokens);
        self.room() * self.depth() + rows * self.stride()
    }

    /// Most tokens of a panel of keys.
    pub(super) fn panel(&self) -> usize {
        self.lanes * self.most
    }

    /// Where the keys of a head begin; the panel of a token begins as many times the depth further
    /// on as there are tokens before it.
    #[inline(always)]
    pub(super) fn keys(&self, layer: usize, head: usize) -> usize {
        (layer * self.shape.heads + head) * self.head()
    }

    /// Where the values of a head begin.
    #[inline(always)]
    pub(super) fn rows(&self, layer: usize, head: usize) -> usize {
        self.keys(layer, head) + self.room() * self.depth()
    }

    /// Vectors of the panel that begins with a token.
    #[inline(always)]
    pub(super) fn panel_vectors(&self, first: usize) -> usize {
        ((self.room() - first) / self.lanes).min(self.most)
    }

    /// Where the first place of the key of a token stands in the keys of a head, and how far the
    /// next is.
    #[inline(always)]
    pub(super) fn key(&self, token: usize) -> (usize, usize) {
        let panel = self.panel();
        let (first, column) = (token / panel * panel, token % panel);
        (first * self.depth() + column, self.panel_vectors(first) * self.lanes)
    }
}
