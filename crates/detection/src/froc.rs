//! The free-response ROC curve (Chakraborty, 1989, "Maximum likelihood analysis of free-response
//! receiver operating characteristic (FROC) data"): the share of objects that are found, against
//! the number of false alarms an image.
//!
//! At a threshold, the detections of at least that score are the marks. The marks of an image are
//! taken by falling score. A mark hits the free object that it fits ([`HitRule`]); of several, the
//! one with the highest IoU, and of those the first. A mark that fits only objects that are taken
//! is neither a hit nor a false alarm, as in LUNA16 (Setio et al., 2017, "Validation, comparison,
//! and combination of algorithms for automatic detection of pulmonary nodules"); every other mark
//! is a false alarm. False alarms are counted over all images, those without objects included, and
//! so are marks on them.
//!
//! A threshold takes all marks of one score. The sensitivity at a number of false alarms is the
//! highest that a threshold reaches with at most that many, so it is one that a reader can have.
//! (LUNA16 draws straight lines between thresholds, which gives a little more.)

use crate::boxes::{Detection, Truth};

/// False alarms an image at which LUNA16 reads the curve.
pub const FALSE_ALARM_RATES: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// Least number of marks of a block, the last one aside.
const BLOCK: usize = 64;

/// When a mark fits an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HitRule {
    /// Their IoU is at least 0.5.
    Iou50,
    /// The centre of the mark's box lies in the object's box, its edges included.
    CentreInBox,
}

/// Which marks and objects are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassRule {
    /// Classes do not matter.
    Any,
    /// A mark fits objects of its own class only.
    Same,
    /// Marks and objects of this class alone.
    Only(u16),
}

/// Marks and objects as images are added.
#[derive(Clone, Debug)]
pub struct FrocBuilder {
    hit: HitRule,
    classes: ClassRule,
    images: u32,
    /// Score, image, and whether it is a hit.
    marks: Vec<(f32, u32, bool)>,
    truths: Vec<(u32, u32)>,
}

impl FrocBuilder {
    /// Without images.
    pub fn new(hit: HitRule, classes: ClassRule) -> Self {
        FrocBuilder { hit, classes, images: 0, marks: Vec::new(), truths: Vec::new() }
    }

    /// Adds an image; its number is how many were added before. At most 2^30 images.
    pub fn add_image(&mut self, truths: &[Truth], detections: &[Detection]) {
        let image = self.images;
        self.images += 1;
        self.add_numbered(image, truths, detections);
    }

    /// Adds an image of this number, below 2^30, which has not been added before. Images that have
    /// neither objects nor detections need not be added.
    pub fn add_numbered(&mut self, image: u32, truths: &[Truth], detections: &[Detection]) {
        let counts = |class: u16| match self.classes {
            ClassRule::Any | ClassRule::Same => true,
            ClassRule::Only(only) => class == only,
        };
        let truths: Vec<&Truth> = truths.iter().filter(|truth| counts(truth.class)).collect();
        let mut marks: Vec<&Detection> =
            detections.iter().filter(|detection| counts(detection.class)).collect();
        marks.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut is_taken = vec![false; truths.len()];
        for mark in marks {
            let fitting = truths
                .iter()
                .enumerate()
                .filter(|(_, truth)| fits(self.hit, self.classes, mark, truth));
            let (mut best, mut fits_a_taken_one) = (None, false);
            for (at, truth) in fitting {
                let iou = mark.unit_box.iou(&truth.unit_box);
                if is_taken[at] {
                    fits_a_taken_one = true;
                } else if best.is_none_or(|(_, highest)| iou > highest) {
                    best = Some((at, iou));
                }
            }
            if let Some((at, _)) = best {
                is_taken[at] = true;
                self.marks.push((mark.score, image, true));
            } else if !fits_a_taken_one {
                self.marks.push((mark.score, image, false));
            }
        }
        if !truths.is_empty() {
            self.truths.push((image, truths.len() as u32));
        }
    }

    /// The curve of the images that were added.
    pub fn finish(self) -> Froc {
        let mut marks = self.marks;
        // Adding 0 turns -0 into 0, which are one score and would sort as two.
        marks.iter_mut().for_each(|(score, ..)| *score += 0.0);
        marks.sort_by(|a, b| b.0.total_cmp(&a.0));
        let is_last = |at: usize| marks.get(at + 1).is_none_or(|next| next.0 != marks[at].0);
        let mut blocks = Vec::new();
        for end in (1..=marks.len()).filter(|end| is_last(end - 1)) {
            if end == marks.len() || end - blocks.last().copied().unwrap_or(0) >= BLOCK {
                blocks.push(end);
            }
        }
        Froc {
            blocks,
            marks: (0..marks.len())
                .map(|at| {
                    let (_, image, is_hit) = marks[at];
                    Mark(image << 2 | u32::from(is_last(at)) << 1 | u32::from(is_hit))
                })
                .collect(),
            scores: marks.iter().map(|(score, ..)| *score).collect(),
            truths: self.truths,
        }
    }
}

fn fits(hit: HitRule, classes: ClassRule, mark: &Detection, truth: &Truth) -> bool {
    let (found, wanted) = (&mark.unit_box, &truth.unit_box);
    let is_placed = match hit {
        HitRule::Iou50 => found.iou(wanted) >= 0.5,
        HitRule::CentreInBox => {
            let middle = |low: f32, high: f32| (f64::from(low) + f64::from(high)) / 2.0;
            let (x, y) = (middle(found.xmin, found.xmax), middle(found.ymin, found.ymax));
            (f64::from(wanted.xmin)..=f64::from(wanted.xmax)).contains(&x)
                && (f64::from(wanted.ymin)..=f64::from(wanted.ymax)).contains(&y)
        }
    };
    is_placed && (classes == ClassRule::Any || mark.class == truth.class)
}

/// An image's index times 4, plus 2 where no further mark has the same score, plus 1 for a hit.
#[derive(Clone, Copy, Debug)]
struct Mark(u32);

impl Mark {
    fn weight(self, weights: &[u32]) -> u64 {
        u64::from(weights[(self.0 >> 2) as usize])
    }

    fn ends_a_tie(self) -> bool {
        self.0 & 2 == 2
    }

    fn is_hit(self) -> bool {
        self.0 & 1 == 1
    }
}

/// Marks of all images by falling score: 8 bytes each.
#[derive(Clone, Debug, Default)]
pub struct Froc {
    marks: Vec<Mark>,
    scores: Vec<f32>,
    /// Where marks are cut into blocks, none within a tie: a resample compares once a block.
    blocks: Vec<usize>,
    /// Images that have objects, and how many.
    truths: Vec<(u32, u32)>,
}

/// What a threshold gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrocPoint {
    /// Least score of a mark.
    pub threshold: f32,
    /// Share of objects that are hit, 0..=1; NaN without objects.
    pub sensitivity: f64,
    /// False alarms an image, 0 and more; NaN without images.
    pub false_alarms: f64,
}

/// Hits and false alarms so far.
#[derive(Clone, Copy, Default)]
struct Counts {
    hits: u64,
    false_alarms: u64,
}

impl Counts {
    fn add(&mut self, mark: Mark, weights: &[u32]) {
        let weight = mark.weight(weights);
        let hits = weight * u64::from(mark.is_hit());
        self.hits += hits;
        self.false_alarms += weight - hits;
    }
}

/// What counts are shares of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Images that were looked at.
    pub images: u64,
    /// Objects of the curve's classes.
    pub objects: u64,
}

impl Totals {
    fn point(self, threshold: f32, counts: Counts) -> FrocPoint {
        FrocPoint {
            threshold,
            sensitivity: counts.hits as f64 / self.objects as f64,
            false_alarms: counts.false_alarms as f64 / self.images as f64,
        }
    }
}

impl Froc {
    /// Images that have objects.
    pub fn images_with_objects(&self) -> impl Iterator<Item = u32> {
        self.truths.iter().map(|(image, _)| *image)
    }

    fn objects(&self, weights: &[u32]) -> u64 {
        self.truths
            .iter()
            .map(|(image, count)| u64::from(weights[*image as usize]) * u64::from(*count))
            .sum()
    }

    /// Sensitivity at each of [`FALSE_ALARM_RATES`], where image `i` counts `weights[i]` times; NaN
    /// without objects.
    pub fn sensitivities(&self, weights: &[u32]) -> [f64; FALSE_ALARM_RATES.len()] {
        self.sensitivities_of(self.totals(weights), weights)
    }

    /// [`Froc::sensitivities`] where the caller knows the weighted [`Froc::totals`].
    pub fn sensitivities_of(
        &self,
        Totals { images, objects }: Totals,
        weights: &[u32],
    ) -> [f64; FALSE_ALARM_RATES.len()] {
        // A count is above a share where it is above the share rounded down.
        let limits = FALSE_ALARM_RATES.map(|rate| (rate * images as f64) as u64);
        let mut found = [0u64; FALSE_ALARM_RATES.len()];
        let (mut counts, mut at, mut start) = (Counts::default(), 0, 0);
        for &end in &self.blocks {
            let block = &self.marks[start..end];
            start = end;
            let mut after = counts;
            block.iter().for_each(|mark| after.add(*mark, weights));
            if after.false_alarms > limits[at] {
                let mut reached = counts.hits;
                for mark in block {
                    counts.add(*mark, weights);
                    if !mark.ends_a_tie() {
                        continue;
                    }
                    while at < found.len() && counts.false_alarms > limits[at] {
                        found[at] = reached;
                        at += 1;
                    }
                    reached = counts.hits;
                }
                if at == found.len() {
                    break;
                }
            }
            counts = after;
        }
        found[at..].fill(counts.hits);
        found.map(|hits| hits as f64 / objects as f64)
    }

    /// What a threshold gives where image `i` counts `weights[i]` times.
    pub fn at_threshold(&self, threshold: f32, weights: &[u32]) -> FrocPoint {
        let marks = self.scores.partition_point(|score| *score >= threshold);
        let mut counts = Counts::default();
        self.marks[..marks].iter().for_each(|mark| counts.add(*mark, weights));
        self.totals(weights).point(threshold, counts)
    }

    /// The lowest threshold with at most this many false alarms an image, over `images` images;
    /// `None` where even the highest score gives more, or there are no marks.
    pub fn threshold_at(&self, false_alarms: f64, images: usize) -> Option<f32> {
        let mut threshold = None;
        let mut alarms = 0u64;
        for (mark, score) in self.marks.iter().zip(&self.scores) {
            alarms += u64::from(!mark.is_hit());
            if alarms as f64 > false_alarms * images as f64 {
                break;
            }
            if mark.ends_a_tie() {
                threshold = Some(*score);
            }
        }
        threshold
    }

    /// The curve, a point for each score, from the highest one down.
    pub fn curve(&self, weights: &[u32]) -> Vec<FrocPoint> {
        let mut counts = Counts::default();
        let mut points = Vec::new();
        let totals = self.totals(weights);
        for (mark, score) in self.marks.iter().zip(&self.scores) {
            counts.add(*mark, weights);
            if mark.ends_a_tie() {
                points.push(totals.point(*score, counts));
            }
        }
        points
    }

    /// Images and objects where image `i` counts `weights[i]` times.
    pub fn totals(&self, weights: &[u32]) -> Totals {
        let images = weights.iter().map(|weight| u64::from(*weight)).sum();
        Totals { images, objects: self.objects(weights) }
    }
}

#[cfg(test)]
mod tests {
    use ossify_contract::UnitBox;

    use super::*;

    const HERE: [f32; 4] = [0.0, 0.0, 0.5, 0.5];
    /// IoU of 1/3 with `HERE`, its centre on `HERE`'s edge.
    const NEAR: [f32; 4] = [0.25, 0.0, 0.75, 0.5];
    const AWAY: [f32; 4] = [0.75, 0.75, 1.0, 1.0];

    /// Class and edges of each object, and class, score and edges of each detection.
    type Image<'a> = (&'a [(u16, [f32; 4])], &'a [(u16, f32, [f32; 4])]);

    fn froc(hit: HitRule, classes: ClassRule, images: &[Image<'_>]) -> Froc {
        let mut builder = FrocBuilder::new(hit, classes);
        for (truths, detections) in images {
            let truths: Vec<Truth> = truths
                .iter()
                .map(|(class, edges)| Truth { class: *class, unit_box: UnitBox::from(*edges) })
                .collect();
            let detections: Vec<Detection> = detections
                .iter()
                .map(|(class, score, edges)| Detection {
                    class: *class,
                    score: *score,
                    unit_box: UnitBox::from(*edges),
                })
                .collect();
            builder.add_image(&truths, &detections);
        }
        builder.finish()
    }

    #[test]
    fn a_second_mark_on_an_object_is_neither_a_hit_nor_a_false_alarm() {
        let froc = froc(
            HitRule::Iou50,
            ClassRule::Any,
            &[(&[(0, HERE), (0, AWAY)], &[(0, 0.9, HERE), (0, 0.8, HERE), (0, 0.7, NEAR)])],
        );
        let points = froc.curve(&[1]);
        let figures: Vec<_> =
            points.iter().map(|point| (point.sensitivity, point.false_alarms)).collect();
        assert_eq!(figures, [(0.5, 0.0), (0.5, 1.0)]);
    }

    #[test]
    fn false_alarms_on_images_without_objects_count_and_so_do_images_without_marks() {
        let froc = froc(
            HitRule::Iou50,
            ClassRule::Any,
            &[(&[(0, HERE)], &[(0, 0.5, HERE)]), (&[], &[(0, 0.9, HERE)]), (&[], &[]), (&[], &[])],
        );
        // One false alarm in four images comes before the hit.
        let weights = [1; 4];
        assert_eq!(froc.sensitivities(&weights), [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(froc.threshold_at(0.125, 4), None);
        assert_eq!(froc.threshold_at(0.25, 4), Some(0.5));
        let point = froc.at_threshold(0.5, &weights);
        assert_eq!((point.sensitivity, point.false_alarms), (1.0, 0.25));
    }

    #[test]
    fn sensitivities_are_those_of_the_curve_however_many_marks_and_ties_there_are() {
        for scores in [1u32, 7, 1009] {
            let mut builder = FrocBuilder::new(HitRule::Iou50, ClassRule::Any);
            for image in 0..150u32 {
                let truth = Truth { class: 0, unit_box: UnitBox::from(HERE) };
                let mark = |number: u32| Detection {
                    class: 0,
                    score: ((image * 37 + number * 101) * 31 % 1009 % scores) as f32,
                    unit_box: UnitBox::from(if number == image % 13 { HERE } else { AWAY }),
                };
                let marks: Vec<_> = (0..12).map(mark).collect();
                builder.add_image(&[truth][..usize::from(image % 3 != 0)], &marks);
            }
            let froc = builder.finish();
            let weights: Vec<u32> = (0..150).map(|image| image * 7 % 4).collect();
            let curve = froc.curve(&weights);
            let of_curve = FALSE_ALARM_RATES.map(|rate| {
                let allowed = curve.iter().filter(|point| point.false_alarms <= rate);
                allowed.map(|point| point.sensitivity).fold(0.0, f64::max)
            });
            assert_eq!(froc.sensitivities(&weights), of_curve, "{scores} different scores");
        }
    }

    #[test]
    fn classes_count_as_the_caller_asks() {
        let images: &[Image<'_>] = &[(&[(0, HERE), (1, AWAY)], &[(1, 0.9, HERE), (1, 0.8, AWAY)])];
        let at = |classes| {
            let point = froc(HitRule::Iou50, classes, images).at_threshold(0.0, &[1]);
            (point.sensitivity, point.false_alarms)
        };
        assert_eq!(at(ClassRule::Any), (1.0, 0.0));
        assert_eq!(at(ClassRule::Same), (0.5, 1.0));
        assert_eq!(at(ClassRule::Only(1)), (1.0, 1.0));
        assert_eq!(at(ClassRule::Only(0)), (0.0, 0.0));
    }

    #[test]
    fn a_centre_on_the_edge_of_a_box_is_in_it() {
        let images: &[Image<'_>] = &[(&[(0, HERE)], &[(0, 0.9, NEAR)])];
        let at = |hit| froc(hit, ClassRule::Any, images).at_threshold(0.0, &[1]).sensitivity;
        assert_eq!((at(HitRule::Iou50), at(HitRule::CentreInBox)), (0.0, 1.0));
    }

    #[test]
    fn without_marks_nothing_is_found_and_without_objects_nothing_is_defined() {
        let silent = froc(HitRule::Iou50, ClassRule::Any, &[(&[(0, HERE)], &[]), (&[], &[])]);
        assert_eq!(silent.sensitivities(&[1, 1]), [0.0; 7]);
        assert!(silent.sensitivities(&[0, 1]).iter().all(|share| share.is_nan()));
        let healthy = froc(HitRule::Iou50, ClassRule::Any, &[(&[], &[(0, 0.5, HERE)])]);
        assert!(healthy.sensitivities(&[1]).iter().all(|share| share.is_nan()));
        assert_eq!(healthy.at_threshold(0.0, &[1]).false_alarms, 1.0);
    }

    #[test]
    fn marks_of_one_score_stand_and_fall_together() {
        let froc = froc(
            HitRule::Iou50,
            ClassRule::Any,
            &[(&[(0, HERE)], &[(0, 0.5, HERE)]), (&[], &[(0, 0.5, HERE)])],
        );
        assert_eq!(froc.sensitivities(&[1, 1])[..3], [0.0, 0.0, 1.0]);
        assert_eq!(froc.curve(&[1, 1]).len(), 1);
    }
}
