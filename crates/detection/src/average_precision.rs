//! Average precision and recall of the COCO protocol, as `pycocotools.cocoeval` computes them:
//! greedy matching an image and class by falling score, IoU thresholds .50 to .95, precision
//! interpolated at 101 recalls, at most 100 detections an image and class, boxes of every size.

use crate::boxes::{Detection, Truth};

/// IoU thresholds.
pub const THRESHOLDS: usize = 10;
/// Recalls at which precision is read.
pub const RECALLS: usize = 101;
/// Detections an image and class that are looked at.
const MAX_DETECTIONS: usize = 100;

/// `numpy.linspace(.5, .95, 10)`, to the bit: a threshold that is off by one bit turns matches at
/// exactly that IoU around.
fn iou_threshold(i: usize) -> f64 {
    if i + 1 == THRESHOLDS { 0.95 } else { i as f64 * ((0.95 - 0.5) / 9.0) + 0.5 }
}

/// `numpy.linspace(0, 1, 101)`, to the bit.
fn recall_threshold(i: usize) -> f64 {
    if i + 1 == RECALLS { 1.0 } else { i as f64 * 0.01 }
}

/// The detections of one class over all images of a split, best first, with what they matched.
#[derive(Clone, Debug, Default)]
pub struct ClassDetections {
    /// Image of each detection.
    images: Vec<u32>,
    /// Bit `t` is set where the detection matched an object at IoU threshold `t`.
    matched: Vec<u16>,
    /// Rank within its image and class, from 0.
    ranks: Vec<u8>,
    /// Confidence.
    scores: Vec<f32>,
    /// Images that have objects of the class, and how many.
    truths: Vec<(u32, u32)>,
}

/// Precision and recall of one class at each IoU threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// Interpolated precision at each recall of 0, .01 .. 1.
    pub precision: Vec<[f64; RECALLS]>,
    /// Recall with at most 1, 10 and 100 detections an image.
    pub recall: [[f64; THRESHOLDS]; 3],
    /// Objects.
    pub truths: u64,
}

impl PrecisionRecall {
    /// Mean precision at one threshold.
    pub fn ap_at(&self, threshold: usize) -> f64 {
        self.precision.get(threshold).map_or(f64::NAN, |row| mean(row))
    }

    /// Mean over all thresholds.
    pub fn ap(&self) -> f64 {
        (0..THRESHOLDS).map(|t| self.ap_at(t)).sum::<f64>() / THRESHOLDS as f64
    }

    /// Average recall with at most 1 (`0`), 10 (`1`) or 100 (`2`) detections an image.
    pub fn ar(&self, limit: usize) -> f64 {
        self.recall.get(limit).map_or(f64::NAN, |row| mean(row))
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Detections and objects of each class as images are added.
#[derive(Clone, Debug)]
pub struct DetectionMatcher {
    images: u32,
    classes: Vec<ClassDetections>,
    /// The classes of an image.
    present: Vec<u16>,
}

impl DetectionMatcher {
    /// Without images, for this many classes.
    pub fn new(classes: usize) -> Self {
        DetectionMatcher {
            images: 0,
            classes: vec![ClassDetections::default(); classes],
            present: Vec::new(),
        }
    }

    /// Matches the detections of an image, whose number is how many were added before. Detections
    /// of equal score keep their order.
    ///
    /// # Panics
    /// Where a class is not below the number of classes.
    pub fn add_image(&mut self, truths: &[Truth], detections: &[Detection]) {
        let image = self.images;
        self.images += 1;
        self.present.clear();
        self.present.extend(truths.iter().map(|truth| truth.class));
        self.present.extend(detections.iter().map(|detection| detection.class));
        self.present.sort_unstable();
        self.present.dedup();
        for class in &self.present {
            let truths: Vec<_> = truths
                .iter()
                .filter(|truth| truth.class == *class)
                .map(|truth| truth.unit_box)
                .collect();
            let mut found: Vec<_> =
                detections.iter().filter(|detection| detection.class == *class).collect();
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(MAX_DETECTIONS);
            let ious: Vec<Vec<f64>> = found
                .iter()
                .map(|detection| truths.iter().map(|truth| detection.unit_box.iou(truth)).collect())
                .collect();
            let matched = match_detections(&ious, truths.len());
            let of_class = &mut self.classes[usize::from(*class)];
            if !truths.is_empty() {
                of_class.truths.push((image, truths.len() as u32));
            }
            for (rank, (detection, matched)) in found.iter().zip(matched).enumerate() {
                of_class.images.push(image);
                of_class.matched.push(matched);
                of_class.ranks.push(rank as u8);
                of_class.scores.push(detection.score);
            }
        }
    }

    /// The detections of each class, best first.
    pub fn finish(self) -> Vec<ClassDetections> {
        self.classes.into_iter().map(ClassDetections::best_first).collect()
    }
}

/// Greedy matching of an image's detections of a class, best first: each takes the free object with
/// the highest IoU of at least the threshold, the last of equal ones. Returns one bit a threshold.
fn match_detections(ious: &[Vec<f64>], truths: usize) -> Vec<u16> {
    let mut matched = vec![0u16; ious.len()];
    let mut taken = vec![false; truths];
    for t in 0..THRESHOLDS {
        taken.fill(false);
        for (row, bits) in ious.iter().zip(&mut matched) {
            let mut best = iou_threshold(t).min(1.0 - 1e-10);
            let mut chosen = None;
            for (truth, iou) in row.iter().enumerate() {
                if !taken[truth] && *iou >= best {
                    (best, chosen) = (*iou, Some(truth));
                }
            }
            if let Some(truth) = chosen {
                taken[truth] = true;
                *bits |= 1 << t;
            }
        }
    }
    matched
}

impl ClassDetections {
    /// Sorts by falling score; equal scores stay in order of image and rank.
    fn best_first(self) -> Self {
        let mut order: Vec<u32> = (0..self.scores.len() as u32).collect();
        order.sort_by(|a, b| self.scores[*b as usize].total_cmp(&self.scores[*a as usize]));
        let at = |i: &u32| *i as usize;
        ClassDetections {
            images: order.iter().map(|i| self.images[at(i)]).collect(),
            matched: order.iter().map(|i| self.matched[at(i)]).collect(),
            ranks: order.iter().map(|i| self.ranks[at(i)]).collect(),
            scores: order.iter().map(|i| self.scores[at(i)]).collect(),
            truths: self.truths,
        }
    }

    /// Images that have objects of the class.
    pub fn images_with_objects(&self) -> impl Iterator<Item = u32> {
        self.truths.iter().map(|(image, _)| *image)
    }

    /// How many detections there are.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is no detection.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }
}

/// Precision and recall of a class where image `i` counts `weights[i]` times; `None` where no
/// object counts.
///
/// Counting an image `w` times equals having `w` copies of it: copies of a hit that stand together
/// raise precision and recall step by step, so the interpolated precision there is that after the
/// last copy; copies of a false alarm leave recall where it is. Copies of a detection stand
/// together also where another detection of the same image has the same score.
pub fn precision_recall(class: &ClassDetections, weights: &[u32]) -> Option<PrecisionRecall> {
    let truths: u64 = class
        .truths
        .iter()
        .map(|(image, count)| u64::from(weights[*image as usize]) * u64::from(*count))
        .sum();
    if truths == 0 {
        return None;
    }
    let mut curves = [Curve::START; THRESHOLDS];
    let needed = hits_for_recalls(truths);
    let mut hits = [[0u64; THRESHOLDS]; 3];
    let mut seen = 0u64;
    for ((image, matched), rank) in class.images.iter().zip(&class.matched).zip(&class.ranks) {
        let weight = u64::from(weights[*image as usize]);
        if weight == 0 {
            continue;
        }
        seen += weight;
        for t in bits(*matched) {
            let curve = &mut curves[t];
            curve.hits += weight;
            curve.visit(seen, &needed);
            if *rank < 10 {
                hits[1][t] += weight;
                if *rank == 0 {
                    hits[0][t] += weight;
                }
            }
        }
    }
    for (total, curve) in hits[2].iter_mut().zip(&curves) {
        *total = curve.hits;
    }
    let precision = curves.iter().map(Curve::interpolated).collect();
    let recall = hits.map(|row| row.map(|hits| hits as f64 / truths as f64));
    Some(PrecisionRecall { precision, recall, truths })
}

/// Means over the classes that have objects; NaN where none has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanPrecision {
    /// Average precision over IoU thresholds .50 to .95.
    pub ap: f64,
    /// At IoU .50.
    pub ap50: f64,
    /// At IoU .75.
    pub ap75: f64,
    /// Average recall with at most 1, 10 and 100 detections an image.
    pub ar: [f64; 3],
}

impl MeanPrecision {
    /// Of the curves of each class; those without objects are left out.
    pub fn of(curves: &[Option<PrecisionRecall>]) -> Self {
        let mean = |figure: &dyn Fn(&PrecisionRecall) -> f64| {
            let (sum, count) = curves
                .iter()
                .flatten()
                .fold((0.0, 0u32), |(sum, count), curve| (sum + figure(curve), count + 1));
            sum / f64::from(count)
        };
        MeanPrecision {
            ap: mean(&PrecisionRecall::ap),
            ap50: mean(&|curve| curve.ap_at(0)),
            ap75: mean(&|curve| curve.ap_at(THRESHOLDS / 2)),
            ar: [0, 1, 2].map(|limit| mean(&|curve| curve.ar(limit))),
        }
    }
}

/// Fewest hits that reach each recall: the least `h` with `h / truths >= recall` in double
/// precision.
fn hits_for_recalls(truths: u64) -> [u64; RECALLS] {
    std::array::from_fn(|i| {
        let recall = recall_threshold(i);
        let mut hits = (recall * truths as f64).floor() as u64;
        while hits > 0 && (hits - 1) as f64 / truths as f64 >= recall {
            hits -= 1;
        }
        while (hits as f64 / truths as f64) < recall {
            hits += 1;
        }
        hits
    })
}

fn bits(mut mask: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (bit < THRESHOLDS).then_some(bit)
    })
}

/// The precision-recall curve of one threshold as it grows.
#[derive(Clone, Copy)]
struct Curve {
    hits: u64,
    /// Recalls reached: `0..reached`.
    reached: usize,
    /// Hits and detections where precision was highest since recall number `reached - 1` was
    /// reached; precision is compared as a product of whole numbers, and divided once a recall.
    best: (u64, u64),
    /// Highest precision between each recall and the next.
    highest: [f64; RECALLS],
}

impl Curve {
    const START: Curve = Curve { hits: 0, reached: 0, best: (0, 1), highest: [0.0; RECALLS] };

    fn visit(&mut self, seen: u64, needed: &[u64; RECALLS]) {
        if self.reached < RECALLS && needed[self.reached] <= self.hits {
            self.close();
            self.reached += 1;
            while self.reached < RECALLS && needed[self.reached] <= self.hits {
                self.reached += 1;
            }
            self.best = (self.hits, seen);
        } else if self.hits * self.best.1 > self.best.0 * seen {
            self.best = (self.hits, seen);
        }
    }

    fn close(&mut self) {
        if self.reached > 0 {
            self.highest[self.reached - 1] = self.best.0 as f64 / self.best.1 as f64;
        }
    }

    /// At each recall, the highest precision at this recall or a higher one.
    fn interpolated(&self) -> [f64; RECALLS] {
        let mut closed = *self;
        closed.close();
        let mut highest = 0.0f64;
        for value in closed.highest.iter_mut().rev() {
            highest = highest.max(*value);
            *value = highest;
        }
        closed.highest
    }
}

#[cfg(test)]
mod tests {
    use ossify_contract::UnitBox;

    use super::*;

    const HERE: [f32; 4] = [0.0, 0.0, 0.5, 0.5];
    const AWAY: [f32; 4] = [0.75, 0.75, 1.0, 1.0];

    fn truth(class: u16, edges: [f32; 4]) -> Truth {
        Truth { class, unit_box: UnitBox::from(edges) }
    }

    fn detection(class: u16, score: f32, edges: [f32; 4]) -> Detection {
        Detection { class, score, unit_box: UnitBox::from(edges) }
    }

    fn scored(
        images: &[(&[Truth], &[Detection])],
    ) -> (Vec<Option<PrecisionRecall>>, MeanPrecision) {
        let mut matcher = DetectionMatcher::new(2);
        images.iter().for_each(|(truths, found)| matcher.add_image(truths, found));
        let weights = vec![1; images.len()];
        let curves: Vec<_> =
            matcher.finish().iter().map(|class| precision_recall(class, &weights)).collect();
        let means = MeanPrecision::of(&curves);
        (curves, means)
    }

    #[test]
    fn perfect_detections_score_1_and_none_score_0() {
        let truths = [truth(0, HERE), truth(1, AWAY)];
        let found = [detection(0, 0.9, HERE), detection(1, 0.2, AWAY)];
        let (_, perfect) = scored(&[(&truths, &found), (&[], &[])]);
        assert_eq!((perfect.ap, perfect.ap50, perfect.ap75), (1.0, 1.0, 1.0));
        assert_eq!(perfect.ar, [1.0; 3]);
        let (_, silent) = scored(&[(&truths, &[]), (&[], &[])]);
        assert_eq!((silent.ap, silent.ap50, silent.ar), (0.0, 0.0, [0.0; 3]));
    }

    #[test]
    fn a_false_alarm_ahead_of_the_only_hit_halves_precision() {
        let found = [detection(0, 0.9, AWAY), detection(0, 0.8, HERE)];
        let (curves, means) = scored(&[(&[truth(0, HERE)], &found)]);
        assert_eq!(means.ap50, 0.5);
        assert_eq!(means.ar, [0.0, 1.0, 1.0]);
        assert_eq!(curves[1], None, "a class without objects has no curve");
    }

    #[test]
    fn without_objects_nothing_is_defined() {
        let (_, means) = scored(&[(&[], &[detection(0, 0.5, HERE)])]);
        assert!(means.ap.is_nan() && means.ap50.is_nan() && means.ar[0].is_nan());
    }
}
