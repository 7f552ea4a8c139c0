//! Average precision and recall of the COCO protocol, as `pycocotools.cocoeval` computes them:
//! greedy matching an image and class by falling score, IoU thresholds .50 to .95, precision
//! interpolated at 101 recalls, at most 100 detections an image and class, boxes of every size.

use crate::read::split::SplitData;

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

/// Matches the detections of every class.
pub fn class_detections(data: &SplitData) -> Vec<ClassDetections> {
    let mut classes = vec![ClassDetections::default(); data.class_names.len()];
    let mut scratch = Scratch::default();
    for (i, image) in data.images.iter().enumerate() {
        let (truths, predictions) = (data.truths_of(image), data.predictions_of(image));
        scratch.classes.clear();
        scratch.classes.extend(
            truths
                .iter()
                .map(|truth| truth.class)
                .chain(predictions.iter().map(|prediction| prediction.class)),
        );
        scratch.classes.sort_unstable();
        scratch.classes.dedup();
        for class in std::mem::take(&mut scratch.classes) {
            let truths: Vec<_> = truths
                .iter()
                .filter(|truth| truth.class == class)
                .map(|truth| truth.unit_box)
                .collect();
            let mut found: Vec<_> =
                predictions.iter().filter(|prediction| prediction.class == class).collect();
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(MAX_DETECTIONS);
            let ious: Vec<Vec<f64>> = found
                .iter()
                .map(|prediction| {
                    truths.iter().map(|truth| prediction.unit_box.iou(truth)).collect()
                })
                .collect();
            let matched = match_detections(&ious, truths.len());
            let of_class = &mut classes[usize::from(class)];
            if !truths.is_empty() {
                of_class.truths.push((i as u32, truths.len() as u32));
            }
            for (rank, (prediction, matched)) in found.iter().zip(matched).enumerate() {
                of_class.images.push(i as u32);
                of_class.matched.push(matched);
                of_class.ranks.push(rank as u8);
                of_class.scores.push(prediction.score);
            }
        }
    }
    classes.into_iter().map(ClassDetections::best_first).collect()
}

#[derive(Default)]
struct Scratch {
    classes: Vec<u16>,
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
