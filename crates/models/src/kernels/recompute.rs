//! Pieces of a network that keep their inputs only, and are computed again for their derivative.
//!
//! Chen et al. 2016, "Training deep nets with sublinear memory cost" (arXiv 1604.06174). What a
//! piece computes on its way exists while it runs, forwards and once more backwards, instead of from
//! its forward pass to its backward one.
//!
//! | letter | means |
//! |---|---|
//! | `D` | rank of the result; inputs may be of any rank |

use std::fmt::Debug;

use burn::backend::DispatchTensor;
use burn::tensor::Tensor;

use super::fused::{Array, Fused, apply};

/// Inputs at most: a block of the transformer has four to six, and its parameters.
const MOST: usize = 64;

/// A piece of a network with one result of rank `D`.
pub(crate) trait Piece<const D: usize>: Clone + Debug + Send + 'static {
    /// The result, in a graph if an input is in one.
    fn run(&self, inputs: Vec<DispatchTensor>) -> Tensor<D>;
}

/// What `piece` makes of `inputs`, with nothing kept but them.
///
/// Away from the CPU or from `f32` everything is kept.
///
/// # Panics
///
/// If there are more inputs than a piece may have.
pub(crate) fn recomputed<S: Piece<D>, const D: usize>(
    piece: S,
    inputs: Vec<DispatchTensor>,
) -> Tensor<D> {
    let count = inputs.len();
    let nothing = || Array::new(Vec::new(), [0]).into_constant();
    let padded = inputs.into_iter().chain(std::iter::repeat_with(nothing)).take(MOST.max(count));
    let padded: [DispatchTensor; MOST] = padded
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_else(|_| panic!("{count} inputs of a piece, at most {MOST} have room"));
    match apply(Again::<S, D> { piece: piece.clone(), count }, padded) {
        Ok(output) => Tensor::from_dispatch(output),
        Err(inputs) => piece.run(inputs.into_iter().take(count).collect()),
    }
}

/// A piece as an operation whose derivative runs it again.
#[derive(Clone, Debug)]
struct Again<S, const D: usize> {
    piece: S,
    /// Inputs that are the piece's.
    count: usize,
}

impl<S: Piece<D>, const D: usize> Fused<MOST> for Again<S, D> {
    type Saved = [Array; MOST];

    fn forward(&self, inputs: [Array; MOST]) -> (Array, Self::Saved) {
        let constants = inputs.clone().into_iter().take(self.count).map(Array::into_constant);
        let output = self.piece.run(constants.collect());
        (Array::from_constant(output.into_dispatch()), inputs)
    }

    fn backward(
        &self,
        saved: Self::Saved,
        grad: Array,
        wanted: [bool; MOST],
    ) -> [Option<Array>; MOST] {
        // A tensor's rank plays no part in being an input, so one type serves for all.
        let leaves = saved.into_iter().zip(wanted).take(self.count).map(|(input, wanted)| {
            let leaf = Tensor::<1>::from_dispatch(input.into_constant()).autodiff();
            if wanted { leaf.require_grad() } else { leaf }
        });
        let leaves: Vec<_> = leaves.collect();
        let output = self.piece.run(leaves.iter().cloned().map(Tensor::into_dispatch).collect());
        let grad = Tensor::<D>::from_dispatch(grad.into_constant()).autodiff();
        // The derivative of this sum by the output is the gradient that came.
        let grads = (output * grad).sum().backward();
        std::array::from_fn(|index| {
            let leaf = leaves.get(index).filter(|_| wanted[index])?;
            leaf.grad(&grads).map(|grad| Array::from_constant(grad.into_dispatch()))
        })
    }
}
