//! The two tables of what is predicted: the predictions, and the images that were looked at.

use std::path::Path;

use anyhow::Result;
use ossify_contract::{
    FileEntry, ImagePredictionRow, PredictionRow, Publication, TableWriter, image_predictions_file,
    predictions_file,
};
use ossify_vocabulary::Task;
use serde::{Deserialize, Serialize};

/// What the predictions of a network are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) task: Task,
    /// Names of the classes in the order of the outputs.
    pub(crate) class_names: Vec<String>,
}

/// What is predicted of an image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PredictedImage {
    pub(crate) image: ImagePredictionRow,
    /// In order of their ranks.
    pub(crate) predictions: Vec<PredictionRow>,
}

/// How many rows a pair of tables has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Images that were looked at.
    pub(crate) images: u64,
    /// Those with a prediction.
    pub(crate) images_with_findings: u64,
    pub(crate) predictions: u64,
}

/// The two tables while they are written.
pub(crate) struct TablePair {
    predictions: TableWriter<PredictionRow>,
    images: TableWriter<ImagePredictionRow>,
    counts: Counts,
}

impl TablePair {
    /// # Errors
    /// Fails where a file cannot be created.
    pub(crate) fn create(predictions: &Path, images: &Path) -> Result<Self> {
        Ok(TablePair {
            predictions: TableWriter::create(predictions)?,
            images: TableWriter::create(images)?,
            counts: Counts::default(),
        })
    }

    /// Those of a split, or of whatever else `stem` names, in an output folder.
    ///
    /// # Errors
    /// As [`TablePair::create`].
    pub(crate) fn stage(publication: &Publication, stem: &str) -> Result<Self> {
        TablePair::create(
            &publication.stage(&predictions_file(stem))?,
            &publication.stage(&image_predictions_file(stem))?,
        )
    }

    /// Images that were added.
    pub(crate) fn images(&self) -> u64 {
        self.counts.images
    }

    /// # Errors
    /// Fails where the disk does.
    pub(crate) fn push(&mut self, predicted: PredictedImage) -> Result<()> {
        self.push_image(predicted.image)?;
        predicted.predictions.into_iter().try_for_each(|row| self.push_prediction(row))
    }

    /// # Errors
    /// Fails where the disk does.
    pub(crate) fn push_image(&mut self, row: ImagePredictionRow) -> Result<()> {
        self.counts.images += 1;
        self.counts.images_with_findings += u64::from(row.detections > 0);
        Ok(self.images.push(row)?)
    }

    /// # Errors
    /// Fails where the disk does.
    pub(crate) fn push_prediction(&mut self, row: PredictionRow) -> Result<()> {
        self.counts.predictions += 1;
        Ok(self.predictions.push(row)?)
    }

    /// # Errors
    /// Fails where the disk does.
    pub(crate) fn finish(self) -> Result<Counts> {
        self.predictions.finish()?;
        self.images.finish()?;
        Ok(self.counts)
    }
}

/// Describes the tables that [`TablePair::stage`] began, once they are finished.
///
/// # Errors
/// Fails where a file cannot be read.
pub(crate) fn describe(
    publication: &Publication,
    stem: &str,
    counts: Counts,
) -> Result<[FileEntry; 2]> {
    Ok([
        publication.describe(&predictions_file(stem), Some(counts.predictions))?,
        publication.describe(&image_predictions_file(stem), Some(counts.images))?,
    ])
}
