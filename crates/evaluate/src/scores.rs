use serde::Serialize;

use crate::calibration::{self, Fitted};
use crate::coco::{
    ClassDetections, PrecisionRecall, THRESHOLDS, class_detections, precision_recall,
};
use crate::confusion::{Confusion, mean_of_defined};
use crate::inputs::SplitData;

/// Bins of the expected calibration error.
pub const CALIBRATION_BINS: usize = 15;

/// Declares a group of scores that can be figures of one resample, or figures with intervals.
macro_rules! score_group {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize)]
        pub struct $name<T> { $($(#[$field_meta])* pub $field: T,)* }

        impl<T> $name<T> {
            /// The same group with each score turned into another thing, in order of declaration.
            pub fn map<U>(&self, mut turn: impl FnMut(&T) -> U) -> $name<U> {
                $name { $($field: turn(&self.$field),)* }
            }
        }
    };
}

score_group! {
    /// Over every object of the split, its image's first prediction against it. An object of an
    /// image without a prediction counts as wrong, with an IoU of 0.
    ObjectScores {
        /// Share of objects whose class was predicted.
        accuracy,
        /// Mean recall of the classes that have objects.
        balanced_accuracy,
        /// Mean F1 of the classes that have objects or predictions.
        macro_f1,
        /// Mean squared error of the four edges, shares of the image; over objects whose image has
        /// a prediction.
        box_mse,
        /// Mean IoU of predicted and true box.
        mean_iou,
        /// Share of objects with an IoU of at least 0.5.
        iou50_rate,
    }
}

score_group! {
    /// Over labelled images, the first prediction against the largest object.
    ImageScores {
        /// Share of images whose class was predicted.
        accuracy,
        /// Share of images whose class is among the two most probable.
        top2_accuracy,
        /// Mean F1 of the classes that have images or predictions.
        macro_f1,
        /// Mean area under the ROC curve, each class against the rest, of the classes that have
        /// both.
        macro_auroc,
        /// Mean negative log probability of the true class, nats, probabilities clipped to 2^-52
        /// ..= 1 - 2^-52.
        log_loss,
        /// Mean squared distance of the probabilities from the truth, summed over classes (Brier,
        /// 1950): 0..=2.
        brier,
        /// Expected calibration error (Guo et al., 2017), 15 bins of equal width.
        ece,
    }
}

score_group! {
    /// Over labelled images, after temperature scaling; NaN where no temperature was fitted.
    ScaledScores {
        /// As [`ImageScores::log_loss`].
        log_loss,
        /// As [`ImageScores::brier`].
        brier,
        /// As [`ImageScores::ece`].
        ece,
    }
}

score_group! {
    /// What a class's threshold gives over labelled images that have probabilities.
    OperatingScores {
        /// Share of the class's images with a yes (recall).
        sensitivity,
        /// Share of the other images with a no.
        specificity,
    }
}

score_group! {
    /// The COCO protocol over all scored images, backgrounds included; means over classes that have
    /// objects.
    DetectionScores {
        /// Mean over IoU thresholds .50 to .95.
        ap,
        /// At IoU .50.
        ap50,
        /// At IoU .75.
        ap75,
        /// Average recall with one detection an image.
        ar1,
        /// Average recall with ten.
        ar10,
        /// Average recall with a hundred.
        ar100,
    }
}

score_group! {
    /// Scores of one class: precision, recall, F1 and IoU over objects, AUROC over images.
    ScoresOfClass {
        /// Share of predictions of the class that are right.
        precision,
        /// Share of objects of the class that are found.
        recall,
        /// Harmonic mean of the two.
        f1,
        /// Area under the ROC curve of the class against the rest.
        auroc,
        /// Mean IoU over objects of the class.
        mean_iou,
    }
}

score_group! {
    /// Detection scores of one class; NaN where it has no object.
    DetectionOfClass {
        /// Mean over IoU thresholds .50 to .95.
        ap,
        /// At IoU .50.
        ap50,
        /// At IoU .75.
        ap75,
        /// Average recall with one detection an image.
        ar1,
    }
}

/// All scores of a split. NaN is "not defined here".
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreSheet<T> {
    /// Over objects.
    pub objects: ObjectScores<T>,
    /// Over images.
    pub images: ImageScores<T>,
    /// Over images after temperature scaling.
    pub scaled: ScaledScores<T>,
    /// Detection.
    pub detection: DetectionScores<T>,
    /// By class.
    pub per_class: Vec<ScoresOfClass<T>>,
    /// Detection by class.
    pub detection_per_class: Vec<DetectionOfClass<T>>,
    /// `operating[class][wanted]` for each wanted sensitivity; empty where nothing was fitted.
    pub operating: Vec<Vec<OperatingScores<T>>>,
}

impl<T> ScoreSheet<T> {
    /// The same sheet with each score turned into another thing, always in the same order.
    pub fn map<U>(&self, mut turn: impl FnMut(&T) -> U) -> ScoreSheet<U> {
        ScoreSheet {
            objects: self.objects.map(&mut turn),
            images: self.images.map(&mut turn),
            scaled: self.scaled.map(&mut turn),
            detection: self.detection.map(&mut turn),
            per_class: self.per_class.iter().map(|class| class.map(&mut turn)).collect(),
            detection_per_class: self
                .detection_per_class
                .iter()
                .map(|class| class.map(&mut turn))
                .collect(),
            operating: self
                .operating
                .iter()
                .map(|class| class.iter().map(|point| point.map(&mut turn)).collect())
                .collect(),
        }
    }
}

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
    calibration: Option<Calibration>,
    /// After temperature scaling.
    scaled: Option<Calibration>,
}

struct Calibration {
    log_loss: f64,
    brier: f64,
    confidence: f64,
    bin: usize,
}

/// A step of a class's ranking: an image, whether it shows the class, whether a group of equal
/// probabilities ends.
#[derive(Clone, Copy)]
struct RankStep {
    image: u32,
    is_class: bool,
    ends_tie: bool,
}

/// Everything that the scores of a split need, computed once, so that a resample is a pass over
/// numbers.
pub struct Scorer {
    classes: usize,
    objects: Vec<ObjectCase>,
    images: Vec<ImageCase>,
    rankings: Vec<Ranking>,
    detections: Vec<ClassDetections>,
}

/// Labelled images that have probabilities, by rising probability of a class.
#[derive(Default)]
struct Ranking {
    steps: Vec<RankStep>,
    /// For each wanted sensitivity the first step whose probability reaches the class's threshold;
    /// `None` without one.
    cuts: Vec<Option<usize>>,
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
                let of = |p: &[f64]| {
                    Calibration::of(p, usize::from(truth.class), usize::from(predicted))
                };
                let calibration =
                    probabilities.map(|p| of(&p.iter().map(|p| f64::from(*p)).collect::<Vec<_>>()));
                let temperature = fitted.and_then(|fitted| fitted.temperature);
                let scaled = probabilities
                    .zip(temperature)
                    .map(|(p, temperature)| of(&calibration::scaled(p, temperature)));
                images.push(ImageCase {
                    image: i as u32,
                    truth: truth.class,
                    predicted,
                    in_top2,
                    calibration,
                    scaled,
                });
            }
        }
        let rankings = (0..classes).map(|class| ranking(data, &images, class, fitted)).collect();
        Scorer { classes, objects, images, rankings, detections: class_detections(data) }
    }

    /// Detections of each class, for curves.
    pub fn detections(&self) -> &[ClassDetections] {
        &self.detections
    }

    /// Labelled images that have an object of a trained class.
    pub fn labelled_images(&self) -> usize {
        self.images.len()
    }

    /// True against predicted class over objects.
    pub fn confusion(&self, weights: &[u32]) -> Confusion {
        let mut confusion = Confusion::new(self.classes);
        for case in &self.objects {
            confusion.add(case.truth, case.predicted, weights[case.image as usize]);
        }
        confusion
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
        let confusion = self.confusion(weights);
        let (mut aurocs, mut operating) =
            (Vec::with_capacity(self.classes), Vec::with_capacity(self.classes));
        for ranking in &self.rankings {
            let (auroc, points) = ranking.scores(weights);
            aurocs.push(auroc);
            operating.push(points);
        }
        let (objects, iou_of_class) = self.object_scores(&confusion, weights);
        let curves: Vec<Option<PrecisionRecall>> =
            self.detections.iter().map(|class| precision_recall(class, weights)).collect();
        let per_class = |class: usize| ScoresOfClass {
            precision: confusion.precision(class),
            recall: confusion.recall(class),
            f1: confusion.f1(class),
            auroc: aurocs[class],
            mean_iou: iou_of_class[class],
        };
        let undefined =
            DetectionOfClass { ap: f64::NAN, ap50: f64::NAN, ap75: f64::NAN, ar1: f64::NAN };
        let of_class = |curve: &Option<PrecisionRecall>| {
            curve.as_ref().map_or(undefined.clone(), |c| DetectionOfClass {
                ap: c.ap(),
                ap50: c.ap_at(0),
                ap75: c.ap_at(THRESHOLDS / 2),
                ar1: c.ar(0),
            })
        };
        let over_classes = |figure: &dyn Fn(&PrecisionRecall) -> f64| {
            mean_of_defined(curves.iter().flatten().map(figure))
        };
        ScoreSheet {
            objects,
            images: self.image_scores(&aurocs, weights),
            scaled: self.scaled_scores(weights),
            detection: DetectionScores {
                ap: over_classes(&PrecisionRecall::ap),
                ap50: over_classes(&|curve| curve.ap_at(0)),
                ap75: over_classes(&|curve| curve.ap_at(THRESHOLDS / 2)),
                ar1: over_classes(&|curve| curve.ar(0)),
                ar10: over_classes(&|curve| curve.ar(1)),
                ar100: over_classes(&|curve| curve.ar(2)),
            },
            per_class: (0..self.classes).map(per_class).collect(),
            detection_per_class: curves.iter().map(of_class).collect(),
            operating,
        }
    }

    fn object_scores(
        &self,
        confusion: &Confusion,
        weights: &[u32],
    ) -> (ObjectScores<f64>, Vec<f64>) {
        let (mut all, mut with_prediction, mut squared, mut half) = (0.0, 0.0, 0.0, 0.0);
        let mut iou = vec![(0.0, 0.0); self.classes];
        for case in &self.objects {
            let weight = f64::from(weights[case.image as usize]);
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
            accuracy: confusion.accuracy(),
            balanced_accuracy: confusion.balanced_accuracy(),
            macro_f1: confusion.macro_f1(),
            box_mse: squared / with_prediction,
            mean_iou: iou.iter().map(|(sum, _)| sum).sum::<f64>() / all,
            iou50_rate: half / all,
        };
        (scores, iou.iter().map(|(sum, count)| sum / count).collect())
    }

    fn image_scores(&self, aurocs: &[f64], weights: &[u32]) -> ImageScores<f64> {
        let mut confusion = Confusion::new(self.classes);
        let (mut all, mut top2) = (0.0, 0.0);
        for case in &self.images {
            let weight = weights[case.image as usize];
            confusion.add(case.truth, case.predicted, weight);
            let weight = f64::from(weight);
            all += weight;
            top2 += weight * f64::from(u8::from(case.in_top2));
        }
        let ScaledScores { log_loss, brier, ece } =
            self.calibration_scores(weights, |case| case.calibration.as_ref());
        ImageScores {
            accuracy: confusion.accuracy(),
            top2_accuracy: top2 / all,
            macro_f1: confusion.macro_f1(),
            macro_auroc: mean_of_defined(aurocs.iter().copied()),
            log_loss,
            brier,
            ece,
        }
    }

    fn scaled_scores(&self, weights: &[u32]) -> ScaledScores<f64> {
        self.calibration_scores(weights, |case| case.scaled.as_ref())
    }

    fn calibration_scores(
        &self,
        weights: &[u32],
        of: impl Fn(&ImageCase) -> Option<&Calibration>,
    ) -> ScaledScores<f64> {
        let (mut all, mut log_loss, mut brier) = (0.0, 0.0, 0.0);
        let mut bins = [(0.0, 0.0); CALIBRATION_BINS];
        for (case, calibration) in self.images.iter().filter_map(|case| Some((case, of(case)?))) {
            let weight = f64::from(weights[case.image as usize]);
            all += weight;
            log_loss += weight * calibration.log_loss;
            brier += weight * calibration.brier;
            let bin = &mut bins[calibration.bin];
            let hit = f64::from(u8::from(case.truth == case.predicted));
            *bin = (bin.0 + weight * hit, bin.1 + weight * calibration.confidence);
        }
        // A bin's share times the gap between its hit rate and mean confidence: its count cancels.
        let ece =
            bins.iter().map(|(hits, confidence)| (hits - confidence).abs()).sum::<f64>() / all;
        ScaledScores { log_loss: log_loss / all, brier: brier / all, ece }
    }

    /// Bins of the reliability diagram: mean confidence, share that is right, and count; before or
    /// after temperature scaling.
    pub fn reliability(&self, is_scaled: bool) -> Vec<(f64, f64, u64)> {
        let mut bins = vec![(0.0, 0.0, 0u64); CALIBRATION_BINS];
        for case in &self.images {
            if let Some(calibration) = if is_scaled { &case.scaled } else { &case.calibration } {
                let bin = &mut bins[calibration.bin];
                *bin = (
                    bin.0 + calibration.confidence,
                    bin.1 + f64::from(u8::from(case.truth == case.predicted)),
                    bin.2 + 1,
                );
            }
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
        let ranking = &self.rankings[class].steps;
        let positives = ranking.iter().filter(|step| step.is_class).count() as f64;
        let negatives = ranking.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 {
            return Vec::new();
        }
        // Rankings rise; the curve starts at the highest probability.
        let (mut hits, mut alarms) = (0.0, 0.0);
        let mut points = vec![(0.0, 0.0)];
        for (i, step) in ranking.iter().enumerate().rev() {
            *(if step.is_class { &mut hits } else { &mut alarms }) += 1.0;
            if i == 0 || ranking[i - 1].ends_tie {
                points.push((alarms / negatives, hits / positives));
            }
        }
        points
    }
}

impl Calibration {
    fn of(probabilities: &[f64], truth: usize, predicted: usize) -> Self {
        let p = probabilities[truth].clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        let squared = |(class, p): (usize, &f64)| (p - f64::from(u8::from(class == truth))).powi(2);
        let confidence = probabilities.get(predicted).copied().unwrap_or(0.0);
        Calibration {
            log_loss: -p.ln(),
            brier: probabilities.iter().enumerate().map(squared).sum(),
            confidence,
            bin: calibration_bin(confidence),
        }
    }
}

/// The bin `(i / 15, (i + 1) / 15]` that holds the confidence; 0 belongs to the first.
fn calibration_bin(confidence: f64) -> usize {
    (0..CALIBRATION_BINS)
        .find(|bin| confidence <= (bin + 1) as f64 / CALIBRATION_BINS as f64)
        .unwrap_or(CALIBRATION_BINS - 1)
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

fn ranking(
    data: &SplitData,
    images: &[ImageCase],
    class: usize,
    fitted: Option<&Fitted>,
) -> Ranking {
    let mut ranked: Vec<(f32, u32, bool)> = images
        .iter()
        .filter_map(|case| {
            Some((
                data.probabilities_of(case.image as usize)?[class],
                case.image,
                usize::from(case.truth) == class,
            ))
        })
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let ends_tie = |i: usize| ranked.get(i + 1).is_none_or(|next| next.0 != ranked[i].0);
    let thresholds = fitted.and_then(|fitted| fitted.thresholds.get(class)).into_iter().flatten();
    Ranking {
        steps: (0..ranked.len())
            .map(|i| RankStep { image: ranked[i].1, is_class: ranked[i].2, ends_tie: ends_tie(i) })
            .collect(),
        cuts: thresholds
            .map(|threshold| {
                threshold.map(|threshold| ranked.partition_point(|step| step.0 < threshold))
            })
            .collect(),
    }
}

impl Ranking {
    /// The chance that an image of the class ranks above another (Mann and Whitney, 1947), ties
    /// counting half, NaN where either kind is absent; and what each threshold gives.
    fn scores(&self, weights: &[u32]) -> (f64, Vec<OperatingScores<f64>>) {
        let (mut below, mut tied, mut tied_positives, mut positives) = (0u64, 0u64, 0u64, 0u64);
        // Twice the number of pairs won, so that halves stay whole.
        let mut won = 0u128;
        // Images of the class and others below each threshold.
        let mut under: Vec<Option<(u64, u64)>> = self.cuts.iter().map(|_| None).collect();
        let next_cut = |from: usize| {
            self.cuts
                .iter()
                .flatten()
                .copied()
                .filter(|cut| *cut >= from)
                .min()
                .unwrap_or(usize::MAX)
        };
        let mut cut = next_cut(0);
        for (i, step) in self.steps.iter().enumerate() {
            if i == cut {
                self.note(&mut under, i, (positives, below));
                cut = next_cut(i + 1);
            }
            let weight = u64::from(weights[step.image as usize]);
            if step.is_class {
                tied_positives += weight;
            } else {
                tied += weight;
            }
            if step.ends_tie {
                won += u128::from(tied_positives) * u128::from(2 * below + tied);
                positives += tied_positives;
                below += tied;
                (tied, tied_positives) = (0, 0);
            }
        }
        self.note(&mut under, self.steps.len(), (positives, below));
        let auroc = won as f64 / 2.0 / (positives as f64 * below as f64);
        let point = |under: Option<(u64, u64)>| OperatingScores {
            sensitivity: under
                .map_or(f64::NAN, |(of_class, _)| (positives - of_class) as f64 / positives as f64),
            specificity: under.map_or(f64::NAN, |(_, others)| others as f64 / below as f64),
        };
        (auroc, under.into_iter().map(point).collect())
    }

    fn note(&self, under: &mut [Option<(u64, u64)>], step: usize, counts: (u64, u64)) {
        for (under, _) in under.iter_mut().zip(&self.cuts).filter(|(_, cut)| **cut == Some(step)) {
            *under = Some(counts);
        }
    }
}
