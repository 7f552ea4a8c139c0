use std::collections::{BTreeMap, HashMap};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor, TensorData};
use ossify_settings::{ClipScope, Epsilon, OptimizerKind, TrainSettings};

use crate::parameters::{ModulePath, ParameterData};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;

/// How weights follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// The rule.
    pub kind: OptimizerKind,
    /// Adam's epsilon and its place.
    pub epsilon: Epsilon,
    /// AdamW's decay of kernels.
    pub weight_decay: f64,
    /// SGD's momentum.
    pub momentum: f64,
    /// Largest norm of gradients; 0 is off.
    pub clip_norm: f64,
    /// Whose norm.
    pub clip_scope: ClipScope,
}

impl Recipe {
    /// What the settings ask for.
    pub fn new(settings: &TrainSettings) -> Self {
        Recipe {
            kind: settings.optimizer,
            epsilon: settings.epsilon,
            weight_decay: settings.weight_decay,
            momentum: settings.momentum,
            clip_norm: settings.clip_norm,
            clip_scope: settings.clip_scope,
        }
    }
}

/// Adam, AdamW or SGD.
///
/// What it remembers is kept by the parameter's path in the module, so it outlives the process that made it.
pub struct Optimiser {
    recipe: Recipe,
    memory: HashMap<String, Memory>,
    steps: u64,
}

/// What is remembered of a parameter, flat: Adam's running means of the gradient and of its square, or SGD's last
/// step, of which there is no second.
struct Memory {
    first: Tensor<1>,
    second: Option<Tensor<1>>,
}

impl Optimiser {
    /// A fresh optimiser.
    pub fn new(recipe: Recipe) -> Self {
        Optimiser { recipe, memory: HashMap::new(), steps: 0 }
    }

    /// Steps that this optimiser made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every parameter that has a gradient.
    pub fn step<M: Module>(&mut self, learning_rate: f64, module: M, gradients: GradientsParams) -> M {
        self.steps += 1;
        let limit = self.recipe.clip_norm;
        let clip = match (limit > 0.0, self.recipe.clip_scope) {
            (false, _) => Clip::Off,
            (true, ClipScope::Parameter) => Clip::Own(limit),
            (true, ClipScope::Global) => global_scale(&module, &gradients, limit).map_or(Clip::Off, Clip::Scale),
        };
        module.map(&mut Stepper { optimiser: self, gradients, learning_rate, clip, path: ModulePath::default() })
    }

    /// How a flat parameter moves; remembers what the next step needs.
    fn change(&mut self, name: &str, gradient: Tensor<1>, learning_rate: f64) -> Tensor<1> {
        let memory = self.memory.remove(name);
        match self.recipe.kind {
            OptimizerKind::Sgd => {
                // PyTorch's form: the momentum gathers gradients, the rate scales their sum.
                let first = match memory {
                    Some(memory) => memory.first * self.recipe.momentum + gradient,
                    None => gradient,
                };
                let change = first.clone() * learning_rate;
                self.memory.insert(name.to_owned(), Memory { first, second: None });
                change
            }
            OptimizerKind::Adam | OptimizerKind::AdamW => {
                let square = gradient.clone().square() * (1.0 - BETA_2);
                let gradient = gradient * (1.0 - BETA_1);
                let (first, second) = match memory {
                    Some(Memory { first, second: Some(second) }) => (first * BETA_1 + gradient, second * BETA_2 + square),
                    _ => (gradient, square),
                };
                let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
                let (bias_1, bias_2) = (1.0 - BETA_1.powi(steps), 1.0 - BETA_2.powi(steps));
                // Kingma and Ba 2015: PyTorch follows algorithm 1, Keras the "epsilon hat" of section 2.
                let change = match self.recipe.epsilon {
                    Epsilon::Keras => first.clone() * (learning_rate * bias_2.sqrt() / bias_1) / (second.clone().sqrt() + 1e-7),
                    Epsilon::Torch => first.clone() * (learning_rate / bias_1) / (second.clone().sqrt() / bias_2.sqrt() + 1e-8),
                };
                self.memory.insert(name.to_owned(), Memory { first, second: Some(second) });
                change
            }
        }
    }

    /// What it remembers, on the host: `<path>.first` and `<path>.second`.
    ///
    /// # Errors
    /// Fails with the tensor that the device did not hand out.
    pub fn snapshot(&self) -> Result<BTreeMap<String, ParameterData>, String> {
        let mut found = BTreeMap::new();
        for (name, memory) in &self.memory {
            for (kind, tensor) in [("first", Some(&memory.first)), ("second", memory.second.as_ref())] {
                let Some(tensor) = tensor else { continue };
                let data = tensor.clone().try_into_data().map_err(|e| format!("{name}: {e}"))?;
                let values = data.try_into_vec::<f32>().map_err(|e| format!("{name}: {e:?}"))?;
                found.insert(format!("{name}.{kind}"), ParameterData { shape: vec![values.len()], values });
            }
        }
        Ok(found)
    }

    /// Continues from an earlier [`Optimiser::snapshot`], after so many `steps`.
    ///
    /// # Errors
    /// Fails where what is saved is of another rule.
    pub fn restore(recipe: Recipe, steps: u64, mut saved: BTreeMap<String, ParameterData>, device: &Device) -> Result<Self, String> {
        let tensor = |data: ParameterData| Tensor::<1>::from_data(TensorData::new(data.values, data.shape), (device, DType::F32));
        let names: Vec<String> = saved.keys().filter_map(|name| name.strip_suffix(".first").map(str::to_owned)).collect();
        let mut memory = HashMap::new();
        for name in names {
            let (first, second) = (saved.remove(&format!("{name}.first")), saved.remove(&format!("{name}.second")));
            if second.is_some() == (recipe.kind == OptimizerKind::Sgd) {
                return Err(format!("what it remembers of `{name}` is of another optimizer"));
            }
            if let Some(first) = first {
                memory.insert(name, Memory { first: tensor(first), second: second.map(tensor) });
            }
        }
        Ok(Optimiser { recipe, memory, steps })
    }
}

enum Clip {
    Off,
    /// Each gradient to this norm on its own.
    Own(f64),
    /// All by this factor.
    Scale(Tensor<1>),
}

impl Clip {
    /// Norms stay on the device: reading them would make it wait.
    fn apply(&self, gradient: Tensor<1>) -> Tensor<1> {
        match self {
            Clip::Off => gradient,
            Clip::Own(limit) => {
                let squares = gradient.clone().square().sum();
                gradient * scale(squares, *limit)
            }
            Clip::Scale(factor) => gradient * factor.clone(),
        }
    }
}

/// What brings a norm, of which the square is given, down to at most `limit`.
fn scale(squares: Tensor<1>, limit: f64) -> Tensor<1> {
    squares.sqrt().clamp_min(limit).recip() * limit
}

/// The factor that brings the norm of all gradients together down to at most `limit`; `None` without gradients.
fn global_scale<M: Module>(module: &M, gradients: &GradientsParams, limit: f64) -> Option<Tensor<1>> {
    struct Squares<'a> {
        gradients: &'a GradientsParams,
        sum: Option<Tensor<1>>,
    }
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                let squares = gradient.without_autodiff().square().sum();
                self.sum = Some(match self.sum.take() {
                    Some(sum) => sum + squares,
                    None => squares,
                });
            }
        }
    }
    let mut squares = Squares { gradients, sum: None };
    module.visit(&mut squares);
    squares.sum.map(|sum| scale(sum, limit))
}

struct Stepper<'a> {
    optimiser: &'a mut Optimiser,
    gradients: GradientsParams,
    learning_rate: f64,
    clip: Clip,
    path: ModulePath,
}

impl ModuleMapper for Stepper<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return param };
        let gradient = self.clip.apply(gradient.without_autodiff().flatten::<1>(0, D - 1));
        let change = self.optimiser.change(&self.path.name(), gradient, self.learning_rate);
        // Biases, factors and offsets have one dimension.
        let decays = self.optimiser.recipe.kind == OptimizerKind::AdamW && D > 1;
        let kept = if decays { 1.0 - self.learning_rate * self.optimiser.recipe.weight_decay } else { 1.0 };
        param.map(|tensor| {
            let requires_gradient = tensor.is_require_grad();
            let shape = tensor.dims();
            let inner = tensor.inner();
            let inner = if decays { inner * kept } else { inner };
            let moved = Tensor::from_inner(inner - change.reshape(shape));
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

    const KERAS: Recipe =
        Recipe { kind: OptimizerKind::Adam, epsilon: Epsilon::Keras, weight_decay: 0.1, momentum: 0.9, clip_norm: 0.0, clip_scope: ClipScope::Parameter };
    const RATE: f64 = 0.01;

    fn layer(device: &Device) -> Linear {
        let data = [("bias", vec![2], vec![0.5, -0.25]), ("weight", vec![3, 2], vec![0.1, 0.2, 0.3, -0.4, 0.5, 0.6])];
        let data = data.into_iter().map(|(name, shape, values)| (name.to_owned(), ParameterData { shape, values })).collect();
        restore(LinearConfig::new(3, 2).init(device), data).unwrap()
    }

    fn step(optimiser: &mut Optimiser, layer: Linear, device: &Device) -> Linear {
        let input = Tensor::<2>::from_floats([[1.0, -2.0, 0.5], [0.25, 4.0, -1.0]], device);
        let gradients = layer.forward(input).square().mean().backward();
        let gradients = GradientsParams::from_grads(gradients, &layer);
        optimiser.step(RATE, layer, gradients)
    }

    /// The update in double precision, written out, on the same problem: six weights, two biases.
    fn expected(recipe: &Recipe, steps: i32) -> Vec<f64> {
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
            let scopes = if recipe.clip_scope == ClipScope::Global { vec![0..8] } else { vec![0..6, 6..8] };
            for range in scopes {
                let norm = gradient[range.clone()].iter().map(|g| g * g).sum::<f64>().sqrt();
                if recipe.clip_norm > 0.0 && norm > recipe.clip_norm {
                    gradient[range].iter_mut().for_each(|g| *g *= recipe.clip_norm / norm);
                }
            }
            for i in 0..8 {
                if recipe.kind == OptimizerKind::Sgd {
                    m[i] = 0.9 * m[i] + gradient[i];
                    weights[i] -= RATE * m[i];
                    continue;
                }
                m[i] = 0.9 * m[i] + 0.1 * gradient[i];
                v[i] = 0.999 * v[i] + 0.001 * gradient[i] * gradient[i];
                let (c1, c2) = (1.0 - 0.9f64.powi(t), 1.0 - 0.999f64.powi(t));
                if recipe.kind == OptimizerKind::AdamW && i < 6 {
                    weights[i] *= 1.0 - RATE * 0.1;
                }
                weights[i] -= match recipe.epsilon {
                    Epsilon::Keras => RATE * c2.sqrt() / c1 * m[i] / (v[i].sqrt() + 1e-7),
                    Epsilon::Torch => RATE * (m[i] / c1) / ((v[i] / c2).sqrt() + 1e-8),
                };
            }
        }
        weights
    }

    fn numbers(layer: &Linear) -> Vec<f32> {
        let saved = snapshot(layer).unwrap();
        saved["weight"].values.iter().chain(&saved["bias"].values).copied().collect()
    }

    fn recipes() -> Vec<Recipe> {
        vec![
            KERAS,
            Recipe { clip_norm: 0.5, ..KERAS },
            Recipe { epsilon: Epsilon::Torch, ..KERAS },
            Recipe { kind: OptimizerKind::AdamW, epsilon: Epsilon::Torch, clip_norm: 0.5, clip_scope: ClipScope::Global, ..KERAS },
            Recipe { kind: OptimizerKind::Sgd, ..KERAS },
            Recipe { kind: OptimizerKind::Sgd, clip_norm: 1.0, clip_scope: ClipScope::Global, ..KERAS },
        ]
    }

    #[test]
    fn twenty_steps_follow_the_formulas() {
        let device = Device::flex().autodiff();
        for recipe in recipes() {
            let (mut optimiser, mut layer) = (Optimiser::new(recipe), layer(&device));
            for _ in 0..20 {
                layer = step(&mut optimiser, layer, &device);
            }
            for (found, wanted) in numbers(&layer).iter().zip(expected(&recipe, 20)) {
                assert!((f64::from(*found) - wanted).abs() < 1e-5, "{found} against {wanted}, {recipe:?}");
            }
        }
    }

    #[test]
    fn a_restored_optimiser_goes_on_to_the_bit() {
        let device = Device::flex().autodiff();
        for recipe in recipes() {
            let (mut optimiser, mut whole) = (Optimiser::new(recipe), layer(&device));
            for _ in 0..3 {
                whole = step(&mut optimiser, whole, &device);
            }
            let mut again = Optimiser::restore(recipe, optimiser.steps(), optimiser.snapshot().unwrap(), &device.clone().inner()).unwrap();
            let mut resumed = restore(layer(&device), snapshot(&whole).unwrap()).unwrap();
            for _ in 0..3 {
                whole = step(&mut optimiser, whole, &device);
                resumed = step(&mut again, resumed, &device);
            }
            assert_eq!(numbers(&whole), numbers(&resumed));
            assert_eq!(optimiser.snapshot().unwrap(), again.snapshot().unwrap());
        }
    }

    #[test]
    fn the_memory_of_another_rule_is_refused() {
        let device = Device::flex().autodiff();
        let mut adam = Optimiser::new(KERAS);
        let _moved = step(&mut adam, layer(&device), &device);
        let sgd = Recipe { kind: OptimizerKind::Sgd, ..KERAS };
        let error = Optimiser::restore(sgd, 1, adam.snapshot().unwrap(), &Device::flex()).err().unwrap();
        assert!(error.contains("of another optimizer"), "{error}");
    }
}
