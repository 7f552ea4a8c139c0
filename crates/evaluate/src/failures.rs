//! Where a model fails: which classes it confuses, and on which kinds of objects it is worse.

use serde::Serialize;

use crate::confusion::Confusion;
use crate::inputs::SplitData;

/// Pairs that are listed.
const CONFUSED_PAIRS: usize = 8;

/// Objects of one class that were taken for another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfusedPair {
    /// The class.
    pub true_class_name: String,
    /// What it was taken for.
    pub predicted_class_name: String,
    /// How often.
    pub objects: u64,
    /// Share of the class's objects.
    pub share: f64,
    /// Images where it happened, at most three.
    pub examples: Vec<String>,
}

/// Scores over a part of the objects, such as small ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slice {
    /// What the objects are told apart by.
    pub by: &'static str,
    /// The part.
    pub part: String,
    /// Objects in it.
    pub objects: u64,
    /// Share whose class was predicted; null without objects.
    pub accuracy: Option<f64>,
    /// Mean IoU with the image's first prediction; null without objects.
    pub mean_iou: Option<f64>,
}

/// The most frequent confusions, the largest first.
pub(crate) fn most_confused(data: &SplitData, confusion: &Confusion) -> Vec<ConfusedPair> {
    let classes = data.class_names.len();
    let cells = (0..classes).flat_map(|truth| (0..classes).map(move |predicted| (truth, predicted)));
    let mut pairs: Vec<_> = cells.filter(|(truth, predicted)| truth != predicted && confusion.count(*truth, *predicted) > 0).collect();
    pairs.sort_by_key(|(truth, predicted)| (std::cmp::Reverse(confusion.count(*truth, *predicted)), *truth, *predicted));
    pairs.truncate(CONFUSED_PAIRS);
    let pair = |(truth, predicted): (usize, usize)| {
        let shows = |image: &&crate::ScoredImage| {
            data.predictions_of(image).first().is_some_and(|first| usize::from(first.class) == predicted)
                && data.truths_of(image).iter().any(|object| usize::from(object.class) == truth)
        };
        ConfusedPair {
            true_class_name: data.class_names[truth].clone(),
            predicted_class_name: data.class_names[predicted].clone(),
            objects: confusion.count(truth, predicted),
            share: confusion.count(truth, predicted) as f64 / confusion.support(truth) as f64,
            examples: data.images.iter().filter(shows).take(3).map(|image| image.image_id.clone()).collect(),
        }
    };
    pairs.into_iter().map(pair).collect()
}

/// Sources that are listed.
const WORST_SOURCES: usize = 8;
/// Objects that a source needs to be listed: one alone is an image, not a source.
const LEAST_OF_SOURCE: u64 = 3;

/// Scores by size of the object, by its place, by how many objects its image has, and of the sources with the lowest ones.
pub(crate) fn slices(data: &SplitData) -> Vec<Slice> {
    const PARTS: [(&str, &str); 8] = [
        ("size of the box", "below 2 % of the image"),
        ("size of the box", "2 to 10 %"),
        ("size of the box", "10 % and more"),
        ("centre of the box", "middle ninth of the image"),
        ("centre of the box", "elsewhere"),
        ("objects in the image", "one"),
        ("objects in the image", "two"),
        ("objects in the image", "three and more"),
    ];
    let mut sums = [(0u64, 0u64, 0.0); PARTS.len()];
    let mut by_source = vec![(0u64, 0u64, 0.0); data.sources.len()];
    for image in &data.images {
        let truths = data.truths_of(image);
        let first = data.predictions_of(image).first();
        for truth in truths {
            let hit = u64::from(first.is_some_and(|prediction| prediction.class == truth.class));
            let iou = first.map_or(0.0, |prediction| prediction.unit_box.iou(&truth.unit_box));
            let is_middle = |low: f32, high: f32| (1.0 / 3.0..2.0 / 3.0).contains(&((low + high) / 2.0));
            let box_of = &truth.unit_box;
            let size = match box_of.area() {
                area if area < 0.02 => 0,
                area if area < 0.10 => 1,
                _ => 2,
            };
            let place = if is_middle(box_of.xmin, box_of.xmax) && is_middle(box_of.ymin, box_of.ymax) { 3 } else { 4 };
            for part in [size, place, 4 + truths.len().min(3)] {
                sums[part] = (sums[part].0 + 1, sums[part].1 + hit, sums[part].2 + iou);
            }
            if let Some(of_source) = by_source.get_mut(image.source as usize) {
                *of_source = (of_source.0 + 1, of_source.1 + hit, of_source.2 + iou);
            }
        }
    }
    let share = |sum: f64, objects: u64| (objects > 0).then(|| sum / objects as f64);
    let slice = |by: &'static str, part: &str, (objects, hits, iou): (u64, u64, f64)| Slice {
        by,
        part: part.to_owned(),
        objects,
        accuracy: share(hits as f64, objects),
        mean_iou: share(iou, objects),
    };
    let mut sources: Vec<(&str, (u64, u64, f64))> =
        data.sources.iter().map(String::as_str).zip(by_source).filter(|(_, (objects, ..))| *objects >= LEAST_OF_SOURCE).collect();
    let per_object = |sum: f64, objects: u64| sum / objects as f64;
    sources.sort_by(|(a_name, a), (b_name, b)| {
        per_object(a.1 as f64, a.0).total_cmp(&per_object(b.1 as f64, b.0)).then(per_object(a.2, a.0).total_cmp(&per_object(b.2, b.0))).then(a_name.cmp(b_name))
    });
    let parts = PARTS.into_iter().zip(sums).map(|((by, part), sums)| slice(by, part, sums));
    parts.chain(sources.into_iter().take(WORST_SOURCES).map(|(name, sums)| slice("source with the lowest scores", name, sums))).collect()
}
