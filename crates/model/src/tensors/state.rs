//! A module's tensors by name, out and in.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};

use crate::module_path::ModulePath;
use crate::tensors::error::{WeightsError, WeightsProblem};
use crate::tensors::names::file_name;

/// How many numbers a module learns and how many it only keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParameterCounts {
    /// Weights and biases.
    pub trainable: usize,
    /// Running means and variances of the batch normalisations.
    pub statistics: usize,
}

/// A tensor on the host, dimensions and values as PyTorch orders them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HostTensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Tensors by their name in weight files.
pub(crate) type State = BTreeMap<String, HostTensor>;

/// Whether `name` is a statistic that is kept, not learnt.
pub(crate) fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

/// An identity that follows from the name, so that optimiser state saved by one process fits the
/// same layer in another.
pub(crate) fn parameter_id(name: &str) -> ParamId {
    ParamId::from(name_hash(name))
}

/// FNV-1a.
pub(crate) fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Swaps the two dimensions of a dense kernel: Burn keeps `[inputs, outputs]`, PyTorch `[outputs,
/// inputs]`.
fn transposed(rows: usize, columns: usize, values: &[f32]) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| values[row * columns + column]))
        .collect()
}

fn file_shape(dims: &[usize]) -> Vec<usize> {
    match *dims {
        [inputs, outputs] => vec![outputs, inputs],
        _ => dims.to_vec(),
    }
}

/// Names and PyTorch shapes of all tensors, in the order of the layers.
pub(crate) fn expected<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    struct Shapes {
        path: ModulePath,
        found: Vec<(String, Vec<usize>)>,
    }
    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }
        fn exit_module(&mut self, _name: &str, container_type: &str) {
            self.path.exit(container_type);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let dims: [usize; D] = param.lazy_shape().dims();
            self.found.push((file_name(self.path.segments()), file_shape(&dims)));
        }
    }
    let mut shapes = Shapes { path: ModulePath::default(), found: Vec::new() };
    module.visit(&mut shapes);
    shapes.found
}

/// Counts without touching a value.
pub(crate) fn parameter_counts<M: Module>(module: &M) -> ParameterCounts {
    expected(module).into_iter().fold(ParameterCounts::default(), |mut counts, (name, shape)| {
        let numbers = shape.iter().product::<usize>();
        if is_statistic(&name) {
            counts.statistics += numbers;
        } else {
            counts.trainable += numbers;
        }
        counts
    })
}

/// Copies all tensors to the host. Call it on `module.valid()`, which brings running statistics up
/// to date.
pub(crate) fn collect<M: Module>(module: &M) -> Result<State, WeightsError> {
    struct Collect {
        path: ModulePath,
        state: State,
        failure: Option<String>,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }
        fn exit_module(&mut self, _name: &str, container_type: &str) {
            self.path.exit(container_type);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = file_name(self.path.segments());
            let tensor = param.val();
            let dims = tensor.dims();
            let values =
                tensor.try_into_data().map_err(|error| error.to_string()).and_then(|data| {
                    data.convert::<f32>()
                        .try_into_vec::<f32>()
                        .map_err(|error| format!("{error:?}"))
                });
            match values {
                Ok(values) => {
                    let values = if let [rows, columns] = dims[..] {
                        transposed(rows, columns, &values)
                    } else {
                        values
                    };
                    self.state.insert(name, HostTensor { shape: file_shape(&dims), values });
                }
                Err(error) => self.failure = Some(format!("{name}: {error}")),
            }
        }
    }
    let mut collect = Collect { path: ModulePath::default(), state: State::new(), failure: None };
    module.visit(&mut collect);
    match collect.failure {
        Some(what) => Err(WeightsError::Device(what)),
        None => Ok(collect.state),
    }
}

/// Checks that `state` holds every tensor of `module` in its shape and with finite values.
pub(crate) fn check<M: Module>(
    module: &M,
    state: &State,
    is_optional: impl Fn(&str) -> bool,
) -> Result<(), WeightsProblem> {
    for (name, shape) in expected(module) {
        match state.get(&name) {
            None if is_optional(&name) => {}
            None => {
                return Err(WeightsProblem::Missing {
                    name,
                    present: state.keys().next().cloned(),
                });
            }
            Some(tensor) if tensor.shape != shape => {
                return Err(WeightsProblem::Shape {
                    name,
                    found: tensor.shape.clone(),
                    needed: shape,
                });
            }
            Some(tensor) => {
                if let Some(value) = tensor.values.iter().find(|value| !value.is_finite()) {
                    return Err(WeightsProblem::NotFinite { name, value: *value });
                }
            }
        }
    }
    Ok(())
}

/// Replaces each tensor of `module` for which `fill` has a value: given its name and Burn
/// dimensions, values in Burn's order.
pub(crate) fn replace<M: Module>(
    module: M,
    fill: impl FnMut(&str, &[usize]) -> Option<Vec<f32>>,
) -> M {
    struct Replace<F> {
        path: ModulePath,
        fill: F,
    }
    impl<F: FnMut(&str, &[usize]) -> Option<Vec<f32>>> ModuleMapper for Replace<F> {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.path.enter(name, container_type);
        }
        fn exit_module(&mut self, _name: &str, container_type: &str) {
            self.path.exit(container_type);
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let name = file_name(self.path.segments());
            let dims: [usize; D] = param.lazy_shape().dims();
            match (self.fill)(&name, &dims) {
                None => param,
                Some(values) => {
                    let tensor =
                        Tensor::from_data(TensorData::new(values, dims), &param.lazy_device());
                    param.transform_for_load(tensor, parameter_id(&name))
                }
            }
        }
    }
    module.map(&mut Replace { path: ModulePath::default(), fill })
}

/// Puts the tensors of a checked `state` into `module`.
pub(crate) fn apply<M: Module>(module: M, state: &State) -> M {
    replace(module, |name, dims| {
        let tensor = state.get(name)?;
        Some(if let [inputs, outputs] = *dims {
            transposed(outputs, inputs, &tensor.values)
        } else {
            tensor.values.clone()
        })
    })
}
