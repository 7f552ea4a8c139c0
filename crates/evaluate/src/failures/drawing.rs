//! Images of the dataset with boxes drawn on them.

use std::io::Cursor;
use std::path::{Component, Path};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use ossify_contract::UnitBox;
use ossify_imaging::{decode, read_file};
use ossify_vocabulary::Limits;
use rayon::prelude::*;

use crate::read::split::{Prediction, Truth};

/// Longest side of the pictures inside a page, in pixels.
const THUMBNAIL_SIDE: u32 = 320;
const THUMBNAIL_THICKNESS: u32 = 2;
const THUMBNAIL_QUALITY: u8 = 80;
const OUTLINE: Rgb<u8> = Rgb([0, 0, 0]);
/// Predictions drawn of a table and image.
const PREDICTIONS_DRAWN: usize = 3;

/// How the frames of boxes look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stroke {
    color: Rgb<u8>,
    /// Length of a dash in thicknesses; solid without one.
    dash: Option<u32>,
}

// Sky blue, orange and reddish purple of the Okabe-Ito palette: easy to distinguish on gray, and by
// their dashes where colours are not.
const TRUTH: Stroke = Stroke { color: Rgb([86, 180, 233]), dash: None };
/// For the predictions of the only table, or of the baseline.
pub(crate) const DASHED: Stroke = Stroke { color: Rgb([255, 165, 0]), dash: Some(4) };
/// For the predictions of another table, next to those of the baseline.
pub(crate) const FINELY_DASHED: Stroke = Stroke { color: Rgb([204, 121, 167]), dash: Some(2) };

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

/// Decodes an image of the dataset.
///
/// # Errors
/// A sentence with the path and the reason.
pub(crate) fn read_picture(
    dataset: &Path,
    image_id: &str,
    limits: &Limits,
) -> Result<RgbImage, String> {
    let relative = Path::new(image_id);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("{image_id}: not a path below the dataset"));
    }
    let path = dataset.join(relative);
    let failed = |reason: String| format!("{}: {reason}", path.display());
    let bytes = read_file(&path, limits).map_err(|e| failed(e.to_string()))?;
    let pixels = decode(&bytes, limits).map_err(|e| failed(e.to_string()))?;
    RgbImage::from_raw(pixels.width(), pixels.height(), pixels.to_rgb().into_data())
        .ok_or_else(|| failed("its pixels do not fit its size".into()))
}

/// What is drawn on a picture: the objects, and the predictions of each table.
#[derive(Clone, Debug)]
pub(crate) struct Boxes<'a> {
    pub truths: &'a [Truth],
    /// Best first.
    pub predictions: Vec<(&'a [Prediction], Stroke)>,
}

impl Boxes<'_> {
    /// The picture with its longest side at most `side`, and the boxes on it, the first prediction
    /// of a table thick.
    fn drawn_on(&self, picture: &RgbImage, side: u32, thickness: u32) -> RgbImage {
        let scale = (f64::from(side) / f64::from(picture.width().max(picture.height()))).min(1.0);
        let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
        let mut drawn = if scale < 1.0 {
            image::imageops::resize(
                picture,
                scaled(picture.width()),
                scaled(picture.height()),
                FilterType::Triangle,
            )
        } else {
            picture.clone()
        };
        for truth in self.truths {
            frame(&mut drawn, &truth.unit_box, TRUTH, thickness, thickness);
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
        let drawn = self.drawn_on(picture, side, thickness);
        encode(&drawn, |buffer, data, width, height| {
            PngEncoder::new(buffer).write_image(data, width, height, ExtendedColorType::Rgb8)
        })
    }

    /// A picture inside a page: JPEG, its longest side at most 320 pixels.
    pub(crate) fn thumbnail(&self, picture: &RgbImage) -> Result<Vec<u8>, String> {
        let drawn = self.drawn_on(picture, THUMBNAIL_SIDE, THUMBNAIL_THICKNESS);
        encode(&drawn, |buffer, data, width, height| {
            JpegEncoder::new_with_quality(buffer, THUMBNAIL_QUALITY).write_image(
                data,
                width,
                height,
                ExtendedColorType::Rgb8,
            )
        })
    }
}

fn encode(
    picture: &RgbImage,
    write: impl FnOnce(&mut Cursor<Vec<u8>>, &[u8], u32, u32) -> image::ImageResult<()>,
) -> Result<Vec<u8>, String> {
    let mut buffer = Cursor::new(Vec::new());
    write(&mut buffer, picture.as_raw(), picture.width(), picture.height())
        .map_err(|e| e.to_string())?;
    Ok(buffer.into_inner())
}

/// Draws a box's frame with a dark edge around it; dashes are as long as for a frame of `of_dashes`
/// thickness.
fn frame(
    picture: &mut RgbImage,
    unit_box: &UnitBox,
    stroke: Stroke,
    thickness: u32,
    of_dashes: u32,
) {
    let unit_box = unit_box.ordered().clamped();
    let at = |share: f32, length: u32| {
        ((f64::from(share) * f64::from(length)).round() as u32).min(length.saturating_sub(1))
    };
    let (width, height) = picture.dimensions();
    let (left, right) = (at(unit_box.xmin, width), at(unit_box.xmax, width));
    let (top, bottom) = (at(unit_box.ymin, height), at(unit_box.ymax, height));
    let is_dash = |along: u32| stroke.dash.is_none_or(|dash| along / (dash * of_dashes) % 3 < 2);
    // The dark edge is drawn first, one pixel wider on both sides.
    for (color, inset_from, inset_to) in
        [(OUTLINE, 0, thickness + 2), (stroke.color, 1, thickness + 1)]
    {
        let mut put = |x: u32, y: u32, along: u32| {
            if is_dash(along) && (left..=right).contains(&x) && (top..=bottom).contains(&y) {
                picture.put_pixel(x, y, color);
            }
        };
        for inset in inset_from..inset_to {
            for x in left + inset_from..=right.saturating_sub(inset_from) {
                put(x, top + inset, x - left);
                put(x, bottom.saturating_sub(inset), x - left);
            }
            for y in top + inset_from..=bottom.saturating_sub(inset_from) {
                put(left + inset, y, y - top);
                put(right.saturating_sub(inset), y, y - top);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_any_box_stays_inside_the_picture() {
        for edges in [
            [0.0, 0.0, 1.0, 1.0],
            [0.9, 0.9, 0.1, 0.1],
            [-3.0, 0.5, 7.0, 0.5],
            [1.0, 1.0, 1.0, 1.0],
            [0.2, 0.3, 0.2001, 0.3001],
        ] {
            for size in [(1, 1), (5, 300), (64, 48)] {
                let mut picture = RgbImage::new(size.0, size.1);
                frame(&mut picture, &UnitBox::from(edges), DASHED, 3, 2);
            }
        }
    }

    #[test]
    fn a_solid_frame_shows_its_colour_within_a_dark_edge() {
        let mut picture = RgbImage::from_pixel(100, 100, Rgb([128, 128, 128]));
        frame(&mut picture, &UnitBox::new(0.2, 0.2, 0.8, 0.8), TRUTH, 2, 2);
        assert_eq!(*picture.get_pixel(20, 50), OUTLINE);
        assert_eq!(*picture.get_pixel(21, 50), TRUTH.color);
        assert_eq!(*picture.get_pixel(22, 50), TRUTH.color);
        assert_eq!(*picture.get_pixel(23, 50), OUTLINE);
        assert_eq!(*picture.get_pixel(50, 50), Rgb([128, 128, 128]));
    }
}
