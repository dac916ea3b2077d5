//! Block checkpointing: of every block only what goes in is kept, and the block runs again backwards.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `F` | latent frames |
//! | `S` | tokens of one latent frame |
//! | `L` | tokens remembered |
//! | `D` | model width |
//! | `K`, `T` | captions, tokens of one caption |
//!
//! The inputs are tokens, modulation, the captions' keys and values, those of the caches, and the
//! block's parameters; every one of them gets its derivative. Passes that write a cache are not
//! checkpointed, because what they write must be kept anyway.

use burn::backend::DispatchTensor;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;

use super::block::{Block, Step};
use super::cache::{Captions, ContextCache, KeyValue, LocalCache, TextCache};
use super::pass::{CaptionRun, FrameMask, Pass};
use super::rope::Rope;
use crate::kernels::recompute::{Segment, recomputed};

/// Tokens `[B, F, S, D]` through `block`, the `layer`-th, keeping what went in.
///
/// # Panics
///
/// If the pass writes a cache.
pub(super) fn forward(
    block: &Block,
    x: Tensor<4>,
    step: &Step<'_>,
    pass: &Pass<'_>,
    layer: usize,
) -> Tensor<4> {
    let Captions { key, value } = step.text.layers[layer].clone();
    let mut inputs = Inputs(
        vec![x, step.modulation.clone(), key, value]
            .into_iter()
            .map(Tensor::into_dispatch)
            .collect(),
    );
    let (mask, memory) = match pass {
        Pass::Parallel { mask } => (mask.cloned(), None),
        Pass::Denoise { context, local } => {
            let past = [context.layers.get(layer), local.layers.get(layer)];
            let past: Vec<_> = past.into_iter().flatten().cloned().collect();
            (None, (!past.is_empty()).then(|| KeyValue::concat(past)))
        }
        Pass::EncodeContext { .. } | Pass::Commit { .. } => {
            unreachable!("a pass that predicts writes no cache: {pass:?}")
        }
    };
    let remembers = memory.is_some();
    if let Some(KeyValue { key, value }) = memory {
        inputs.0.extend([key, value].map(Tensor::into_dispatch));
    }
    block.visit(&mut inputs);
    let segment = BlockAgain {
        block: block.clone(),
        rope: step.rope.constant(),
        runs: step.runs.clone(),
        mask,
        remembers,
    };
    recomputed(segment, inputs.0)
}

/// A block and what its inputs do not say.
#[derive(Clone, Debug)]
struct BlockAgain {
    /// Its parameters are replaced by those among the inputs.
    block: Block,
    rope: Rope,
    runs: Vec<CaptionRun>,
    mask: Option<FrameMask>,
    /// Whether keys and values `[B, L, D]` of the caches are among the inputs.
    remembers: bool,
}

impl Segment<4> for BlockAgain {
    fn run(&self, inputs: Vec<DispatchTensor>) -> Tensor<4> {
        let mut inputs = inputs.into_iter();
        let x = next(&mut inputs);
        let modulation = next(&mut inputs);
        let captions = Captions { key: next(&mut inputs), value: next(&mut inputs) };
        let memory =
            self.remembers.then(|| KeyValue { key: next(&mut inputs), value: next(&mut inputs) });
        let block = self.block.clone().map(&mut Filler(inputs));
        let (rope, runs) = (self.rope.clone(), self.runs.clone());
        let text = &TextCache { layers: vec![captions] };
        let step = Step { modulation, rope, runs, text };
        let context = ContextCache { layers: memory.into_iter().collect() };
        let mut pass = match self.remembers {
            true => Pass::Denoise { context: &context, local: &LocalCache::default() },
            false => Pass::Parallel { mask: self.mask.as_ref() },
        };
        block.forward(x, &step, &mut pass, 0)
    }
}

/// The next input, of the rank that the caller knows it has.
fn next<const R: usize>(inputs: &mut impl Iterator<Item = DispatchTensor>) -> Tensor<R> {
    Tensor::from_dispatch(inputs.next().expect("as many inputs as were given"))
}

/// Collects a module's parameters behind other inputs.
struct Inputs(Vec<DispatchTensor>);

impl ModuleVisitor for Inputs {
    fn visit_float<const R: usize>(&mut self, param: &Param<Tensor<R>>) {
        self.0.push(param.val().into_dispatch());
    }
}

/// Puts inputs where a module's parameters were, in the order in which [`Inputs`] took them.
struct Filler(std::vec::IntoIter<DispatchTensor>);

impl ModuleMapper for Filler {
    fn map_float<const R: usize>(&mut self, param: Param<Tensor<R>>) -> Param<Tensor<R>> {
        let tensor = next(&mut self.0);
        param.map(|_| tensor)
    }
}
