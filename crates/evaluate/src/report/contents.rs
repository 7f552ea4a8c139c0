use std::collections::BTreeMap;

use ossify_contract::{ImageStatus, SCHEMA_VERSION, Split};
use ossify_vocabulary::Task;
use serde::Serialize;

use crate::failures::confused_pairs::{ConfusedPair, most_confused};
use crate::failures::slices::{Slice, slices};
use crate::read::split::{Excluded, ScoredImage, SplitData};
use crate::scores::bootstrap::{Bootstrap, Interval};
use crate::scores::calibration::{Fitted, OperatingPoint, OperatingRule};
use crate::scores::detection_confusion::detection_confusion;
use crate::scores::scorer::Scorer;
use crate::scores::sheet::{
    DetectionOfClass, DetectionScores, FindingPointScores, FrocScores, ImageScores, ObjectScores,
    OperatingScores, ScaledScores, ScoreSheet, ScoresOfClass,
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
    /// What made the predictions: a classifier has one an image, a detector any number.
    pub task: Task,
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
    /// The COCO protocol, FROC, and the confusion of marks.
    pub detection: DetectionReport,
    /// Any finding by image; null of a classifier, which takes every image to have one.
    pub findings: Option<FindingsReport>,
    /// Scores by class.
    pub per_class: Vec<ClassReport>,
    /// True against predicted class over objects.
    pub confusion_matrix: ConfusionTable,
    /// Predictions, and missed objects, by what became of them; of a detector, those of at least
    /// the first threshold of [`FindingsReport`].
    pub match_kinds: BTreeMap<&'static str, u64>,
    /// Pairs of classes that are taken for one another most often; empty of a detector.
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
    /// Background images that have a prediction, of a detector one of at least the first threshold
    /// of [`FindingsReport`].
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
    /// Sensitivity against false alarms.
    pub froc: FrocReport,
    /// By class.
    pub per_class: Vec<DetectionClassReport>,
    /// True against predicted class of a detector's marks; null of a classifier.
    pub confusion_matrix: Option<MarkConfusion>,
}

/// FROC by what counts as a hit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrocReport {
    /// IoU of at least 0.5 with an object of any class.
    pub any_class: FrocScores<Interval>,
    /// The centre of the mark lies in an object's box, of any class.
    pub centre_in_box: FrocScores<Interval>,
    /// IoU of at least 0.5 with an object of the same class.
    pub same_class: FrocScores<Interval>,
}

/// How well a detector tells images with an object from those without.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FindingsReport {
    /// Images with an object that were looked at.
    pub images_with: u64,
    /// Background images that were looked at.
    pub images_without: u64,
    /// Chance that one of the former has a higher score than one of the latter.
    pub auroc: Interval,
    /// Split on which the thresholds were chosen.
    pub chosen_on: &'static str,
    /// The threshold that everything else in the report uses: `points[first]`; null without one.
    pub first: Option<usize>,
    /// What thresholds give here.
    pub points: Vec<FindingPoint>,
}

impl FindingsReport {
    /// The threshold that the report tells first.
    pub fn first_point(&self) -> Option<&FindingPoint> {
        self.points.get(self.first?)
    }
}

/// What a threshold for any finding gives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FindingPoint {
    /// How it was chosen.
    #[serde(flatten)]
    pub rule: OperatingRule,
    /// Least score for a yes, of an image and of a mark.
    pub threshold: f32,
    /// What it gives.
    #[serde(flatten)]
    pub scores: FindingPointScores<Interval>,
}

/// Counts of true against predicted class of marks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MarkConfusion {
    /// Least score of a mark.
    pub threshold: f32,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// The pairs that occur.
    pub cells: Vec<MarkCell>,
}

/// Objects and marks of one true and one predicted class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MarkCell {
    /// Index of the true class in [`MarkConfusion::labels`]; null for marks that are on no object.
    pub true_class: Option<u16>,
    /// Index of the predicted class; null for objects that no mark is on.
    pub predicted_class: Option<u16>,
    /// How many; at least 1.
    pub count: u64,
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
    /// Of these, labelled ones with an object of a trained class.
    pub labelled_images: u64,
    /// Their objects.
    pub objects: u64,
    /// As [`Counts::majority_share`].
    pub majority_share: f64,
    /// Scores over their objects.
    pub objects_level: ObjectScores<Interval>,
    /// Scores over them.
    pub image_level: ImageScores<Interval>,
    /// The COCO protocol over them.
    pub detection: DetectionScores<Interval>,
    /// Sensitivity against false alarms.
    pub froc: FrocReport,
    /// Any finding by image.
    pub findings: Option<FindingsReport>,
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

/// The images that are in no leak, and their scores.
pub(crate) struct WithoutLeaks {
    pub data: SplitData,
    pub majority_share: f64,
    pub scores: ScoreSheet<Interval>,
}

/// What a report is made of, apart from the scores themselves.
pub(crate) struct Parts<'a> {
    pub run: &'a str,
    pub data: &'a SplitData,
    /// The same with the predictions that count as marks: of a detector, those of at least the
    /// threshold.
    pub marked: &'a SplitData,
    pub scorer: &'a Scorer,
    pub fitted: Option<&'a Fitted>,
    pub scores: ScoreSheet<Interval>,
    /// `None` where no image is in a leak.
    pub without_leaks: Option<WithoutLeaks>,
    pub match_kinds: BTreeMap<&'static str, u64>,
    pub bootstrap: Bootstrap,
}

impl Report {
    pub(crate) fn assemble(parts: Parts<'_>) -> Self {
        let Parts {
            run,
            data,
            marked,
            scorer,
            fitted,
            scores,
            without_leaks,
            match_kinds,
            bootstrap,
        } = parts;
        let confusion = scorer.confusion();
        let class_counts = scorer.class_counts(&vec![1; data.images.len()]);
        let classes = data.class_names.len();
        let counts = Counts {
            images_by_status: data.images_by_status.clone(),
            labelled_images: scorer.labelled_images() as u64,
            predictions: data.predictions.len() as u64,
            predicted_backgrounds: marked
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
        let froc = froc_report(&scores);
        let findings = findings_report(data, fitted, &scores);
        let with_names = || data.class_names.iter().cloned();
        Report {
            schema_version: SCHEMA_VERSION,
            ossify_version: env!("CARGO_PKG_VERSION"),
            run: run.to_owned(),
            split: data.split.to_string(),
            task: if data.findings.is_detector { Task::Detect } else { Task::Classify },
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
            without_leaked_images: without_leaks.map(|kept| LeaklessReport {
                images: kept.data.images.len() as u64,
                labelled_images: with_objects(&kept.data),
                objects: kept.data.truths.len() as u64,
                majority_share: kept.majority_share,
                froc: froc_report(&kept.scores),
                findings: findings_report(&kept.data, fitted, &kept.scores),
                objects_level: kept.scores.objects,
                image_level: kept.scores.images,
                detection: kept.scores.detection,
            }),
            findings,
            detection: DetectionReport {
                froc,
                scores: scores.detection,
                confusion_matrix: fitted
                    .filter(|_| data.findings.is_detector)
                    .and_then(Fitted::operating_point)
                    .map(|(_, threshold)| mark_confusion(marked, threshold)),
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
            operating_points: operating_points(data, fitted, scores.operating),
            match_kinds,
            most_confused: if data.findings.is_detector {
                Vec::new()
            } else {
                most_confused(data, &confusion, &class_counts)
            },
            slices: slices(marked),
            excluded: data.excluded.clone(),
            bootstrap,
            limits: Vec::new(),
        }
    }
}

fn with_objects(data: &SplitData) -> u64 {
    data.images.iter().filter(|image| !image.truths.is_empty()).count() as u64
}

fn froc_report(scores: &ScoreSheet<Interval>) -> FrocReport {
    FrocReport {
        any_class: scores.froc.clone(),
        centre_in_box: scores.froc_centre.clone(),
        same_class: scores.froc_same_class.clone(),
    }
}

fn findings_report(
    data: &SplitData,
    fitted: Option<&Fitted>,
    scores: &ScoreSheet<Interval>,
) -> Option<FindingsReport> {
    if !data.findings.is_detector {
        return None;
    }
    let looked_at = || data.images.iter().filter(|image| image.is_looked_at);
    let is_background = |image: &&ScoredImage| image.status == ImageStatus::Background;
    let chosen = fitted.and_then(Fitted::operating_point);
    let (mut points, mut first) = (Vec::new(), None);
    if let Some(fitted) = fitted {
        let all = fitted.finding_rules.iter().zip(&fitted.finding_thresholds);
        for (at, ((rule, threshold), scores)) in all.zip(&scores.finding_points).enumerate() {
            let Some(threshold) = *threshold else { continue };
            if chosen.is_some_and(|(chosen, _)| chosen == at) {
                first = Some(points.len());
            }
            points.push(FindingPoint { rule: *rule, threshold, scores: scores.clone() });
        }
    }
    Some(FindingsReport {
        images_with: looked_at().filter(|image| !image.truths.is_empty()).count() as u64,
        images_without: looked_at().filter(is_background).count() as u64,
        auroc: scores.findings.auroc,
        chosen_on: fitted.map_or(data.split, |fitted| fitted.on).as_str(),
        first,
        points,
    })
}

fn mark_confusion(marked: &SplitData, threshold: f32) -> MarkConfusion {
    let cell =
        |((true_class, predicted_class), count)| MarkCell { true_class, predicted_class, count };
    MarkConfusion {
        threshold,
        labels: marked.class_names.clone(),
        cells: detection_confusion(marked).into_iter().map(cell).collect(),
    }
}

fn operating_points(
    data: &SplitData,
    fitted: Option<&Fitted>,
    scores: Vec<Vec<OperatingScores<Interval>>>,
) -> Vec<OperatingPoint<Interval>> {
    let Some(fitted) = fitted else { return Vec::new() };
    let of_class = |(class, scores): (usize, Vec<OperatingScores<Interval>>)| {
        let points = scores.into_iter().zip(&fitted.rules).zip(&fitted.thresholds[class]);
        points.filter_map(move |((scores, rule), threshold)| {
            Some(OperatingPoint {
                class_name: data.class_names[class].clone(),
                rule: *rule,
                threshold: (*threshold)?,
                sensitivity: scores.sensitivity,
                specificity: scores.specificity,
            })
        })
    };
    scores.into_iter().enumerate().flat_map(of_class).collect()
}
