//! The worst and the best images with their true and predicted boxes drawn on them.

use std::path::Path;

use ossify_contract::ImageStatus;
use ossify_drawing::{Stroke, read_picture};
use ossify_vocabulary::Limits;

use crate::failures::drawing::{Boxes, draw_all};
use crate::read::split::{ScoredImage, SplitData};

/// Longest side of the files, in pixels.
const FILE_SIDE: u32 = 640;
const FILE_THICKNESS: u32 = 3;

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

/// Draws up to `wanted` images, two thirds of them the worst. Returns those that could be read, and
/// a sentence for each that could not.
pub(crate) fn draw_overlays(
    data: &SplitData,
    dataset: &Path,
    wanted: usize,
    limits: &Limits,
) -> (Vec<Overlay>, Vec<String>) {
    draw_all(choose(data, wanted), |choice| draw_one(data, dataset, limits, choice))
}

struct Choice {
    image: usize,
    is_worst: bool,
    number: usize,
}

/// The worst images first, then the best, the best first.
fn choose(data: &SplitData, wanted: usize) -> Vec<Choice> {
    let mut ranked: Vec<(f64, usize)> = data
        .images
        .iter()
        .enumerate()
        .filter_map(|(i, image)| Some((quality(data, image)?, i)))
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let wanted = wanted.min(ranked.len());
    let worst = (wanted * 2).div_ceil(3);
    let worst_ones = ranked.iter().take(worst).enumerate().map(|(n, (_, image))| Choice {
        image: *image,
        is_worst: true,
        number: n + 1,
    });
    let best_ones = ranked
        .iter()
        .rev()
        .take(wanted - worst)
        .enumerate()
        .map(|(n, (_, image))| Choice { image: *image, is_worst: false, number: n + 1 });
    worst_ones.chain(best_ones).collect()
}

/// How good the first prediction of a labelled image is: the IoU with its largest object where the
/// class is right; else below 0, the lower the more confident.
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

fn draw_one(
    data: &SplitData,
    dataset: &Path,
    limits: &Limits,
    choice: Choice,
) -> Result<Overlay, String> {
    let image = &data.images[choice.image];
    let picture = read_picture(dataset, &image.image_id, limits)?;
    let boxes = Boxes {
        truths: data.truths_of(image),
        predictions: vec![(data.predictions_of(image), Stroke::DASHED)],
    };
    let failed = |reason: String| format!("{}: {reason}", image.image_id);
    let kind = if choice.is_worst { "worst" } else { "best" };
    Ok(Overlay {
        image: choice.image,
        file: format!("overlays/{kind}-{:04}.png", choice.number),
        is_worst: choice.is_worst,
        png: boxes.png(&picture, FILE_SIDE, FILE_THICKNESS).map_err(failed)?,
        thumbnail: boxes.thumbnail(&picture).map_err(failed)?,
    })
}
