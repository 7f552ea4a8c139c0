//! The images that say most of a model, with their true and predicted boxes drawn on them.

use std::path::Path;

use ossify_contract::ImageStatus;
use ossify_drawing::{Stroke, read_picture};
use ossify_vocabulary::Limits;

use crate::failures::drawing::{Boxes, draw_all};
use crate::failures::hits::ImageHits;
use crate::read::split::{ScoredImage, SplitData};

/// Longest side of the files, in pixels.
const FILE_SIDE: u32 = 640;
const FILE_THICKNESS: u32 = 3;

/// Why an image is worth looking at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverlayKind {
    /// Of a classifier: among the worst.
    Worst,
    /// Of a classifier: among the best.
    Best,
    /// Of a detector: an object that no mark hits.
    Miss,
    /// Of a detector: a mark that hits no object.
    FalseAlarm,
    /// Of a detector: all objects hit, and no other mark.
    Found,
}

impl OverlayKind {
    /// As a choice of the gallery.
    pub fn as_str(self) -> &'static str {
        match self {
            OverlayKind::Worst => "worst",
            OverlayKind::Best => "best",
            OverlayKind::Miss => "missed",
            OverlayKind::FalseAlarm => "false alarm",
            OverlayKind::Found => "found",
        }
    }

    fn stem(self) -> &'static str {
        match self {
            OverlayKind::Worst => "worst",
            OverlayKind::Best => "best",
            OverlayKind::Miss => "miss",
            OverlayKind::FalseAlarm => "false-alarm",
            OverlayKind::Found => "found",
        }
    }
}

/// An image worth looking at.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    /// Index of the image in the split.
    pub image: usize,
    /// Path of the file from the report's folder.
    pub file: String,
    pub kind: OverlayKind,
    /// PNG of the file.
    pub png: Vec<u8>,
    /// JPEG for the page.
    pub thumbnail: Vec<u8>,
}

/// Draws up to `wanted` images: of a classifier two thirds the worst and then the best, of a
/// detector two fifths misses, two fifths false alarms, and then images where all is found. Returns
/// those that could be read, and a sentence for each that could not.
pub(crate) fn draw_overlays(
    data: &SplitData,
    dataset: &Path,
    wanted: usize,
    limits: &Limits,
) -> (Vec<Overlay>, Vec<String>) {
    let chosen =
        if data.findings.is_detector { choose_marks(data, wanted) } else { choose(data, wanted) };
    draw_all(chosen, |choice| draw_one(data, dataset, limits, choice))
}

struct Choice {
    image: usize,
    kind: OverlayKind,
    number: usize,
}

fn numbered(
    kind: OverlayKind,
    images: impl Iterator<Item = usize>,
) -> impl Iterator<Item = Choice> {
    images.enumerate().map(move |(i, image)| Choice { image, kind, number: i + 1 })
}

/// The worst images first, then the best, the best first.
fn choose(data: &SplitData, wanted: usize) -> Vec<Choice> {
    let ranked = ranked(data, |image| quality(data, image));
    let wanted = wanted.min(ranked.len());
    let worst = (wanted * 2).div_ceil(3);
    let best = ranked.iter().rev().take(wanted - worst).copied();
    numbered(OverlayKind::Worst, ranked.iter().take(worst).copied())
        .chain(numbered(OverlayKind::Best, best))
        .collect()
}

/// Images with the largest missed objects, then with the surest false alarms, then where all is
/// found, the most exact boxes first.
fn choose_marks(data: &SplitData, wanted: usize) -> Vec<Choice> {
    let missed = ranked(data, |image| {
        let hits = ImageHits::of(data, image);
        let truths = data.truths_of(image);
        hits.missed.iter().map(|at| -f64::from(truths[*at].area)).reduce(f64::min)
    });
    let alarmed = ranked(data, |image| {
        let hits = ImageHits::of(data, image);
        let marks = data.predictions_of(image);
        hits.false_alarms.iter().map(|at| -f64::from(marks[*at].score)).reduce(f64::min)
    });
    let found = ranked(data, |image| {
        let hits = ImageHits::of(data, image);
        let is_right = hits.missed.is_empty() && hits.false_alarms.is_empty();
        hits.least_iou.filter(|_| is_right).map(|iou| -iou)
    });
    let of_each = (wanted * 2).div_ceil(5);
    let misses: Vec<usize> = missed.into_iter().take(of_each).collect();
    let alarms: Vec<usize> = alarmed
        .into_iter()
        .filter(|image| !misses.contains(image))
        .take(of_each.min(wanted - misses.len()))
        .collect();
    let rest = wanted - misses.len() - alarms.len();
    numbered(OverlayKind::Miss, misses.into_iter())
        .chain(numbered(OverlayKind::FalseAlarm, alarms.into_iter()))
        .chain(numbered(OverlayKind::Found, found.into_iter().take(rest)))
        .collect()
}

/// Numbers of the images that have a rank, the lowest rank first.
fn ranked(data: &SplitData, rank: impl Fn(&ScoredImage) -> Option<f64>) -> Vec<usize> {
    let images = data.images.iter().enumerate();
    let mut ranked: Vec<(f64, usize)> =
        images.filter_map(|(i, image)| Some((rank(image)?, i))).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    ranked.into_iter().map(|(_, image)| image).collect()
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
        class_names: &data.class_names,
        predictions: vec![(data.predictions_of(image), Stroke::DASHED)],
    };
    let failed = |reason: String| format!("{}: {reason}", image.image_id);
    Ok(Overlay {
        image: choice.image,
        file: format!("overlays/{}-{:04}.png", choice.kind.stem(), choice.number),
        kind: choice.kind,
        png: boxes.png(&picture, FILE_SIDE, FILE_THICKNESS).map_err(failed)?,
        thumbnail: boxes.thumbnail(&picture).map_err(failed)?,
    })
}
