//! Pictures of the images that two tables see differently.

use std::path::Path;

use ossify_drawing::{Stroke, read_picture};
use ossify_page::{Gallery, NoteKind, Picture, Section, counted};
use ossify_vocabulary::Limits;

use crate::compare::changes::{ImageChange, ImageChanges, Seen};
use crate::failures::drawing::{Boxes, draw_all};
use crate::read::split::SplitData;
use crate::report::digits::two;

/// An image that became better or worse, with its boxes.
pub(crate) struct ChangedPicture<'a> {
    change: &'a ImageChange,
    kind: &'static str,
    thumbnail: Vec<u8>,
}

/// Draws up to `wanted` images, half of them worse and half better as far as there are so many;
/// those whose class changed come first. Returns those that could be read, and a sentence for each
/// that could not.
pub(crate) fn draw<'a>(
    changes: &'a ImageChanges,
    data: [&SplitData; 2],
    dataset: &Path,
    wanted: usize,
    limits: &Limits,
) -> (Vec<ChangedPicture<'a>>, Vec<String>) {
    draw_all(choose(changes, wanted), |(kind, change)| {
        draw_one(kind, change, data, dataset, limits)
    })
}

fn choose(changes: &ImageChanges, wanted: usize) -> Vec<(&'static str, &ImageChange)> {
    let mut worse = labelled("right to wrong", &changes.worse);
    worse.extend(labelled("box lost IoU", &changes.iou_lost));
    let mut better = labelled("wrong to right", &changes.better);
    better.extend(labelled("box gained IoU", &changes.iou_gained));
    worse.truncate((wanted - wanted / 2).max(wanted.saturating_sub(better.len())));
    better.truncate(wanted - worse.len());
    [worse, better].concat()
}

fn labelled<'a>(
    kind: &'static str,
    changes: &'a [ImageChange],
) -> Vec<(&'static str, &'a ImageChange)> {
    changes.iter().map(|change| (kind, change)).collect()
}

fn draw_one<'a>(
    kind: &'static str,
    change: &'a ImageChange,
    data: [&SplitData; 2],
    dataset: &Path,
    limits: &Limits,
) -> Result<ChangedPicture<'a>, String> {
    let failed = |reason: &str| format!("{}: {reason}", change.image_id);
    // The tables are of the same images, in the same order.
    let at = data[0]
        .images
        .binary_search_by(|image| image.image_id.cmp(&change.image_id))
        .map_err(|_| failed("not an image of the split"))?;
    let picture = read_picture(dataset, &change.image_id, limits)?;
    let [baseline, other] = data.map(|data| data.predictions_of(&data.images[at]));
    let boxes = Boxes {
        truths: data[0].truths_of(&data[0].images[at]),
        class_names: &data[0].class_names,
        predictions: vec![(baseline, Stroke::DASHED), (other, Stroke::FINELY_DASHED)],
    };
    Ok(ChangedPicture {
        change,
        kind,
        thumbnail: boxes.thumbnail(&picture).map_err(|reason| failed(&reason))?,
    })
}

/// Adds the pictures to a section; `number` distinguishes the galleries of a page.
pub(crate) fn show(
    mut section: Section,
    number: usize,
    [baseline, other]: [&str; 2],
    pictures: &[ChangedPicture],
    undrawn: &[String],
) -> Section {
    if !pictures.is_empty() {
        let mut gallery = Gallery::new(&format!("changed{number}")).filters(["change", "class"]);
        for picture in pictures {
            let ImageChange { image_id, true_class_name, .. } = picture.change;
            let shown = Picture::new(
                "image/jpeg",
                &picture.thumbnail,
                format!("{}, true: {true_class_name}", picture.kind),
            )
            .line(answer(baseline, &picture.change.baseline))
            .line(answer(other, &picture.change.other))
            .line(image_id.rsplit('/').next().unwrap_or(image_id))
            .facets([picture.kind, true_class_name]);
            gallery.push(shown);
        }
        section = section
            .paragraph(format!(
                "Solid blue: the true boxes. Dashed orange: {baseline}. Finely dashed purple: \
                    {other}. The box of the first prediction is the thick one."
            ))
            .gallery(gallery);
    }
    match undrawn.first() {
        Some(first) => section.note(
            NoteKind::Warning,
            format!(
                "{} could not be drawn; the first: {first}",
                counted(undrawn.len() as u64, "image", "images")
            ),
        ),
        None => section,
    }
}

fn answer(table: &str, seen: &Seen) -> String {
    match (&seen.class_name, seen.score) {
        (Some(class), Some(score)) => {
            format!("{table}: {class} with {}, IoU {}", two(f64::from(score)), two(seen.iou))
        }
        _ => format!("{table}: no prediction"),
    }
}
