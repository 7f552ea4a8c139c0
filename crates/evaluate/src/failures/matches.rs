use ossify_contract::{MatchKind, MatchRow};

use crate::read::split::{Prediction, ScoredImage, SplitData, Truth};

/// From this IoU on, a box is located correctly.
const WELL_LOCATED: f64 = 0.5;
/// IoU below which a box is on background.
const ON_BACKGROUND: f64 = 0.1;

/// Says what became of each prediction of an image, best first, and which objects none found.
///
/// The kinds follow TIDE (Bolya et al., 2020). Well-located predictions of the right class take the
/// free object with the highest IoU; then each other prediction is, in this order, a duplicate, a
/// class error, a location error, both, or background. An object is missed where no prediction
/// matched it or came off by its class or its location alone.
pub fn match_image(data: &SplitData, image: &ScoredImage) -> Vec<MatchRow> {
    let (truths, predictions) = (data.truths_of(image), data.predictions_of(image));
    let mut free = vec![true; truths.len()];
    let mut matched: Vec<Option<usize>> = Vec::with_capacity(predictions.len());
    for prediction in predictions {
        let found =
            best(prediction, truths, |at, truth| free[at] && truth.class == prediction.class)
                .filter(|(_, iou)| *iou >= WELL_LOCATED);
        if let Some((at, _)) = found {
            free[at] = false;
        }
        matched.push(found.map(|(at, _)| at));
    }
    let mut missed = free;
    let mut rows = Vec::with_capacity(predictions.len() + truths.len());
    for (prediction, matched) in predictions.iter().zip(matched) {
        let (kind, object) = match matched {
            Some(at) => (MatchKind::Match, Some(at)),
            None => kind_of_error(prediction, truths),
        };
        if let (MatchKind::ClassError | MatchKind::LocationError, Some(at)) = (kind, object) {
            missed[at] = false;
        }
        let truth = object.map(|at| &truths[at]);
        rows.push(MatchRow {
            image_id: image.image_id.clone(),
            line: truth.map(|truth| truth.line),
            rank: Some(prediction.rank),
            true_class_name: truth.map(|truth| data.class_names[usize::from(truth.class)].clone()),
            predicted_class_name: Some(data.class_names[usize::from(prediction.class)].clone()),
            score: Some(prediction.score),
            iou: truth.map(|truth| prediction.unit_box.iou(&truth.unit_box) as f32),
            kind,
        });
    }
    for (truth, _) in truths.iter().zip(missed).filter(|(_, missed)| *missed) {
        rows.push(MatchRow {
            image_id: image.image_id.clone(),
            line: Some(truth.line),
            rank: None,
            true_class_name: Some(data.class_names[usize::from(truth.class)].clone()),
            predicted_class_name: None,
            score: None,
            iou: None,
            kind: MatchKind::Miss,
        });
    }
    rows
}

fn kind_of_error(prediction: &Prediction, truths: &[Truth]) -> (MatchKind, Option<usize>) {
    let same = best(prediction, truths, |_, truth| truth.class == prediction.class);
    let other = best(prediction, truths, |_, truth| truth.class != prediction.class);
    let reaches = |found: Option<(usize, f64)>, iou: f64| {
        found.filter(|(_, found)| *found >= iou).map(|(at, _)| at)
    };
    // A well-located object of the right class is taken already, by a better prediction.
    if let Some(at) = reaches(same, WELL_LOCATED) {
        (MatchKind::Duplicate, Some(at))
    } else if let Some(at) = reaches(other, WELL_LOCATED) {
        (MatchKind::ClassError, Some(at))
    } else if let Some(at) = reaches(same, ON_BACKGROUND) {
        (MatchKind::LocationError, Some(at))
    } else if let Some(at) = reaches(other, ON_BACKGROUND) {
        (MatchKind::Both, Some(at))
    } else {
        (MatchKind::Background, None)
    }
}

/// The object with the highest IoU among those that `fits`, the first of equal ones.
fn best(
    prediction: &Prediction,
    truths: &[Truth],
    fits: impl Fn(usize, &Truth) -> bool,
) -> Option<(usize, f64)> {
    let ious = truths
        .iter()
        .enumerate()
        .filter(|(at, truth)| fits(*at, truth))
        .map(|(at, truth)| (at, prediction.unit_box.iou(&truth.unit_box)));
    ious.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

#[cfg(test)]
mod tests {
    use ossify_contract::{ImageStatus, Split, UnitBox};

    use super::*;

    /// The kinds of these predictions (class, box) against these objects, misses last.
    fn kinds(
        truths: &[(u16, [f32; 4])],
        predictions: &[(u16, [f32; 4])],
    ) -> Vec<(MatchKind, Option<i32>)> {
        let truth = |(i, (class, edges)): (usize, &(u16, [f32; 4]))| Truth {
            line: i as i32 + 1,
            class: *class,
            unit_box: UnitBox::from(*edges),
            area: 0.0,
        };
        let prediction = |(i, (class, edges)): (usize, &(u16, [f32; 4]))| Prediction {
            rank: i as i32 + 1,
            class: *class,
            score: 0.5,
            unit_box: UnitBox::from(*edges),
        };
        let image = ScoredImage {
            image_id: "a".into(),
            status: ImageStatus::Labelled,
            truths: 0..truths.len(),
            predictions: 0..predictions.len(),
            leak_group: None,
            source: 0,
            light: None,
            is_looked_at: true,
        };
        let data = SplitData {
            split: Split::Test,
            sources: vec!["a".into()],
            class_names: vec!["a".into(), "b".into()],
            images: vec![image.clone()],
            truths: truths.iter().enumerate().map(truth).collect(),
            predictions: predictions.iter().enumerate().map(prediction).collect(),
            probabilities: vec![f32::NAN; 2],
            findings: Default::default(),
            excluded: Vec::new(),
            images_by_status: Default::default(),
            fingerprints_known: false,
        };
        match_image(&data, &image).into_iter().map(|row| (row.kind, row.line)).collect()
    }

    const HERE: [f32; 4] = [0.0, 0.0, 0.5, 0.5];
    /// IoU of 1/3 with `HERE`.
    const NEAR: [f32; 4] = [0.25, 0.0, 0.75, 0.5];
    const AWAY: [f32; 4] = [0.75, 0.75, 1.0, 1.0];

    #[test]
    fn each_kind_is_told_from_the_others() {
        use MatchKind::*;
        assert_eq!(kinds(&[(0, HERE)], &[(0, HERE)]), [(Match, Some(1))]);
        assert_eq!(
            kinds(&[(0, HERE)], &[(0, HERE), (0, HERE)]),
            [(Match, Some(1)), (Duplicate, Some(1))]
        );
        assert_eq!(kinds(&[(0, HERE)], &[(1, HERE)]), [(ClassError, Some(1))]);
        assert_eq!(kinds(&[(0, HERE)], &[(0, NEAR)]), [(LocationError, Some(1))]);
        assert_eq!(kinds(&[(0, HERE)], &[(1, NEAR)]), [(Both, Some(1)), (Miss, Some(1))]);
        assert_eq!(kinds(&[(0, HERE)], &[(0, AWAY)]), [(Background, None), (Miss, Some(1))]);
        assert_eq!(kinds(&[(0, HERE)], &[]), [(Miss, Some(1))]);
        assert_eq!(kinds(&[], &[(0, HERE)]), [(Background, None)]);
        assert_eq!(kinds(&[], &[]), []);
    }

    #[test]
    fn a_better_prediction_takes_the_object_and_a_second_object_is_missed() {
        use MatchKind::*;
        assert_eq!(
            kinds(&[(0, HERE), (1, AWAY)], &[(0, HERE)]),
            [(Match, Some(1)), (Miss, Some(2))]
        );
        // The second object of this class and location is free for the second prediction.
        assert_eq!(
            kinds(&[(0, HERE), (0, HERE)], &[(0, HERE), (0, HERE)]),
            [(Match, Some(1)), (Match, Some(2))]
        );
    }
}
