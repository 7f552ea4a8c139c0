use anyhow::{Context as _, Result, bail};
use ossify_contract::{ImagePredictionRow, PredictionRow, Split, Transform, UnitBox};

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
        bail!(
            "{}: the network gave NaN or infinity; the weights are damaged, train again",
            origin.image_id
        );
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
}
