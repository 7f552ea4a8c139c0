//! A split as it is scored.

use std::collections::BTreeMap;
use std::ops::Range;

pub use ossify_contract::Excluded;
use ossify_contract::{ImageStatus, Split, UnitBox};

/// An object that a labeller marked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Line of the label file, from 1.
    pub line: i32,
    /// Class as used in training.
    pub class: u16,
    /// Its box, shares of the image.
    pub unit_box: UnitBox,
    /// Area of the polygon or box, share of the image.
    pub area: f32,
}

/// A predicted object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Place among the image's predictions, from 1.
    pub rank: i32,
    /// Class as used in training.
    pub class: u16,
    /// Confidence, 0..=1.
    pub score: f32,
    /// Its box, shares of the image.
    pub unit_box: UnitBox,
}

/// An image that is scored: readable, and labelled or background.
#[derive(Clone, Debug)]
pub struct ScoredImage {
    /// The image.
    pub image_id: String,
    /// Labelled or background.
    pub status: ImageStatus,
    /// Its objects in [`SplitData::truths`].
    pub truths: Range<usize>,
    /// Its predictions in [`SplitData::predictions`], best first.
    pub predictions: Range<usize>,
    /// Images that show the same picture share a number; the bootstrap draws them together.
    pub leak_group: Option<i32>,
    /// The picture that it was made of, such as by an exporter that varies each several times: a
    /// number in [`SplitData::sources`].
    pub source: u32,
    /// How light it is; `None` where it is in no shard.
    pub light: Option<Light>,
    /// Whether the model looked at it: an image without predictions shows nothing, or is a gap.
    pub is_looked_at: bool,
}

/// What a detector says of images as a whole; empty of a classifier, which takes every image to
/// have a finding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Whether the predictions are a detector's: any number of them an image.
    pub is_detector: bool,
    /// Confidence that an image has any finding, 0..=1; NaN where nobody looked.
    pub any: Vec<f32>,
    /// The same for each class, one row of `class_names.len()` an image.
    pub of_class: Vec<f32>,
}

/// The luma of an image as its shard has it: [`FingerprintRow`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Light {
    /// Mean, 0 black to 1 white.
    pub brightness: f32,
    /// Standard deviation, 0 to 0.5.
    pub contrast: f32,
}

/// All that the scores of a split need, images in order of `image_id`.
#[derive(Clone, Debug)]
pub struct SplitData {
    /// The split.
    pub split: Split,
    /// Names of the trained classes in order of `class_index`.
    pub class_names: Vec<String>,
    /// Images that are scored.
    pub images: Vec<ScoredImage>,
    /// Names of the pictures that images were made of.
    pub sources: Vec<String>,
    /// Their objects of trained classes.
    pub truths: Vec<Truth>,
    /// Their predictions.
    pub predictions: Vec<Prediction>,
    /// Probabilities of each image's first prediction, one row of `class_names.len()` an image; the
    /// row is NaN where the image has no prediction or the table has no probabilities.
    pub probabilities: Vec<f32>,
    /// What is said of images as a whole.
    pub findings: Findings,
    /// What is not scored.
    pub excluded: Vec<Excluded>,
    /// Images of the split in the tables, by status.
    pub images_by_status: BTreeMap<&'static str, u64>,
    /// Whether there is a table of fingerprints, which leak groups, brightness and contrast come
    /// from.
    pub fingerprints_known: bool,
}

impl SplitData {
    /// The objects of an image.
    pub fn truths_of(&self, image: &ScoredImage) -> &[Truth] {
        &self.truths[image.truths.clone()]
    }

    /// The predictions of an image, best first.
    pub fn predictions_of(&self, image: &ScoredImage) -> &[Prediction] {
        &self.predictions[image.predictions.clone()]
    }

    /// The same split with some of its images.
    #[must_use]
    pub fn only(&self, keeps: impl Fn(&ScoredImage) -> bool) -> SplitData {
        let mut kept = SplitData {
            images: Vec::new(),
            truths: Vec::new(),
            predictions: Vec::new(),
            probabilities: Vec::new(),
            findings: Findings { is_detector: self.findings.is_detector, ..Findings::default() },
            class_names: self.class_names.clone(),
            sources: self.sources.clone(),
            excluded: self.excluded.clone(),
            images_by_status: self.images_by_status.clone(),
            ..*self
        };
        let classes = self.class_names.len();
        for (i, image) in self.images.iter().enumerate().filter(|(_, image)| keeps(image)) {
            let (truths, predictions) = (kept.truths.len(), kept.predictions.len());
            kept.truths.extend_from_slice(self.truths_of(image));
            kept.predictions.extend_from_slice(self.predictions_of(image));
            kept.probabilities
                .extend_from_slice(&self.probabilities[i * classes..(i + 1) * classes]);
            if self.findings.is_detector {
                kept.findings.any.push(self.findings.any[i]);
                kept.findings
                    .of_class
                    .extend_from_slice(&self.findings.of_class[i * classes..(i + 1) * classes]);
            }
            kept.images.push(ScoredImage {
                truths: truths..kept.truths.len(),
                predictions: predictions..kept.predictions.len(),
                ..image.clone()
            });
        }
        kept
    }

    /// The same split with the predictions of at least this score.
    #[must_use]
    pub fn from_score(&self, threshold: f32) -> SplitData {
        let mut kept = SplitData { predictions: Vec::new(), ..self.clone() };
        for image in &mut kept.images {
            let start = kept.predictions.len();
            let predictions = self.predictions[image.predictions.clone()].iter();
            kept.predictions.extend(predictions.filter(|prediction| prediction.score >= threshold));
            image.predictions = start..kept.predictions.len();
        }
        kept
    }

    /// The image's largest object; the first of several equally large ones.
    pub fn largest_truth(&self, image: &ScoredImage) -> Option<&Truth> {
        self.truths_of(image)
            .iter()
            .reduce(|largest, truth| if truth.area > largest.area { truth } else { largest })
    }

    /// Probabilities of the image's first prediction, if there are any.
    pub fn probabilities_of(&self, image: usize) -> Option<&[f32]> {
        let classes = self.class_names.len();
        let row = self.probabilities.get(image * classes..(image + 1) * classes)?;
        row.first().is_some_and(|p| !p.is_nan()).then_some(row)
    }

    /// Counts the images with objects that some scores have to leave out. Images without a
    /// prediction stay in wherever they can: leaving them out would reward a model for being
    /// silent.
    pub(crate) fn count_silent_images(&mut self) {
        let unseen = self.images.iter().filter(|image| !image.is_looked_at).count() as u64;
        let reason = "nobody looked at them: their objects count as missed, and they have no part \
            in the scores of any finding by image";
        exclude(&mut self.excluded, "images", unseen, reason);
        if self.findings.is_detector {
            return;
        }
        let (mut silent, mut without_probabilities) = (0, 0);
        for (i, image) in
            self.images.iter().enumerate().filter(|(_, image)| !image.truths.is_empty())
        {
            if image.predictions.is_empty() {
                silent += 1;
            } else if self.probabilities_of(i).is_none() {
                without_probabilities += 1;
            }
        }
        let reason = "no prediction though there is an object: they count as wrong, yet AUROC, log \
            loss, Brier score, calibration and box error are over the other images";
        exclude(&mut self.excluded, "images", silent, reason);
        let reason = "the first prediction has no probabilities: AUROC, log loss, Brier score and \
            calibration are over the other images";
        exclude(&mut self.excluded, "images", without_probabilities, reason);
    }
}

/// Adds what is left out, if there is any.
pub(crate) fn exclude(excluded: &mut Vec<Excluded>, what: &'static str, count: u64, reason: &str) {
    if count > 0 {
        excluded.push(Excluded { what: what.into(), count, reason: reason.to_owned() });
    }
}

/// Names that a sentence lists.
const MAX_NAMES: usize = 20;

/// `a, b, c`; of many names the first ones, and how many more there are.
pub(crate) fn first_of(names: Vec<String>) -> String {
    match names.len().checked_sub(MAX_NAMES) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..MAX_NAMES].join(", ")),
    }
}
