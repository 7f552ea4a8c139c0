//! What a detector says of an image, cell by cell.

/// Scores and boxes in the cells of square maps, from fine to coarse, each map row by row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cells {
    /// One a class and cell, 0..=1, cell by cell.
    pub(crate) scores: Vec<f32>,
    /// One a cell: xmin, ymin, xmax, ymax as shares of the tensor, which it can leave.
    pub(crate) boxes: Vec<[f32; 4]>,
}

impl Cells {
    /// Of a network's logits, whose sigmoid are the scores. `None` where a number is not finite.
    pub(crate) fn of(logits: &[f32], boxes: &[[f32; 4]]) -> Option<Self> {
        let is_finite = logits.iter().chain(boxes.as_flattened()).all(|value| value.is_finite());
        is_finite.then(|| Cells {
            scores: logits.iter().map(|logit| sigmoid(*logit)).collect(),
            boxes: boxes.to_vec(),
        })
    }

    /// The mean with what was said of the mirrored image, for maps with these sides.
    ///
    /// Cell by cell, before any suppression, as Zhou et al. ("Objects as Points", 2019) do it: the
    /// grids of an image and of its mirror image coincide, so each cell is asked twice. The union
    /// of both answers' boxes would give an object the higher of its two scores, and an image
    /// without any the higher of its two false alarms; the mean evens them out. The box is the mean
    /// weighted by each answer's highest score in the cell: where one of them sees nothing, its box
    /// means nothing.
    pub(crate) fn mean_with_mirrored(&self, mirrored: &Cells, sides: &[usize]) -> Cells {
        let classes = self.scores.len().checked_div(self.boxes.len()).unwrap_or(0);
        let mut mean = self.clone();
        for (cell, twin) in mirror_images(sides).enumerate() {
            let (Some(box_here), Some(box_there)) =
                (mean.boxes.get_mut(cell), mirrored.boxes.get(twin))
            else {
                continue;
            };
            let of = |cell: usize| cell * classes..(cell + 1) * classes;
            let (here, there) = (&mut mean.scores[of(cell)], &mirrored.scores[of(twin)]);
            let [xmin, ymin, xmax, ymax] = *box_there;
            *box_here = weighted_mean(
                (*box_here, highest(here)),
                ([1.0 - xmax, ymin, 1.0 - xmin, ymax], highest(there)),
            );
            here.iter_mut()
                .zip(there)
                .for_each(|(here, there)| *here = f32::midpoint(*here, *there));
        }
        mean
    }
}

/// 1 / (1 + e^-x).
fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn highest(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(0.0, f32::max)
}

fn weighted_mean(one: ([f32; 4], f32), other: ([f32; 4], f32)) -> [f32; 4] {
    let ((one, weight), (other, other_weight)) = (one, other);
    let sum = weight + other_weight;
    let share = if sum > 0.0 { weight / sum } else { 0.5 };
    std::array::from_fn(|edge| one[edge] * share + other[edge] * (1.0 - share))
}

/// Of each cell, the number of that which lies in its place in the mirror image.
fn mirror_images(sides: &[usize]) -> impl Iterator<Item = usize> {
    let first_cells = sides.iter().scan(0, |next, side| {
        let first = *next;
        *next += side * side;
        Some(first)
    });
    first_cells.zip(sides).flat_map(|(first, side)| {
        (0..side * side).map(move |at| first + at / side * side + (side - 1 - at % side))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: [usize; 2] = [2, 1];
    const LOGITS: [f32; 10] = [-3.0, 2.0, 0.5, -1.0, 4.0, -4.0, 0.0, 1.0, -2.0, 3.0];

    fn boxes() -> Vec<[f32; 4]> {
        (0..5u8).map(|at| f32::from(at) / 16.0).map(|at| [at, at, at + 0.25, at + 0.5]).collect()
    }

    #[test]
    fn scores_are_the_sigmoid_of_logits() {
        let cells = Cells::of(&LOGITS, &boxes()).unwrap();
        for (score, logit) in cells.scores.iter().zip(LOGITS) {
            assert!((f64::from(*score) - 1.0 / (1.0 + (-f64::from(logit)).exp())).abs() < 1e-7);
        }
        assert_eq!(cells.boxes, boxes());
        let extreme = Cells::of(&[-1000.0, 1000.0], &[[0.0; 4]]).unwrap();
        assert_eq!(extreme.scores, [0.0, 1.0]);
    }

    #[test]
    fn what_is_not_finite_is_nothing() {
        assert!(Cells::of(&[f32::NAN, 0.0], &[[0.0; 4]]).is_none());
        assert!(Cells::of(&[0.0, 0.0], &[[0.0, 0.0, f32::INFINITY, 0.0]]).is_none());
    }

    /// What the network would say of the mirrored image if it were the same to it.
    fn mirrored(cells: &Cells) -> Cells {
        // Columns of the first map change places; the second map has one cell.
        let twins = [1, 0, 3, 2, 4];
        let classes = 2;
        let scores = twins.map(|cell| &cells.scores[cell * classes..(cell + 1) * classes]).concat();
        let mirror = |[xmin, ymin, xmax, ymax]: [f32; 4]| [1.0 - xmax, ymin, 1.0 - xmin, ymax];
        Cells { scores, boxes: twins.map(|cell| mirror(cells.boxes[cell])).to_vec() }
    }

    #[test]
    fn the_mean_of_an_image_and_of_its_equal_mirror_image_is_the_image() {
        let cells = Cells::of(&LOGITS, &boxes()).unwrap();
        let mean = cells.mean_with_mirrored(&mirrored(&cells), &SIDES);
        assert_eq!(mean.scores, cells.scores);
        let (found, expected) = (mean.boxes.as_flattened(), cells.boxes.as_flattened());
        assert!(
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6)
        );
    }

    #[test]
    fn scores_are_averaged_and_boxes_by_their_scores() {
        let plain = Cells { scores: vec![0.75, 0.25], boxes: vec![[0.0, 0.0, 0.5, 0.5]] };
        let other = Cells { scores: vec![0.0, 0.25], boxes: vec![[0.5, 0.5, 0.875, 1.0]] };
        let mean = plain.mean_with_mirrored(&other, &[1]);
        assert_eq!(mean.scores, [0.375, 0.25]);
        // 0.75 of the first box and 0.25 of the second one, mirrored.
        assert_eq!(mean.boxes, [[0.03125, 0.125, 0.5, 0.625]]);
        let nothing = Cells { scores: vec![0.0, 0.0], ..plain };
        let unseen = Cells { scores: vec![0.0, 0.0], ..other };
        assert_eq!(nothing.mean_with_mirrored(&unseen, &[1]).boxes, [[0.0625, 0.25, 0.5, 0.75]]);
    }
}
