//! The images of a folder with what was predicted drawn on them.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use ossify_contract::{
    FileEntry, ImagePredictionRow, PredictionRow, Publication, TableReader, image_predictions_file,
    predictions_file,
};
use ossify_drawing::{Stroke, fitted, frame, has_glyphs, jpeg, label, read_picture};
use ossify_vocabulary::Limits;
use rayon::prelude::*;

/// The folder of the pictures in that of the predictions.
const FOLDER: &str = "overlays";
/// Longest side of a picture, in pixels.
const SIDE: u32 = 1024;
const QUALITY: u8 = 90;
/// Pixels of a picture's longest side to each pixel of a line or glyph.
const SIDE_A_PIXEL: u32 = 400;
/// Images that are drawn at a time: each thread has one in memory.
const IMAGES_AT_A_TIME: usize = 64;

/// Where the images lie, and which boxes are drawn.
pub(crate) struct Overlays<'a> {
    pub(crate) root: &'a Path,
    pub(crate) limits: &'a Limits,
    pub(crate) min_score: f32,
}

/// An image, and its predictions by rank.
type Predicted = (String, Vec<PredictionRow>);

impl Overlays<'_> {
    /// Draws each image of the staged tables of this stem: JPEG, `overlays/<image id>.jpg`. Returns
    /// the files, and a sentence for each image that could not be drawn.
    ///
    /// # Errors
    /// Fails where the tables cannot be read.
    pub(crate) fn draw(
        &self,
        publication: &Publication,
        stem: &str,
    ) -> Result<(Vec<FileEntry>, Vec<String>)> {
        let images: TableReader<ImagePredictionRow> =
            TableReader::open(publication.stage(&image_predictions_file(stem))?)?;
        let predictions: TableReader<PredictionRow> =
            TableReader::open(publication.stage(&predictions_file(stem))?)?;
        // The images of both tables are in one order.
        let mut predictions = predictions.flat_map(|rows| match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        });
        let (mut files, mut undrawn) = (Vec::new(), Vec::new());
        let mut draw = |waiting: &mut Vec<Predicted>| {
            let drawn: Vec<Result<FileEntry, String>> =
                waiting.par_drain(..).map(|image| self.draw_one(publication, &image)).collect();
            for result in drawn {
                match result {
                    Ok(file) => files.push(file),
                    Err(reason) => undrawn.push(reason),
                }
            }
        };
        let mut waiting = Vec::new();
        for rows in images {
            for image in rows? {
                let count = usize::try_from(image.detections).unwrap_or(0);
                let of_image: Vec<_> =
                    predictions.by_ref().take(count).collect::<Result<_, _>>()?;
                if of_image.len() != count
                    || of_image.iter().any(|row| row.image_id != image.image_id)
                {
                    bail!("the two tables do not fit; this is a defect of ossify-predict");
                }
                waiting.push((image.image_id, of_image));
                if waiting.len() == IMAGES_AT_A_TIME {
                    draw(&mut waiting);
                }
            }
        }
        draw(&mut waiting);
        Ok((files, undrawn))
    }

    fn draw_one(
        &self,
        publication: &Publication,
        (image_id, predictions): &Predicted,
    ) -> Result<FileEntry, String> {
        let mut picture = fitted(&read_picture(self.root, image_id, self.limits)?, SIDE);
        let scale = (picture.width().max(picture.height()) / SIDE_A_PIXEL).max(1);
        let shown = predictions.iter().filter(|row| row.score >= self.min_score);
        // The best are drawn last, above the others.
        let shown: Vec<_> = shown.rev().collect();
        for row in &shown {
            frame(&mut picture, &row.unit_box(), Stroke::PREDICTION, scale, scale);
        }
        for row in &shown {
            label(&mut picture, &row.unit_box(), &text_of(row), Stroke::PREDICTION.color, scale);
        }
        let path = format!("{FOLDER}/{image_id}.jpg");
        let written = jpeg(&picture, QUALITY).and_then(|bytes| {
            let write = || -> Result<FileEntry> {
                publication.write(&path, &bytes)?;
                Ok(publication.describe(&path, None)?)
            };
            write().context("cannot be written").map_err(|e| format!("{e:#}"))
        });
        written.map_err(|reason| format!("{image_id}: {reason}"))
    }
}

/// Class and score; the class by its number where its name has characters that cannot be drawn.
fn text_of(row: &PredictionRow) -> String {
    match has_glyphs(&row.class_name) {
        true => format!("{} {:.2}", row.class_name, row.score),
        false => format!("class {} {:.2}", row.class_index, row.score),
    }
}
