use ossify_detection::average_precision::{
    ClassDetections, MeanPrecision, PrecisionRecall, THRESHOLDS, precision_recall,
};
use ossify_detection::froc::{ClassRule, Froc, HitRule, Totals};
use ossify_detection::ranking::{OperatingRates, Ranking};
use rayon::prelude::*;

use crate::read::split::SplitData;
use crate::scores::calibration::{self, Fitted, ranked_by_class, scored_by_any};
use crate::scores::confusion::{ClassCounts, Confusion, mean_of_defined};
use crate::scores::detections::{class_detections, froc, froc_of_classes};
use crate::scores::sheet::{
    DetectionOfClass, DetectionScores, FindingPointScores, FindingScores, FrocScores, ImageScores,
    ObjectScores, OperatingScores, ScaledScores, ScoreSheet, ScoresOfClass,
};

/// Bins of the expected calibration error.
pub const CALIBRATION_BINS: usize = 15;

/// An object with what was predicted for its image.
struct ObjectCase {
    image: u32,
    truth: u16,
    predicted: u16,
    iou: f64,
    /// NaN without a prediction.
    squared_error: f64,
}

/// A labelled image with what was predicted for its largest object.
struct ImageCase {
    image: u32,
    truth: u16,
    predicted: u16,
    in_top2: bool,
}

/// A labelled image whose prediction has probabilities.
struct CalibrationCase {
    image: u32,
    is_right: bool,
    bin: u8,
    log_loss: f64,
    brier: f64,
    confidence: f64,
}

/// Everything that the scores of a split need, computed once, so that a resample is a pass over
/// numbers.
pub struct Scorer {
    classes: usize,
    objects: Vec<ObjectCase>,
    images: Vec<ImageCase>,
    calibration: Vec<CalibrationCase>,
    /// After temperature scaling.
    scaled: Vec<CalibrationCase>,
    rankings: Vec<Ranking>,
    detections: Vec<ClassDetections>,
    froc: Froc,
    froc_centre: Froc,
    froc_same_class: Froc,
    froc_of_class: Vec<Froc>,
    /// Images by the score of any finding.
    findings: Ranking,
    finding_thresholds: Vec<Option<f32>>,
}

impl Scorer {
    /// Prepares a split.
    pub fn new(data: &SplitData) -> Self {
        Self::with_fitted(data, None)
    }

    /// Prepares a split, with what was fitted on the valid one, if anything was.
    pub fn with_fitted(data: &SplitData, fitted: Option<&Fitted>) -> Self {
        let classes = data.class_names.len();
        let nothing = classes as u16;
        let (mut objects, mut images) = (Vec::with_capacity(data.truths.len()), Vec::new());
        let (mut calibration, mut scaled) = (Vec::new(), Vec::new());
        for (i, image) in data.images.iter().enumerate() {
            let first = data.predictions_of(image).first();
            let predicted = first.map_or(nothing, |prediction| prediction.class);
            for truth in data.truths_of(image) {
                let iou = first.map_or(0.0, |prediction| prediction.unit_box.iou(&truth.unit_box));
                let squared = |a: f32, b: f32| (f64::from(a) - f64::from(b)).powi(2);
                let squared_error = first.map_or(f64::NAN, |prediction| {
                    prediction
                        .unit_box
                        .to_array()
                        .into_iter()
                        .zip(truth.unit_box.to_array())
                        .map(|(a, b)| squared(a, b))
                        .sum::<f64>()
                        / 4.0
                });
                objects.push(ObjectCase {
                    image: i as u32,
                    truth: truth.class,
                    predicted,
                    iou,
                    squared_error,
                });
            }
            if let Some(truth) = data.largest_truth(image) {
                let probabilities = data.probabilities_of(i);
                let in_top2 = match probabilities {
                    Some(p) => is_in_top2(p, usize::from(truth.class)),
                    None => first_two_classes(
                        data.predictions_of(image).iter().map(|prediction| prediction.class),
                    )
                    .contains(&Some(truth.class)),
                };
                if let Some(p) = probabilities {
                    let of = |p: &[f64]| {
                        let (truth, predicted) = (usize::from(truth.class), usize::from(predicted));
                        CalibrationCase::of(i as u32, p, truth, predicted)
                    };
                    calibration.push(of(&p.iter().map(|p| f64::from(*p)).collect::<Vec<_>>()));
                    let temperature = fitted.and_then(|fitted| fitted.temperature);
                    scaled.extend(temperature.map(|value| of(&calibration::scaled(p, value))));
                }
                images.push(ImageCase { image: i as u32, truth: truth.class, predicted, in_top2 });
            }
        }
        let ranking = |class: usize| {
            let case = |case: &ImageCase| {
                let probability = data.probabilities_of(case.image as usize)?[class];
                Some((probability, case.image, usize::from(case.truth) == class))
            };
            let thresholds = fitted.and_then(|fitted| fitted.thresholds.get(class));
            let thresholds = thresholds.map_or(&[][..], Vec::as_slice);
            let ranked = if data.findings.is_detector {
                ranked_by_class(data, class).collect()
            } else {
                images.iter().filter_map(case).collect()
            };
            Ranking::of(ranked, thresholds)
        };
        let rankings = (0..classes).into_par_iter().map(ranking).collect();
        let finding_thresholds =
            fitted.map(|fitted| fitted.finding_thresholds.clone()).unwrap_or_default();
        Scorer {
            classes,
            objects,
            images,
            calibration,
            scaled,
            rankings,
            detections: class_detections(data),
            froc: froc(data, HitRule::Iou50, ClassRule::Any),
            froc_centre: froc(data, HitRule::CentreInBox, ClassRule::Any),
            froc_same_class: froc(data, HitRule::Iou50, ClassRule::Same),
            froc_of_class: froc_of_classes(data),
            findings: Ranking::of(scored_by_any(data).collect(), &finding_thresholds),
            finding_thresholds,
        }
    }

    /// The FROC curve, whatever the classes.
    pub fn froc(&self) -> &Froc {
        &self.froc
    }

    /// The FROC curve of each class.
    pub fn froc_of_class(&self) -> &[Froc] {
        &self.froc_of_class
    }

    /// Images by the score of any finding; none of a classifier.
    pub fn findings(&self) -> &Ranking {
        &self.findings
    }

    /// Detections of each class, for curves.
    pub fn detections(&self) -> &[ClassDetections] {
        &self.detections
    }

    /// How many classes there are.
    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    /// Image, true and predicted class of each object; the number of classes stands for no
    /// prediction.
    pub(crate) fn object_cases(&self) -> Vec<(u32, u16, u16)> {
        self.objects.iter().map(|case| (case.image, case.truth, case.predicted)).collect()
    }

    /// The same of each labelled image.
    pub(crate) fn image_cases(&self) -> Vec<(u32, u16, u16)> {
        self.images.iter().map(|case| (case.image, case.truth, case.predicted)).collect()
    }

    /// Images by the probability of a class.
    pub(crate) fn ranking(&self, class: usize) -> &Ranking {
        &self.rankings[class]
    }

    /// Labelled images that have an object of a trained class.
    pub fn labelled_images(&self) -> usize {
        self.images.len()
    }

    /// True against predicted class over objects, each image counted once.
    pub fn confusion(&self) -> Confusion {
        let mut confusion = Confusion::default();
        for case in &self.objects {
            confusion.add(case.truth, case.predicted);
        }
        confusion
    }

    /// Cases, predictions and hits of each class over objects, where image `i` counts `weights[i]`
    /// times.
    pub fn class_counts(&self, weights: &[u32]) -> ClassCounts {
        let mut counts = ClassCounts::new(self.classes);
        for case in &self.objects {
            counts.add(case.truth, case.predicted, weights[case.image as usize]);
        }
        counts
    }

    /// Share of labelled images that show the most frequent class: what always answering that class
    /// scores.
    pub fn majority_share(&self) -> f64 {
        let mut counts = vec![0u64; self.classes];
        for case in &self.images {
            counts[usize::from(case.truth)] += 1;
        }
        counts.iter().copied().max().unwrap_or(0) as f64 / self.images.len() as f64
    }

    /// All scores where image `i` counts `weights[i]` times.
    pub fn scores(&self, weights: &[u32]) -> ScoreSheet<f64> {
        let (mut aurocs, mut operating) =
            (Vec::with_capacity(self.classes), Vec::with_capacity(self.classes));
        for ranking in &self.rankings {
            let (auroc, points) = ranking.scores(weights);
            aurocs.push(auroc);
            let of_point = |rates: &OperatingRates| OperatingScores {
                sensitivity: rates.sensitivity,
                specificity: rates.specificity,
            };
            operating.push(points.iter().map(of_point).collect());
        }
        let (objects, counts, iou_of_class) = self.object_scores(weights);
        let curves: Vec<Option<PrecisionRecall>> =
            self.detections.iter().map(|class| precision_recall(class, weights)).collect();
        let per_class = |class: usize| ScoresOfClass {
            precision: counts.precision(class),
            recall: counts.recall(class),
            f1: counts.f1(class),
            auroc: aurocs[class],
            mean_iou: iou_of_class[class],
        };
        let images = weights.iter().map(|weight| u64::from(*weight)).sum();
        let totals_of_class = |class| Totals { images, objects: counts.support(class) };
        let totals =
            Totals { images, objects: (0..self.classes).map(|class| counts.support(class)).sum() };
        let of_class = |(class, (curve, froc)): (usize, (&Option<PrecisionRecall>, &Froc))| {
            let figure = |of: fn(&PrecisionRecall) -> f64| curve.as_ref().map_or(f64::NAN, of);
            DetectionOfClass {
                ap: figure(PrecisionRecall::ap),
                ap50: figure(|curve| curve.ap_at(0)),
                ap75: figure(|curve| curve.ap_at(THRESHOLDS / 2)),
                ar1: figure(|curve| curve.ar(0)),
                froc: froc_scores(froc, totals_of_class(class), weights).mean,
            }
        };
        let (finding_auroc, finding_rates) = self.findings.scores(weights);
        let finding_point = |(rates, threshold): (&OperatingRates, &Option<f32>)| {
            let marks = threshold.map(|threshold| self.froc.at_threshold(threshold, weights));
            FindingPointScores {
                sensitivity: rates.sensitivity,
                specificity: rates.specificity,
                objects_found: marks.map_or(f64::NAN, |point| point.sensitivity),
                false_alarms: marks.map_or(f64::NAN, |point| point.false_alarms),
            }
        };
        let means = MeanPrecision::of(&curves);
        let [ar1, ar10, ar100] = means.ar;
        ScoreSheet {
            objects,
            images: self.image_scores(&aurocs, weights),
            scaled: calibration_scores(&self.scaled, weights),
            detection: DetectionScores {
                ap: means.ap,
                ap50: means.ap50,
                ap75: means.ap75,
                ar1,
                ar10,
                ar100,
            },
            per_class: (0..self.classes).map(per_class).collect(),
            froc: froc_scores(&self.froc, totals, weights),
            froc_centre: froc_scores(&self.froc_centre, totals, weights),
            froc_same_class: froc_scores(&self.froc_same_class, totals, weights),
            findings: FindingScores { auroc: finding_auroc },
            finding_points: finding_rates
                .iter()
                .zip(&self.finding_thresholds)
                .map(finding_point)
                .collect(),
            detection_per_class: curves
                .iter()
                .zip(&self.froc_of_class)
                .enumerate()
                .map(of_class)
                .collect(),
            operating,
        }
    }

    /// Scores over objects, counts of each class, and the mean IoU of each.
    fn object_scores(&self, weights: &[u32]) -> (ObjectScores<f64>, ClassCounts, Vec<f64>) {
        let mut counts = ClassCounts::new(self.classes);
        let (mut all, mut with_prediction, mut squared, mut half) = (0.0, 0.0, 0.0, 0.0);
        let mut iou = vec![(0.0, 0.0); self.classes];
        for case in &self.objects {
            let weight = weights[case.image as usize];
            counts.add(case.truth, case.predicted, weight);
            let weight = f64::from(weight);
            all += weight;
            if !case.squared_error.is_nan() {
                with_prediction += weight;
                squared += weight * case.squared_error;
            }
            if case.iou >= 0.5 {
                half += weight;
            }
            let of_class = &mut iou[usize::from(case.truth)];
            *of_class = (of_class.0 + weight * case.iou, of_class.1 + weight);
        }
        let scores = ObjectScores {
            accuracy: counts.accuracy(),
            balanced_accuracy: counts.balanced_accuracy(),
            macro_f1: counts.macro_f1(),
            box_mse: squared / with_prediction,
            mean_iou: iou.iter().map(|(sum, _)| sum).sum::<f64>() / all,
            iou50_rate: half / all,
        };
        (scores, counts, iou.iter().map(|(sum, count)| sum / count).collect())
    }

    fn image_scores(&self, aurocs: &[f64], weights: &[u32]) -> ImageScores<f64> {
        let mut counts = ClassCounts::new(self.classes);
        let (mut all, mut top2) = (0.0, 0.0);
        for case in &self.images {
            let weight = weights[case.image as usize];
            counts.add(case.truth, case.predicted, weight);
            let weight = f64::from(weight);
            all += weight;
            top2 += weight * f64::from(u8::from(case.in_top2));
        }
        let ScaledScores { log_loss, brier, ece } = calibration_scores(&self.calibration, weights);
        ImageScores {
            accuracy: counts.accuracy(),
            top2_accuracy: top2 / all,
            macro_f1: counts.macro_f1(),
            macro_auroc: mean_of_defined(aurocs.iter().copied()),
            log_loss,
            brier,
            ece,
        }
    }

    /// Bins of the reliability diagram: mean confidence, share that is right, and count; before or
    /// after temperature scaling.
    pub fn reliability(&self, is_scaled: bool) -> Vec<(f64, f64, u64)> {
        let mut bins = vec![(0.0, 0.0, 0u64); CALIBRATION_BINS];
        for case in if is_scaled { &self.scaled } else { &self.calibration } {
            let bin = &mut bins[usize::from(case.bin)];
            *bin = (bin.0 + case.confidence, bin.1 + f64::from(u8::from(case.is_right)), bin.2 + 1);
        }
        bins.into_iter()
            .map(|(confidence, hits, count)| {
                (confidence / count as f64, hits / count as f64, count)
            })
            .collect()
    }

    /// The ROC curve of a class against the rest as (false positive rate, true positive rate);
    /// empty where the class has no images or all.
    pub fn roc(&self, class: usize) -> Vec<(f64, f64)> {
        self.rankings[class].roc()
    }
}

fn froc_scores(froc: &Froc, totals: Totals, weights: &[u32]) -> FrocScores<f64> {
    let found = froc.sensitivities_of(totals, weights);
    let [at_eighth, at_quarter, at_half, at_1, at_2, at_4, at_8] = found;
    FrocScores {
        mean: found.iter().sum::<f64>() / found.len() as f64,
        at_eighth,
        at_quarter,
        at_half,
        at_1,
        at_2,
        at_4,
        at_8,
    }
}

fn calibration_scores(cases: &[CalibrationCase], weights: &[u32]) -> ScaledScores<f64> {
    let (mut all, mut log_loss, mut brier) = (0.0, 0.0, 0.0);
    let mut bins = [(0.0, 0.0); CALIBRATION_BINS];
    for case in cases {
        let weight = f64::from(weights[case.image as usize]);
        all += weight;
        log_loss += weight * case.log_loss;
        brier += weight * case.brier;
        let bin = &mut bins[usize::from(case.bin)];
        let hit = f64::from(u8::from(case.is_right));
        *bin = (bin.0 + weight * hit, bin.1 + weight * case.confidence);
    }
    // A bin's share times the gap between its hit rate and mean confidence: its count cancels.
    let ece = bins.iter().map(|(hits, confidence)| (hits - confidence).abs()).sum::<f64>() / all;
    ScaledScores { log_loss: log_loss / all, brier: brier / all, ece }
}

impl CalibrationCase {
    fn of(image: u32, probabilities: &[f64], truth: usize, predicted: usize) -> Self {
        let p = probabilities[truth].clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        let squared = |(class, p): (usize, &f64)| (p - f64::from(u8::from(class == truth))).powi(2);
        let confidence = probabilities.get(predicted).copied().unwrap_or(0.0);
        CalibrationCase {
            image,
            is_right: truth == predicted,
            bin: calibration_bin(confidence),
            log_loss: -p.ln(),
            brier: probabilities.iter().enumerate().map(squared).sum(),
            confidence,
        }
    }
}

/// The bin `(i / 15, (i + 1) / 15]` that holds the confidence; 0 belongs to the first.
fn calibration_bin(confidence: f64) -> u8 {
    (0..CALIBRATION_BINS as u8 - 1)
        .find(|bin| confidence <= f64::from(bin + 1) / CALIBRATION_BINS as f64)
        .unwrap_or(CALIBRATION_BINS as u8 - 1)
}

/// Whether fewer than two classes come before the true one, by falling probability and of equal
/// ones the higher index first, as in `sklearn.metrics.top_k_accuracy_score`.
fn is_in_top2(probabilities: &[f32], truth: usize) -> bool {
    let before = |(class, p): (usize, &f32)| {
        *p > probabilities[truth] || *p == probabilities[truth] && class > truth
    };
    probabilities.iter().enumerate().filter(|case| before(*case)).count() < 2
}

/// The first two different classes, for tables without probabilities.
fn first_two_classes(classes: impl Iterator<Item = u16>) -> [Option<u16>; 2] {
    let mut found = [None; 2];
    for class in classes {
        match found {
            [None, _] => found[0] = Some(class),
            [Some(first), None] if first != class => found[1] = Some(class),
            _ => {}
        }
    }
    found
}
