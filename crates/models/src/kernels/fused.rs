//! How slice code becomes a differentiable tensor operation.
//!
//! A [`Fused`] operation says what it computes from slices and what its derivative is; [`apply`]
//! finds the slices inside the tensors and enters the operation into the graph of derivatives.
//!
//! | letter | means |
//! |---|---|
//! | `D` | rank of any tensor; the operations look at its values one after another |

use std::fmt::Debug;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Flex,
    TensorMetadata,
};
use burn::tensor::{DType, Shape, TensorData};

/// Values of a tensor in row-major order. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Array(FlexTensor);

impl Array {
    /// `values` in `shape`.
    pub(super) fn new(values: Vec<f32>, shape: impl Into<Shape>) -> Self {
        Self(FlexTensor::from_data(TensorData::new(values, shape)))
    }

    /// The last axis is the fastest.
    pub(super) fn values(&self) -> &[f32] {
        self.0.as_slice().expect("contiguous f32 since it was made")
    }

    pub(super) fn shape(&self) -> Shape {
        self.0.shape()
    }

    /// The same as a tensor outside any graph.
    pub(super) fn into_constant(self) -> DispatchTensor {
        let kind = DispatchTensorKind::Flex(BackendTensor::Float(self.0));
        DispatchTensor { kind, autodiff: DispatchAutodiffContext::Disabled }
    }

    /// Those of a tensor outside any graph.
    pub(super) fn from_constant(tensor: DispatchTensor) -> Self {
        plain(tensor.kind).into()
    }
}

impl From<FlexTensor> for Array {
    fn from(tensor: FlexTensor) -> Self {
        Self(tensor.to_contiguous())
    }
}

/// An operation on `N` tensors with one result.
pub(super) trait Fused<const N: usize>: Clone + Debug + Send + 'static {
    /// What the derivative needs to know of the forward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// The result.
    fn forward(&self, inputs: [Array; N]) -> (Array, Self::Saved);

    /// Gradients of the inputs from the gradient of the result; those not `wanted` may be `None`.
    fn backward(&self, saved: Self::Saved, grad: Array, wanted: [bool; N]) -> [Option<Array>; N];
}

/// Run `operation` on `f32` tensors on the CPU; any others come back.
pub(super) fn apply<F: Fused<N>, const N: usize>(
    operation: F,
    inputs: [DispatchTensor; N],
) -> Result<DispatchTensor, [DispatchTensor; N]> {
    if !inputs.iter().all(is_fusable) {
        return Err(inputs);
    }
    let autodiff = inputs
        .iter()
        .fold(DispatchAutodiffContext::Disabled, |context, input| context.merge(input.autodiff));
    let kind = if autodiff == DispatchAutodiffContext::Disabled {
        let arrays = inputs.map(|input| Array::from(plain(input.kind)));
        let (output, _) = operation.forward(arrays);
        DispatchTensorKind::Flex(BackendTensor::Float(output.0))
    } else {
        let output = record(operation, inputs.map(|input| tracked(input.kind)));
        let output = DispatchTensorKind::Flex(BackendTensor::Autodiff(output));
        DispatchTensorKind::Autodiff(Box::new(output))
    };
    Ok(DispatchTensor { kind, autodiff })
}

/// Whether slices can be taken of a tensor.
fn is_fusable(tensor: &DispatchTensor) -> bool {
    let on_cpu = match &tensor.kind {
        DispatchTensorKind::Autodiff(inner) => matches!(**inner, DispatchTensorKind::Flex(_)),
        kind => matches!(kind, DispatchTensorKind::Flex(_)),
    };
    on_cpu && tensor.dtype() == DType::F32
}

/// A tensor outside any graph.
fn plain(kind: DispatchTensorKind) -> FlexTensor {
    match kind {
        DispatchTensorKind::Flex(tensor) => tensor.float(),
        kind => unreachable!("a plain tensor on the CPU, by its context: {kind:?}"),
    }
}

/// A tensor inside a graph; one from outside enters as a constant.
fn tracked(kind: DispatchTensorKind) -> FloatTensor<Autodiff<Flex>> {
    match kind {
        DispatchTensorKind::Autodiff(inner) => match *inner {
            DispatchTensorKind::Flex(tensor) => tensor.autodiff(),
            kind => unreachable!("checked to be on the CPU: {kind:?}"),
        },
        kind => FloatTensor::<Autodiff<Flex>>::new(plain(kind)),
    }
}

/// Compute forwards and enter the derivative into the graph.
fn record<F: Fused<N>, const N: usize>(
    operation: F,
    inputs: [FloatTensor<Autodiff<Flex>>; N],
) -> FloatTensor<Autodiff<Flex>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let arrays = inputs.map(|input| Array::from(input.into_primitive()));
    let (output, saved) = operation.forward(arrays);
    // Nothing of the graph is recomputed here, so the checkpointing strategy plays no part.
    match Derivative(operation).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(saved, output.0),
        OpsKind::UnTracked(prep) => prep.finish(output.0),
    }
}

/// The derivative of an operation, as a step back through the graph.
#[derive(Clone, Debug)]
struct Derivative<F>(F);

impl<F: Fused<N>, const N: usize> Backward<Flex, N> for Derivative<F> {
    type State = F::Saved;

    fn backward(self, ops: Ops<F::Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = Array::from(grads.consume::<Flex>(&ops.node));
        let wanted: [Option<NodeId>; N] = ops.parents.map(|parent| parent.map(|node| node.id));
        let found = self.0.backward(ops.state, grad, wanted.map(|id| id.is_some()));
        for (id, grad) in wanted.into_iter().zip(found) {
            if let (Some(id), Some(grad)) = (id, grad) {
                grads.register::<Flex>(id, grad.0);
            }
        }
    }
}
