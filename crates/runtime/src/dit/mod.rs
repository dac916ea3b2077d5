//! The diffusion transformer as lists of steps.
//!
//! | letter | means | Wan2.1-1.3B at 480p |
//! |---|---|---|
//! | `F` | latent frames of a pass | 3, 6 of the context |
//! | `S` | tokens of one latent frame | 1 560 |
//! | `L` | tokens of a pass, `F × S` | 4 680 |
//! | `D` | model width | 1 536 |
//! | `T` | tokens of one caption | 512 |
//!
//! What is different from the network as it is written down, and changes no more than the order of
//! sums: keys and values are projected by one matrix; queries and keys have the two numbers of a
//! rotated pair half a head apart; what a timestep asks of all blocks is computed once for every
//! timestep; what a pass keeps is written where it is read, a page for every latent frame, and is
//! never copied.

mod angles;
mod caches;
mod denoiser;
mod lists;

use std::sync::Arc;

use self::lists::{Layer, Lists};
use crate::{
    kernels::{DeviceError, Heads, Kernels, PageShape, Sight},
    memory::{Known, Plan, Shelf},
    weights::{Linear, Matrices, Names, Source, WeightsError},
};

pub use self::caches::{Cache, TextCache};

/// Sizes of a transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Model width `D`.
    pub dim: usize,
    /// Hidden width of the feed-forward networks.
    pub ffn_dim: usize,
    /// Length of the sinusoid of a timestep.
    pub freq_dim: usize,
    /// Heads.
    pub num_heads: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Latent channels in, and out.
    pub channels: [usize; 2],
    /// Rows and columns of latents to a token.
    pub patch: [usize; 2],
    /// Width of the embeddings of a caption.
    pub text_dim: usize,
    /// Added to variances and mean squares.
    pub eps: f32,
    /// Angle between successive shots, radians.
    pub shot_phase: f32,
    /// Learnt vectors for shot phases.
    pub shot_embeddings: usize,
}

impl Sizes {
    fn heads(&self) -> Heads {
        Heads { count: self.num_heads, width: self.dim / self.num_heads }
    }

    /// A page of `tokens` tokens.
    fn page(&self, tokens: usize) -> PageShape {
        let Heads { count: heads, width } = self.heads();
        PageShape { tokens, layers: self.num_layers, heads, width }
    }
}

/// Embeddings of one caption, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// `T` rows.
    pub tokens: usize,
    /// `T × text_dim` values.
    pub values: Arc<[f32]>,
}

/// A transformer on a device.
#[derive(Debug)]
pub struct Dit<K: Kernels> {
    kernels: K,
    sizes: Sizes,
    matrices: Matrices<K>,
    layers: Vec<Layer>,
    ends: lists::Ends,
    /// Constants that all lists share.
    plan: Plan,
    time: Time,
    shots: Vec<f32>,
    lists: Known<[usize; 3], Lists<K>>,
}

/// What makes a vector of a timestep, and what it asks of every block.
#[derive(Debug)]
struct Time {
    first: Linear,
    second: Linear,
    projection: Linear,
    /// Learnt: six vectors for every block, two for the head.
    learnt: Vec<f32>,
    known: Known<u32, [f32]>,
}

impl<K: Kernels> Dit<K> {
    /// Pack the weights of a source.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape, or heads are wider than the device has room for.
    pub fn new(kernels: K, sizes: Sizes, source: &dyn Source) -> Result<Self, WeightsError> {
        kernels.check_head(sizes.heads().width)?;
        let names = Names::new(source);
        let (mut matrices, mut plan) = (Matrices::new(), Plan::new(kernels.precision()));
        let Sizes { dim, freq_dim, num_layers, shot_embeddings, .. } = sizes;
        let layers = (0..num_layers).map(|layer| {
            let names = names.under("blocks").under(layer);
            Layer::new(&kernels, &sizes, &names, &mut matrices, &mut plan)
        });
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let ends = lists::Ends::new(&kernels, &sizes, &names, &mut matrices)?;
        let mut learnt = Vec::new();
        for layer in 0..num_layers {
            let names = names.under("blocks").under(layer);
            learnt.extend(names.tensor("modulation", &[1, 6, dim])?);
        }
        learnt.extend(names.under("head").tensor("modulation", &[1, 2, dim])?);
        let time = Time {
            first: names.linear("time_embedding.0", [dim, freq_dim])?,
            second: names.linear("time_embedding.2", [dim, dim])?,
            projection: names.linear("time_projection.1", [6 * dim, dim])?,
            learnt,
            known: Known::new(),
        };
        let shots = match shot_embeddings {
            0 => Vec::new(),
            count => names.tensor("shot_embedding.weight", &[count, dim])?,
        };
        let lists = Known::new();
        Ok(Self { kernels, sizes, matrices, layers, ends, plan, time, shots, lists })
    }

    /// What it runs on.
    pub fn kernels(&self) -> &K {
        &self.kernels
    }

    /// What a timestep asks of all blocks and the head, as the lists read it: offset, factor and
    /// gate of attention, of the feed-forward network, and so on; offset and factor of the head.
    fn modulation(&self, timestep: f32) -> Arc<[f32]> {
        let Time { first, second, projection, learnt, .. } = &self.time;
        let silu =
            |x: Vec<f32>| -> Vec<f32> { x.into_iter().map(|x| x / (1.0 + (-x).exp())).collect() };
        let sinusoid = angles::sinusoid(timestep, self.sizes.freq_dim);
        let time = second.apply(&silu(first.apply(&sinusoid)));
        let asked = projection.apply(&silu(time.clone()));
        let (dim, mut values) = (self.sizes.dim, learnt.clone());
        let (blocks, head) = values.split_at_mut(self.sizes.num_layers * 6 * dim);
        for block in blocks.chunks_exact_mut(6 * dim) {
            block.iter_mut().zip(&asked).for_each(|(value, asked)| *value += asked);
        }
        for vector in head.chunks_exact_mut(dim) {
            vector.iter_mut().zip(&time).for_each(|(value, asked)| *value += asked);
        }
        let factors = blocks.chunks_exact_mut(dim).skip(1).step_by(3);
        let factors = factors.chain(head.chunks_exact_mut(dim).skip(1));
        factors.flatten().for_each(|value| *value += 1.0);
        values.into()
    }

    /// The lists of passes of `frames` latent frames of `grid` (rows, columns) tokens.
    fn lists(&self, frames: usize, grid: [usize; 2]) -> Arc<Lists<K>> {
        let [rows, columns] = grid;
        self.lists.get([frames, rows, columns], || {
            let (layers, ends, plan) = (&self.layers, &self.ends, self.plan.clone());
            Arc::new(Lists::new(&self.sizes, layers, ends, plan, frames, grid))
        })
    }

    /// Keys and values of a caption for every block.
    fn read(&self, embedding: &Embedding) -> Result<TextCache<K>, DeviceError> {
        let tokens = embedding.tokens;
        let plan = self.plan.clone();
        let (plan, list) = lists::caption(&self.sizes, &self.layers, &self.ends, plan, tokens);
        let mut memory = self.kernels.memory(plan.plan.len())?;
        self.kernels.upload(&mut memory, 0, plan.plan.constants())?;
        self.kernels.upload(&mut memory, plan.input, &embedding.values)?;
        let own = [Arc::new(self.kernels.page(self.sizes.page(tokens))?)];
        let sight = Sight { own: &own, ..Sight::nothing() };
        rayon::scope(|_| self.kernels.run(&list, &self.matrices.packed, &mut memory, sight))?;
        let [page] = own;
        Ok(page)
    }
}

/// The memory of a pass, its own pages, and what stands in them.
#[derive(Debug)]
struct Workspace<K: Kernels> {
    memory: K::Memory,
    own: Vec<Arc<K::Page>>,
    /// Tokens as rows, on the host.
    rows: Vec<f32>,
    /// Angles, on the host.
    table: Vec<f32>,
    timestep: Option<f32>,
    slots: Vec<shotstream_plan::layout::FrameSlot>,
    captions: Vec<usize>,
}

/// Workspaces that are not in use, and pages.
#[derive(Debug)]
struct Shelves<K: Kernels> {
    workspaces: Shelf<Workspace<K>>,
    pages: Arc<Shelf<Arc<K::Page>>>,
}
