//! A module's parameters as named host vectors, in the order in which the module lists them.
//!
//! The optimiser, the average of the weights and the resume file all work on these vectors, so
//! that none of them depends on the tensor framework's identifiers, which change with every run.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

/// Name and shape of one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// Field path in the module, joined by dots.
    pub name: String,
    /// Axes in the module's own layout.
    pub shape: Vec<usize>,
}

/// One host vector per parameter: values, gradients, moments or averages.
pub type Vectors = Vec<Vec<f32>>;

/// Gradients, and the names of the parameters whose are read.
type Wanted<'a> = (&'a Gradients, &'a dyn Fn(&str) -> bool);

#[derive(Default)]
struct Reader<'a> {
    path: Vec<String>,
    gradients: Option<Wanted<'a>>,
    specs: Vec<ParamSpec>,
    vectors: Vectors,
}

impl ModuleVisitor for Reader<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let shape = value.dims().to_vec();
        let numel = shape.iter().product();
        let name = self.path.join(".");
        self.vectors.push(match self.gradients {
            None => host(value.inner()),
            Some((_, wanted)) if !wanted(&name) => Vec::new(),
            Some((gradients, _)) => value.grad(gradients).map_or_else(|| vec![0.0; numel], host),
        });
        self.specs.push(ParamSpec { name, shape });
    }
}

/// The values of a tensor on the host.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().expect("parameters are f32 on every device we train on")
}

/// The number in a tensor that holds one, without its graph.
pub fn number(scalar: &Tensor<1>) -> f64 {
    f64::from(host(scalar.clone().inner())[0])
}

/// Names, shapes and values of every parameter.
pub fn values<M: Module>(module: &M) -> (Vec<ParamSpec>, Vectors) {
    let mut reader = Reader::default();
    module.visit(&mut reader);
    (reader.specs, reader.vectors)
}

/// The gradient of every parameter whose name is `wanted`, zeros where the loss did not reach; of
/// the others nothing.
pub fn gradients<M: Module>(
    module: &M,
    gradients: &Gradients,
    wanted: impl Fn(&str) -> bool,
) -> Vectors {
    let mut reader = Reader { gradients: Some((gradients, &wanted)), ..Reader::default() };
    module.visit(&mut reader);
    reader.vectors
}

struct Writer<'a> {
    vectors: std::slice::Iter<'a, Vec<f32>>,
    device: Device,
}

impl ModuleMapper for Writer<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let vector = self.vectors.next().expect("one vector per parameter of the same module");
        let shape = param.val().dims();
        let data = TensorData::new(vector.clone(), shape);
        param.map(|_| Tensor::from_data(data, &self.device).require_grad())
    }
}

/// The same module with other values, ready to be differentiated on `device`.
pub fn with_values<M: Module>(module: M, vectors: &[Vec<f32>], device: &Device) -> M {
    module.map(&mut Writer { vectors: vectors.iter(), device: device.clone() })
}
