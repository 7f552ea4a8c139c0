use std::collections::{BTreeMap, HashMap};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor, TensorData};
use ossify_settings::{ClipScope, TrainSettings};

use crate::parameters::{ModulePath, ParameterData, values};
use crate::rule::{Remembered, Rule, add_penalty, clip_factor, norm};

/// What a run's optimiser is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// How weights follow their gradients.
    pub rule: Rule,
    /// Largest norm of gradients; 0 is off.
    pub clip_norm: f64,
    /// Whose norm.
    pub clip_scope: ClipScope,
    /// Times the sum of the squared kernels of the head's dense layers is added to the loss, before clipping, as Keras' L2 has it. Its gradient is
    /// added here: through the graph it would take several more passes over the weights.
    pub l2: f64,
    /// Whether steps are computed in one pass by the processor, where tensors live there: what a step costs is moving memory, and
    /// operation by operation it moves several times.
    pub on_host: bool,
}

impl Recipe {
    /// What the settings ask for.
    pub fn new(settings: &TrainSettings, on_host: bool) -> Self {
        Recipe { rule: Rule::new(settings), clip_norm: settings.clip_norm, clip_scope: settings.clip_scope, l2: settings.l2, on_host }
    }
}

/// Adam, AdamW or SGD over a module's parameters.
///
/// What it remembers is kept by the parameter's path in the module, so it outlives the process that made it.
pub struct Optimiser {
    recipe: Recipe,
    memory: HashMap<String, Memory>,
    steps: u64,
    /// The penalty of the last step, at the weights before it.
    penalty: Penalty,
}

/// A sum of squares times `l2`.
#[derive(Default)]
struct Penalty {
    on_host: f64,
    on_device: Option<Tensor<1>>,
}

/// Whether a kernel is in [`ossify_model::Head::l2_penalty`]; by its path in the head, or in the whole network.
fn is_penalised(name: &str) -> bool {
    let name = name.strip_prefix("head.").unwrap_or(name);
    name.starts_with("stages.") && name.ends_with(".dense.weight")
}

/// What is remembered of a parameter, flat: Adam's running means of the gradient and of its square, or SGD's last
/// step, of which there is no second.
enum Memory {
    Host { first: Vec<f32>, second: Vec<f32> },
    Device(Box<Remembered>),
}

impl Optimiser {
    /// A fresh optimiser.
    pub fn new(recipe: Recipe) -> Self {
        Optimiser { recipe, memory: HashMap::new(), steps: 0, penalty: Penalty::default() }
    }

    /// Steps that this optimiser made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every parameter that has a gradient.
    ///
    /// # Errors
    /// Fails where the device does not hand out its numbers.
    pub fn step<M: Module>(&mut self, learning_rate: f64, module: M, gradients: GradientsParams) -> Result<M, String> {
        self.steps += 1;
        self.penalty = Penalty::default();
        let limit = self.recipe.clip_norm;
        let clip = match (limit > 0.0, self.recipe.clip_scope) {
            (false, _) => Clip::Off,
            (true, ClipScope::Parameter) => Clip::Own(limit),
            (true, ClipScope::Global) => Clip::all(&module, &gradients, limit, self.recipe.l2),
        };
        let mut stepper = Stepper { optimiser: self, gradients, learning_rate, clip, path: ModulePath::default(), failure: None };
        let module = module.map(&mut stepper);
        stepper.failure.map_or(Ok(module), Err)
    }

    /// The penalty that was part of the last step's loss.
    ///
    /// # Errors
    /// Fails where the device does not hand out its numbers.
    pub fn penalty(&self) -> Result<f64, String> {
        let on_device = match &self.penalty.on_device {
            Some(sum) => values(sum.clone())?.first().copied().map_or(0.0, f64::from),
            None => 0.0,
        };
        Ok((self.penalty.on_host + on_device) * self.recipe.l2)
    }

    /// Whether the penalty is on this kernel.
    fn penalises(&self, name: &str) -> bool {
        self.recipe.l2 > 0.0 && is_penalised(name)
    }

    /// What it remembers, on the host: `<path>.first` and `<path>.second`.
    ///
    /// # Errors
    /// Fails with the tensor that the device did not hand out.
    pub fn snapshot(&self) -> Result<BTreeMap<String, ParameterData>, String> {
        let mut found = BTreeMap::new();
        for (name, memory) in &self.memory {
            let (first, second) = match memory {
                Memory::Host { first, second } => (first.clone(), Some(second.clone()).filter(|second| !second.is_empty())),
                Memory::Device(remembered) => {
                    let (first, second) = (**remembered).clone();
                    (values(first)?, second.map(values).transpose()?)
                }
            };
            for (kind, values) in [("first", Some(first)), ("second", second)] {
                if let Some(values) = values {
                    found.insert(format!("{name}.{kind}"), ParameterData { shape: vec![values.len()], values });
                }
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
            if second.is_some() != recipe.rule.has_second() {
                return Err(format!("what it remembers of `{name}` is of another optimizer"));
            }
            if let Some(first) = first {
                let remembered = if recipe.on_host {
                    Memory::Host { first: first.values, second: second.map_or(Vec::new(), |second| second.values) }
                } else {
                    Memory::Device(Box::new((tensor(first), second.map(tensor))))
                };
                memory.insert(name, remembered);
            }
        }
        Ok(Optimiser { recipe, memory, steps, penalty: Penalty::default() })
    }

    /// The parameter after its step, computed in one pass by the processor.
    fn moved_on_host<const D: usize>(&mut self, name: &str, weights: Tensor<D>, gradient: Tensor<D>, rate: f64, clip: &Clip) -> Result<Tensor<D>, String> {
        let (dims, device) = (weights.dims(), weights.device());
        let (mut weights, mut gradient) = (values(weights)?, values(gradient)?);
        if self.penalises(name) {
            self.penalty.on_host += add_penalty(&mut gradient, &weights, 2.0 * self.recipe.l2);
        }
        let factor = match clip {
            Clip::Off => 1.0,
            Clip::Own(limit) => clip_factor(norm(&gradient), *limit),
            Clip::All(factor) => values((**factor).clone())?.first().copied().unwrap_or(1.0),
        };
        let (mut first, mut second) = match self.memory.remove(name) {
            Some(Memory::Host { first, second }) => (first, second),
            _ => (vec![0.0; weights.len()], vec![0.0; if self.recipe.rule.has_second() { weights.len() } else { 0 }]),
        };
        self.recipe.rule.step(self.steps, rate, D > 1).apply(&mut weights, &gradient, factor, &mut first, &mut second);
        self.memory.insert(name.to_owned(), Memory::Host { first, second });
        Ok(Tensor::from_data(TensorData::new(weights, dims), (&device, DType::F32)))
    }

    /// The parameter after its step, operation by operation, without waiting for the device.
    fn moved_on_device<const D: usize>(&mut self, name: &str, weights: Tensor<D>, gradient: Tensor<D>, rate: f64, clip: &Clip) -> Tensor<D> {
        let dims = weights.dims();
        let mut gradient = gradient;
        if self.penalises(name) {
            let squares = weights.clone().square().sum();
            self.penalty.on_device = Some(self.penalty.on_device.take().map_or(squares.clone(), |sum| sum + squares));
            gradient = gradient + weights.clone() * (2.0 * self.recipe.l2);
        }
        let gradient = clip.apply(gradient.flatten::<1>(0, D - 1));
        let memory = match self.memory.remove(name) {
            Some(Memory::Device(remembered)) => Some(*remembered),
            _ => None,
        };
        let step = self.recipe.rule.step(self.steps, rate, D > 1);
        let (weights, first, second) = step.apply_on_device(weights.flatten::<1>(0, D - 1), gradient, memory);
        self.memory.insert(name.to_owned(), Memory::Device(Box::new((first, second))));
        weights.reshape(dims)
    }
}

enum Clip {
    Off,
    /// Each gradient to this norm on its own.
    Own(f64),
    /// All by this factor.
    All(Box<Tensor<1>>),
}

impl Clip {
    /// Norms stay on the device: reading them would make it wait.
    fn apply(&self, gradient: Tensor<1>) -> Tensor<1> {
        match self {
            Clip::Off => gradient,
            Clip::Own(limit) => {
                let squares = gradient.clone().square().sum();
                gradient * factor(squares, *limit)
            }
            Clip::All(factor) => gradient * (**factor).clone(),
        }
    }

    /// Brings the norm of all gradients together down to at most `limit`.
    fn all<M: Module>(module: &M, gradients: &GradientsParams, limit: f64, l2: f64) -> Self {
        struct Squares<'a> {
            gradients: &'a GradientsParams,
            l2: f64,
            path: ModulePath,
            sum: Option<Tensor<1>>,
        }
        impl ModuleVisitor for Squares<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.gradients.get::<D>(param.id) {
                    let mut gradient = gradient.without_autodiff();
                    if self.l2 > 0.0 && is_penalised(&self.path.name()) {
                        gradient = gradient + param.val().inner() * (2.0 * self.l2);
                    }
                    let squares = gradient.square().sum();
                    self.sum = Some(match self.sum.take() {
                        Some(sum) => sum + squares,
                        None => squares,
                    });
                }
            }

            fn enter_module(&mut self, name: &str, _container_type: &str) {
                self.path.enter(name);
            }

            fn exit_module(&mut self, _name: &str, _container_type: &str) {
                self.path.exit();
            }
        }
        let mut squares = Squares { gradients, l2, path: ModulePath::default(), sum: None };
        module.visit(&mut squares);
        squares.sum.map_or(Clip::Off, |sum| Clip::All(Box::new(factor(sum, limit))))
    }
}

/// What brings a norm, of which the square is given, down to at most `limit`.
fn factor(squares: Tensor<1>, limit: f64) -> Tensor<1> {
    squares.sqrt().clamp_min(limit).recip() * limit
}

struct Stepper<'a> {
    optimiser: &'a mut Optimiser,
    gradients: GradientsParams,
    learning_rate: f64,
    clip: Clip,
    path: ModulePath,
    failure: Option<String>,
}

impl ModuleMapper for Stepper<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return param };
        let gradient = gradient.without_autodiff();
        let name = self.path.name();
        param.map(|tensor| {
            let requires_gradient = tensor.is_require_grad();
            let weights = tensor.inner();
            let moved = if self.optimiser.recipe.on_host {
                self.optimiser.moved_on_host(&name, weights.clone(), gradient, self.learning_rate, &self.clip).unwrap_or_else(|reason| {
                    self.failure.get_or_insert(format!("{name}: {reason}"));
                    weights
                })
            } else {
                self.optimiser.moved_on_device(&name, weights, gradient, self.learning_rate, &self.clip)
            };
            let moved = Tensor::from_inner(moved);
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
    use ossify_settings::{Epsilon, OptimizerKind};

    use super::*;
    use crate::parameters::{restore, snapshot};

    const ADAM: Rule = Rule { kind: OptimizerKind::Adam, epsilon: Epsilon::Keras, weight_decay: 0.1, momentum: 0.9 };
    const KERAS: Recipe = Recipe { rule: ADAM, clip_norm: 0.0, clip_scope: ClipScope::Parameter, l2: 0.0, on_host: true };
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
        optimiser.step(RATE, layer, gradients).unwrap()
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
            let scopes = if recipe.clip_scope == ClipScope::Global { vec![(0, 8)] } else { vec![(0, 6), (6, 8)] };
            for (from, to) in scopes {
                let norm = gradient[from..to].iter().map(|g| g * g).sum::<f64>().sqrt();
                if recipe.clip_norm > 0.0 && norm > recipe.clip_norm {
                    gradient[from..to].iter_mut().for_each(|g| *g *= recipe.clip_norm / norm);
                }
            }
            for i in 0..8 {
                if recipe.rule.kind == OptimizerKind::Sgd {
                    m[i] = 0.9 * m[i] + gradient[i];
                    weights[i] -= RATE * m[i];
                    continue;
                }
                m[i] = 0.9 * m[i] + 0.1 * gradient[i];
                v[i] = 0.999 * v[i] + 0.001 * gradient[i] * gradient[i];
                let (c1, c2) = (1.0 - 0.9f64.powi(t), 1.0 - 0.999f64.powi(t));
                if recipe.rule.kind == OptimizerKind::AdamW && i < 6 {
                    weights[i] *= 1.0 - RATE * 0.1;
                }
                weights[i] -= match recipe.rule.epsilon {
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
        let sgd = Rule { kind: OptimizerKind::Sgd, ..ADAM };
        let adamw = Rule { kind: OptimizerKind::AdamW, epsilon: Epsilon::Torch, ..ADAM };
        let recipes = [
            KERAS,
            Recipe { clip_norm: 0.5, ..KERAS },
            Recipe { rule: Rule { epsilon: Epsilon::Torch, ..ADAM }, ..KERAS },
            Recipe { rule: adamw, clip_norm: 0.5, clip_scope: ClipScope::Global, ..KERAS },
            Recipe { rule: sgd, ..KERAS },
            Recipe { rule: sgd, clip_norm: 1.0, clip_scope: ClipScope::Global, ..KERAS },
        ];
        recipes.into_iter().flat_map(|recipe| [recipe, Recipe { on_host: false, ..recipe }]).collect()
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
        let device = Device::flex().autodiff();
        let input = Tensor::<2>::from_floats([[1.0, -2.0, 0.5], [0.25, 4.0, -1.0]], &device);
        for recipe in recipes() {
            let run = |recipe: Recipe, in_loss: f64| {
                let (mut optimiser, mut net, mut penalties) = (Optimiser::new(recipe), Stages { stages: vec![Stage { dense: layer(&device) }] }, Vec::new());
                for _ in 0..5 {
                    let squares = net.stages[0].dense.weight.val().square().sum() * L2;
                    let loss = net.stages[0].dense.forward(input.clone()).square().mean() + squares.clone() * in_loss;
                    let gradients = GradientsParams::from_grads(loss.backward(), &net);
                    net = optimiser.step(RATE, net, gradients).unwrap();
                    penalties.push((optimiser.penalty().unwrap(), f64::from(squares.into_scalar::<f32>())));
                }
                (numbers(&net.stages[0].dense), penalties)
            };
            let (added, penalties) = run(Recipe { l2: L2, ..recipe }, 0.0);
            let (in_loss, _) = run(recipe, 1.0);
            assert!(added.iter().zip(&in_loss).all(|(a, b)| (a - b).abs() < 1e-6), "{added:?} and {in_loss:?}, {recipe:?}");
            assert!(penalties.iter().all(|(said, right)| (said - right).abs() < 1e-6), "{penalties:?}");
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
        let sgd = Recipe { rule: Rule { kind: OptimizerKind::Sgd, ..ADAM }, ..KERAS };
        let error = Optimiser::restore(sgd, 1, adam.snapshot().unwrap(), &Device::flex()).err().unwrap();
        assert!(error.contains("of another optimizer"), "{error}");
    }
}
