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
use crate::kernels::recompute::{Piece, recomputed};

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
    // Context and local cache stay apart: as they are they cost nothing, joined they would be copies.
    let (mask, past) = match pass {
        Pass::Parallel { mask } => (mask.cloned(), None),
        Pass::Denoise { context, local } => {
            (None, Some([&context.layers, &local.layers].map(|layers| layers.get(layer).cloned())))
        }
        Pass::EncodeContext { .. } | Pass::Commit { .. } => {
            unreachable!("a pass that predicts writes no cache: {pass:?}")
        }
    };
    let remembers = past.as_ref().map(|past| past.each_ref().map(Option::is_some));
    for KeyValue { key, value } in past.into_iter().flatten().flatten() {
        inputs.0.extend([key, value].map(Tensor::into_dispatch));
    }
    block.visit(&mut inputs);
    let piece = BlockAgain {
        block: block.clone(),
        rope: step.rope.constant(),
        runs: step.runs.clone(),
        mask,
        remembers,
    };
    recomputed(piece, inputs.0)
}

/// A block and what its inputs do not say.
#[derive(Clone, Debug)]
struct BlockAgain {
    /// Its parameters are replaced by those among the inputs.
    block: Block,
    rope: Rope,
    runs: Vec<CaptionRun>,
    mask: Option<FrameMask>,
    /// Of a pass over caches, whether keys and values `[B, L, D]` of the context's and of the local
    /// one are among the inputs.
    remembers: Option<[bool; 2]>,
}

impl Piece<4> for BlockAgain {
    fn run(&self, inputs: Vec<DispatchTensor>) -> Tensor<4> {
        let mut inputs = inputs.into_iter();
        let x = next(&mut inputs);
        let modulation = next(&mut inputs);
        let captions = Captions { key: next(&mut inputs), value: next(&mut inputs) };
        let mut past = |there: bool| -> Vec<KeyValue> {
            let there =
                there.then(|| KeyValue { key: next(&mut inputs), value: next(&mut inputs) });
            there.into_iter().collect()
        };
        let [context, local] = self.remembers.unwrap_or_default();
        let context = ContextCache { layers: past(context) };
        let local = LocalCache { layers: past(local), ..LocalCache::default() };
        let block = self.block.clone().map(&mut Filler(inputs));
        let (rope, runs) = (self.rope.clone(), self.runs.clone());
        let text = &TextCache { layers: vec![captions] };
        let step = Step { modulation, rope, runs, text };
        let mut pass = match self.remembers {
            Some(_) => Pass::Denoise { context: &context, local: &local },
            None => Pass::Parallel { mask: self.mask.as_ref() },
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
