//! From the parameters of a module to tensors as they are stored, and back.
//!
//! | letter | means |
//! |---|---|
//! | `D` | rank of a parameter |

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{DType, Tensor, TensorData},
};

use super::names::Network;

/// One parameter as a checkpoint knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Prefix and official name.
    pub(super) name: String,
    /// The shape in the file.
    pub(super) shape: Vec<usize>,
    /// Whether the file holds the transpose of the parameter.
    transposed: bool,
}

/// Where a walk through a module stands.
struct Cursor<'a> {
    network: Network,
    prefix: &'a str,
    path: Vec<String>,
    containers: Vec<String>,
}

impl<'a> Cursor<'a> {
    fn new(network: Network, prefix: &'a str) -> Self {
        Self { network, prefix, path: Vec::new(), containers: Vec::new() }
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
        let name = format!("{}{}", self.prefix, self.network.official_name(&self.path));
        Slot { name, shape, transposed }
    }
}

/// Every parameter of a module, in the order of its fields.
pub(super) fn slots<M: Module>(module: &M, network: Network, prefix: &str) -> Vec<Slot> {
    let mut lister = Lister { cursor: Cursor::new(network, prefix), slots: Vec::new() };
    module.visit(&mut lister);
    lister.slots
}

struct Lister<'a> {
    cursor: Cursor<'a>,
    slots: Vec<Slot>,
}

impl ModuleVisitor for Lister<'_> {
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
pub(super) fn read_out<M: Module>(
    module: &M,
    network: Network,
    prefix: &str,
    store: impl FnMut(Slot, Vec<f32>),
) {
    module.visit(&mut Reader { cursor: Cursor::new(network, prefix), store });
}

struct Reader<'a, F> {
    cursor: Cursor<'a>,
    store: F,
}

impl<F: FnMut(Slot, Vec<f32>)> ModuleVisitor for Reader<'_, F> {
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

/// Replace every parameter of a module by what `fetch` has for its name, in the order of the file.
///
/// Ids, devices and what requires gradients stay as they are.
pub(super) fn fill<M: Module>(
    module: M,
    network: Network,
    prefix: &str,
    fetch: impl FnMut(&Slot) -> Vec<f32>,
) -> M {
    module.map(&mut Filler { cursor: Cursor::new(network, prefix), fetch })
}

struct Filler<'a, F> {
    cursor: Cursor<'a>,
    fetch: F,
}

impl<F: FnMut(&Slot) -> Vec<f32>> ModuleMapper for Filler<'_, F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.cursor.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.cursor.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let slot = self.cursor.slot(&param);
        let values = (self.fetch)(&slot);
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

/// The transpose of a matrix of `rows` by `columns`, row by row.
fn transpose(values: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let column = |c: usize| (0..rows).map(move |r| values[r * columns + c]);
    (0..columns).flat_map(column).collect()
}
