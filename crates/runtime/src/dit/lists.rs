//! The lists of the transformer's passes.
//!
//! Between two waits lies everything that a token does alone: from the end of one attention over
//! the feed-forward network to the keys of the next block. A token waits once a block, for the keys
//! of the others.

use std::sync::Arc;

use super::{Shelves, Sizes, angles::paired};
use crate::{
    kernels::{Grid, Heads, Kernels, Over, Precision, Section, Step, Then, Turn},
    memory::{Plan, Shelf},
    weights::{Matrices, Names, WeightsError},
};

/// Where the weights of a block are: indices of matrices, places of constants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer {
    query: usize,
    key_value: usize,
    out: usize,
    cross_query: usize,
    cross_key_value: usize,
    cross_out: usize,
    feed: [usize; 2],
    norm_query: usize,
    norm_key: usize,
    cross_norm_query: usize,
    cross_norm_key: usize,
    /// Factor and offset.
    norm_cross: [usize; 2],
}

impl Layer {
    pub(super) fn new<K: Kernels>(
        kernels: &K,
        sizes: &Sizes,
        names: &Names<'_>,
        matrices: &mut Matrices<K>,
        plan: &mut Plan,
    ) -> Result<Self, WeightsError> {
        let &Sizes { dim, ffn_dim, .. } = sizes;
        let Heads { count, width } = sizes.heads();
        let order = paired(count, width);
        let square = [dim, dim];
        let own = names.under("self_attn");
        let query = own.linear("q", square)?.permuted(&order);
        let key_value = own.linear("k", square)?.permuted(&order).over(&own.linear("v", square)?);
        let gain = |name: &str| own.tensor(name, &[dim]);
        let turned = |gain: Vec<f32>| order.iter().map(|&at| gain[at]).collect::<Vec<_>>();
        let gains = [turned(gain("norm_q.weight")?), turned(gain("norm_k.weight")?)];
        let cross = names.under("cross_attn");
        let cross_key_value = cross.linear("k", square)?.over(&cross.linear("v", square)?);
        let mut add = |linear| matrices.add(kernels, linear);
        let [norm_query, norm_key] = gains.map(|gain| plan.constant(&gain));
        let norm = names.under("norm3");
        Ok(Self {
            query: add(&query)?,
            key_value: add(&key_value)?,
            out: add(&own.linear("o", square)?)?,
            cross_query: add(&cross.linear("q", square)?)?,
            cross_key_value: add(&cross_key_value)?,
            cross_out: add(&cross.linear("o", square)?)?,
            feed: [
                add(&names.linear("ffn.0", [ffn_dim, dim])?)?,
                add(&names.linear("ffn.2", [dim, ffn_dim])?)?,
            ],
            norm_query,
            norm_key,
            cross_norm_query: plan.constant(&cross.tensor("norm_q.weight", &[dim])?),
            cross_norm_key: plan.constant(&cross.tensor("norm_k.weight", &[dim])?),
            norm_cross: [
                plan.constant(&norm.tensor("weight", &[dim])?),
                plan.constant(&norm.tensor("bias", &[dim])?),
            ],
        })
    }
}

/// Matrices before the first block and behind the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    patch: usize,
    text: [usize; 2],
    head: usize,
}

impl Ends {
    pub(super) fn new<K: Kernels>(
        kernels: &K,
        sizes: &Sizes,
        names: &Names<'_>,
        matrices: &mut Matrices<K>,
    ) -> Result<Self, WeightsError> {
        let &Sizes { dim, text_dim, patch: [p, q], channels: [from, to], .. } = sizes;
        let patch = names.under("patch_embedding");
        let patch = crate::weights::Linear {
            weight: patch.tensor("weight", &[dim, from, 1, p, q])?,
            offset: patch.tensor("bias", &[dim])?,
        };
        let mut add = |linear| matrices.add(kernels, linear);
        Ok(Self {
            patch: add(&patch)?,
            text: [
                add(&names.linear("text_embedding.0", [dim, text_dim])?)?,
                add(&names.linear("text_embedding.2", [dim, dim])?)?,
            ],
            head: add(&names.linear("head.head", [p * q * to, dim])?)?,
        })
    }
}

/// The passes of one size, and where they find and leave what they work on.
#[derive(Debug)]
pub(super) struct Lists<K: Kernels> {
    pub(super) plan: Plan,
    /// Rows of patches, `[L, C·p·q]`.
    pub(super) input: usize,
    /// Added to the tokens of every frame, `[F, D]`, where there are vectors of shots.
    pub(super) shots: Option<usize>,
    pub(super) rotation: usize,
    pub(super) modulation: usize,
    /// Rows of patches of velocity, `[L, p·q·C]`.
    pub(super) output: usize,
    /// To a velocity.
    pub(super) predict: Vec<Section>,
    /// To keys and values only.
    pub(super) fill: Vec<Section>,
    pub(super) shelves: Shelves<K>,
}

/// Places of one pass.
struct Builder<'a> {
    sizes: &'a Sizes,
    layers: &'a [Layer],
    size: [usize; 3],
    /// The input as products read it, and what makes it so.
    entered: Grid,
    enter: Vec<Step>,
    x: Grid,
    hidden: Grid,
    query: Grid,
    key_value: Grid,
    seen: Grid,
    wide: Grid,
    rotation: usize,
    modulation: usize,
}

impl<K: Kernels> Lists<K> {
    pub(super) fn new(
        sizes: &Sizes,
        layers: &[Layer],
        ends: &Ends,
        mut plan: Plan,
        frames: usize,
        [rows, columns]: [usize; 2],
    ) -> Self {
        let &Sizes { dim, ffn_dim, patch: [p, q], channels: [from, to], num_layers, .. } = sizes;
        let (frame, patch, precision) = (rows * columns, p * q, plan.precision);
        let tokens = frames * frame;
        let room_in = |precision: Precision, plan: &mut Plan, width: usize| {
            let start = plan.room(tokens * precision.places(width));
            Grid::packed(start, [frame, 1], width, precision)
        };
        let room = |plan: &mut Plan, width: usize| room_in(Precision::F32, plan, width);
        // What products read.
        let read = |plan: &mut Plan, width: usize| room_in(precision, plan, width);
        let rotation = plan.room(tokens * sizes.heads().width);
        let modulation = plan.room((6 * num_layers + 2) * dim);
        let input = room(&mut plan, from * patch);
        let output = room(&mut plan, to * patch);
        let shots = (0 < sizes.shot_embeddings).then(|| plan.room(frames * dim));
        let (entered, enter) = enter(&mut plan, input, tokens, [frame, from * patch]);
        let builder = Builder {
            sizes,
            layers,
            size: [frames, frame, 1],
            entered,
            enter,
            x: room(&mut plan, dim),
            hidden: read(&mut plan, dim),
            query: room(&mut plan, dim),
            key_value: room(&mut plan, 2 * dim),
            seen: read(&mut plan, dim),
            wide: read(&mut plan, ffn_dim),
            rotation,
            modulation,
        };
        let (input_at, output_at) = (input.start, output.start);
        let [predict, fill] =
            [true, false].map(|predicts| builder.pass(ends, shots, predicts.then_some(output)));
        let shelves = Shelves { workspaces: Shelf::new(), pages: Arc::new(Shelf::new()) };
        Self {
            plan,
            input: input_at,
            shots,
            rotation,
            modulation,
            output: output_at,
            predict,
            fill,
            shelves,
        }
    }
}

impl Builder<'_> {
    /// All sections; without an output only as far as keys and values need.
    fn pass(&self, ends: &Ends, shots: Option<usize>, output: Option<Grid>) -> Vec<Section> {
        let then = match shots {
            // A vector for all tokens of a frame.
            Some(start) => Then::Add(Grid { start, strides: [self.sizes.dim, 0, 0], ..self.x }),
            None => Then::Plain,
        };
        let mut steps = self.enter.clone();
        steps.push(Step::projection(self.entered, ends.patch, self.x, then));
        let mut sections = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let last = index + 1 == self.layers.len();
            self.remember(index, layer, output.is_some() || !last, &mut steps);
            sections.push(Section { size: self.size, steps: std::mem::take(&mut steps) });
            if output.is_some() || !last {
                self.rest(index, layer, &mut steps);
            }
        }
        if let Some(output) = output {
            let head = self.asked(self.layers.len(), 0);
            steps.push(self.norm([head + self.sizes.dim, head]));
            steps.push(Step::projection(self.hidden, ends.head, output, Then::Plain));
            sections.push(Section { size: self.size, steps });
        }
        sections
    }

    /// Where the `index`-th of what a timestep asks of a block begins.
    fn asked(&self, layer: usize, index: usize) -> usize {
        self.modulation + (6 * layer + index) * self.sizes.dim
    }

    /// The norm of the tokens, by a factor and an offset.
    fn norm(&self, [scale, shift]: [usize; 2]) -> Step {
        let &Sizes { dim: width, eps, .. } = self.sizes;
        Step::LayerNorm { x: self.x, y: self.hidden, width, scale, shift, eps }
    }

    fn turn(&self, gain: usize, rotates: bool) -> Turn {
        let [_, frame, _] = self.size;
        let width = self.sizes.heads().width;
        let rotation =
            rotates.then(|| Grid::packed(self.rotation, [frame, 1], width, Precision::F32));
        Turn { gain, eps: self.sizes.eps, rotation }
    }

    fn query(&self, gain: usize, rotates: bool) -> Step {
        let heads = self.sizes.heads();
        let factor = (heads.width as f32).sqrt().recip();
        Step::Query { q: self.query, heads, turn: Some(self.turn(gain, rotates)), factor }
    }

    /// Up to what other tokens wait for.
    fn remember(&self, index: usize, layer: &Layer, asks: bool, steps: &mut Vec<Step>) {
        let heads = self.sizes.heads();
        steps.push(self.norm([self.asked(index, 1), self.asked(index, 0)]));
        if asks {
            steps.push(Step::projection(self.hidden, layer.query, self.query, Then::Plain));
            steps.push(self.query(layer.norm_query, true));
        }
        steps.push(Step::projection(self.hidden, layer.key_value, self.key_value, Then::Plain));
        let turn = Some(self.turn(layer.norm_key, true));
        steps.push(Step::Remember { kv: self.key_value, heads, turn, layer: index });
    }

    /// From attention to the end of a block.
    fn rest(&self, index: usize, layer: &Layer, steps: &mut Vec<Step>) {
        let heads = self.sizes.heads();
        let (q, y, bias) = (self.query, self.seen, None);
        let look = |over| Step::Attention { q, y, heads, layer: index, over, bias };
        let gated = |gate| Then::Gated { onto: self.x, gate: self.asked(index, gate) };
        let [first, second] = layer.feed;
        steps.extend([
            look(Over::All),
            Step::projection(self.seen, layer.out, self.x, gated(2)),
            self.norm(layer.norm_cross),
            Step::projection(self.hidden, layer.cross_query, self.query, Then::Plain),
            self.query(layer.cross_norm_query, false),
            look(Over::Caption),
            Step::projection(self.seen, layer.cross_out, self.x, Then::Add(self.x)),
            self.norm([self.asked(index, 4), self.asked(index, 3)]),
            Step::projection(self.hidden, first, self.wide, Then::Gelu),
            Step::projection(self.wide, second, self.x, gated(5)),
        ]);
    }
}

/// An input of so many tokens as products read it, and what makes it so, if it is something else.
fn enter(
    plan: &mut Plan,
    input: Grid,
    tokens: usize,
    [frame, width]: [usize; 2],
) -> (Grid, Vec<Step>) {
    if plan.precision == input.precision {
        return (input, Vec::new());
    }
    let start = plan.room(tokens * plan.precision.places(width));
    let entered = Grid::packed(start, [frame, 1], width, plan.precision);
    (entered, vec![Step::Copy { x: input, y: entered, width }])
}

/// Where a caption's embeddings go in.
#[derive(Debug)]
pub(super) struct CaptionPlan {
    pub(super) plan: Plan,
    pub(super) input: usize,
}

/// The list that makes keys and values of the embeddings of a caption, `[T, text_dim]`.
pub(super) fn caption(
    sizes: &Sizes,
    layers: &[Layer],
    ends: &Ends,
    mut plan: Plan,
    tokens: usize,
) -> (CaptionPlan, Vec<Section>) {
    let &Sizes { dim, text_dim, eps, .. } = sizes;
    let precision = plan.precision;
    let mut room = |width: usize, precision: Precision| {
        let start = plan.room(tokens * precision.places(width));
        Grid::packed(start, [tokens, 1], width, precision)
    };
    let (input, kv) = (room(text_dim, Precision::F32), room(2 * dim, Precision::F32));
    let (hidden, text) = (room(dim, precision), room(dim, precision));
    let (entered, mut steps) = enter(&mut plan, input, tokens, [tokens, text_dim]);
    let [first, second] = ends.text;
    steps.push(Step::projection(entered, first, hidden, Then::Gelu));
    steps.push(Step::projection(hidden, second, text, Then::Plain));
    for (index, layer) in layers.iter().enumerate() {
        let turn = Some(Turn { gain: layer.cross_norm_key, eps, rotation: None });
        steps.push(Step::projection(text, layer.cross_key_value, kv, Then::Plain));
        steps.push(Step::Remember { kv, heads: sizes.heads(), turn, layer: index });
    }
    let list = vec![Section { size: [1, tokens, 1], steps }];
    (CaptionPlan { plan, input: input.start }, list)
}
