//! Which images of a split are scored.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ossify_contract::{ArtefactError, ImageRow, ImageStatus, Split, TableReader};

/// What is needed of an image that is scored.
#[derive(Clone, Debug)]
pub(crate) struct ImageFacts {
    pub image_id: String,
    /// Labelled or background.
    pub status: ImageStatus,
    pub source_stem: String,
    /// Width and height of the upright image.
    pub size_px: (i32, i32),
}

/// The images of a split.
#[derive(Clone, Debug, Default)]
pub(crate) struct SplitImages {
    /// Those that are scored, readable and labelled or background, in order of `image_id`, each
    /// once.
    pub scored: Vec<ImageFacts>,
    /// The others.
    pub unscored: HashMap<String, ImageStatus>,
    /// Rows of the table by status.
    pub by_status: BTreeMap<&'static str, u64>,
}

impl SplitImages {
    /// Reads `images.parquet`.
    ///
    /// # Errors
    /// Fails where the table cannot be read, or has an image more than once.
    pub fn read(path: &Path, split: Split) -> Result<Self, ArtefactError> {
        let mut images = SplitImages::default();
        for batch in TableReader::<ImageRow>::open(path)? {
            for row in batch?.into_iter().filter(|row| row.split == split) {
                *images.by_status.entry(row.status.as_str()).or_default() += 1;
                match row.status {
                    ImageStatus::Labelled | ImageStatus::Background => {
                        let ImageRow { image_id, status, source_stem, width, height, .. } = row;
                        images.scored.push(ImageFacts {
                            image_id,
                            status,
                            source_stem,
                            size_px: (width, height),
                        });
                    }
                    ImageStatus::Unlabelled | ImageStatus::Unreadable => {
                        images.unscored.insert(row.image_id, row.status);
                    }
                }
            }
        }
        images.scored.sort_by(|a, b| a.image_id.cmp(&b.image_id));
        let is_repeated = |pair: &[ImageFacts]| pair[0].image_id == pair[1].image_id;
        if let Some(pair) = images.scored.windows(2).find(|pair| is_repeated(pair)) {
            let reason = format!(
                "`{}` has more than one row; an image has one, so remove the others",
                pair[0].image_id
            );
            return Err(ArtefactError::corrupt(path, reason));
        }
        Ok(images)
    }

    /// How many images of the table have this status.
    pub fn of_status(&self, status: ImageStatus) -> u64 {
        self.by_status.get(status.as_str()).copied().unwrap_or(0)
    }

    /// Indices in [`SplitImages::scored`] by `image_id`.
    pub fn index(&self) -> HashMap<&str, u32> {
        self.scored
            .iter()
            .enumerate()
            .map(|(i, image)| (image.image_id.as_str(), i as u32))
            .collect()
    }
}
