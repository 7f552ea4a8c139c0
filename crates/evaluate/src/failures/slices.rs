//! On which kinds of objects a model is worse.

use serde::Serialize;

use crate::read::split::{Light, ScoredImage, SplitData, Truth};

/// Scores over a part of the objects, such as small ones, each against a box: of a classifier the
/// first one of its image, of a detector the one with the highest IoU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slice {
    /// The property that the objects are divided by.
    pub by: &'static str,
    /// The part.
    pub part: String,
    /// Objects in it.
    pub objects: u64,
    /// Share whose class was predicted; null without objects.
    pub accuracy: Option<f64>,
    /// Share that a box hits with an IoU of at least 0.5; null without objects.
    pub found: Option<f64>,
    /// Mean IoU with that box; null without objects.
    pub mean_iou: Option<f64>,
}

/// Sources that are listed.
const WORST_SOURCES: usize = 8;
/// Objects that a source needs to be listed: one alone is an image, not a source.
const MIN_OF_SOURCE: u64 = 3;

/// Scores by size of the object, by where it lies, by how many objects its image has, by how light
/// the image is, and of the sources with the lowest ones.
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
    let mut sums = [Sums::default(); PARTS.len()];
    let mut by_source = vec![Sums::default(); data.sources.len()];
    for (image, truth, answer) in answers(data) {
        let is_middle =
            |low: f32, high: f32| (1.0 / 3.0..2.0 / 3.0).contains(&((low + high) / 2.0));
        let box_of = &truth.unit_box;
        let size = match box_of.area() {
            area if area < 0.02 => 0,
            area if area < 0.10 => 1,
            _ => 2,
        };
        let region = if is_middle(box_of.xmin, box_of.xmax) && is_middle(box_of.ymin, box_of.ymax) {
            3
        } else {
            4
        };
        for part in [size, region, 4 + image.truths.len().min(3)] {
            sums[part].add(answer);
        }
        if let Some(of_source) = by_source.get_mut(image.source as usize) {
            of_source.add(answer);
        }
    }
    let mut slices: Vec<Slice> = PARTS
        .into_iter()
        .zip(sums)
        .map(|((by, part), sums)| sums.slice(by, part.to_owned()))
        .collect();
    slices.extend(thirds(
        data,
        "brightness of the image",
        ["darkest", "middle", "brightest"],
        |light| light.brightness,
    ));
    slices.extend(thirds(
        data,
        "contrast of the image",
        ["flattest", "middle", "most contrasted"],
        |light| light.contrast,
    ));

    let mut sources: Vec<(&String, Sums)> = data
        .sources
        .iter()
        .zip(by_source)
        .filter(|(_, sums)| sums.objects >= MIN_OF_SOURCE)
        .collect();
    let per_object =
        |sums: &Sums| (sums.hits as f64 / sums.objects as f64, sums.iou / sums.objects as f64);
    sources.sort_by(|(a_name, a), (b_name, b)| {
        let ((a_hits, a_iou), (b_hits, b_iou)) = (per_object(a), per_object(b));
        a_hits.total_cmp(&b_hits).then(a_iou.total_cmp(&b_iou)).then(a_name.cmp(b_name))
    });
    slices.extend(
        sources
            .into_iter()
            .take(WORST_SOURCES)
            .map(|(name, sums)| sums.slice("source with the lowest scores", name.clone())),
    );
    slices
}

/// The objects in three parts, by a figure of their images; as many images are in each where no two
/// have the same figure. None where no image has one.
fn thirds(
    data: &SplitData,
    by: &'static str,
    names: [&str; 3],
    figure: impl Fn(&Light) -> f32,
) -> Vec<Slice> {
    let figure = |image: &ScoredImage| image.light.as_ref().map(&figure);
    let mut figures: Vec<f32> =
        data.images.iter().filter(|image| !image.truths.is_empty()).filter_map(figure).collect();
    if figures.is_empty() {
        return Vec::new();
    }
    figures.sort_by(f32::total_cmp);
    let [low, high] = [1, 2].map(|third| figures[figures.len() * third / 3]);
    let (mut sums, mut unknown) = ([Sums::default(); 3], Sums::default());
    for (image, _, answer) in answers(data) {
        match figure(image) {
            Some(figure) => {
                sums[usize::from(figure >= low) + usize::from(figure >= high)].add(answer)
            }
            None => unknown.add(answer),
        }
    }
    let [first, middle, last] = names;
    let parts = [
        format!("{first} third, below {low:.3}"),
        format!("{middle} third, {low:.3} to {high:.3}"),
        format!("{last} third, {high:.3} and more"),
    ];
    let mut slices: Vec<Slice> =
        parts.into_iter().zip(sums).map(|(part, sums)| sums.slice(by, part)).collect();
    if unknown.objects > 0 {
        slices.push(unknown.slice(by, "not known: the image is in no shard".to_owned()));
    }
    slices
}

/// What a box says of an object.
#[derive(Clone, Copy)]
struct Answer {
    is_right: bool,
    iou: f64,
}

/// All objects with their images and answers.
fn answers(data: &SplitData) -> impl Iterator<Item = (&ScoredImage, &Truth, Answer)> {
    data.images.iter().flat_map(move |image| {
        let predictions = data.predictions_of(image);
        let judged = if data.findings.is_detector { predictions.len() } else { 1 };
        data.truths_of(image).iter().map(move |truth| {
            let with_iou = predictions.iter().take(judged).map(|prediction| {
                (prediction.unit_box.iou(&truth.unit_box), prediction.class == truth.class)
            });
            let best = with_iou.reduce(|best, next| if next.0 > best.0 { next } else { best });
            let (iou, is_right) = best.unwrap_or((0.0, false));
            // A box somewhere else says nothing of the object's class.
            let is_right = is_right && (iou > 0.0 || !data.findings.is_detector);
            (image, truth, Answer { is_right, iou })
        })
    })
}

/// Sums over a part of the objects.
#[derive(Clone, Copy, Default)]
struct Sums {
    objects: u64,
    hits: u64,
    found: u64,
    iou: f64,
}

impl Sums {
    fn add(&mut self, answer: Answer) {
        self.objects += 1;
        self.hits += u64::from(answer.is_right);
        self.found += u64::from(answer.iou >= 0.5);
        self.iou += answer.iou;
    }

    fn slice(self, by: &'static str, part: String) -> Slice {
        let share = |sum: f64| (self.objects > 0).then(|| sum / self.objects as f64);
        Slice {
            by,
            part,
            objects: self.objects,
            accuracy: share(self.hits as f64),
            found: share(self.found as f64),
            mean_iou: share(self.iou),
        }
    }
}
