//! The worst and the best images with their true and predicted boxes drawn on them.

use std::io::Cursor;
use std::path::{Component, Path};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use ossify_contract::{ImageStatus, UnitBox};
use ossify_imaging::{Limits, Pixels, decode, read_file};
use rayon::prelude::*;

use crate::inputs::{ScoredImage, SplitData};

/// Longest side of the files, in pixels.
const FILE_SIDE: u32 = 640;
/// Longest side of the pictures inside the page.
const THUMBNAIL_SIDE: u32 = 320;
const THUMBNAIL_QUALITY: u8 = 80;
/// Sky blue and orange of the Okabe-Ito palette: the pair that is easiest to tell apart on gray.
const TRUTH: Rgb<u8> = Rgb([86, 180, 233]);
const PREDICTION: Rgb<u8> = Rgb([255, 165, 0]);
const OUTLINE: Rgb<u8> = Rgb([0, 0, 0]);
/// Predictions drawn an image.
const PREDICTIONS_DRAWN: usize = 3;

/// An image worth looking at.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    /// Index of the image in the split.
    pub image: usize,
    /// Path of the file from the report's folder.
    pub file: String,
    /// Whether it is among the worst; else among the best.
    pub is_worst: bool,
    /// PNG of the file.
    pub png: Vec<u8>,
    /// JPEG for the page.
    pub thumbnail: Vec<u8>,
}

/// Draws up to `wanted` images, two thirds of them the worst. Returns those that could be read, and a
/// sentence for each that could not.
pub(crate) fn draw_overlays(data: &SplitData, dataset: &Path, wanted: usize, limits: &Limits) -> (Vec<Overlay>, Vec<String>) {
    let chosen = choose(data, wanted);
    let drawn: Vec<Result<Overlay, String>> = chosen.into_par_iter().map(|choice| draw_one(data, dataset, limits, choice)).collect();
    let (mut overlays, mut failures) = (Vec::new(), Vec::new());
    for result in drawn {
        match result {
            Ok(overlay) => overlays.push(overlay),
            Err(reason) => failures.push(reason),
        }
    }
    (overlays, failures)
}

struct Choice {
    image: usize,
    is_worst: bool,
    number: usize,
}

/// The worst images first, then the best, the best first.
fn choose(data: &SplitData, wanted: usize) -> Vec<Choice> {
    let mut ranked: Vec<(f64, usize)> = data.images.iter().enumerate().filter_map(|(i, image)| Some((quality(data, image)?, i))).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let wanted = wanted.min(ranked.len());
    let worst = (wanted * 2).div_ceil(3);
    let worst_ones = ranked.iter().take(worst).enumerate().map(|(n, (_, image))| Choice { image: *image, is_worst: true, number: n + 1 });
    let best_ones = ranked.iter().rev().take(wanted - worst).enumerate().map(|(n, (_, image))| Choice { image: *image, is_worst: false, number: n + 1 });
    worst_ones.chain(best_ones).collect()
}

/// How good the first prediction of a labelled image is: the IoU with its largest object where the class is
/// right; else below 0, the lower the more confident.
fn quality(data: &SplitData, image: &ScoredImage) -> Option<f64> {
    if image.status != ImageStatus::Labelled {
        return None;
    }
    let truth = data.largest_truth(image)?;
    Some(match data.predictions_of(image).first() {
        None => -0.5,
        Some(first) if first.class == truth.class => first.unit_box.iou(&truth.unit_box),
        Some(first) => -f64::from(first.score),
    })
}

fn draw_one(data: &SplitData, dataset: &Path, limits: &Limits, choice: Choice) -> Result<Overlay, String> {
    let image = &data.images[choice.image];
    let relative = Path::new(&image.image_id);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("{}: not a path below the dataset", image.image_id));
    }
    let path = dataset.join(relative);
    let failed = |reason: String| format!("{}: {reason}", path.display());
    let bytes = read_file(&path, limits).map_err(|e| failed(e.to_string()))?;
    let pixels = decode(&bytes, limits).map_err(|e| failed(e.to_string()))?;
    let picture = rgb(&pixels).ok_or_else(|| failed("its pixels do not fit its size".into()))?;
    let large = with_boxes(data, image, &picture, FILE_SIDE, 3);
    let small = with_boxes(data, image, &picture, THUMBNAIL_SIDE, 2);
    let kind = if choice.is_worst { "worst" } else { "best" };
    let png = encode(&large, |buffer, data, width, height| PngEncoder::new(buffer).write_image(data, width, height, ExtendedColorType::Rgb8));
    let jpeg = encode(&small, |buffer, data, width, height| {
        JpegEncoder::new_with_quality(buffer, THUMBNAIL_QUALITY).write_image(data, width, height, ExtendedColorType::Rgb8)
    });
    Ok(Overlay {
        image: choice.image,
        file: format!("overlays/{kind}-{:04}.png", choice.number),
        is_worst: choice.is_worst,
        png: png.map_err(failed)?,
        thumbnail: jpeg.map_err(failed)?,
    })
}

fn encode(picture: &RgbImage, write: impl FnOnce(&mut Cursor<Vec<u8>>, &[u8], u32, u32) -> image::ImageResult<()>) -> Result<Vec<u8>, String> {
    let mut buffer = Cursor::new(Vec::new());
    write(&mut buffer, picture.as_raw(), picture.width(), picture.height()).map_err(|e| e.to_string())?;
    Ok(buffer.into_inner())
}

fn rgb(pixels: &Pixels) -> Option<RgbImage> {
    RgbImage::from_raw(pixels.width(), pixels.height(), pixels.to_rgb().into_data())
}

/// The picture with its longest side at most `side`, and the boxes on it: truth solid, predictions dashed, the
/// first one thick.
fn with_boxes(data: &SplitData, image: &ScoredImage, picture: &RgbImage, side: u32, thickness: u32) -> RgbImage {
    let scale = (f64::from(side) / f64::from(picture.width().max(picture.height()))).min(1.0);
    let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    let mut drawn =
        if scale < 1.0 { image::imageops::resize(picture, scaled(picture.width()), scaled(picture.height()), FilterType::Triangle) } else { picture.clone() };
    for truth in data.truths_of(image) {
        frame(&mut drawn, &truth.unit_box, TRUTH, thickness, None);
    }
    for (i, prediction) in data.predictions_of(image).iter().take(PREDICTIONS_DRAWN).enumerate().rev() {
        frame(&mut drawn, &prediction.unit_box, PREDICTION, if i == 0 { thickness } else { 1 }, Some(4 * thickness));
    }
    drawn
}

/// Draws a box's frame with a dark edge around it, in dashes of this length or solid.
fn frame(picture: &mut RgbImage, unit_box: &UnitBox, color: Rgb<u8>, thickness: u32, dash: Option<u32>) {
    let unit_box = unit_box.ordered().clamped();
    let at = |share: f32, length: u32| ((f64::from(share) * f64::from(length)).round() as u32).min(length.saturating_sub(1));
    let (width, height) = picture.dimensions();
    let (left, right) = (at(unit_box.xmin, width), at(unit_box.xmax, width));
    let (top, bottom) = (at(unit_box.ymin, height), at(unit_box.ymax, height));
    let is_dash = |along: u32| dash.is_none_or(|dash| along / dash % 3 < 2);
    // The dark edge is drawn first, one pixel wider on both sides.
    for (color, inset_from, inset_to) in [(OUTLINE, 0, thickness + 2), (color, 1, thickness + 1)] {
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
        for edges in [[0.0, 0.0, 1.0, 1.0], [0.9, 0.9, 0.1, 0.1], [-3.0, 0.5, 7.0, 0.5], [1.0, 1.0, 1.0, 1.0], [0.2, 0.3, 0.2001, 0.3001]] {
            for size in [(1, 1), (5, 300), (64, 48)] {
                let mut picture = RgbImage::new(size.0, size.1);
                frame(&mut picture, &UnitBox::from(edges), TRUTH, 3, Some(8));
            }
        }
    }

    #[test]
    fn a_solid_frame_shows_its_colour_within_a_dark_edge() {
        let mut picture = RgbImage::from_pixel(100, 100, Rgb([128, 128, 128]));
        frame(&mut picture, &UnitBox::new(0.2, 0.2, 0.8, 0.8), TRUTH, 2, None);
        assert_eq!(*picture.get_pixel(20, 50), OUTLINE);
        assert_eq!(*picture.get_pixel(21, 50), TRUTH);
        assert_eq!(*picture.get_pixel(22, 50), TRUTH);
        assert_eq!(*picture.get_pixel(23, 50), OUTLINE);
        assert_eq!(*picture.get_pixel(50, 50), Rgb([128, 128, 128]));
    }
}
