//! Images of the dataset with boxes drawn on them.

use image::RgbImage;
use ossify_contract::UnitBox;
use ossify_drawing::{Stroke, fitted, frame, jpeg, label, png};
use rayon::prelude::*;

use crate::read::split::{Prediction, Truth};

/// Longest side of the pictures inside a page, in pixels.
const THUMBNAIL_SIDE: u32 = 320;
const THUMBNAIL_THICKNESS: u32 = 2;
const THUMBNAIL_QUALITY: u8 = 80;
/// Size of the letters on the larger pictures, in times of the font's 8 pixels.
const LABEL_SCALE: u32 = 1;
/// Predictions drawn of a table and image.
const PREDICTIONS_DRAWN: usize = 10;

/// Draws on all threads; returns what could be drawn, in order, and a sentence for each that could
/// not.
pub(crate) fn draw_all<C: Send, P: Send>(
    chosen: Vec<C>,
    draw: impl Fn(C) -> Result<P, String> + Send + Sync,
) -> (Vec<P>, Vec<String>) {
    let drawn: Vec<Result<P, String>> = chosen.into_par_iter().map(draw).collect();
    let (mut pictures, mut undrawn) = (Vec::new(), Vec::new());
    for result in drawn {
        match result {
            Ok(picture) => pictures.push(picture),
            Err(reason) => undrawn.push(reason),
        }
    }
    (pictures, undrawn)
}

/// What is drawn on a picture: the objects, and the predictions of each table.
#[derive(Clone, Debug)]
pub(crate) struct Boxes<'a> {
    pub truths: &'a [Truth],
    /// Best first.
    pub predictions: Vec<(&'a [Prediction], Stroke)>,
    /// Names of the classes, which the larger picture has beside the boxes.
    pub class_names: &'a [String],
}

impl Boxes<'_> {
    /// The picture with its longest side at most `side`, and the boxes on it, the first prediction
    /// of a table thick.
    fn drawn_on(&self, picture: &RgbImage, side: u32, thickness: u32) -> RgbImage {
        let mut drawn = fitted(picture, side);
        for truth in self.truths {
            frame(&mut drawn, &truth.unit_box, Stroke::TRUTH, thickness, thickness);
        }
        for (predictions, stroke) in &self.predictions {
            for (i, prediction) in predictions.iter().take(PREDICTIONS_DRAWN).enumerate().rev() {
                frame(
                    &mut drawn,
                    &prediction.unit_box,
                    *stroke,
                    if i == 0 { thickness } else { 1 },
                    thickness,
                );
            }
        }
        drawn
    }

    /// A file of its own: PNG, its longest side at most `side` pixels.
    pub(crate) fn png(
        &self,
        picture: &RgbImage,
        side: u32,
        thickness: u32,
    ) -> Result<Vec<u8>, String> {
        let mut drawn = self.drawn_on(picture, side, thickness);
        for truth in self.truths {
            let name = &self.class_names[usize::from(truth.class)];
            label(&mut drawn, &truth.unit_box, name, Stroke::TRUTH.color, LABEL_SCALE);
        }
        for (predictions, stroke) in &self.predictions {
            for prediction in predictions.iter().take(PREDICTIONS_DRAWN).rev() {
                // At the lower left corner, so that it does not cover the name of the object.
                let unit_box = prediction.unit_box.ordered().clamped();
                let corner = UnitBox { ymin: unit_box.ymax, ..unit_box };
                let name = &self.class_names[usize::from(prediction.class)];
                let text = format!("{name} {:.2}", prediction.score);
                label(&mut drawn, &corner, &text, stroke.color, LABEL_SCALE);
            }
        }
        png(&drawn)
    }

    /// A picture inside a page: JPEG, its longest side at most 320 pixels.
    pub(crate) fn thumbnail(&self, picture: &RgbImage) -> Result<Vec<u8>, String> {
        let drawn = self.drawn_on(picture, THUMBNAIL_SIDE, THUMBNAIL_THICKNESS);
        jpeg(&drawn, THUMBNAIL_QUALITY)
    }
}
