//! Images by a score, such as the probability of a class or that of any finding: AUROC, ROC curves
//! and thresholds. Images that show what is looked for are the positive ones.

use std::ops::Range;

/// Images by rising score: 4 bytes each. A resample is one pass over them that adds up weights and
/// compares nothing.
#[derive(Clone, Debug, Default)]
pub struct Ranking {
    /// Of one score, the positive ones come last.
    images: Vec<RankedImage>,
    /// Where positive and negative images have the same score.
    ties: Vec<Tie>,
    /// For each threshold the first image whose score reaches it; `None` without one.
    cuts: Vec<Option<usize>>,
}

/// What a threshold gives: a score of at least it is a yes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperatingRates {
    /// Share of positive images with a yes, 0..=1; NaN without any.
    pub sensitivity: f64,
    /// Share of negative images with a no, 0..=1; NaN without any.
    pub specificity: f64,
}

/// An image's index times 2, plus 1 where it is positive: splits of up to 2^31 images.
#[derive(Clone, Copy, Debug)]
struct RankedImage(u32);

/// Images of one score: negative ones up to `positives`, and from there on positive ones.
#[derive(Clone, Debug)]
struct Tie {
    start: usize,
    positives: usize,
    end: usize,
}

/// Images of both kinds, weighted.
#[derive(Clone, Copy, Default)]
struct Counts {
    positives: u64,
    negatives: u64,
}

impl RankedImage {
    fn is_positive(self) -> bool {
        self.0 & 1 == 1
    }

    fn weight(self, weights: &[u32]) -> u64 {
        u64::from(weights[(self.0 >> 1) as usize])
    }
}

impl Ranking {
    /// Ranks (score, image, whether it is positive), and cuts them at the thresholds.
    pub fn of(mut ranked: Vec<(f32, u32, bool)>, thresholds: &[Option<f32>]) -> Self {
        // Adding 0 turns -0 into 0, which are one score and would sort as two.
        ranked.sort_unstable_by(|a, b| {
            (a.0 + 0.0).total_cmp(&(b.0 + 0.0)).then(a.2.cmp(&b.2)).then(a.1.cmp(&b.1))
        });
        let first_yes = |threshold: f32| ranked.partition_point(|(score, ..)| *score < threshold);
        let mut ties = Vec::new();
        let mut start = 0;
        for tied in ranked.chunk_by(|a, b| a.0 == b.0) {
            let positives = start + tied.iter().filter(|(.., is_positive)| !*is_positive).count();
            let end = start + tied.len();
            if start < positives && positives < end {
                ties.push(Tie { start, positives, end });
            }
            start = end;
        }
        let image = |(_, image, is_positive): &(f32, u32, bool)| {
            RankedImage(image << 1 | u32::from(*is_positive))
        };
        Ranking {
            cuts: thresholds.iter().map(|threshold| threshold.map(first_yes)).collect(),
            images: ranked.iter().map(image).collect(),
            ties,
        }
    }

    /// How many thresholds it is cut at.
    pub fn thresholds(&self) -> usize {
        self.cuts.len()
    }

    /// The images that are ranked, and whether each is positive.
    pub fn images(&self) -> impl Iterator<Item = (u32, bool)> {
        self.images.iter().map(|image| (image.0 >> 1, image.is_positive()))
    }

    /// The ROC curve as (false positive rate, true positive rate), its corners alone; empty where
    /// no image is positive, or every one.
    pub fn roc(&self) -> Vec<(f64, f64)> {
        let positives = self.images.iter().filter(|image| image.is_positive()).count() as f64;
        let negatives = self.images.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 {
            return Vec::new();
        }
        // Rankings rise; the curve starts at the highest score.
        let (mut hits, mut alarms) = (0, 0);
        let mut points = vec![(0.0, 0.0)];
        let mut visit = |images: &[RankedImage]| {
            let found = images.iter().filter(|image| image.is_positive()).count();
            hits += found;
            alarms += images.len() - found;
            points.push((alarms as f64 / negatives, hits as f64 / positives));
        };
        let visit_untied = |range: Range<usize>, visit: &mut dyn FnMut(&[RankedImage])| {
            let runs = self.images[range].chunk_by(|a, b| a.is_positive() == b.is_positive());
            runs.rev().for_each(visit);
        };
        let mut end = self.images.len();
        for tie in self.ties.iter().rev() {
            visit_untied(tie.end..end, &mut visit);
            visit(&self.images[tie.start..tie.end]);
            end = tie.start;
        }
        visit_untied(0..end, &mut visit);
        points
    }

    /// The chance that a positive image ranks above a negative one (Mann and Whitney, 1947), ties
    /// counting half, NaN where either kind is absent; and what each threshold gives, NaN where
    /// there is none. Image `i` counts `weights[i]` times.
    pub fn scores(&self, weights: &[u32]) -> (f64, Vec<OperatingRates>) {
        let mut stops: Vec<usize> = self.cuts.iter().flatten().copied().collect();
        stops.push(self.images.len());
        stops.sort_unstable();
        let (mut all, mut won, mut start) = (Counts::default(), 0u128, 0);
        let mut below_stops = Vec::with_capacity(stops.len());
        for stop in &stops {
            for image in &self.images[start..*stop] {
                // Without branches: which images are positive is as good as random.
                let weight = image.weight(weights);
                let positives = weight * u64::from(image.is_positive());
                won += u128::from(positives) * u128::from(all.negatives);
                all.positives += positives;
                all.negatives += weight - positives;
            }
            below_stops.push(all);
            start = *stop;
        }
        let sum = |range: Range<usize>| -> u64 {
            self.images[range].iter().map(|image| image.weight(weights)).sum()
        };
        let tied = |tie: &Tie| {
            u128::from(sum(tie.start..tie.positives)) * u128::from(sum(tie.positives..tie.end))
        };
        // Twice the number, so that halves stay whole; a tied pair was counted as won.
        let twice_won = 2 * won - self.ties.iter().map(tied).sum::<u128>();
        let auroc = twice_won as f64 / 2.0 / (all.positives as f64 * all.negatives as f64);
        let point = |cut: &Option<usize>| {
            let Some(cut) = cut else {
                return OperatingRates { sensitivity: f64::NAN, specificity: f64::NAN };
            };
            let below = below_stops[stops.partition_point(|stop| stop < cut)];
            OperatingRates {
                sensitivity: (all.positives - below.positives) as f64 / all.positives as f64,
                specificity: below.negatives as f64 / all.negatives as f64,
            }
        };
        (auroc, self.cuts.iter().map(point).collect())
    }
}

/// AUROC of (score, whether the image is positive): see [`Ranking::scores`].
pub fn auroc(images: &[(f32, bool)]) -> f64 {
    let numbered =
        images.iter().zip(0u32..).map(|((score, is_positive), i)| (*score, i, *is_positive));
    Ranking::of(numbered.collect(), &[]).scores(&vec![1; images.len()]).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auroc_is_the_share_of_pairs_in_order_with_ties_as_half() {
        assert_eq!(auroc(&[(0.9, true), (0.1, false)]), 1.0);
        assert_eq!(auroc(&[(0.1, true), (0.9, false)]), 0.0);
        assert_eq!(auroc(&[(0.5, true), (0.5, false)]), 0.5);
        assert_eq!(auroc(&[(-0.0, true), (0.0, false)]), 0.5);
        let four = [(0.8, true), (0.4, true), (0.6, false), (0.2, false)];
        assert_eq!(auroc(&four), 0.75);
        assert!(auroc(&[(0.5, true)]).is_nan() && auroc(&[]).is_nan());
    }

    #[test]
    fn thresholds_split_both_kinds() {
        let images = vec![(0.9, 0, true), (0.5, 1, true), (0.5, 2, false), (0.1, 3, false)];
        let ranking = Ranking::of(images, &[Some(0.5), Some(0.6), None]);
        let (_, points) = ranking.scores(&[1; 4]);
        let rates = |point: &OperatingRates| (point.sensitivity, point.specificity);
        assert_eq!((rates(&points[0]), rates(&points[1])), ((1.0, 0.5), (0.5, 1.0)));
        assert!(points[2].sensitivity.is_nan());
        assert_eq!(ranking.roc(), [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
    }
}
