//! The label tables and predictions of a split, joined.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;

use ossify_contract::{
    ArtefactError, ClassMap, FingerprintRow, ImageStatus, ObjectRow, Split, TableReader,
};

use crate::read::error::InputError;
use crate::read::images::SplitImages;
use crate::read::looked_at::{LookedAt, PredictedTables, findings};
use crate::read::predictions::PredictionsOfSplit;
use crate::read::split::{Excluded, Light, ScoredImage, SplitData, Truth, exclude, first_of};

/// Where the label tables and the optional fingerprints are.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Folder of `images.parquet`, `objects.parquet` and `classes.parquet`.
    pub folder: PathBuf,
    /// `fingerprints.parquet` with leak groups and brightness, where resize wrote it.
    pub fingerprints: Option<PathBuf>,
}

impl Tables {
    /// Reads one split and joins the predictions to it. Predictions for images of other splits in
    /// the file are passed over.
    ///
    /// # Errors
    /// [`InputError`]: unreadable tables, predictions of other classes or images, or of another
    /// split than their image, impossible values, repeated ranks.
    pub fn read_split(
        &self,
        split: Split,
        tables: &PredictedTables<'_>,
    ) -> Result<SplitData, InputError> {
        let class_names = ClassMap::read(self.folder.join("classes.parquet"))?.kept_names();
        let mut excluded = Vec::new();
        let images = SplitImages::read(&self.folder.join("images.parquet"), split)?;
        exclude(
            &mut excluded,
            "images",
            images.of_status(ImageStatus::Unreadable),
            "unreadable: the file does not decode or is too small",
        );
        let reason = "unlabelled: nobody said what is on them, so a prediction there is neither \
            right nor wrong";
        exclude(&mut excluded, "images", images.of_status(ImageStatus::Unlabelled), reason);

        let index = images.index();
        let mut truths =
            self.read_truths(&images, &index, split, class_names.len(), &mut excluded)?;
        let rows = PredictionsOfSplit {
            path: tables.predictions,
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
        rows.check_ranks(&found)?;
        let looked_at = match tables.images {
            None => None,
            Some(path) => {
                let classes = class_names.len();
                Some(LookedAt::read(path, split, &index, &images.unscored, classes)?)
            }
        };
        if let Some(looked_at) = &looked_at {
            looked_at.check(&found, |image| images.scored[image as usize].image_id.clone())?;
        }
        let findings = findings(
            tables.task,
            looked_at.as_ref(),
            &found,
            probabilities.iter().any(|p| !p.is_nan()),
            images.scored.len(),
            class_names.len(),
        );
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
                is_looked_at: looked_at.as_ref().is_none_or(|looked_at| looked_at.has(i as u32)),
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
            findings,
            excluded,
            images_by_status: images.by_status,
            fingerprints_known: fingerprints.is_some(),
        };
        data.count_silent_images();
        Ok(data)
    }

    fn read_truths(
        &self,
        images: &SplitImages,
        index: &HashMap<&str, u32>,
        split: Split,
        classes: usize,
        excluded: &mut Vec<Excluded>,
    ) -> Result<Vec<(u32, Truth)>, InputError> {
        let path = self.folder.join("objects.parquet");
        let (mut truths, mut rare, mut unscored) = (Vec::new(), BTreeMap::<String, u64>::new(), 0);
        for batch in TableReader::<ObjectRow>::open(&path)? {
            for row in batch? {
                let image = index.get(row.image_id.as_str());
                let is_of_split = image.is_some() || images.unscored.contains_key(&row.image_id);
                if is_of_split != (row.split == split) {
                    let of_split = if is_of_split { "is in" } else { "is not in" };
                    let reason = format!(
                        "object of `{}`, line {}: its split is {}, and the image {of_split} the \
                         {split} split of images.parquet; make both tables in one run",
                        row.image_id, row.line, row.split
                    );
                    return Err(ArtefactError::corrupt(&path, reason).into());
                }
                if !is_of_split {
                    continue;
                }
                let Some(&image) = image else {
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
                            "object of `{}`, line {}: class_index is not in classes.parquet; run \
                             ossify-ingest again with --force",
                            row.image_id, row.line
                        );
                        return Err(ArtefactError::corrupt(&path, reason).into());
                    }
                }
            }
        }
        exclude(excluded, "objects", unscored, "their image is unreadable or unlabelled");
        exclude(
            excluded,
            "objects",
            rare.values().sum(),
            &format!(
                "rare class, not trained: {}; their images stay",
                first_of(rare.into_keys().collect())
            ),
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

/// The range from `at` for as long as `belongs`.
fn advance(at: &mut usize, belongs: impl Fn(usize) -> bool) -> Range<usize> {
    let start = *at;
    while belongs(*at) {
        *at += 1;
    }
    start..*at
}
