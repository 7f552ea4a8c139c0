use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};
use ossify_model::ModulePath;

/// Numbers of one parameter, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterData {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, row-major.
    pub values: Vec<f32>,
}

/// A tensor's numbers on the host, row-major.
///
/// # Errors
/// Fails with the device's words.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, String> {
    tensor
        .try_into_data()
        .map_err(|e| e.to_string())
        .and_then(|data| data.try_into_vec::<f32>().map_err(|e| format!("{e:?}")))
}

/// Every number that a module holds, by path: weights and the running statistics of BatchNorm.
///
/// # Errors
/// Fails with the parameter that the device did not hand out.
pub fn snapshot<M: Module>(module: &M) -> Result<BTreeMap<String, ParameterData>, String> {
    let mut reader = Reader::default();
    module.visit(&mut reader);
    match reader.failure {
        None => Ok(reader.found),
        Some(failure) => Err(failure),
    }
}

#[derive(Default)]
struct Reader {
    path: ModulePath,
    found: BTreeMap<String, ParameterData>,
    failure: Option<String>,
}

impl ModuleVisitor for Reader {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        match values(tensor) {
            Ok(values) => {
                self.found.insert(self.path.dotted(), ParameterData { shape, values });
            }
            Err(reason) => self.failure = Some(format!("{}: {reason}", self.path.dotted())),
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }
}

/// Puts numbers of an earlier [`snapshot`] into a module.
///
/// # Errors
/// Fails with the first parameter that the snapshot lacks or has in another shape.
pub fn restore<M: Module>(module: M, data: BTreeMap<String, ParameterData>) -> Result<M, String> {
    let mut writer = Writer { path: ModulePath::default(), data, failure: None };
    let module = module.map(&mut writer);
    match writer.failure {
        None => Ok(module),
        Some(failure) => Err(failure),
    }
}

struct Writer {
    path: ModulePath,
    data: BTreeMap<String, ParameterData>,
    failure: Option<String>,
}

impl ModuleMapper for Writer {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.dotted();
        let Some(saved) = self.data.remove(&name) else {
            self.failure.get_or_insert(format!("`{name}` is not in it"));
            return param;
        };
        param.map(|tensor| {
            if tensor.dims().as_slice() != saved.shape.as_slice() {
                self.failure.get_or_insert(format!(
                    "`{name}` is {:?} in it and {:?} in the network",
                    saved.shape,
                    tensor.dims()
                ));
                return tensor;
            }
            let device = tensor.device();
            let requires_gradient = tensor.is_require_grad();
            let loaded = Tensor::from_data(
                TensorData::new(saved.values, saved.shape),
                (&device, DType::F32),
            );
            if requires_gradient { loaded.require_grad() } else { loaded }
        })
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
    use burn::tensor::{Device, Distribution};

    use super::*;

    #[derive(Module, Debug)]
    struct Net {
        linear: Linear,
        norms: Vec<BatchNorm>,
    }

    fn net(device: &Device) -> Net {
        Net {
            linear: LinearConfig::new(4, 3).init(device),
            norms: vec![BatchNormConfig::new(3).init(device)],
        }
    }

    #[test]
    fn a_snapshot_restores_weights_and_running_statistics() {
        let device = Device::flex().autodiff();
        let first = net(&device);
        let _ = first.norms[0].forward(first.linear.forward(Tensor::<2>::random(
            [8, 4],
            Distribution::Default,
            &device,
        )));
        let _synchronised = first.valid();
        let saved = snapshot(&first).unwrap();
        assert_eq!(
            saved.keys().collect::<Vec<_>>(),
            [
                "linear.bias",
                "linear.weight",
                "norms.0.beta",
                "norms.0.gamma",
                "norms.0.running_mean",
                "norms.0.running_var"
            ]
        );
        let second = restore(net(&device), saved.clone()).unwrap();
        assert_eq!(snapshot(&second).unwrap(), saved);
        assert!(second.linear.weight.is_require_grad());
    }

    #[test]
    fn a_snapshot_of_another_network_is_refused() {
        let device = Device::flex();
        let mut saved = snapshot(&net(&device)).unwrap();
        saved.get_mut("linear.weight").unwrap().shape = vec![3, 4];
        assert_eq!(
            restore(net(&device), saved.clone()).unwrap_err(),
            "`linear.weight` is [3, 4] in it and [4, 3] in the network"
        );
        saved.remove("linear.weight");
        assert_eq!(restore(net(&device), saved).unwrap_err(), "`linear.weight` is not in it");
    }
}
