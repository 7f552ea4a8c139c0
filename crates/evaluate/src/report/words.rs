//! A report's figures as sentences.

use ossify_contract::ImageStatus;
use ossify_page::count;

use crate::read::split::{SplitData, first_of};
use crate::report::contents::Report;
use crate::report::digits::{two, with_interval};

/// Objects of a class below which its scores mean little.
const FEW_OBJECTS: u64 = 20;

/// What a reader should know first.
pub(crate) fn lead(report: &Report) -> Vec<String> {
    if report.images == 0 {
        return vec![format!(
            "The {} split has no image that could be scored, so no score is defined.",
            report.split
        )];
    }
    if report.counts.predictions == 0 {
        return vec![format!(
            "The predictions table has no prediction for the {} images of the {} split: nothing \
                was predicted, so nothing was found, and the shares are 0. Scores that need a \
                prediction are not defined.",
            count(report.images),
            report.split
        )];
    }
    let mut sentences = Vec::new();
    if report.counts.labelled_images > 0 {
        sentences.push(format!(
            "On {} labelled images of the {} split the model names the right class in {} of them; \
                always answering the most frequent class would be right in {}.",
            count(report.counts.labelled_images),
            report.split,
            with_interval(&report.image_level.accuracy),
            two(report.counts.majority_share),
        ));
    }
    if report.objects > 0 {
        sentences.push(format!(
            "Its first box reaches an IoU of at least 0.5 with {} of the {} objects; the mean IoU \
                is {}.",
            with_interval(&report.objects_level.iou50_rate),
            count(report.objects),
            with_interval(&report.objects_level.mean_iou),
        ));
        let scores = &report.detection.scores;
        sentences.push(format!(
            "As a detector, class and box together over all {} images, it reaches AP50 {} and AP \
                {}.",
            count(report.images),
            with_interval(&scores.ap50),
            with_interval(&scores.ap),
        ));
    }
    sentences
}

/// What the figures do not show, and what to keep in mind when reading them.
pub(crate) fn limits(report: &Report, data: &SplitData) -> Vec<String> {
    let mut limits = vec![
        "The intervals say how far the scores would move with other images of the same source. \
            They say nothing of other hospitals, devices or patients, and nothing of labels that \
            are wrong."
            .to_owned(),
    ];
    if report.split == "valid" {
        limits.push(
            "The valid split may have steered the training, such as when it stopped and which \
                checkpoint was kept; its scores flatter the model a little."
                .into(),
        );
    } else if report.split == "train" {
        limits.push(
            "The model was trained on these images: the scores say how well it remembers \
            them, not how well it works."
                .into(),
        );
    }
    limits.push(match report.counts.leaked_images {
        None => "Whether images of this split are also in another one was not checked (there \
            is no fingerprints.parquet; ossify-resize writes it); if they are, the scores flatter \
            the model. Scores by brightness and contrast are left out for the same reason."
            .into(),
        Some(0) => "No image of this split shows a picture that another split has too.".into(),
        Some(leaked) => format!(
            "{} of the {} images show a picture that another split has too; scores on them flatter \
                the model. Images of one picture were resampled together.",
            count(leaked),
            count(report.images)
        ),
    });
    let background = ImageStatus::Background.as_str();
    let backgrounds = report.counts.images_by_status.get(background).copied().unwrap_or(0);
    if report.counts.predicted_backgrounds > 0 {
        limits.push(format!(
            "On {} of the {} background images, where the labeller saw nothing to mark, the model \
                predicts an object all the same; each is a false alarm in AP and no matter to the \
                other scores.",
            count(report.counts.predicted_backgrounds),
            count(backgrounds)
        ));
    }
    let one_each = data.images.iter().all(|image| image.predictions.len() <= 1);
    let shared = report.objects - report.counts.labelled_images.min(report.objects);
    if one_each && shared > 0 && report.counts.predictions > 0 {
        limits.push(format!(
            "{} objects share their image with a larger one; a model that predicts one object an \
                image cannot find them as well.",
            count(shared)
        ));
    }
    let few = report.per_class.iter().filter(|class| class.support < FEW_OBJECTS);
    let few = few.map(|class| format!("{} ({})", class.class_name, class.support));
    let few = first_of(few.collect());
    if !few.is_empty() {
        limits.push(format!(
            "Classes with fewer than {FEW_OBJECTS} objects, whose scores mean little: {}.",
            few
        ));
    }
    limits
}
