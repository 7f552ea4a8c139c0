use std::vec::IntoIter;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use ossify_model::Network;
use ossify_torch_kernels::optimiser::{self, AnyTensor};

use crate::optimise::phases::Trained;

/// Exponential moving average of a network, weights and running statistics of BatchNorm alike, over
/// the steps of a phase.
///
/// What is scored and saved as the model is the average; training goes on with the network itself.
pub struct WeightAverage {
    decay: f64,
    /// Without gradients; `None` before the first step.
    network: Option<Network>,
}

impl WeightAverage {
    /// An average of which each step leaves a share of `decay`, in the end; with 0 there is none,
    /// and the network itself is used.
    pub fn new(decay: f64) -> Self {
        WeightAverage { decay, network: None }
    }

    /// Continues from what an earlier session averaged, which is without gradients.
    pub fn restore(decay: f64, network: Option<Network>) -> Self {
        WeightAverage { decay, network }
    }

    /// Takes in the network as step `number` of a phase has left it, from 1, with which the average
    /// starts again. What does not learn stays as it is.
    pub fn follow(&mut self, model: &Network, trained: Trained, number: u64) {
        if self.decay == 0.0 {
            return;
        }
        // Running statistics lag by one update until the module is asked for its inference form.
        match self.network.take().filter(|_| number > 1) {
            None => self.network = Some(model.valid()),
            Some(Network { backbone, head }) => {
                let share = 1.0 - decay_at(self.decay, number);
                let head = moved(head, &model.head.valid(), share);
                let backbone = if trained == Trained::Head {
                    backbone
                } else {
                    moved(backbone, &model.backbone.valid(), share)
                };
                self.network = Some(Network { backbone, head });
            }
        }
    }

    /// The network to score and to keep, without gradients: the average, or the network itself
    /// where there is none.
    pub fn network(&self, model: &Network) -> Network {
        self.network.clone().unwrap_or_else(|| model.valid())
    }

    /// The average, where there is one.
    pub fn averaged(&self) -> Option<&Network> {
        self.network.as_ref()
    }
}

/// Early weights are soon to be forgotten, so the decay rises: `min(decay, (1 + n) / (10 + n))`, as
/// TensorFlow's `ExponentialMovingAverage` has it with `num_updates`.
fn decay_at(decay: f64, number: u64) -> f64 {
    let number = number as f64;
    decay.min((1.0 + number) / (10.0 + number))
}

/// An average of modules without gradients, moved by a share of the way towards the next one.
fn moved<M: Module>(average: M, next: &M, share: f64) -> M {
    let (mut taker, mut reader) = (Taker(Vec::new()), Reader(Vec::new()));
    // The module gives its tensors up, so that their memory can be written to.
    let emptied = average.map(&mut taker);
    next.visit(&mut reader);
    emptied.map(&mut Putter(optimiser::follow(taker.0, reader.0, share).into_iter()))
}

struct Reader(Vec<AnyTensor>);

impl ModuleVisitor for Reader {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into());
    }
}

/// Takes every tensor out and leaves empty ones.
struct Taker(Vec<AnyTensor>);

impl ModuleMapper for Taker {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let nothing = Tensor::zeros([0; D], &tensor.device());
            self.0.push(tensor.into());
            nothing
        })
    }
}

/// Puts tensors back, in the order in which they were taken.
struct Putter(IntoIter<AnyTensor>);

impl ModuleMapper for Putter {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.next() {
            Some(moved) => param.map(|_| moved.into_tensor()),
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::tensor::Device;
    use ossify_model::{HeadConfig, ModelConfig};
    use ossify_vocabulary::{Architecture, Normalization};

    use super::*;
    use crate::optimise::parameters::{ParameterData, restore, snapshot};

    fn network(device: &Device) -> Network {
        let config = ModelConfig {
            architecture: Architecture::DenseNetCompact,
            classes: 2,
            head: HeadConfig::Classifier { widths: vec![4], dropout: 0.0 },
            input_px: 32,
            normalization: Normalization::None,
        };
        Network::new(&config, 1, device).unwrap()
    }

    /// Every number of the network, running statistics included, set to one value.
    fn filled(network: Network, value: f32) -> Network {
        let mut data = snapshot(&network).unwrap();
        data.values_mut().for_each(|data| data.values.fill(value));
        restore(network, data).unwrap()
    }

    fn numbers(average: &WeightAverage) -> BTreeMap<String, ParameterData> {
        snapshot(average.averaged().unwrap()).unwrap()
    }

    /// Flex, and libtorch where the program has it.
    fn devices() -> Vec<Device> {
        #[cfg(feature = "libtorch")]
        #[expect(
            deprecated,
            reason = "0.22.1 is the last Burn with libtorch, which this project is built on"
        )]
        return vec![Device::flex().autodiff(), Device::libtorch().autodiff()];
        #[cfg(not(feature = "libtorch"))]
        vec![Device::flex().autodiff()]
    }

    #[test]
    fn the_average_of_a_line_follows_the_closed_form() {
        const DECAY: f64 = 0.75;
        for device in devices() {
            let mut average = WeightAverage::new(DECAY);
            let mut network = network(&device);
            for number in 1..=60_u32 {
                network = filled(network, number as f32);
                average.follow(&network, Trained::All, u64::from(number));
            }
            // From step 26 on the decay is as it is set; step 25 has the average that the product
            // below gives.
            let mut start = 1.0;
            for number in 2..=25 {
                start += (f64::from(number) - start) * (9.0 / (10.0 + f64::from(number)));
            }
            // A moving average follows a line at a distance of d / (1 - d), to which it comes close
            // by d at each step.
            let distance = DECAY / (1.0 - DECAY);
            let expected = 60.0 - distance + (start - 25.0 + distance) * DECAY.powi(35);
            for (name, data) in numbers(&average) {
                assert!(
                    data.values.iter().all(|value| (f64::from(*value) - expected).abs() < 1e-4),
                    "{name}: {:?}, not {expected}",
                    data.values[0]
                );
            }
            assert!(
                snapshot(&network.valid())
                    .unwrap()
                    .values()
                    .all(|data| data.values.iter().all(|value| *value == 60.0))
            );
        }
    }

    #[test]
    fn statistics_of_the_last_batch_are_in_it_at_once() {
        for device in devices() {
            let network = network(&device);
            let mut average = WeightAverage::new(0.9);
            average.follow(&network, Trained::All, 1);
            let before = numbers(&average);
            let _output = network
                .forward(Tensor::from_inner(Tensor::ones([2, 3, 32, 32], &device.clone().inner())));
            average.follow(&network, Trained::All, 2);
            let (after, current) = (numbers(&average), snapshot(&network.valid()).unwrap());
            let is_moved = |name: &str| {
                let [before, after, current] =
                    [&before, &after, &current].map(|of| &of[name].values);
                let expected = before
                    .iter()
                    .zip(current)
                    .map(|(before, current)| before + 0.75 * (current - before));
                current != before
                    && after
                        .iter()
                        .zip(expected)
                        .all(|(after, expected)| (after - expected).abs() < 1e-6)
            };
            assert!(
                is_moved("backbone.norm0.running_mean")
                    && is_moved("head.stages.0.norm.running_var")
            );
            assert_eq!(after["backbone.conv0.weight"], before["backbone.conv0.weight"]);
        }
    }

    #[test]
    fn a_phase_starts_it_again_and_one_of_the_head_leaves_the_backbone() {
        let device = Device::flex().autodiff();
        let mut average = WeightAverage::new(0.5);
        for (value, trained, number) in [(1.0, Trained::Head, 1), (3.0, Trained::Head, 2)] {
            average.follow(&filled(network(&device), value), trained, number);
        }
        let found = numbers(&average);
        assert_eq!(
            (found["backbone.norm0.gamma"].values[0], found["head.classes.bias"].values[0]),
            (1.0, 2.5)
        );
        average.follow(&filled(network(&device), 7.0), Trained::All, 1);
        assert!(
            numbers(&average).values().all(|data| data.values.iter().all(|value| *value == 7.0))
        );
    }

    #[test]
    fn without_a_decay_the_network_itself_is_used() {
        let mut average = WeightAverage::new(0.0);
        let network = network(&Device::flex().autodiff());
        average.follow(&network, Trained::All, 1);
        assert!(average.averaged().is_none());
        assert_eq!(
            snapshot(&average.network(&network)).unwrap(),
            snapshot(&network.valid()).unwrap()
        );
    }
}
