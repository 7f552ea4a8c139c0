use std::collections::{BTreeMap, HashMap};

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::parameters::{ModulePath, ParameterData};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
/// Keras' default. As in Keras it is added to the root of the uncorrected second moment ("epsilon hat" in
/// Kingma and Ba 2015, section 2), where PyTorch adds it after the correction.
const EPSILON: f64 = 1e-7;

/// Adam as Keras has it, with each parameter's gradient clipped to a norm of its own (Keras' `clipnorm`).
///
/// Moments are kept by the parameter's path in the module, so they outlive the process that made them.
pub struct Adam {
    clip_norm: Option<f64>,
    moments: HashMap<String, Moments>,
    steps: u64,
}

/// Running means of a parameter's gradient and of its square, flat.
struct Moments {
    first: Tensor<1>,
    second: Tensor<1>,
}

impl Adam {
    /// A fresh optimiser; `clip_norm` of 0 is no clipping.
    pub fn new(clip_norm: f64) -> Self {
        Adam { clip_norm: (clip_norm > 0.0).then_some(clip_norm), moments: HashMap::new(), steps: 0 }
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every parameter that has a gradient.
    pub fn step<M: Module>(&mut self, learning_rate: f64, module: M, gradients: GradientsParams) -> M {
        self.steps += 1;
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let rate = learning_rate * (1.0 - BETA_2.powi(steps)).sqrt() / (1.0 - BETA_1.powi(steps));
        module.map(&mut Stepper { adam: self, gradients, rate, path: ModulePath::default() })
    }

    /// The moments on the host: `<path>.first` and `<path>.second`.
    ///
    /// # Errors
    /// Fails with the moment that the device did not hand out.
    pub fn snapshot(&self) -> Result<BTreeMap<String, ParameterData>, String> {
        let mut found = BTreeMap::new();
        for (name, moments) in &self.moments {
            for (kind, tensor) in [("first", &moments.first), ("second", &moments.second)] {
                let data = tensor.clone().try_into_data().map_err(|e| format!("{name}: {e}"))?;
                let values = data.try_into_vec::<f32>().map_err(|e| format!("{name}: {e:?}"))?;
                found.insert(format!("{name}.{kind}"), ParameterData { shape: vec![values.len()], values });
            }
        }
        Ok(found)
    }

    /// Continues from an earlier [`Adam::snapshot`], after so many `steps`.
    ///
    /// # Errors
    /// Fails where a parameter has one moment alone.
    pub fn restore(clip_norm: f64, steps: u64, mut saved: BTreeMap<String, ParameterData>, device: &Device) -> Result<Self, String> {
        let tensor = |data: ParameterData| Tensor::<1>::from_data(TensorData::new(data.values, data.shape), (device, DType::F32));
        let names: Vec<String> = saved.keys().filter_map(|name| name.strip_suffix(".first").map(str::to_owned)).collect();
        let mut moments = HashMap::new();
        for name in names {
            match (saved.remove(&format!("{name}.first")), saved.remove(&format!("{name}.second"))) {
                (Some(first), Some(second)) => {
                    moments.insert(name, Moments { first: tensor(first), second: tensor(second) });
                }
                _ => return Err(format!("`{name}` has one moment alone")),
            }
        }
        Ok(Adam { moments, steps, ..Adam::new(clip_norm) })
    }
}

/// Scales a gradient down to a norm of at most `limit`, without reading the norm from the device.
fn clip(gradient: Tensor<1>, limit: f64) -> Tensor<1> {
    let norm = gradient.clone().square().sum().sqrt();
    gradient * (norm.clamp_min(limit).recip() * limit)
}

struct Stepper<'a> {
    adam: &'a mut Adam,
    gradients: GradientsParams,
    rate: f64,
    path: ModulePath,
}

impl ModuleMapper for Stepper<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return param };
        let gradient = gradient.without_autodiff().flatten::<1>(0, D - 1);
        let gradient = match self.adam.clip_norm {
            Some(limit) => clip(gradient, limit),
            None => gradient,
        };
        let (first, second) = match self.adam.moments.remove(&self.path.name()) {
            None => (gradient.clone() * (1.0 - BETA_1), gradient.square() * (1.0 - BETA_2)),
            Some(moments) => (moments.first * BETA_1 + gradient.clone() * (1.0 - BETA_1), moments.second * BETA_2 + gradient.square() * (1.0 - BETA_2)),
        };
        let change = first.clone() * self.rate / (second.clone().sqrt() + EPSILON);
        self.adam.moments.insert(self.path.name(), Moments { first, second });
        param.map(|tensor| {
            let requires_gradient = tensor.is_require_grad();
            let shape = tensor.dims();
            let moved = Tensor::from_inner(tensor.inner() - change.reshape(shape));
            if requires_gradient { moved.require_grad() } else { moved }
        })
    }

    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};

    use super::*;
    use crate::parameters::{restore, snapshot};

    fn layer(device: &Device) -> Linear {
        let data = [("bias", vec![2], vec![0.5, -0.25]), ("weight", vec![3, 2], vec![0.1, 0.2, 0.3, -0.4, 0.5, 0.6])];
        let data = data.into_iter().map(|(name, shape, values)| (name.to_owned(), ParameterData { shape, values })).collect();
        restore(LinearConfig::new(3, 2).init(device), data).unwrap()
    }

    fn step(adam: &mut Adam, layer: Linear, device: &Device) -> Linear {
        let input = Tensor::<2>::from_floats([[1.0, -2.0, 0.5], [0.25, 4.0, -1.0]], device);
        let gradients = layer.forward(input).square().mean().backward();
        let gradients = GradientsParams::from_grads(gradients, &layer);
        adam.step(0.01, layer, gradients)
    }

    /// Keras' update in double precision, on the same problem.
    fn expected(steps: i32, clip_norm: f64) -> Vec<f64> {
        let x = [[1.0, -2.0, 0.5], [0.25, 4.0, -1.0]];
        let mut weights = vec![0.1f64, 0.2, 0.3, -0.4, 0.5, 0.6, 0.5, -0.25];
        let (mut m, mut v) = (vec![0.0; 8], vec![0.0; 8]);
        for t in 1..=steps {
            let mut gradient = [0.0; 8];
            for row in x {
                for out in 0..2 {
                    let y: f64 = (0..3).map(|i| row[i] * weights[i * 2 + out]).sum::<f64>() + weights[6 + out];
                    for i in 0..3 {
                        gradient[i * 2 + out] += 2.0 * y * row[i] / 4.0;
                    }
                    gradient[6 + out] += 2.0 * y / 4.0;
                }
            }
            for range in [0..6, 6..8] {
                let norm = gradient[range.clone()].iter().map(|g| g * g).sum::<f64>().sqrt();
                if clip_norm > 0.0 && norm > clip_norm {
                    gradient[range].iter_mut().for_each(|g| *g *= clip_norm / norm);
                }
            }
            for i in 0..8 {
                m[i] = 0.9 * m[i] + 0.1 * gradient[i];
                v[i] = 0.999 * v[i] + 0.001 * gradient[i] * gradient[i];
                let rate = 0.01 * (1.0 - 0.999f64.powi(t)).sqrt() / (1.0 - 0.9f64.powi(t));
                weights[i] -= rate * m[i] / (v[i].sqrt() + 1e-7);
            }
        }
        weights
    }

    fn numbers(layer: &Linear) -> Vec<f32> {
        let saved = snapshot(layer).unwrap();
        saved["weight"].values.iter().chain(&saved["bias"].values).copied().collect()
    }

    #[test]
    fn twenty_steps_follow_keras() {
        let device = Device::flex().autodiff();
        for clip_norm in [0.0, 0.5] {
            let (mut adam, mut layer) = (Adam::new(clip_norm), layer(&device));
            for _ in 0..20 {
                layer = step(&mut adam, layer, &device);
            }
            for (found, wanted) in numbers(&layer).iter().zip(expected(20, clip_norm)) {
                assert!((f64::from(*found) - wanted).abs() < 1e-5, "{found} against {wanted}, clip {clip_norm}");
            }
        }
    }

    #[test]
    fn a_restored_optimiser_goes_on_to_the_bit() {
        let device = Device::flex().autodiff();
        let (mut adam, mut whole) = (Adam::new(1.0), layer(&device));
        for _ in 0..3 {
            whole = step(&mut adam, whole, &device);
        }
        let mut again = Adam::restore(1.0, adam.steps(), adam.snapshot().unwrap(), &device.clone().inner()).unwrap();
        let mut resumed = restore(layer(&device), snapshot(&whole).unwrap()).unwrap();
        for _ in 0..3 {
            whole = step(&mut adam, whole, &device);
            resumed = step(&mut again, resumed, &device);
        }
        assert_eq!(numbers(&whole), numbers(&resumed));
        assert_eq!(adam.snapshot().unwrap(), again.snapshot().unwrap());
    }
}
