use std::collections::BTreeMap;

use ossify_contract::{ImageStatus, SCHEMA_VERSION, Split};
use serde::Serialize;

use crate::failures::confused_pairs::{ConfusedPair, most_confused};
use crate::failures::slices::{Slice, slices};
use crate::read::split::{Excluded, SplitData};
use crate::scores::bootstrap::{Bootstrap, Interval};
use crate::scores::calibration::{Fitted, OperatingPoint};
use crate::scores::scorer::Scorer;
use crate::scores::sheet::{
    DetectionOfClass, DetectionScores, ImageScores, ObjectScores, OperatingScores, ScaledScores,
    ScoreSheet, ScoresOfClass,
};

/// `report.json`: every score of a split with its interval, and what was left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Version of the artefacts' schemas.
    pub schema_version: u32,
    /// Version of the program.
    pub ossify_version: &'static str,
    /// Id of the predictions, which is that of the run that made them.
    pub run: String,
    /// The split.
    pub split: String,
    /// Images that are scored: readable, and labelled or background.
    pub images: u64,
    /// Objects that are scored.
    pub objects: u64,
    /// How many of what.
    pub counts: Counts,
    /// Scores over objects.
    pub objects_level: ObjectScores<Interval>,
    /// Scores over labelled images.
    pub image_level: ImageScores<Interval>,
    /// Scores of the probabilities after temperature scaling; null where the valid split has no
    /// probabilities.
    pub calibration: Option<CalibrationReport>,
    /// What thresholds that were chosen on the valid split give here.
    pub operating_points: Vec<OperatingPoint<Interval>>,
    /// The COCO protocol.
    pub detection: DetectionReport,
    /// Scores by class.
    pub per_class: Vec<ClassReport>,
    /// True against predicted class over objects.
    pub confusion_matrix: ConfusionTable,
    /// Predictions, and missed objects, by what became of them.
    pub match_kinds: BTreeMap<&'static str, u64>,
    /// Pairs of classes that are taken for one another most often.
    pub most_confused: Vec<ConfusedPair>,
    /// Scores of parts of the objects.
    pub slices: Vec<Slice>,
    /// The scores without the images that another split shows, too; null where there are none or
    /// nobody looked.
    pub without_leaked_images: Option<LeaklessReport>,
    /// Counts and reasons of all that is not scored.
    pub excluded: Vec<Excluded>,
    /// How the intervals were made.
    pub bootstrap: Bootstrap,
    /// What the scores do not show, in words.
    pub limits: Vec<String>,
}

/// How many of what the split has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counts {
    /// Images of the split in the tables, by status.
    pub images_by_status: BTreeMap<&'static str, u64>,
    /// Labelled images with an object of a trained class: those of the image level.
    pub labelled_images: u64,
    /// Predictions that are scored.
    pub predictions: u64,
    /// Background images that have a prediction.
    pub predicted_backgrounds: u64,
    /// Share of labelled images that show the most frequent class: the accuracy of always answering
    /// it.
    pub majority_share: f64,
    /// Images of this split that show a picture that another split has too; null where nobody
    /// looked.
    pub leaked_images: Option<u64>,
}

/// Scores of the COCO protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetectionReport {
    /// Means over classes.
    #[serde(flatten)]
    pub scores: DetectionScores<Interval>,
    /// By class.
    pub per_class: Vec<DetectionClassReport>,
}

/// Temperature scaling (Guo et al., 2017).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibrationReport {
    /// Split on which the temperature was fitted.
    pub fitted_on: &'static str,
    /// Logits are divided by it; above 1 where the model is surer than it should be.
    pub temperature: f64,
    /// Scores with it.
    #[serde(flatten)]
    pub scores: ScaledScores<Interval>,
}

/// Scores of the images that are in this split alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeaklessReport {
    /// How many images.
    pub images: u64,
    /// Scores over their objects.
    pub objects_level: ObjectScores<Interval>,
    /// Scores over them.
    pub image_level: ImageScores<Interval>,
    /// The COCO protocol over them.
    pub detection: DetectionScores<Interval>,
}

/// Detection scores of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetectionClassReport {
    /// The class.
    pub class_name: String,
    /// Its scores.
    #[serde(flatten)]
    pub scores: DetectionOfClass<Interval>,
}

/// Scores of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    /// The class.
    pub class_name: String,
    /// Its objects.
    pub support: u64,
    /// Its scores.
    #[serde(flatten)]
    pub scores: ScoresOfClass<Interval>,
}

/// Counts of true against predicted class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfusionTable {
    /// Names of the classes.
    pub labels: Vec<String>,
    /// The pairs that occur, in order of true and then of predicted class; all others are 0.
    pub cells: Vec<ConfusionCell>,
}

/// Objects of one true and one predicted class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ConfusionCell {
    /// Index of the true class in [`ConfusionTable::labels`].
    pub true_class: u16,
    /// Index of the predicted class; null where the image has no prediction.
    pub predicted_class: Option<u16>,
    /// How many objects; at least 1.
    pub objects: u64,
}

/// What a report is made of, apart from the scores themselves.
pub(crate) struct Parts<'a> {
    pub run: &'a str,
    pub data: &'a SplitData,
    pub scorer: &'a Scorer,
    pub fitted: Option<&'a Fitted>,
    pub scores: ScoreSheet<Interval>,
    /// Images that are in no leak, and their scores; `None` where all are.
    pub without_leaks: Option<(u64, ScoreSheet<Interval>)>,
    pub match_kinds: BTreeMap<&'static str, u64>,
    pub bootstrap: Bootstrap,
}

impl Report {
    pub(crate) fn assemble(parts: Parts<'_>) -> Self {
        let Parts { run, data, scorer, fitted, scores, without_leaks, match_kinds, bootstrap } =
            parts;
        let confusion = scorer.confusion();
        let class_counts = scorer.class_counts(&vec![1; data.images.len()]);
        let classes = data.class_names.len();
        let counts = Counts {
            images_by_status: data.images_by_status.clone(),
            labelled_images: scorer.labelled_images() as u64,
            predictions: data.predictions.len() as u64,
            predicted_backgrounds: data
                .images
                .iter()
                .filter(|image| {
                    image.status == ImageStatus::Background && !image.predictions.is_empty()
                })
                .count() as u64,
            majority_share: scorer.majority_share(),
            leaked_images: data.fingerprints_known.then(|| {
                data.images.iter().filter(|image| image.leak_group.is_some()).count() as u64
            }),
        };
        let with_names = || data.class_names.iter().cloned();
        Report {
            schema_version: SCHEMA_VERSION,
            ossify_version: env!("CARGO_PKG_VERSION"),
            run: run.to_owned(),
            split: data.split.to_string(),
            images: data.images.len() as u64,
            objects: data.truths.len() as u64,
            counts,
            objects_level: scores.objects,
            image_level: scores.images,
            calibration: fitted.and_then(|fitted| fitted.temperature).map(|temperature| {
                CalibrationReport {
                    fitted_on: Split::Valid.as_str(),
                    temperature,
                    scores: scores.scaled,
                }
            }),
            operating_points: operating_points(data, fitted, scores.operating),
            without_leaked_images: without_leaks.map(|(images, scores)| LeaklessReport {
                images,
                objects_level: scores.objects,
                image_level: scores.images,
                detection: scores.detection,
            }),
            detection: DetectionReport {
                scores: scores.detection,
                per_class: with_names()
                    .zip(scores.detection_per_class)
                    .map(|(class_name, scores)| DetectionClassReport { class_name, scores })
                    .collect(),
            },
            per_class: with_names()
                .zip(scores.per_class)
                .enumerate()
                .map(|(class, (class_name, scores))| ClassReport {
                    class_name,
                    support: class_counts.support(class),
                    scores,
                })
                .collect(),
            confusion_matrix: ConfusionTable {
                labels: data.class_names.clone(),
                cells: confusion
                    .cells()
                    .map(|((true_class, predicted), objects)| ConfusionCell {
                        true_class,
                        predicted_class: Some(predicted)
                            .filter(|predicted| usize::from(*predicted) < classes),
                        objects,
                    })
                    .collect(),
            },
            match_kinds,
            most_confused: most_confused(data, &confusion, &class_counts),
            slices: slices(data),
            excluded: data.excluded.clone(),
            bootstrap,
            limits: Vec::new(),
        }
    }
}

fn operating_points(
    data: &SplitData,
    fitted: Option<&Fitted>,
    scores: Vec<Vec<OperatingScores<Interval>>>,
) -> Vec<OperatingPoint<Interval>> {
    let Some(fitted) = fitted else { return Vec::new() };
    let of_class = |(class, scores): (usize, Vec<OperatingScores<Interval>>)| {
        let points = scores.into_iter().zip(&fitted.wanted).zip(&fitted.thresholds[class]);
        points.filter_map(move |((scores, wanted), threshold)| {
            Some(OperatingPoint {
                class_name: data.class_names[class].clone(),
                wanted_sensitivity: *wanted,
                threshold: (*threshold)?,
                sensitivity: scores.sensitivity,
                specificity: scores.specificity,
            })
        })
    };
    scores.into_iter().enumerate().flat_map(of_class).collect()
}
