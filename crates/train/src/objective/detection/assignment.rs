//! Which cells of a detector's maps answer for which object: task-aligned assignment (Feng et al.,
//! "TOOD: Task-aligned One-stage Object Detection", 2021, section 3.2).

use ossify_contract::UnitBox;
use ossify_detection::boxes::Truth;
use ossify_settings::DetectSettings;
use rayon::prelude::*;

/// A cell that answers for an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Positive {
    /// Number of the cell in its image.
    pub cell: usize,
    /// Number of the object in its image.
    pub object: usize,
    /// What the cell's score for the object's class should be, 0..1.
    pub target: f64,
}

/// What one image's cells say, as rows of scores (0..1), one a class, and boxes.
#[derive(Clone, Copy)]
pub struct Said<'a> {
    /// Cells times classes.
    pub scores: &'a [f32],
    /// One a cell.
    pub boxes: &'a [UnitBox],
}

/// How cells are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assigner {
    /// Cells that may answer for an object, at most.
    pub cells_per_object: usize,
    /// Power of the score in the alignment.
    pub score_power: f64,
    /// Power of the overlap in the alignment.
    pub overlap_power: f64,
}

impl Assigner {
    /// As configured.
    pub fn new(settings: &DetectSettings) -> Self {
        Assigner {
            cells_per_object: settings.cells_per_object,
            score_power: settings.score_power,
            overlap_power: settings.overlap_power,
        }
    }

    /// The positives of each image of a batch, by rising cell. `centres` are those of all cells, in
    /// shares of the tensor.
    pub fn assign(
        &self,
        said: &[Said<'_>],
        objects: &[&[Truth]],
        centres: &[[f32; 2]],
    ) -> Vec<Vec<Positive>> {
        said.par_iter()
            .zip(objects)
            .map(|(said, objects)| self.assign_image(*said, objects, centres))
            .collect()
    }

    /// A cell may answer for the objects that its centre lies in. Those whose score^a * IoU^b is
    /// largest do; a cell that several objects want goes to the one that its box overlaps most. The
    /// target is the alignment, scaled so that an object's best cell has its best overlap.
    fn assign_image(
        &self,
        said: Said<'_>,
        objects: &[Truth],
        centres: &[[f32; 2]],
    ) -> Vec<Positive> {
        struct Claim {
            object: usize,
            alignment: f64,
            overlap: f64,
        }
        let classes = said.scores.len().checked_div(centres.len()).unwrap_or(0);
        let mut claims: Vec<Option<Claim>> = centres.iter().map(|_| None).collect();
        for (number, object) in objects.iter().enumerate() {
            let mut wanted: Vec<(f64, f64, usize)> = cells_of(&object.unit_box, centres)
                .into_iter()
                .map(|cell| {
                    let score = said
                        .scores
                        .get(cell * classes + usize::from(object.class))
                        .map_or(0.0, |score| f64::from(*score));
                    let overlap =
                        said.boxes.get(cell).map_or(0.0, |found| found.iou(&object.unit_box));
                    let alignment = score.powf(self.score_power) * overlap.powf(self.overlap_power);
                    (alignment, overlap, cell)
                })
                .collect();
            wanted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
            wanted.truncate(self.cells_per_object);
            for (alignment, overlap, cell) in wanted {
                let claim = Claim { object: number, alignment, overlap };
                match &claims[cell] {
                    Some(earlier) if earlier.overlap >= overlap => {}
                    _ => claims[cell] = Some(claim),
                }
            }
        }
        let mut best = vec![(0.0_f64, 0.0_f64); objects.len()];
        for claim in claims.iter().flatten() {
            let (alignment, overlap) = &mut best[claim.object];
            *alignment = alignment.max(claim.alignment);
            *overlap = overlap.max(claim.overlap);
        }
        let positive = |(cell, claim): (usize, Option<Claim>)| {
            let Claim { object, alignment, .. } = claim?;
            let (best_alignment, best_overlap) = best[object];
            let target =
                if best_alignment > 0.0 { alignment / best_alignment * best_overlap } else { 0.0 };
            Some(Positive { cell, object, target })
        };
        claims.into_iter().enumerate().filter_map(positive).collect()
    }
}

/// Cells whose centre lies in a box; for a box between all centres the one that is nearest to its
/// middle.
fn cells_of(unit_box: &UnitBox, centres: &[[f32; 2]]) -> Vec<usize> {
    let is_in = |[x, y]: &[f32; 2]| {
        (unit_box.xmin..unit_box.xmax).contains(x) && (unit_box.ymin..unit_box.ymax).contains(y)
    };
    let inside: Vec<usize> =
        centres.iter().enumerate().filter(|(_, centre)| is_in(centre)).map(|(at, _)| at).collect();
    if !inside.is_empty() {
        return inside;
    }
    let middle =
        [f32::midpoint(unit_box.xmin, unit_box.xmax), f32::midpoint(unit_box.ymin, unit_box.ymax)];
    let distance = |[x, y]: &[f32; 2]| (x - middle[0]).powi(2) + (y - middle[1]).powi(2);
    let nearest = centres
        .iter()
        .enumerate()
        .min_by(|(_, one), (_, other)| distance(one).total_cmp(&distance(other)));
    nearest.map(|(at, _)| at).into_iter().collect()
}

/// Centres of the cells of square maps of these sides, map by map and row by row, x before y, in
/// shares of the tensor.
pub fn centres(sides: &[usize]) -> Vec<[f32; 2]> {
    let share = |at: usize, side: usize| (at as f32 + 0.5) / side as f32;
    sides
        .iter()
        .flat_map(|&side| {
            (0..side * side).map(move |at| [share(at % side, side), share(at / side, side)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigner() -> Assigner {
        Assigner { cells_per_object: 3, score_power: 1.0, overlap_power: 2.0 }
    }

    fn object(unit_box: [f32; 4]) -> Truth {
        Truth { class: 0, unit_box: UnitBox::from(unit_box) }
    }

    fn assign(scores: &[f32], boxes: &[UnitBox], objects: &[Truth]) -> Vec<Positive> {
        let said = Said { scores, boxes };
        assigner().assign(&[said], &[objects], &centres(&[4])).remove(0)
    }

    #[test]
    fn centres_go_row_by_row_and_map_by_map() {
        assert_eq!(
            centres(&[2, 1]),
            [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75], [0.5, 0.5]]
        );
    }

    #[test]
    fn the_most_aligned_cells_inside_answer_and_the_best_has_its_overlap_as_target() {
        // The left half has 8 of the 16 cells.
        let wanted = object([0.0, 0.0, 0.5, 1.0]);
        let mut boxes = vec![UnitBox::new(0.0, 0.0, 0.25, 1.0); 16];
        boxes[4] = UnitBox::new(0.0, 0.0, 0.5, 0.8);
        // Outside, however good.
        boxes[2] = wanted.unit_box;
        let mut scores = vec![0.1; 16];
        scores[5] = 0.2;
        let found = assign(&scores, &boxes, &[wanted]);
        assert_eq!(found.iter().map(|positive| positive.cell).collect::<Vec<_>>(), [0, 4, 5]);
        let targets: Vec<f64> = found.iter().map(|positive| positive.target).collect();
        // 0.1 * 0.5^2, 0.1 * 0.8^2 and 0.2 * 0.5^2, scaled to the best overlap.
        for (target, alignment) in targets.iter().zip([0.025, 0.064, 0.05]) {
            assert!((target - alignment / 0.064 * 0.8).abs() < 1e-6, "{targets:?}");
        }
    }

    #[test]
    fn a_cell_that_two_objects_want_goes_to_the_one_it_overlaps_most() {
        let objects = [object([0.0, 0.0, 0.25, 0.25]), object([0.0, 0.0, 0.25, 0.5])];
        let boxes = vec![UnitBox::new(0.0, 0.0, 0.25, 0.5); 16];
        let found = assign(&[0.5; 16], &boxes, &objects);
        assert_eq!(
            found.iter().map(|positive| (positive.cell, positive.object)).collect::<Vec<_>>(),
            [(0, 1), (4, 1)]
        );
        assert!(found.iter().all(|positive| (positive.target - 1.0).abs() < 1e-6));
    }

    #[test]
    fn an_object_between_all_centres_has_the_nearest_cell() {
        let boxes = vec![UnitBox::new(0.0, 0.0, 1.0, 1.0); 16];
        let found = assign(&[0.5; 16], &boxes, &[object([0.70, 0.2, 0.74, 0.24])]);
        assert_eq!(found.iter().map(|positive| positive.cell).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_background_has_no_positives_and_no_overlap_gives_no_target() {
        assert_eq!(assign(&[0.5; 16], &[UnitBox::default(); 16], &[]), []);
        let far = vec![UnitBox::new(0.9, 0.9, 1.0, 1.0); 16];
        let found = assign(&[0.5; 16], &far, &[object([0.0, 0.0, 0.5, 0.5])]);
        assert!(found.len() == 3 && found.iter().all(|positive| positive.target == 0.0));
    }
}
