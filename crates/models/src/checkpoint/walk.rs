//! From the parameters of a module to tensors as they are stored, and back.
//!
//! | letter | means |
//! |---|---|
//! | `D` | rank of a parameter |

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{DType, Tensor, TensorData},
};

use rayon::prelude::*;

use super::names::Network;

/// One parameter as a checkpoint knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Official name.
    pub(super) name: String,
    /// The shape in the file.
    pub(super) shape: Vec<usize>,
    /// Whether the file holds the transpose of the parameter.
    transposed: bool,
}

/// Where a walk through a module stands.
struct Cursor {
    network: Network,
    path: Vec<String>,
    containers: Vec<String>,
}

impl Cursor {
    fn new(network: Network) -> Self {
        Self { network, path: Vec::new(), containers: Vec::new() }
    }

    fn enter(&mut self, name: &str, container: &str) {
        self.path.push(name.to_owned());
        self.containers.push(container.to_owned());
    }

    fn exit(&mut self) {
        self.path.pop();
        self.containers.pop();
    }

    /// The parameter under the cursor. Never initialises it.
    fn slot<const D: usize>(&self, param: &Param<Tensor<D>>) -> Slot {
        let mut shape = param.lazy_shape().to_vec();
        let in_linear = self.containers.last().is_some_and(|kind| kind == "Struct:Linear");
        let transposed = in_linear && D == 2;
        if transposed {
            shape.reverse();
        }
        Slot { name: self.network.official_name(&self.path), shape, transposed }
    }
}

/// Every parameter of a module, in the order of its fields.
pub(super) fn slots<M: Module>(module: &M, network: Network) -> Vec<Slot> {
    let mut lister = Lister { cursor: Cursor::new(network), slots: Vec::new() };
    module.visit(&mut lister);
    lister.slots
}

struct Lister {
    cursor: Cursor,
    slots: Vec<Slot>,
}

impl ModuleVisitor for Lister {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.cursor.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.cursor.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.slots.push(self.cursor.slot(param));
    }
}

/// Hand every parameter of a module to `store`, its values in the order of the file.
pub(super) fn read_out<M: Module>(module: &M, network: Network, store: impl FnMut(Slot, Vec<f32>)) {
    module.visit(&mut Reader { cursor: Cursor::new(network), store });
}

struct Reader<F> {
    cursor: Cursor,
    store: F,
}

impl<F: FnMut(Slot, Vec<f32>)> ModuleVisitor for Reader<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.cursor.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.cursor.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let slot = self.cursor.slot(param);
        let values: Vec<f32> = param.val().into_data().iter::<f32>().collect();
        let values = match (slot.transposed, slot.shape.as_slice()) {
            (true, &[outputs, inputs]) => transpose(&values, [inputs, outputs]),
            _ => values,
        };
        (self.store)(slot, values);
    }
}

/// Replace every parameter of a module by what `fetch` has for it, in the order of [`slots`].
///
/// Ids, devices and what requires gradients stay as they are.
///
/// # Errors
/// The first that `fetch` returns; it is not asked again.
pub(super) fn fill<M: Module, E>(
    module: M,
    network: Network,
    fetch: impl FnMut(&Slot) -> Result<Vec<f32>, E>,
) -> Result<M, E> {
    let mut filler = Filler { cursor: Cursor::new(network), fetch, error: None };
    let module = module.map(&mut filler);
    filler.error.map_or(Ok(module), Err)
}

struct Filler<F, E> {
    cursor: Cursor,
    fetch: F,
    error: Option<E>,
}

impl<E, F: FnMut(&Slot) -> Result<Vec<f32>, E>> ModuleMapper for Filler<F, E> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.cursor.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.cursor.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let slot = self.cursor.slot(&param);
        if self.error.is_some() {
            return param;
        }
        let values = match (self.fetch)(&slot) {
            Ok(values) => values,
            Err(error) => {
                self.error = Some(error);
                return param;
            }
        };
        let values = match (slot.transposed, slot.shape.as_slice()) {
            (true, &[outputs, inputs]) => transpose(&values, [outputs, inputs]),
            _ => values,
        };
        let data = TensorData::new(values, param.lazy_shape());
        let tensor = Tensor::from_data(data, (&param.lazy_device(), DType::F32));
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}

/// The transpose of a matrix of `rows` by `columns`, row by row. It goes in tiles, which stay in
/// the processor's cache while both sides of them are touched.
fn transpose(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    const TILE: usize = 32;
    let mut transposed = vec![0.0; values.len()];
    let strips = transposed.par_chunks_mut((TILE * rows).max(1)).enumerate();
    strips.for_each(|(strip, transposed)| {
        let left = strip * TILE;
        for top in (0..rows).step_by(TILE) {
            for column in left..(left + TILE).min(columns) {
                for row in top..(top + TILE).min(rows) {
                    transposed[(column - left) * rows + row] = values[row * columns + column];
                }
            }
        }
    });
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns_whatever_the_tiles() {
        for [rows, columns] in [[0, 0], [0, 5], [1, 70], [70, 1], [33, 95], [64, 32]] {
            let values: Vec<f32> = (0..rows * columns).map(|at| at as f32).collect();
            let transposed = transpose(&values, [rows, columns]);
            assert_eq!(transposed.len(), values.len());
            for (at, value) in transposed.iter().enumerate() {
                assert_eq!(*value, values[at % rows * columns + at / rows]);
            }
        }
    }
}
