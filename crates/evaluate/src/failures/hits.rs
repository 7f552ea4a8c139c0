//! Which objects of an image no mark hits, and which marks hit nothing.

use crate::read::split::{ScoredImage, SplitData};

/// IoU from which on a mark hits an object.
const WELL_LOCATED: f64 = 0.5;

/// By the rules of the FROC curve, whatever the classes.
pub(crate) struct ImageHits {
    /// Objects that no mark hits.
    pub missed: Vec<usize>,
    /// Marks that hit no object, taken or not.
    pub false_alarms: Vec<usize>,
    /// The lowest IoU of a hit; `None` without one.
    pub least_iou: Option<f64>,
}

impl ImageHits {
    /// The marks of an image, which are in order of their ranks, against its objects.
    pub(crate) fn of(data: &SplitData, image: &ScoredImage) -> Self {
        let (truths, marks) = (data.truths_of(image), data.predictions_of(image));
        let mut order: Vec<usize> = (0..marks.len()).collect();
        order.sort_by(|a, b| marks[*b].score.total_cmp(&marks[*a].score));
        let mut is_taken = vec![false; truths.len()];
        let (mut false_alarms, mut least_iou) = (Vec::new(), None::<f64>);
        for mark in order {
            let iou = |at: usize| marks[mark].unit_box.iou(&truths[at].unit_box);
            let hit: Vec<(usize, f64)> = (0..truths.len())
                .map(|at| (at, iou(at)))
                .filter(|(_, iou)| *iou >= WELL_LOCATED)
                .collect();
            let free = hit.iter().filter(|(at, _)| !is_taken[*at]);
            let best = free.reduce(|best, next| if next.1 > best.1 { next } else { best });
            match best {
                Some((at, iou)) => {
                    is_taken[*at] = true;
                    least_iou = Some(least_iou.map_or(*iou, |least| least.min(*iou)));
                }
                None if hit.is_empty() => false_alarms.push(mark),
                None => {}
            }
        }
        let missed = (0..truths.len()).filter(|at| !is_taken[*at]).collect();
        ImageHits { missed, false_alarms, least_iou }
    }
}
