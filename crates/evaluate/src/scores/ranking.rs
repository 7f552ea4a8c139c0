//! Images by the probability of a class: AUROC, ROC curves and thresholds.

use crate::scores::sheet::OperatingScores;

/// Labelled images that have probabilities, by rising probability of a class, cut into segments: of
/// images that do not show the class, or of one probability that an image of the class has. So a
/// resample adds up weights and compares nothing: 4 bytes an image and class.
#[derive(Default)]
pub(crate) struct Ranking {
    /// All images.
    order: Vec<u32>,
    /// Images of the class, in the same order.
    of_class: Vec<u32>,
    segments: Vec<Segment>,
    /// For each wanted sensitivity, how many segments lie below the class's threshold; `None`
    /// without one.
    cuts: Vec<Option<usize>>,
}

#[derive(Clone, Copy)]
struct Segment {
    /// Images up to the end of the segment.
    end: usize,
    /// Images of the class in it.
    of_class: usize,
}

/// Images of the class and others, weighted.
#[derive(Clone, Copy, Default)]
struct Counts {
    of_class: u64,
    others: u64,
}

impl Ranking {
    /// Ranks (probability of the class, image, whether it shows the class).
    pub(crate) fn of(mut ranked: Vec<(f32, u32, bool)>, thresholds: &[Option<f32>]) -> Self {
        ranked.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let first_yes =
            |threshold: f32| ranked.partition_point(|(probability, ..)| *probability < threshold);
        let cuts: Vec<Option<usize>> =
            thresholds.iter().map(|threshold| threshold.map(first_yes)).collect();
        let mut segments = Vec::new();
        let (mut start, mut last_end) = (0, 0);
        for tied in ranked.chunk_by(|a, b| a.0 == b.0) {
            let of_class = tied.iter().filter(|(.., is_class)| *is_class).count();
            if start > last_end && (of_class > 0 || cuts.contains(&Some(start))) {
                segments.push(Segment { end: start, of_class: 0 });
                last_end = start;
            }
            start += tied.len();
            if of_class > 0 {
                segments.push(Segment { end: start, of_class });
                last_end = start;
            }
        }
        if start > last_end {
            segments.push(Segment { end: start, of_class: 0 });
        }
        let segments_below =
            |first_yes: usize| segments.partition_point(|segment| segment.end <= first_yes);
        Ranking {
            cuts: cuts.into_iter().map(|cut| cut.map(segments_below)).collect(),
            order: ranked.iter().map(|(_, image, _)| *image).collect(),
            of_class: ranked
                .iter()
                .filter(|(.., is_class)| *is_class)
                .map(|(_, image, _)| *image)
                .collect(),
            segments,
        }
    }

    /// The ROC curve as (false positive rate, true positive rate); empty where no image shows the
    /// class, or every one.
    pub(crate) fn roc(&self) -> Vec<(f64, f64)> {
        let positives = self.of_class.len() as f64;
        let negatives = self.order.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 {
            return Vec::new();
        }
        // Rankings rise; the curve starts at the highest probability.
        let (mut hits, mut alarms) = (0, 0);
        let mut points = vec![(0.0, 0.0)];
        for (i, segment) in self.segments.iter().enumerate().rev() {
            let start = i.checked_sub(1).map_or(0, |before| self.segments[before].end);
            hits += segment.of_class;
            alarms += segment.end - start - segment.of_class;
            points.push((alarms as f64 / negatives, hits as f64 / positives));
        }
        points
    }

    /// The chance that an image of the class ranks above another (Mann and Whitney, 1947), ties
    /// counting half, NaN where either kind is absent; and what each threshold gives.
    pub(crate) fn scores(&self, weights: &[u32]) -> (f64, Vec<OperatingScores<f64>>) {
        let sum = |images: &[u32]| -> u64 {
            images.iter().map(|image| u64::from(weights[*image as usize])).sum()
        };
        let mut below = Counts::default();
        let mut before = Vec::with_capacity(self.segments.len() + 1);
        // Twice the number of pairs won, so that halves stay whole.
        let mut won = 0u128;
        let (mut start, mut of_class) = (0, self.of_class.as_slice());
        for segment in &self.segments {
            before.push(below);
            let (here, rest) = of_class.split_at(segment.of_class);
            let tied_of_class = sum(here);
            let tied_others = sum(&self.order[start..segment.end]) - tied_of_class;
            won += u128::from(tied_of_class) * u128::from(2 * below.others + tied_others);
            below.of_class += tied_of_class;
            below.others += tied_others;
            (start, of_class) = (segment.end, rest);
        }
        before.push(below);
        let all = below;
        let auroc = won as f64 / 2.0 / (all.of_class as f64 * all.others as f64);
        let point = |cut: &Option<usize>| {
            let Some(cut) = *cut else {
                return OperatingScores { sensitivity: f64::NAN, specificity: f64::NAN };
            };
            let below = before[cut];
            OperatingScores {
                sensitivity: (all.of_class - below.of_class) as f64 / all.of_class as f64,
                specificity: below.others as f64 / all.others as f64,
            }
        };
        (auroc, self.cuts.iter().map(point).collect())
    }
}
