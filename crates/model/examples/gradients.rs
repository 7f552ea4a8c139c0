//! The Rust side of `pipelines/parity/gradients.py`.
//!
//! `gradients MODEL PIXELS TARGETS IMAGES SIDE OUT DEVICE PRECISION` loads `model.safetensors`,
//! makes one forward pass in training mode over raw u8 pixels `[IMAGES, SIDE, SIDE, 3]`, and writes
//! the gradients of the sum of all outputs, each times its number in TARGETS (little-endian float32
//! rows of logits and box edges; of a detector, those of all cells), to OUT: one safetensors file
//! with PyTorch's names and orientations. PRECISION is float32 or float64.
//!
//! `gradients new MODEL ARCHITECTURE SIDE TASK` writes a network with random weights.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Gradients, Tensor, TensorData};
use ossify_model::weights::Metadata;
use ossify_model::{HeadConfig, ModelConfig, ModulePath, Network, Output, device, pixels, weights};
use ossify_vocabulary::{DeviceChoice, Normalization, Task};
use safetensors::tensor::{Dtype, TensorView};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [new, model, architecture, side, task] = arguments.as_slice()
        && new == "new"
    {
        return write_new(Path::new(model), architecture, side.parse()?, task.parse()?);
    }
    let [model, pixels_path, targets, images, side, out, device, precision] = arguments.as_slice()
    else {
        bail!("usage: gradients MODEL PIXELS TARGETS IMAGES SIDE OUT DEVICE PRECISION");
    };
    let dtype = if precision == "float64" { DType::F64 } else { DType::F32 };
    let (images, side): (usize, usize) = (images.parse()?, side.parse()?);
    let compute = device::choose(device.parse()?)?;
    let (network, description) = weights::load(Path::new(model), &compute.training())?;
    let network = network.map(&mut InPrecision(dtype));
    let bytes = std::fs::read(pixels_path).context(pixels_path.clone())?;
    let config = &description.config;
    let input = pixels::to_input(
        bytes,
        [images, side, side, 3],
        &compute.inference(),
        config.normalization,
        config.input_px,
    )?;
    let outputs = match network.forward(Tensor::from_inner(input).cast(dtype)) {
        Output::Classifier(output) => vec![output.logits.clone(), output.boxes()],
        Output::Detector(output) => vec![output.logits.flatten(1, 2), output.boxes.flatten(1, 2)],
    };
    let outputs = Tensor::cat(outputs, 1);
    let targets = std::fs::read(targets).context(targets.clone())?;
    let targets: Vec<f32> =
        targets.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let targets =
        Tensor::<2>::from_data(TensorData::new(targets, outputs.dims()), &compute.training())
            .cast(dtype);
    let gradients = (outputs * targets).sum().backward();

    let mut collect =
        Collect { gradients: &gradients, path: ModulePath::default(), found: BTreeMap::new() };
    network.visit(&mut collect);
    let found = collect.found.iter().map(|(name, (shape, bytes))| {
        let view = TensorView::new(Dtype::F64, shape.clone(), bytes)
            .map_err(|error| anyhow!("{name}: {error}"))?;
        Ok((weights::file_name(name), view))
    });
    let found = found.collect::<Result<Vec<_>>>()?;
    safetensors::serialize_to_file(found, None, Path::new(out)).with_context(|| out.clone())
}

fn write_new(path: &Path, architecture: &str, input_px: usize, task: Task) -> Result<()> {
    let config = ModelConfig {
        architecture: architecture.parse()?,
        classes: 6,
        head: match task {
            Task::Classify => HeadConfig::Classifier { widths: vec![64, 32], dropout: 0.0 },
            Task::Detect => HeadConfig::Detector { channels: 32 },
        },
        input_px,
        normalization: Normalization::ImageNet,
    };
    let network = Network::new(&config, 3, &device::choose(DeviceChoice::Flex)?.inference())?;
    let class_names = (0..config.classes).map(|index| format!("class {index}")).collect();
    Ok(weights::save(path, &network, &Metadata { config, class_names })?)
}

/// Casts every weight and statistic.
struct InPrecision(DType);

impl ModuleMapper for InPrecision {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let learns = tensor.is_require_grad();
        Param::from_mapped_value(
            id,
            tensor.detach().cast(self.0).detach().set_require_grad(learns),
            mapper,
        )
    }
}

struct Collect<'a> {
    gradients: &'a Gradients,
    path: ModulePath,
    found: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = param.val().grad(self.gradients) else { return };
        // Dense kernels are [inputs, outputs] here and [outputs, inputs] in PyTorch.
        let gradient = if D == 2 { gradient.swap_dims(0, 1) } else { gradient };
        let shape = gradient.dims().to_vec();
        let values =
            gradient.into_data().convert::<f64>().try_into_vec::<f64>().unwrap_or_default();
        self.found.insert(
            self.path.dotted(),
            (shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        );
    }
}
