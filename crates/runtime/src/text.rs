//! The text encoder, umT5, as lists of steps.
//!
//! | letter | means | umT5-XXL |
//! |---|---|---|
//! | `S` | tokens of a caption | at most 512 |
//! | `D` | model width | 4 096 |
//! | `A` | width of all heads | 4 096 |
//!
//! What is different from the network as it is written down, and changes no more than the order of
//! sums: keys and values are projected by one matrix, and what positions add to scores is looked up
//! once for every distance instead of once for every pair of tokens. Padding is not computed at all.
//! Two layers of a page are enough for any number of blocks: one is read while the other is written.
//!
//! The whole network need not be there at once: [`Blocks`] are some neighbouring ones.
//!
//! Method: T5 (arXiv 1910.10683) with gated GELU (2002.05202), in the multilingual form of umT5
//! (2304.09151).

use std::{f32::consts::LOG2_E, ops::Range, sync::Arc};

use crate::{
    kernels::{
        DeviceError, Distances, Grid, Heads, Kernels, Over, PageShape, Precision, Section, Sight,
        Step, Then,
    },
    memory::{Known, Plan, Shelf},
    weights::{Linear, Matrices, Names, Source, WeightsError},
};

/// Added to the mean square inside every norm.
const NORM_EPS: f32 = 1e-6;

/// Layers of a page.
const LAYERS: usize = 2;

/// Sizes of a text encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Most tokens of a caption.
    pub tokens: usize,
    /// Model width `D`.
    pub dim: usize,
    /// Width of all heads together, `A`.
    pub dim_attn: usize,
    /// Hidden width of the feed-forward layers.
    pub dim_ffn: usize,
    /// Heads.
    pub num_heads: usize,
    /// Blocks.
    pub num_layers: usize,
    /// How far apart tokens are told apart.
    pub positions: Positions,
}

impl Sizes {
    fn heads(&self) -> Heads {
        Heads { count: self.num_heads, width: self.dim_attn / self.num_heads }
    }
}

/// Which tokens have the same distance for an encoder: what is in one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Buckets, half of them for keys to the right.
    pub buckets: usize,
    /// Distance from which all positions share the last bucket.
    pub max_distance: usize,
}

impl Positions {
    /// Which bucket a query looks a key up in.
    ///
    /// Half the buckets are for keys to the right. In each half the near distances have a bucket of
    /// their own and the far ones share buckets of logarithmically growing width.
    #[must_use]
    pub fn bucket(self, query: usize, key: usize) -> usize {
        let side = self.buckets / 2;
        let near = side / 2;
        let distance = query.abs_diff(key);
        let within = if distance < near {
            distance
        } else {
            // Bucket `near + i` begins where (distance / near)^(side - near) reaches
            // (max_distance / near)^i; taken by comparison so that borders do not hang on rounding.
            let growth = self.max_distance as f64 / near as f64;
            let exponent = 1.0 / (side - near) as f64;
            (near + 1..side)
                .take_while(|&bucket| {
                    let border = near as f64 * growth.powf((bucket - near) as f64 * exponent);
                    border - 1e-6 <= distance as f64
                })
                .last()
                .unwrap_or(near)
        };
        if query < key { side + within } else { within }
    }

    /// The rows of a table `[buckets, heads]` by distance, `[heads, 2·tokens − 1]`, as logarithms to
    /// base 2.
    fn by_distance(self, table: &[f32], heads: usize, tokens: usize) -> Vec<f32> {
        let last = tokens - 1;
        let buckets: Vec<_> = (0..=2 * last)
            .map(|at| self.bucket(at.saturating_sub(last), last.saturating_sub(at)))
            .collect();
        let values = (0..heads).flat_map(|head| {
            buckets.iter().map(move |bucket| table[bucket * heads + head] * LOG2_E)
        });
        values.collect()
    }
}

/// Some neighbouring blocks, packed for a device; behind the last of all, the norm that ends it.
#[derive(Debug)]
pub struct Blocks<K: Kernels> {
    kernels: K,
    sizes: Sizes,
    layers: Vec<Layer>,
    /// Where the gains of the last norm begin, if it is here.
    end: Option<usize>,
    matrices: Matrices<K>,
    plan: Plan,
    places: Places,
    /// By the number of tokens.
    lists: Known<usize, [Section]>,
    memories: Shelf<K::Memory>,
}

/// Where the weights of a block are: indices of matrices, places of constants.
#[derive(Clone, Copy, Debug)]
struct Layer {
    norms: [usize; 2],
    query: usize,
    key_value: usize,
    out: usize,
    distances: Distances,
    gate: usize,
    feed: [usize; 2],
}

/// Where what is made of tokens is, room for the most there may be of them.
#[derive(Clone, Copy, Debug)]
struct Places {
    x: usize,
    hidden: usize,
    query: usize,
    key_value: usize,
    seen: usize,
    gate: usize,
    wide: usize,
    ended: usize,
}

impl<K: Kernels> Blocks<K> {
    /// Pack some blocks, by their official names.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape, heads are wider than there is room for, or the
    /// device has no room.
    pub fn new(
        kernels: K,
        sizes: Sizes,
        blocks: Range<usize>,
        source: &dyn Source,
    ) -> Result<Self, WeightsError> {
        kernels.check_head(sizes.heads().width)?;
        let names = Names::new(source);
        let (mut matrices, mut plan) = (Matrices::new(), Plan::new(kernels.precision()));
        let ends = blocks.end == sizes.num_layers;
        let mut layers = Vec::with_capacity(blocks.len());
        for block in blocks {
            let names = names.under("blocks").under(block);
            layers.push(Layer::new(&kernels, &sizes, &names, &mut matrices, &mut plan)?);
        }
        let end = match ends {
            true => Some(plan.constant(&names.tensor("norm.weight", &[sizes.dim])?)),
            false => None,
        };
        let places = Places::new(&sizes, &mut plan);
        let (lists, memories) = (Known::new(), Shelf::new());
        Ok(Self { kernels, sizes, layers, end, matrices, plan, places, lists, memories })
    }

    /// Take the tokens of a caption, `[S, D]`, through these blocks.
    ///
    /// # Errors
    /// When the device fails.
    ///
    /// # Panics
    /// When there are more tokens than the sizes say.
    pub fn read(&self, tokens: &mut [f32]) -> Result<(), DeviceError> {
        let Self { kernels, sizes, plan, places, .. } = self;
        let count = tokens.len() / sizes.dim;
        assert!(count <= sizes.tokens, "{count} tokens of {} at most", sizes.tokens);
        if count == 0 {
            return Ok(());
        }
        let list = self.lists.get(count, || self.list(count).into());
        let mut memory = self.memories.borrow(|| {
            let mut memory = kernels.memory(plan.len())?;
            kernels.upload(&mut memory, 0, plan.constants())?;
            Ok::<_, DeviceError>(memory)
        })?;
        let Heads { count: heads, width } = sizes.heads();
        let page = kernels.page(PageShape { tokens: count, layers: LAYERS, heads, width })?;
        let sight = Sight { own: &[Arc::new(page)], ..Sight::nothing() };
        kernels.upload(&mut memory, places.x, tokens)?;
        kernels.run(&list, &self.matrices.packed, &mut memory, sight)?;
        let start = if self.end.is_some() { places.ended } else { places.x };
        kernels.download(&memory, start..start + tokens.len(), tokens)
    }

    /// The list of a caption of so many tokens.
    fn list(&self, tokens: usize) -> Vec<Section> {
        let (sizes, places, precision) = (&self.sizes, self.places, self.plan.precision);
        let &Sizes { dim, dim_attn, dim_ffn, .. } = sizes;
        let grid = |start, width, precision| Grid::packed(start, [tokens, 1], width, precision);
        let x = grid(places.x, dim, Precision::F32);
        let hidden = grid(places.hidden, dim, precision);
        let q = grid(places.query, dim_attn, Precision::F32);
        let kv = grid(places.key_value, 2 * dim_attn, Precision::F32);
        let seen = grid(places.seen, dim_attn, precision);
        let gate = grid(places.gate, dim_ffn, Precision::F32);
        let wide = grid(places.wide, dim_ffn, precision);
        let heads = sizes.heads();
        let norm = |y, gain| {
            let (width, eps, silu) = (dim, NORM_EPS, false);
            Step::RmsNorm { x, y, width, gain, eps, silu }
        };
        let (mut sections, mut steps) = (Vec::new(), Vec::new());
        let size = [1, tokens, 1];
        for (index, layer) in self.layers.iter().enumerate() {
            let page = index % LAYERS;
            // Up to what other tokens wait for.
            steps.extend([
                norm(hidden, layer.norms[0]),
                Step::projection(hidden, layer.query, q, Then::Plain),
                // Scores are not divided by anything.
                Step::Query { q, heads, turn: None, factor: 1.0 },
                Step::projection(hidden, layer.key_value, kv, Then::Plain),
                Step::Remember { kv, heads, turn: None, layer: page },
            ]);
            sections.push(Section { size, steps: std::mem::take(&mut steps) });
            let (over, bias) = (Over::OwnFrame, Some(layer.distances));
            let [first, second] = layer.feed;
            steps.extend([
                Step::Attention { q, y: seen, heads, layer: page, over, bias },
                Step::projection(seen, layer.out, x, Then::Add(x)),
                norm(hidden, layer.norms[1]),
                Step::projection(hidden, layer.gate, gate, Then::Gelu),
                Step::projection(hidden, first, wide, Then::Times(gate)),
                Step::projection(wide, second, x, Then::Add(x)),
            ]);
        }
        let ended = grid(places.ended, dim, Precision::F32);
        steps.extend(self.end.map(|gain| norm(ended, gain)));
        sections.push(Section { size, steps });
        sections
    }
}

impl Layer {
    fn new<K: Kernels>(
        kernels: &K,
        sizes: &Sizes,
        names: &Names<'_>,
        matrices: &mut Matrices<K>,
        plan: &mut Plan,
    ) -> Result<Self, WeightsError> {
        let &Sizes { tokens, dim, dim_attn, dim_ffn, num_heads, positions, .. } = sizes;
        let norm = |name: &str| names.under(name).tensor("weight", &[dim]);
        let norms = [norm("norm1")?, norm("norm2")?].map(|gain| plan.constant(&gain));
        let attention = names.under("attn");
        let table = names.under("pos_embedding.embedding");
        let table = table.tensor("weight", &[positions.buckets, num_heads])?;
        let start = plan.constant(&positions.by_distance(&table, num_heads, tokens));
        let feed = names.under("ffn");
        let mut add = |linear| matrices.add(kernels, linear);
        let inwards = [dim_attn, dim];
        Ok(Self {
            norms,
            distances: Distances { start, tokens },
            query: add(&weight(&attention, "q", inwards)?)?,
            key_value: add(
                &weight(&attention, "k", inwards)?.over(&weight(&attention, "v", inwards)?)
            )?,
            out: add(&weight(&attention, "o", [dim, dim_attn])?)?,
            gate: add(&weight(&feed, "gate.0", [dim_ffn, dim])?)?,
            feed: [
                add(&weight(&feed, "fc1", [dim_ffn, dim])?)?,
                add(&weight(&feed, "fc2", [dim, dim_ffn])?)?,
            ],
        })
    }
}

impl Places {
    fn new(sizes: &Sizes, plan: &mut Plan) -> Self {
        let &Sizes { tokens, dim, dim_attn, dim_ffn, .. } = sizes;
        let precision = plan.precision;
        let mut room =
            |width: usize, precision: Precision| plan.room(tokens * precision.places(width));
        Self {
            x: room(dim, Precision::F32),
            hidden: room(dim, precision),
            query: room(dim_attn, Precision::F32),
            key_value: room(2 * dim_attn, Precision::F32),
            seen: room(dim_attn, precision),
            gate: room(dim_ffn, Precision::F32),
            wide: room(dim_ffn, precision),
            ended: room(dim, Precision::F32),
        }
    }
}

/// A matrix without an offset.
fn weight(names: &Names<'_>, name: &str, shape: [usize; 2]) -> Result<Linear, WeightsError> {
    let weight = names.under(name).tensor("weight", &shape)?;
    Ok(Linear { weight, offset: vec![0.0; shape[0]] })
}
