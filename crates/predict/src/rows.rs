use anyhow::{Context as _, Result, anyhow, bail};
use ossify_contract::{ImagePredictionRow, PredictionRow, Split, Transform, UnitBox};
use ossify_detection::nms::{Suppression, within_image};

use crate::cells::Cells;
use crate::tables::PredictedImage;

/// Where an image's tensor came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The image.
    pub image_id: String,
    /// Width and height of the upright source, pixels.
    pub source: (u32, u32),
    /// Width and height of the tensor, pixels.
    pub tensor: (u32, u32),
    /// From source to tensor.
    pub transform: Transform,
}

/// The error where a network gave NaN or infinity for an image.
pub(crate) fn not_finite(origin: &Origin) -> anyhow::Error {
    anyhow!(
        "{}: the network gave NaN or infinity; the weights are damaged, train again",
        origin.image_id
    )
}

/// A classifier's word on an image: the most probable class, and the box on the source image, its
/// corners in order and inside.
///
/// `logits` has one number a class; `box_unit_xyxy` is in shares of the tensor.
///
/// # Errors
/// Fails where the network gave NaN or infinity.
pub(crate) fn classified(
    origin: &Origin,
    split: Split,
    logits: &[f32],
    box_unit_xyxy: [f32; 4],
    class_names: &[String],
) -> Result<PredictedImage> {
    if logits.iter().chain(&box_unit_xyxy).any(|value| !value.is_finite()) {
        return Err(not_finite(origin));
    }
    let probabilities = softmax(logits);
    let best = (0..probabilities.len())
        .fold(0, |best, class| if logits[class] > logits[best] { class } else { best });
    let (Some(class_name), Some(score)) = (class_names.get(best), probabilities.get(best)) else {
        bail!("{}: {} outputs for {} classes", origin.image_id, logits.len(), class_names.len());
    };
    let class_index = i16::try_from(best)
        .with_context(|| format!("class {best} is beyond the {} of a table", i16::MAX))?;
    let unit = origin
        .transform
        .to_source(&UnitBox::from(box_unit_xyxy), origin.source, origin.tensor)
        .ordered()
        .clamped();
    let prediction = PredictionRow {
        image_id: origin.image_id.clone(),
        split,
        rank: 1,
        class_index,
        class_name: class_name.clone(),
        score: *score,
        probabilities,
        xmin: unit.xmin,
        ymin: unit.ymin,
        xmax: unit.xmax,
        ymax: unit.ymax,
    };
    // A classifier never says that there is nothing: its score is of a class, not of a finding.
    let image = ImagePredictionRow {
        image_id: origin.image_id.clone(),
        split,
        score: None,
        class_scores: Vec::new(),
        detections: 1,
    };
    Ok(PredictedImage { image, predictions: vec![prediction] })
}

/// A detector's word on an image: objects by falling score, their boxes on the source image, cut at
/// its edges before overlaps are measured. The scores of the image are the highest of all cells,
/// whatever `rule` then keeps. A cell whose box lies beside the image, as in the bars of a
/// letterbox, counts nowhere.
///
/// # Errors
/// Fails where a class is beyond those of a table.
pub(crate) fn detected(
    origin: &Origin,
    split: Split,
    cells: &Cells,
    class_names: &[String],
    rule: &Suppression,
) -> Result<PredictedImage> {
    let to_source = |unit_box: &[f32; 4]| {
        origin.transform.to_source(&UnitBox::from(*unit_box), origin.source, origin.tensor)
    };
    let (scores, boxes) = within_image(&cells.scores, cells.boxes.iter().map(to_source));
    let mut class_scores = vec![0.0f32; class_names.len()];
    for of_cell in scores.chunks_exact(class_names.len()) {
        for (highest, score) in class_scores.iter_mut().zip(of_cell) {
            *highest = highest.max(*score);
        }
    }
    let found = rule.detections(&scores, &boxes);
    let mut predictions = Vec::with_capacity(found.len());
    for (rank, detection) in (1..).zip(&found) {
        let class = usize::from(detection.class);
        let Some(class_name) = class_names.get(class) else {
            bail!("{}: class {class} of {} classes", origin.image_id, class_names.len());
        };
        let unit_box = detection.unit_box;
        predictions.push(PredictionRow {
            image_id: origin.image_id.clone(),
            split,
            rank,
            class_index: i16::try_from(class)
                .with_context(|| format!("class {class} is beyond the {} of a table", i16::MAX))?,
            class_name: class_name.clone(),
            score: detection.score,
            probabilities: Vec::new(),
            xmin: unit_box.xmin,
            ymin: unit_box.ymin,
            xmax: unit_box.xmax,
            ymax: unit_box.ymax,
        });
    }
    let image = ImagePredictionRow {
        image_id: origin.image_id.clone(),
        split,
        score: Some(class_scores.iter().copied().fold(0.0, f32::max)),
        class_scores,
        detections: i32::try_from(predictions.len()).unwrap_or(i32::MAX),
    };
    Ok(PredictedImage { image, predictions })
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    #[expect(clippy::cast_possible_truncation, reason = "tables have float32 probabilities")]
    powers.into_iter().map(|power| (power / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        // 400x200, its middle square on a tensor of 100.
        let transform = Transform { scale_x: 0.5, scale_y: 0.5, offset_x: -50.0, offset_y: 0.0 };
        Origin { image_id: "a.jpg".into(), source: (400, 200), tensor: (100, 100), transform }
    }

    fn names() -> Vec<String> {
        vec!["wrist".into(), "elbow".into()]
    }

    fn row_of(logits: &[f32], box_unit_xyxy: [f32; 4]) -> PredictionRow {
        let predicted =
            classified(&origin(), Split::Valid, logits, box_unit_xyxy, &names()).unwrap();
        let PredictedImage { image, mut predictions } = predicted;
        assert_eq!((image.score, image.class_scores.len(), image.detections), (None, 0, 1));
        predictions.remove(0)
    }

    #[test]
    fn boxes_come_back_to_the_source_ordered_and_inside() {
        let row = row_of(&[0.0, 2.0], [0.5, 1.2, 0.0, 0.4]);
        assert_eq!(row.unit_box(), UnitBox::new(0.25, 0.4, 0.5, 1.0));
        assert_eq!((row.rank, row.class_index, row.class_name.as_str()), (1, 1, "elbow"));
    }

    #[test]
    fn probabilities_are_a_softmax_and_the_score_is_the_largest() {
        let row = row_of(&[1000.0, 999.0], [0.0; 4]);
        let expected = 1.0 / (1.0 + (-1.0f32).exp());
        assert!((row.score - expected).abs() < 1e-6 && row.score == row.probabilities[0]);
        assert!((row.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn nan_and_infinity_are_an_error_with_the_image() {
        let error = classified(&origin(), Split::Test, &[f32::NAN, 0.0], [0.0; 4], &names())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("a.jpg: the network gave NaN or infinity"), "{error}");
    }

    const RULE: Suppression = Suppression { min_score: 0.1, max_iou: 0.6, max_detections: 100 };

    fn detect(scores: &[f32], boxes: &[[f32; 4]], rule: &Suppression) -> PredictedImage {
        let cells = Cells { scores: scores.to_vec(), boxes: boxes.to_vec() };
        detected(&origin(), Split::Valid, &cells, &names(), rule).unwrap()
    }

    #[test]
    fn a_detector_says_several_things_of_an_image_by_rank() {
        let boxes = [
            [0.0, 0.0, 0.5, 0.5],
            [0.01, 0.0, 0.5, 0.5],
            [0.5, 0.5, 1.0, 1.5],
            [0.5, 0.0, 0.6, 0.1],
        ];
        let scores = [0.5, 0.25, 0.75, 0.0625, 0.125, 0.5, 0.03125, 0.0625];
        let PredictedImage { image, predictions } = detect(&scores, &boxes, &RULE);
        let found: Vec<_> = predictions
            .iter()
            .map(|row| (row.rank, row.class_index, row.class_name.as_str(), row.score))
            .collect();
        assert_eq!(
            found,
            [
                (1, 0, "wrist", 0.75),
                (2, 1, "elbow", 0.5),
                (3, 1, "elbow", 0.25),
                (4, 0, "wrist", 0.125)
            ]
        );
        // On the source, whose middle half the tensor shows, and cut at its edges.
        assert_eq!(predictions[1].unit_box(), UnitBox::new(0.5, 0.5, 0.75, 1.0));
        assert!(predictions.iter().all(|row| row.probabilities.is_empty()));
        assert_eq!((image.score, image.detections), (Some(0.75), 4));
        assert_eq!(image.class_scores, [0.75, 0.5]);
        let few = detect(&scores, &boxes, &Suppression { max_detections: 2, ..RULE });
        assert_eq!(few.predictions, predictions[..2]);
        assert_eq!((few.image.detections, few.image.score), (2, Some(0.75)));
    }

    #[test]
    fn an_image_on_which_nothing_is_found_keeps_its_scores() {
        let PredictedImage { image, predictions } =
            detect(&[0.0625, 0.03125], &[[0.0, 0.0, 0.5, 0.5]], &RULE);
        assert!(predictions.is_empty());
        assert_eq!((image.score, image.detections), (Some(0.0625), 0));
        assert_eq!(image.class_scores, [0.0625, 0.03125]);
    }

    #[test]
    fn what_lies_beside_the_image_counts_nowhere() {
        // Bars above and below: the source is the middle of the tensor.
        let origin = Origin {
            transform: Transform { scale_x: 0.25, scale_y: 0.25, offset_x: 0.0, offset_y: 25.0 },
            ..origin()
        };
        let cells = Cells {
            scores: vec![0.75, 0.5, 0.25, 0.125],
            boxes: vec![[0.0, 0.0, 1.0, 0.25], [0.0, 0.125, 1.0, 0.5]],
        };
        let found = detected(&origin, Split::Test, &cells, &names(), &RULE).unwrap();
        assert_eq!(found.image.class_scores, [0.25, 0.125]);
        let boxes: Vec<_> = found.predictions.iter().map(PredictionRow::unit_box).collect();
        assert_eq!(boxes, [UnitBox::new(0.0, 0.0, 1.0, 0.5); 2]);
    }
}
