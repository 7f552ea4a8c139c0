//! What the networks are made of: shapes, sizes, names, initial weights, and agreement between
//! devices.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use common::{assert_close, config, devices, flex, head, pixels, said, values};
use ossify_model::{
    BackboneShape, ClassifierOutput, ModelConfig, Network, ParameterCounts, device, pixels as input,
};
use ossify_vocabulary::{Architecture, DeviceChoice};

#[test]
fn every_small_enough_architecture_gives_features_logits_and_boxes() {
    for architecture in [Architecture::DenseNet121, Architecture::DenseNetCompact] {
        let config = config(architecture);
        for device in devices() {
            let classifier = Network::new(&config, 1, &device).unwrap();
            let (bytes, shape) = pixels(2, 64);
            let batch = input::to_input(bytes, shape, &device, config.normalization, 64).unwrap();
            assert_eq!(batch.dims(), [2, 3, 64, 64]);
            let features = classifier.backbone.forward(batch.clone());
            assert_eq!(features.dims(), [2, classifier.backbone.feature_channels()]);
            let output = said(&classifier, batch);
            assert_eq!(output.logits.dims(), [2, 6]);
            assert_eq!(output.boxes().dims(), [2, 4]);
        }
    }
}

#[test]
fn a_mirrored_image_is_told_the_mirrored_box_where_both_ways_are_averaged() {
    for architecture in [Architecture::DenseNet121, Architecture::DenseNetCompact] {
        let config = config(architecture);
        for device in devices() {
            let classifier = Network::new(&config, 1, &device).unwrap();
            let (bytes, shape) = pixels(4, 64);
            let images = input::to_input(bytes, shape, &device, config.normalization, 64).unwrap();
            let mirrored_images = images.clone().flip([3]);
            let both_ways = |images: Tensor<4>| {
                said(&classifier, images.clone())
                    .mean(said(&classifier, images.flip([3])).mirrored())
            };
            let (output, mirrored) =
                (both_ways(images.clone()), both_ways(mirrored_images.clone()));
            assert_close(&values(mirrored.logits.clone()), &values(output.logits.clone()), 1e-6);
            let boxes = values(output.boxes());
            let expected: Vec<f32> = boxes
                .as_chunks()
                .0
                .iter()
                .flat_map(|[xmin, ymin, xmax, ymax]| [1.0 - xmax, *ymin, 1.0 - xmin, *ymax])
                .collect();
            assert_close(&values(mirrored.boxes()), &expected, 1e-6);

            let probabilities = |logits: Tensor<2>| values(softmax(logits, 1));
            let [one, two] = [images, mirrored_images]
                .map(|images| probabilities(said(&classifier, images).logits));
            let mean: Vec<f32> = one.iter().zip(&two).map(|(one, two)| (one + two) / 2.0).collect();
            assert_close(&probabilities(output.logits), &mean, 1e-6);
            assert!(one.iter().zip(&two).any(|(one, two)| (one - two).abs() > 1e-5));
        }
    }
}

#[test]
fn cells_of_mirrored_input_come_back_column_by_column() {
    let device = flex();
    let cell_scores = Tensor::<2>::from_floats([[1.0, 2.0, 3.0, 4.0]], &device);
    let candidates = Tensor::<3>::from_floats(
        [[[0.0, 0.1, 0.2, 0.3], [0.5, 0.0, 0.75, 1.0], [0.0; 4], [1.0; 4]]],
        &device,
    );
    let output =
        ClassifierOutput { logits: Tensor::zeros([1, 1], &device), cell_scores, candidates }
            .mirrored();
    assert_eq!(values(output.cell_scores), [2.0, 1.0, 4.0, 3.0]);
    assert_eq!(
        values(output.candidates),
        [0.25, 0.0, 0.5, 1.0, 0.8, 0.1, 1.0, 0.3, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    );
}

#[test]
fn a_mean_of_sure_outputs_stays_finite() {
    let device = flex();
    let output = |logits: [[f32; 2]; 1]| ClassifierOutput {
        logits: Tensor::from_floats(logits, &device),
        cell_scores: Tensor::zeros([1, 1], &device),
        candidates: Tensor::zeros([1, 1, 4], &device),
    };
    let mean = values(output([[500.0, -500.0]]).mean(output([[500.0, -500.0]])).logits);
    assert_eq!(mean, [0.0, -1000.0]);
}

/// bfloat16 maps on libtorch's processor, where they are slow and can be checked.
#[cfg(feature = "libtorch")]
#[test]
fn maps_of_half_precision_give_nearly_the_same_features_and_float32_gradients() {
    let config = config(Architecture::DenseNetCompact);
    let device = device::choose(DeviceChoice::Cpu).unwrap().training();
    let (bytes, shape) = pixels(4, 64);
    let batch = input::to_input(bytes, shape, &device, config.normalization, 64).unwrap();
    let run = |is_half: bool| {
        let Network { backbone, head } = Network::new(&config, 1, &device).unwrap().train();
        let classifier = Network { backbone: backbone.in_half_precision(is_half), head };
        let features = classifier.backbone.forward(batch.clone());
        assert_eq!(features.dtype(), burn::tensor::DType::F32);
        let mut gradients = features.clone().square().mean().backward();
        let gradients =
            burn::optim::GradientsParams::from_module(&mut gradients, &classifier.backbone);
        (values(features.inner()), gradients.len())
    };
    let ((single, single_gradients), (half, half_gradients)) = (run(false), run(true));
    assert!(
        single_gradients > 80 && single_gradients == half_gradients,
        "{single_gradients} and {half_gradients} gradients"
    );
    let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
    let difference: Vec<f32> = single.iter().zip(&half).map(|(a, b)| a - b).collect();
    assert!(norm(&difference) < 0.05 * norm(&single), "{} of {}", norm(&difference), norm(&single));
}

/// Counts of `torchvision.models.densenetNNN().features`, parameters and buffers without
/// `num_batches_tracked`.
#[test]
fn the_large_networks_have_exactly_the_weights_of_torchvision() {
    let expected = [
        (Architecture::DenseNet121, 6_953_856, 83_648, 1024),
        (Architecture::DenseNet161, 26_472_000, 219_936, 2208),
        (Architecture::DenseNet169, 12_484_480, 158_400, 1664),
        (Architecture::DenseNet201, 18_092_928, 229_056, 1920),
    ];
    for (architecture, trainable, statistics, features) in expected {
        let classifier = Network::new(&config(architecture), 1, &flex()).unwrap();
        assert_eq!(
            classifier.backbone.parameter_counts(),
            ParameterCounts { trainable, statistics },
            "{architecture}"
        );
        assert_eq!(classifier.backbone.feature_channels(), features, "{architecture}");
    }
}

#[test]
fn the_reference_head_has_the_weights_of_its_layers() {
    let config =
        ModelConfig { head: head(&[1024, 1024, 512], 0.5), ..config(Architecture::DenseNet121) };
    let classifier = Network::new(&config, 1, &flex()).unwrap();
    let dense = |inputs: usize, outputs: usize| inputs * outputs + outputs;
    let head = 2 * (1024 + 1024 + 1024)
        + dense(1024, 1024) * 2
        + dense(1024, 512)
        + dense(512, 6)
        + dense(512, 4);
    assert_eq!(
        classifier.parameter_counts().trainable - classifier.backbone.parameter_counts().trainable,
        head
    );
}

#[test]
fn the_compact_network_is_small() {
    let shape = BackboneShape::of(Architecture::DenseNetCompact);
    let classifier = Network::new(&config(Architecture::DenseNetCompact), 1, &flex()).unwrap();
    assert!(classifier.backbone.parameter_counts().trainable < 1_500_000);
    assert!(shape.multiply_adds(112) < 70_000_000, "{}", shape.multiply_adds(112));
}

/// 2.83 GMAC is the figure that fvcore and ptflops give for torchvision's densenet121 without its
/// last layer. Its three transitions convolve before they average, at four times as many positions
/// as ours.
#[test]
fn multiply_adds_of_densenet121_are_the_known_ones_but_for_transitions() {
    let transitions = [(256, 28), (512, 14), (1024, 7)]
        .map(|(channels, side)| channels * channels / 2 * side * side);
    let giga = (BackboneShape::of(Architecture::DenseNet121).multiply_adds(224)
        + 3 * transitions.iter().sum::<u64>()) as f64
        / 1e9;
    assert!((2.82..2.84).contains(&giga), "{giga}");
}

#[test]
fn initial_weights_depend_on_the_seed_and_not_on_the_device() {
    let config = config(Architecture::DenseNetCompact);
    let outputs: Vec<(Vec<f32>, Vec<f32>)> = devices()
        .iter()
        .map(|device| {
            let (bytes, shape) = pixels(2, 64);
            let batch = input::to_input(bytes, shape, device, config.normalization, 64).unwrap();
            let run = |seed| {
                values(said(&Network::new(&config, seed, device).unwrap(), batch.clone()).logits)
            };
            assert_eq!(run(1), run(1));
            (run(1), run(2))
        })
        .collect();
    for (first, second) in &outputs {
        assert_close(first, &outputs[0].0, 1e-4);
        assert_ne!(first, second);
    }
}

#[test]
fn devices_agree_on_the_whole_of_densenet121() {
    let config = config(Architecture::DenseNet121);
    let features: Vec<Vec<f32>> = devices()
        .iter()
        .map(|device| {
            let (bytes, shape) = pixels(2, 64);
            let batch = input::to_input(bytes, shape, device, config.normalization, 64).unwrap();
            values(Network::new(&config, 1, device).unwrap().backbone.forward(batch))
        })
        .collect();
    for other in &features[1..] {
        assert_close(other, &features[0], 1e-4);
    }
}

#[test]
fn devices_agree_on_gradients() {
    let config =
        ModelConfig { head: head(&[32, 16], 0.0), ..config(Architecture::DenseNetCompact) };
    let gradients: Vec<Vec<f32>> = devices()
        .into_iter()
        .map(|device| {
            let device = device.autodiff();
            let width = BackboneShape::of(config.architecture).features(config.input_px).len();
            let head = Network::new(&config, 1, &device).unwrap().head;
            let features = Tensor::<1, burn::tensor::Int>::arange(0..8 * width as i64, &device)
                .float()
                .sin()
                .reshape([8, width])
                .require_grad();
            let output = head.of_features(features.clone()).unwrap();
            let gradients = (output.logits.square().mean()
                + output.candidates.square().mean()
                + output.cell_scores.square().mean()
                + head.l2_penalty().unwrap() * 0.01)
                .backward();
            values(features.grad(&gradients).unwrap())
        })
        .collect();
    for other in &gradients[1..] {
        assert_close(other, &gradients[0], 1e-5);
    }
}

#[test]
fn a_training_step_moves_weights_and_statistics_and_a_frozen_backbone_stays() {
    let config = config(Architecture::DenseNetCompact);
    for device in devices() {
        let training = device.clone().autodiff();
        let classifier = Network::new(&config, 1, &device).unwrap().train();
        let (bytes, shape) = pixels(2, 64);
        let batch = input::to_input(bytes, shape, &training, config.normalization, 64).unwrap();
        let before = values(classifier.valid().backbone.forward(batch.clone().inner()));
        let gradients = said(&classifier, batch.clone()).logits.square().mean().backward();
        assert_eq!(
            burn::optim::GradientsParams::from_grads(gradients, &classifier).len(),
            trainable_tensors(&classifier)
        );
        let after = values(classifier.valid().backbone.forward(batch.clone().inner()));
        assert_ne!(before, after, "running statistics are updated by a forward pass in training");

        let frozen = Network::new(&config, 1, &device).unwrap();
        frozen.backbone.forward(batch.inner());
        let kept = values(frozen.backbone.forward(
            input::to_input(pixels(2, 64).0, shape, &device, config.normalization, 64).unwrap(),
        ));
        assert_eq!(before, kept, "a forward pass for inference changes nothing");
    }
}

/// Tensors that take part in the logits: all of them, as the box output's scores weigh the cells.
fn trainable_tensors(classifier: &Network) -> usize {
    let mut count = 0;
    struct Count<'a>(&'a mut usize);
    impl burn::module::ModuleVisitor for Count<'_> {
        fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
            *self.0 += usize::from(param.is_require_grad());
        }
    }
    classifier.visit(&mut Count(&mut count));
    count
}

#[test]
fn l2_penalty_is_the_sum_of_squares_of_the_dense_kernels() {
    let config = ModelConfig { head: head(&[3], 0.5), ..config(Architecture::DenseNetCompact) };
    let classifier = Network::new(&config, 1, &flex()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    ossify_model::weights::save(&path, &classifier, &common::metadata(&config)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kernel = file.tensor("head.stages.0.dense.weight").unwrap();
    let expected: f32 = kernel
        .data()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()).powi(2))
        .sum();
    let found = values(classifier.head.l2_penalty().unwrap())[0];
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} against {expected}");
    let none = Network::new(&ModelConfig { head: head(&[], 0.5), ..config }, 1, &flex()).unwrap();
    assert!(none.head.l2_penalty().is_none());
}

#[test]
fn a_configuration_without_a_network_is_refused_in_words() {
    let valid = config(Architecture::DenseNetCompact);
    let error = |config: ModelConfig| config.validate().unwrap_err().to_string();
    assert_eq!(
        error(ModelConfig { classes: 0, ..valid.clone() }),
        "the network needs at least one class"
    );
    assert_eq!(
        error(ModelConfig { head: head(&[8, 0], 0.5), ..valid.clone() }),
        "head width number 2 is 0; each width must be at least 1"
    );
    assert_eq!(
        error(ModelConfig { head: head(&[32, 16], 1.0), ..valid.clone() }),
        "dropout is 1; it is a share from 0 to below 1"
    );
    let small = ModelConfig { input_px: 31, architecture: Architecture::DenseNet121, ..valid };
    assert_eq!(
        error(small),
        "input_px is 31, but densenet121 halves its input so often that it needs at least 32 pixels"
    );
}

#[test]
fn the_smallest_input_is_the_smallest_that_works() {
    for architecture in [Architecture::DenseNet121, Architecture::DenseNetCompact] {
        let smallest = BackboneShape::of(architecture).smallest_input_px();
        let config = ModelConfig { input_px: smallest, ..config(architecture) };
        let classifier = Network::new(&config, 1, &flex()).unwrap();
        let output = said(&classifier, Tensor::zeros([1, 3, smallest, smallest], &flex()));
        assert!(values(output.logits).iter().all(|value| value.is_finite()));
    }
}

#[test]
fn devices_are_found_or_refused() {
    assert_eq!(device::choose(DeviceChoice::Flex).unwrap().kind(), DeviceChoice::Flex);
    let missing = device::choose(DeviceChoice::Cuda(4096)).unwrap_err();
    assert!(missing.to_string().starts_with("device cuda:4096 cannot be used"), "{missing}");
    assert!(std::error::Error::source(&missing).is_some());
    assert_ne!(device::choose(DeviceChoice::Auto).unwrap().kind(), DeviceChoice::Auto);
}
