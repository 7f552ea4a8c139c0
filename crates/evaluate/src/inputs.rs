use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use ossify_contract::{
    ArtefactError, ClassMap, FingerprintRow, ImageStatus, ObjectRow, Split, TableReader, UnitBox,
};
use serde::Serialize;

use crate::images::SplitImages;
use crate::predictions::PredictionsOfSplit;

/// Why predictions cannot be scored against these tables.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A table cannot be read.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
    /// The predictions speak of other classes.
    #[error(
        "{} was made with another class map: {}; predict again with a run that was trained on these tables, or evaluate with the tables that belong to it",
        path.display(), differences.join("; ")
    )]
    OtherClasses {
        /// The predictions.
        path: PathBuf,
        /// What differs, one sentence each.
        differences: Vec<String>,
    },
    /// The predictions speak of images that the split does not have.
    #[error(
        "{}: {images} of its images are not in the {split} split of the tables, `{example}` among them; these predictions belong to another dataset, or ingest ran again since",
        path.display()
    )]
    OtherImages {
        /// The predictions.
        path: PathBuf,
        /// The split.
        split: Split,
        /// How many images are unknown.
        images: usize,
        /// One of them.
        example: String,
    },
    /// A value that no prediction can have.
    #[error("{}, prediction of rank {rank} for `{image_id}`: {reason}", path.display())]
    BadRow {
        /// The predictions.
        path: PathBuf,
        /// The image.
        image_id: String,
        /// The rank.
        rank: i32,
        /// What is wrong.
        reason: String,
    },
}

/// What was left out of the scores, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// `images`, `objects` or `predictions`.
    pub what: &'static str,
    /// How many.
    pub count: u64,
    /// Why, in words, and what it means for the scores.
    pub reason: String,
}

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
    /// Where its objects stand in [`SplitData::truths`].
    pub truths: Range<usize>,
    /// Where its predictions stand in [`SplitData::predictions`], best first.
    pub predictions: Range<usize>,
    /// Images that show the same picture share a number; the bootstrap draws them together.
    pub leak_group: Option<i32>,
    /// The picture that it was made of, such as by an exporter that varies each several times: a
    /// number in [`SplitData::sources`].
    pub source: u32,
    /// How light it is; `None` where it is in no shard.
    pub light: Option<Light>,
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
            kept.images.push(ScoredImage {
                truths: truths..kept.truths.len(),
                predictions: predictions..kept.predictions.len(),
                ..image.clone()
            });
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
    fn count_silent_images(&mut self) {
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
        let reason = "no prediction though there is an object: they count as wrong, yet AUROC, log loss, Brier score, calibration and box error are over the other images";
        exclude(&mut self.excluded, "images", silent, reason);
        let reason = "the first prediction has no probabilities: AUROC, log loss, Brier score and calibration are over the other images";
        exclude(&mut self.excluded, "images", without_probabilities, reason);
    }
}

/// Where the label tables and the optional fingerprints are.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Folder of `images.parquet`, `objects.parquet` and `classes.parquet`.
    pub folder: PathBuf,
    /// `fingerprints.parquet` with leak groups and brightness, where resize wrote it.
    pub fingerprints: Option<PathBuf>,
}

impl Tables {
    /// Reads one split and joins the predictions to it. Predictions of other splits in the file are
    /// passed over.
    ///
    /// # Errors
    /// [`InputError`]: unreadable tables, predictions of other classes or images, impossible
    /// values.
    pub fn read_split(&self, split: Split, predictions: &Path) -> Result<SplitData, InputError> {
        let class_names = ClassMap::read(self.folder.join("classes.parquet"))?.kept_names();
        let mut excluded = Vec::new();
        let images = SplitImages::read(&self.folder.join("images.parquet"), split)?;
        exclude(
            &mut excluded,
            "images",
            images.of_status(ImageStatus::Unreadable),
            "unreadable: the file does not decode or is too small",
        );
        let reason = "unlabelled: nobody said what is on them, so a prediction there is neither right nor wrong";
        exclude(&mut excluded, "images", images.of_status(ImageStatus::Unlabelled), reason);

        let index = images.index();
        let mut truths = self.read_truths(split, &index, class_names.len(), &mut excluded)?;
        let rows = PredictionsOfSplit {
            path: predictions,
            split,
            class_names: &class_names,
            index: &index,
            unscored: &images.unscored,
        };
        let (mut found, probabilities) = rows.read(images.scored.len(), &mut excluded)?;
        let fingerprints = self.read_fingerprints(split, &index)?;

        truths.sort_by_key(|(image, truth)| (*image, truth.line));
        // The sort is stable: predictions of equal rank and score stay in the order of the table.
        found.sort_by(|(a_image, a), (b_image, b)| {
            a_image.cmp(b_image).then(a.rank.cmp(&b.rank)).then(b.score.total_cmp(&a.score))
        });
        let (mut truth_at, mut prediction_at) = (0, 0);
        let mut sources = HashMap::new();
        let scored = images.scored.iter().enumerate().map(|(i, image)| {
            let truths = advance(&mut truth_at, |at| {
                truths.get(at).is_some_and(|(image, _)| *image == i as u32)
            });
            let predictions = advance(&mut prediction_at, |at| {
                found.get(at).is_some_and(|(image, _)| *image == i as u32)
            });
            let fingerprint =
                fingerprints.as_ref().and_then(|known| known.get(&(i as u32)).copied());
            let (leak_group, light) =
                fingerprint.map_or((None, None), |(leak_group, light)| (leak_group, Some(light)));
            let next = sources.len() as u32;
            let source = *sources.entry(image.source_stem.clone()).or_insert(next);
            ScoredImage {
                image_id: image.image_id.clone(),
                status: image.status,
                truths,
                predictions,
                leak_group,
                source,
                light,
            }
        });
        let scored: Vec<ScoredImage> = scored.collect();
        let mut data = SplitData {
            split,
            class_names,
            images: scored,
            sources: names_in_order(sources),
            truths: truths.into_iter().map(|(_, truth)| truth).collect(),
            predictions: found.into_iter().map(|(_, prediction)| prediction).collect(),
            probabilities,
            excluded,
            images_by_status: images.by_status,
            fingerprints_known: fingerprints.is_some(),
        };
        data.count_silent_images();
        Ok(data)
    }

    fn read_truths(
        &self,
        split: Split,
        index: &HashMap<&str, u32>,
        classes: usize,
        excluded: &mut Vec<Excluded>,
    ) -> Result<Vec<(u32, Truth)>, InputError> {
        let path = self.folder.join("objects.parquet");
        let (mut truths, mut rare, mut unscored) = (Vec::new(), BTreeMap::<String, u64>::new(), 0);
        for batch in TableReader::<ObjectRow>::open(&path)? {
            for row in batch?.into_iter().filter(|row| row.split == split) {
                let Some(&image) = index.get(row.image_id.as_str()) else {
                    unscored += 1;
                    continue;
                };
                match row.class_index.map(usize::try_from) {
                    None => *rare.entry(row.class_name).or_default() += 1,
                    Some(Ok(class)) if class < classes => {
                        truths.push((
                            image,
                            Truth {
                                line: row.line,
                                class: class as u16,
                                unit_box: row.unit_box(),
                                area: row.area,
                            },
                        ));
                    }
                    Some(_) => {
                        let reason = format!(
                            "`{}` line {}: class_index is not in classes.parquet; run ossify-ingest again with --force",
                            row.image_id, row.line
                        );
                        return Err(ArtefactError::corrupt(&path, reason).into());
                    }
                }
            }
        }
        exclude(excluded, "objects", unscored, "their image is unreadable or unlabelled");
        let rare_names: Vec<&str> = rare.keys().map(String::as_str).collect();
        exclude(
            excluded,
            "objects",
            rare.values().sum(),
            &format!("rare class, not trained: {}; their images stay", rare_names.join(", ")),
        );
        Ok(truths)
    }

    /// Leak group and light by the image's number.
    fn read_fingerprints(
        &self,
        split: Split,
        index: &HashMap<&str, u32>,
    ) -> Result<Option<HashMap<u32, LeakAndLight>>, InputError> {
        let Some(path) = &self.fingerprints else { return Ok(None) };
        let mut known = HashMap::new();
        let table = TableReader::<FingerprintRow>::open(path).map_err(|error| match error {
            // One of an earlier version has fewer columns.
            ArtefactError::Corrupt { path, reason } => ArtefactError::Corrupt {
                path,
                reason: format!("{reason}; run ossify-resize again"),
            },
            other => other,
        })?;
        for batch in table {
            for row in batch?.into_iter().filter(|row| row.split == split) {
                if let Some(image) = index.get(row.image_id.as_str()) {
                    known.insert(
                        *image,
                        (
                            row.leak_group,
                            Light { brightness: row.brightness, contrast: row.contrast },
                        ),
                    );
                }
            }
        }
        Ok(Some(known))
    }
}

/// What a fingerprint says of an image: its leak group and how light it is.
type LeakAndLight = (Option<i32>, Light);

fn names_in_order(numbers: HashMap<String, u32>) -> Vec<String> {
    let mut names: Vec<(u32, String)> =
        numbers.into_iter().map(|(name, number)| (number, name)).collect();
    names.sort_unstable();
    names.into_iter().map(|(_, name)| name).collect()
}

/// Adds what is left out, if there is any.
pub(crate) fn exclude(excluded: &mut Vec<Excluded>, what: &'static str, count: u64, reason: &str) {
    if count > 0 {
        excluded.push(Excluded { what, count, reason: reason.to_owned() });
    }
}

/// The range from `at` for as long as `belongs`.
fn advance(at: &mut usize, belongs: impl Fn(usize) -> bool) -> Range<usize> {
    let start = *at;
    while belongs(*at) {
        *at += 1;
    }
    start..*at
}
