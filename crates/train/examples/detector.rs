//! The Rust side of `pipelines/parity/detector.py`. Files are safetensors; numbers in CASES and OUT
//! are float64, and OUT has those of case N under names that begin with `N.`, as CASES has.
//!
//! `detector outputs MODEL PIXELS IMAGES SIDE OUT DEVICE`: `0.logits` [IMAGES, P, classes] and
//! `0.boxes` [IMAGES, P, 4], what the detector of a `model.safetensors` gives for raw u8 pixels
//! `[IMAGES, SIDE, SIDE, 3]`.
//!
//! `detector loss CASES OUT DEVICE`: from `logits` and `boxes` as above, the `sides` of the maps,
//! `objects` [T, 7] (image, class, box, weight) by image, and `constants` (cells per object, powers
//! of score, of overlap and of the focal loss, weight of boxes): the `positives` [K, 4] (image,
//! cell, object, target without the object's weight), the `terms` of the loss, and their gradients
//! `of_logits` and `of_boxes`.
//!
//! `detector suppress CASES OUT`: from `scores` [P, classes], `boxes` [P, 4] and the `rule`
//! (smallest score, largest IoU, most detections), what is `found`: [D, 6] (class, score, box).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::{Tensor, TensorData};
use ossify_contract::UnitBox;
use ossify_detection::boxes::Truth;
use ossify_detection::nms::Suppression;
use ossify_model::{DetectorOutput, device, pixels, weights};
use ossify_train::assignment::{Assigner, centres};
use ossify_train::loss::{DetectionLoss, HostOutput, Terms};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["outputs", model, pixels, images, side, out, device] => {
            outputs(model, pixels, images.parse()?, side.parse()?, device)?.write(out)
        }
        ["loss", cases, out, device] => loss(&Numbers::read(cases)?, device)?.write(out),
        ["suppress", cases, out] => suppress(&Numbers::read(cases)?)?.write(out),
        _ => bail!("usage: see the head of crates/train/examples/detector.rs"),
    }
}

/// Tensors by name: shape and numbers.
#[derive(Default)]
struct Numbers(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Numbers {
    fn read(path: &str) -> Result<Self> {
        let bytes = std::fs::read(path).context(path.to_owned())?;
        let file = SafeTensors::deserialize(&bytes).context(path.to_owned())?;
        let numbers = |view: &TensorView<'_>| {
            let numbers = view.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
            (view.shape().to_vec(), numbers.collect())
        };
        Ok(Numbers(file.iter().map(|(name, view)| (name.to_owned(), numbers(&view))).collect()))
    }

    fn write(&self, path: &str) -> Result<()> {
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .0
            .iter()
            .map(|(name, (shape, numbers))| {
                (name, shape, numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F64, shape.to_vec(), bytes);
            Ok((name.as_str(), view.map_err(|error| anyhow!("{name}: {error}"))?))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        safetensors::serialize_to_file(views, None, Path::new(path)).context(path.to_owned())
    }

    fn get(&self, case: usize, name: &str) -> Result<(&[usize], &[f64])> {
        let name = format!("{case}.{name}");
        let (shape, numbers) = self.0.get(&name).with_context(|| format!("no {name}"))?;
        Ok((shape, numbers))
    }

    fn add(&mut self, case: usize, name: &str, shape: &[usize], numbers: Vec<f64>) {
        self.0.insert(format!("{case}.{name}"), (shape.to_vec(), numbers));
    }

    fn add_tensor<const D: usize>(
        &mut self,
        case: usize,
        name: &str,
        tensor: Tensor<D>,
    ) -> Result<()> {
        let shape = tensor.dims();
        let numbers = tensor.into_data().convert::<f64>().try_into_vec::<f64>();
        self.add(case, name, &shape, numbers.map_err(|error| anyhow!("{name}: {error:?}"))?);
        Ok(())
    }

    /// How many cases have this tensor.
    fn cases(&self, name: &str) -> std::ops::Range<usize> {
        0..(0..).take_while(|case| self.get(*case, name).is_ok()).count()
    }
}

fn singles(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|number| *number as f32).collect()
}

fn unit_boxes(numbers: &[f64]) -> Vec<UnitBox> {
    numbers.as_chunks::<4>().0.iter().map(|edges| edges.map(|edge| edge as f32).into()).collect()
}

fn outputs(
    model: &str,
    pixels_path: &str,
    images: usize,
    side: usize,
    device: &str,
) -> Result<Numbers> {
    let compute = device::choose(device.parse()?)?;
    let (network, description) = weights::load(Path::new(model), &compute.inference())?;
    let input = pixels::to_input(
        std::fs::read(pixels_path).context(pixels_path.to_owned())?,
        [images, side, side, 3],
        &compute.inference(),
        description.config.normalization,
        description.config.input_px,
    )?;
    let output = network.forward(input).detector().context("a classifier")?;
    let mut found = Numbers::default();
    found.add_tensor(0, "logits", output.logits)?;
    found.add_tensor(0, "boxes", output.boxes)?;
    Ok(found)
}

fn loss(cases: &Numbers, device: &str) -> Result<Numbers> {
    let device = device::choose(device.parse()?)?.training();
    let mut found = Numbers::default();
    for case in cases.cases("logits") {
        let tensor = |name: &str| -> Result<Tensor<3>> {
            let (shape, numbers) = cases.get(case, name)?;
            let data = TensorData::new(singles(numbers), shape.to_vec());
            Ok(Tensor::from_data(data, &device).require_grad())
        };
        let sides = cases.get(case, "sides")?.1.iter().map(|side| *side as usize).collect();
        let output = DetectorOutput { logits: tensor("logits")?, boxes: tensor("boxes")?, sides };
        let [images, ..] = output.logits.dims();
        let (mut objects, mut weights) = (vec![Vec::new(); images], Vec::new());
        for row in cases.get(case, "objects")?.1.as_chunks::<7>().0 {
            let [image, class, edges @ .., weight] = *row;
            let unit_box = edges.map(|edge: f64| edge as f32).into();
            weights.push(weight);
            objects
                .get_mut(image as usize)
                .context("an object of no image")?
                .push(Truth { class: class as u16, unit_box });
        }
        let objects: Vec<&[Truth]> = objects.iter().map(Vec::as_slice).collect();
        let &[cells_per_object, score_power, overlap_power, focal_power, box_weight] =
            cases.get(case, "constants")?.1
        else {
            bail!("constants are five");
        };
        let assigner =
            Assigner { cells_per_object: cells_per_object as usize, score_power, overlap_power };
        let loss = DetectionLoss { assigner, focal_power, box_weight };
        let said = HostOutput::read(&output)?;

        let positives =
            assigner.assign(&said.images().collect::<Vec<_>>(), &objects, &centres(&output.sides));
        let rows: Vec<[f64; 4]> = positives
            .iter()
            .enumerate()
            .flat_map(|(image, positives)| {
                positives.iter().map(move |positive| {
                    [image as f64, positive.cell as f64, positive.object as f64, positive.target]
                })
            })
            .collect();
        found.add(case, "positives", &[rows.len(), 4], rows.concat());

        let Terms { classification, boxes } =
            loss.of(&output, &said, &objects, |object| weights[object]);
        found.add_tensor(
            case,
            "terms",
            Tensor::cat(vec![classification.clone(), boxes.clone()], 0),
        )?;
        let gradients = (classification + boxes).backward();
        for (name, tensor) in [("of_logits", output.logits), ("of_boxes", output.boxes)] {
            let gradient = tensor.grad(&gradients);
            let gradient = gradient.unwrap_or_else(|| tensor.without_autodiff().zeros_like());
            found.add_tensor(case, name, gradient)?;
        }
    }
    Ok(found)
}

fn suppress(cases: &Numbers) -> Result<Numbers> {
    let mut found = Numbers::default();
    for case in cases.cases("scores") {
        let &[min_score, max_iou, max_detections] = cases.get(case, "rule")?.1 else {
            bail!("a rule has three numbers");
        };
        let rule = Suppression {
            min_score: min_score as f32,
            max_iou,
            max_detections: max_detections as usize,
        };
        let scores = singles(cases.get(case, "scores")?.1);
        let detections = rule.detections(&scores, &unit_boxes(cases.get(case, "boxes")?.1));
        let rows: Vec<f64> = detections
            .iter()
            .flat_map(|detection| {
                let edges = detection.unit_box.to_array().map(f64::from);
                [f64::from(detection.class), f64::from(detection.score)].into_iter().chain(edges)
            })
            .collect();
        found.add(case, "found", &[detections.len(), 6], rows);
    }
    Ok(found)
}
