use std::collections::{BTreeMap, HashMap};

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor, TensorData};
use ossify_model::ModulePath;
use ossify_torch_kernels::optimiser::{self, AnyTensor, Parameter};

use crate::optimise::parameters::{ParameterData, values};
use crate::optimise::recipe::Recipe;

/// Adam, AdamW or SGD over a module's parameters.
///
/// What it remembers is kept by the parameter's path in the module, so it outlives the process that
/// made it.
pub struct Optimiser {
    recipe: Recipe,
    memory: HashMap<String, Memory>,
    steps: u64,
    /// Sum of the squares that the penalty was on in the last step, before it.
    penalised_squares: Option<Tensor<1>>,
}

/// What is remembered of a parameter: see [`Parameter`].
type Memory = (Tensor<1>, Option<Tensor<1>>);

/// Whether a kernel is in [`ossify_model::Head::l2_penalty`]; by its path in the head, or in the
/// whole network.
fn is_penalised(name: &str) -> bool {
    let name = name.strip_prefix("head.").unwrap_or(name);
    name.starts_with("stages.") && name.ends_with(".dense.weight")
}

impl Optimiser {
    /// A fresh optimiser.
    pub fn new(recipe: Recipe) -> Self {
        Optimiser { recipe, memory: HashMap::new(), steps: 0, penalised_squares: None }
    }

    /// Steps that this optimiser made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every parameter that has a gradient.
    pub fn step<M: Module>(
        &mut self,
        learning_rate: f64,
        module: &mut M,
        gradients: GradientsParams,
    ) {
        self.steps += 1;
        let mut taker = Taker { gradients, path: ModulePath::default(), taken: Vec::new() };
        // The module gives its parameters up, so that their memory can be written to.
        *module = module.clone().map(&mut taker);
        let mut states = Vec::with_capacity(taker.taken.len());
        let mut gradients = Vec::with_capacity(taker.taken.len());
        let mut names = Vec::with_capacity(taker.taken.len());
        for Taken { name, weights, gradient, requires_gradient } in taker.taken {
            let (first, second) = self
                .memory
                .remove(&name)
                .map_or((None, None), |(first, second)| (Some(first), second));
            states.push(Parameter { weights, first, second });
            gradients.push(gradient);
            names.push((name, requires_gradient));
        }
        let flags =
            names.iter().map(|(name, _)| self.recipe.l2 > 0.0 && is_penalised(name)).collect();
        let Some((moved, squares)) = optimiser::step(
            states,
            gradients,
            flags,
            self.recipe.options(self.steps, learning_rate),
        ) else {
            return;
        };
        self.penalised_squares = Some(squares);
        let mut putter =
            Putter { path: ModulePath::default(), moved: HashMap::with_capacity(moved.len()) };
        for ((name, requires_gradient), Parameter { weights, first, second }) in
            names.into_iter().zip(moved)
        {
            if let Some(first) = first {
                self.memory.insert(name.clone(), (first, second));
            }
            putter.moved.insert(name, (weights, requires_gradient));
        }
        *module = module.clone().map(&mut putter);
    }

    /// Sum of the squares of the weights that the penalty of the last step's loss was on, `[1]` on
    /// the device; `None` without a penalty.
    pub fn penalised_squares(&self) -> Option<Tensor<1>> {
        self.penalised_squares.clone().filter(|_| self.recipe.l2 > 0.0)
    }

    /// What it remembers, on the host: `<path>.first` and `<path>.second`.
    ///
    /// # Errors
    /// Fails with the tensor that the device did not hand out.
    pub fn snapshot(&self) -> Result<BTreeMap<String, ParameterData>, String> {
        let mut found = BTreeMap::new();
        for (name, (first, second)) in &self.memory {
            for (kind, tensor) in [("first", Some(first)), ("second", second.as_ref())] {
                if let Some(tensor) = tensor {
                    let values = values(tensor.clone())?;
                    found.insert(
                        format!("{name}.{kind}"),
                        ParameterData { shape: vec![values.len()], values },
                    );
                }
            }
        }
        Ok(found)
    }

    /// Continues from an earlier [`Optimiser::snapshot`], after so many `steps`.
    ///
    /// # Errors
    /// Fails where what is saved is of another rule.
    pub fn restore(
        recipe: Recipe,
        steps: u64,
        mut saved: BTreeMap<String, ParameterData>,
        device: &Device,
    ) -> Result<Self, String> {
        let tensor = |data: ParameterData| {
            Tensor::<1>::from_data(TensorData::new(data.values, data.shape), (device, DType::F32))
        };
        let names: Vec<String> = saved
            .keys()
            .filter_map(|name| name.strip_suffix(".first").map(str::to_owned))
            .collect();
        let mut memory = HashMap::new();
        for name in names {
            let (first, second) =
                (saved.remove(&format!("{name}.first")), saved.remove(&format!("{name}.second")));
            if second.is_some() != recipe.has_second() {
                return Err(format!("what it remembers of `{name}` is of another optimizer"));
            }
            if let Some(first) = first {
                memory.insert(name, (tensor(first), second.map(tensor)));
            }
        }
        Ok(Optimiser { recipe, memory, steps, penalised_squares: None })
    }
}

struct Taken {
    name: String,
    weights: AnyTensor,
    gradient: AnyTensor,
    requires_gradient: bool,
}

/// Takes out every parameter that has a gradient, and leaves empty tensors.
struct Taker {
    gradients: GradientsParams,
    path: ModulePath,
    taken: Vec<Taken>,
}

impl ModuleMapper for Taker {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return param };
        let name = self.path.dotted();
        param.map(|tensor| {
            let requires_gradient = tensor.is_require_grad();
            let weights = tensor.inner();
            let nothing = Tensor::from_inner(Tensor::zeros([0; D], &weights.device()));
            self.taken.push(Taken {
                name,
                weights: weights.into(),
                gradient: gradient.without_autodiff().into(),
                requires_gradient,
            });
            nothing
        })
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }
}

/// Puts them back.
struct Putter {
    path: ModulePath,
    moved: HashMap<String, (AnyTensor, bool)>,
}

impl ModuleMapper for Putter {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((weights, requires_gradient)) = self.moved.remove(&self.path.dotted()) else {
            return param;
        };
        param.map(|_| {
            let moved = Tensor::from_inner(weights.into_tensor());
            if requires_gradient { moved.require_grad() } else { moved }
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
    use burn::nn::{Linear, LinearConfig};
    use ossify_settings::{ClipScope, Epsilon, OptimizerKind};

    use super::*;
    use crate::optimise::parameters::{restore, snapshot};

    const KERAS: Recipe = Recipe {
        kind: OptimizerKind::Adam,
        epsilon: Epsilon::Keras,
        weight_decay: 0.1,
        momentum: 0.9,
        clip_norm: 0.0,
        clip_scope: ClipScope::Parameter,
        l2: 0.0,
    };
    const RATE: f64 = 0.01;

    fn layer(device: &Device) -> Linear {
        let data = [
            ("bias", vec![2], vec![0.5, -0.25]),
            ("weight", vec![3, 2], vec![0.1, 0.2, 0.3, -0.4, 0.5, 0.6]),
        ];
        let data = data
            .into_iter()
            .map(|(name, shape, values)| (name.to_owned(), ParameterData { shape, values }))
            .collect();
        restore(LinearConfig::new(3, 2).init(device), data).unwrap()
    }

    fn step(optimiser: &mut Optimiser, mut layer: Linear, device: &Device) -> Linear {
        let input = Tensor::<2>::from_floats([[1.0, -2.0, 0.5], [0.25, 4.0, -1.0]], device);
        let gradients = layer.forward(input).square().mean().backward();
        let gradients = GradientsParams::from_grads(gradients, &layer);
        optimiser.step(RATE, &mut layer, gradients);
        layer
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
                    let y: f64 = (0..3).map(|i| row[i] * weights[i * 2 + out]).sum::<f64>()
                        + weights[6 + out];
                    for i in 0..3 {
                        gradient[i * 2 + out] += 2.0 * y * row[i] / 4.0;
                    }
                    gradient[6 + out] += 2.0 * y / 4.0;
                }
            }
            let scopes = if recipe.clip_scope == ClipScope::Global {
                vec![(0, 8)]
            } else {
                vec![(0, 6), (6, 8)]
            };
            for (from, to) in scopes {
                let norm = gradient[from..to].iter().map(|g| g * g).sum::<f64>().sqrt();
                if recipe.clip_norm > 0.0 && norm > recipe.clip_norm {
                    gradient[from..to].iter_mut().for_each(|g| *g *= recipe.clip_norm / norm);
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
        let sgd = Recipe { kind: OptimizerKind::Sgd, ..KERAS };
        vec![
            KERAS,
            Recipe { clip_norm: 0.5, ..KERAS },
            Recipe { epsilon: Epsilon::Torch, ..KERAS },
            Recipe {
                kind: OptimizerKind::AdamW,
                epsilon: Epsilon::Torch,
                clip_norm: 0.5,
                clip_scope: ClipScope::Global,
                ..KERAS
            },
            sgd,
            Recipe { clip_norm: 1.0, clip_scope: ClipScope::Global, ..sgd },
        ]
    }

    /// Every recipe on Flex, and on libtorch where the program has it.
    fn everywhere() -> Vec<(Device, Recipe)> {
        #[cfg(feature = "libtorch")]
        #[expect(
            deprecated,
            reason = "0.22.1 is the last Burn with libtorch, which this project is built on"
        )]
        let devices = [Device::flex().autodiff(), Device::libtorch().autodiff()];
        #[cfg(not(feature = "libtorch"))]
        let devices = [Device::flex().autodiff()];
        devices
            .iter()
            .flat_map(|device| recipes().into_iter().map(|recipe| (device.clone(), recipe)))
            .collect()
    }

    #[test]
    fn twenty_steps_follow_the_formulas() {
        for (device, recipe) in everywhere() {
            let (mut optimiser, mut layer) = (Optimiser::new(recipe), layer(&device));
            for _ in 0..20 {
                layer = step(&mut optimiser, layer, &device);
            }
            for (found, wanted) in numbers(&layer).iter().zip(expected(&recipe, 20)) {
                assert!(
                    (f64::from(*found) - wanted).abs() < 1e-5,
                    "{found} against {wanted}, {recipe:?}"
                );
            }
        }
    }

    #[derive(Module, Debug)]
    struct Stage {
        dense: Linear,
    }

    #[derive(Module, Debug)]
    struct Stages {
        stages: Vec<Stage>,
    }

    #[test]
    fn the_penalty_is_what_it_would_be_as_a_part_of_the_loss() {
        const L2: f64 = 0.05;
        for (device, recipe) in everywhere() {
            let input = Tensor::<2>::from_floats([[1.0, -2.0, 0.5], [0.25, 4.0, -1.0]], &device);
            let run = |recipe: Recipe, in_loss: f64| {
                let (mut optimiser, mut net, mut penalties) = (
                    Optimiser::new(recipe),
                    Stages { stages: vec![Stage { dense: layer(&device) }] },
                    Vec::new(),
                );
                for _ in 0..5 {
                    let squares = net.stages[0].dense.weight.val().square().sum() * L2;
                    let loss = net.stages[0].dense.forward(input.clone()).square().mean()
                        + squares.clone() * in_loss;
                    let gradients = GradientsParams::from_grads(loss.backward(), &net);
                    optimiser.step(RATE, &mut net, gradients);
                    penalties.push((
                        optimiser
                            .penalised_squares()
                            .map_or(0.0, |sum| f64::from(sum.into_scalar::<f32>()) * L2),
                        f64::from(squares.into_scalar::<f32>()),
                    ));
                }
                (numbers(&net.stages[0].dense), penalties)
            };
            let (added, penalties) = run(Recipe { l2: L2, ..recipe }, 0.0);
            let (in_loss, _) = run(recipe, 1.0);
            assert!(
                added.iter().zip(&in_loss).all(|(a, b)| (a - b).abs() < 1e-6),
                "{added:?} and {in_loss:?}, {recipe:?}"
            );
            assert!(
                penalties.iter().all(|(said, right)| (said - right).abs() < 1e-6),
                "{penalties:?}"
            );
        }
    }

    #[test]
    fn a_restored_optimiser_goes_on_to_the_bit() {
        for (device, recipe) in everywhere() {
            let (mut optimiser, mut whole) = (Optimiser::new(recipe), layer(&device));
            for _ in 0..3 {
                whole = step(&mut optimiser, whole, &device);
            }
            let mut again = Optimiser::restore(
                recipe,
                optimiser.steps(),
                optimiser.snapshot().unwrap(),
                &device.clone().inner(),
            )
            .unwrap();
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
        let error =
            Optimiser::restore(sgd, 1, adam.snapshot().unwrap(), &Device::flex()).err().unwrap();
        assert!(error.contains("of another optimizer"), "{error}");
    }
}
