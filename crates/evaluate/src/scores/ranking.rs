//! Images by the probability of a class: AUROC, ROC curves and thresholds.

use std::ops::Range;

use crate::scores::sheet::OperatingScores;

/// Labelled images that have probabilities, by rising probability of a class: 4 bytes an image and
/// class. A resample is one pass over them that adds up weights and compares nothing.
#[derive(Default)]
pub(crate) struct Ranking {
    /// Of one probability, those of the class come last.
    images: Vec<RankedImage>,
    /// Where images of the class and others have the same probability.
    ties: Vec<Tie>,
    /// For each wanted sensitivity the first image whose probability reaches the class's threshold;
    /// `None` without one.
    cuts: Vec<Option<usize>>,
}

/// An image's index times 2, plus 1 where it shows the class: splits of up to 2^31 images.
#[derive(Clone, Copy)]
struct RankedImage(u32);

/// Images of one probability: others up to `of_class`, and from there on those of the class.
struct Tie {
    start: usize,
    of_class: usize,
    end: usize,
}

/// Images of the class and others, weighted.
#[derive(Clone, Copy, Default)]
struct Counts {
    of_class: u64,
    others: u64,
}

impl RankedImage {
    fn is_class(self) -> bool {
        self.0 & 1 == 1
    }

    fn weight(self, weights: &[u32]) -> u64 {
        u64::from(weights[(self.0 >> 1) as usize])
    }
}

impl Ranking {
    /// Ranks (probability of the class, image, whether it shows the class).
    pub(crate) fn of(mut ranked: Vec<(f32, u32, bool)>, thresholds: &[Option<f32>]) -> Self {
        // Adding 0 turns -0 into 0, which are one probability and would sort as two.
        ranked.sort_unstable_by(|a, b| {
            (a.0 + 0.0).total_cmp(&(b.0 + 0.0)).then(a.2.cmp(&b.2)).then(a.1.cmp(&b.1))
        });
        let first_yes =
            |threshold: f32| ranked.partition_point(|(probability, ..)| *probability < threshold);
        let mut ties = Vec::new();
        let mut start = 0;
        for tied in ranked.chunk_by(|a, b| a.0 == b.0) {
            let of_class = start + tied.iter().filter(|(.., is_class)| !*is_class).count();
            let end = start + tied.len();
            if start < of_class && of_class < end {
                ties.push(Tie { start, of_class, end });
            }
            start = end;
        }
        let image = |(_, image, is_class): &(f32, u32, bool)| {
            RankedImage(image << 1 | u32::from(*is_class))
        };
        Ranking {
            cuts: thresholds.iter().map(|threshold| threshold.map(first_yes)).collect(),
            images: ranked.iter().map(image).collect(),
            ties,
        }
    }

    /// The ROC curve as (false positive rate, true positive rate), its corners alone; empty where
    /// no image shows the class, or every one.
    pub(crate) fn roc(&self) -> Vec<(f64, f64)> {
        let positives = self.images.iter().filter(|image| image.is_class()).count() as f64;
        let negatives = self.images.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 {
            return Vec::new();
        }
        // Rankings rise; the curve starts at the highest probability.
        let (mut hits, mut alarms) = (0, 0);
        let mut points = vec![(0.0, 0.0)];
        let mut visit = |images: &[RankedImage]| {
            let of_class = images.iter().filter(|image| image.is_class()).count();
            hits += of_class;
            alarms += images.len() - of_class;
            points.push((alarms as f64 / negatives, hits as f64 / positives));
        };
        let visit_untied = |range: Range<usize>, visit: &mut dyn FnMut(&[RankedImage])| {
            let runs = self.images[range].chunk_by(|a, b| a.is_class() == b.is_class());
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

    /// The chance that an image of the class ranks above another (Mann and Whitney, 1947), ties
    /// counting half, NaN where either kind is absent; and what each threshold gives.
    pub(crate) fn scores(&self, weights: &[u32]) -> (f64, Vec<OperatingScores<f64>>) {
        let mut stops: Vec<usize> = self.cuts.iter().flatten().copied().collect();
        stops.push(self.images.len());
        stops.sort_unstable();
        let (mut all, mut won, mut start) = (Counts::default(), 0u128, 0);
        let mut below_stops = Vec::with_capacity(stops.len());
        for stop in &stops {
            for image in &self.images[start..*stop] {
                // Without branches: which images show the class is as good as random.
                let weight = image.weight(weights);
                let of_class = weight * u64::from(image.is_class());
                won += u128::from(of_class) * u128::from(all.others);
                all.of_class += of_class;
                all.others += weight - of_class;
            }
            below_stops.push(all);
            start = *stop;
        }
        let sum = |range: Range<usize>| -> u64 {
            self.images[range].iter().map(|image| image.weight(weights)).sum()
        };
        let tied = |tie: &Tie| {
            u128::from(sum(tie.start..tie.of_class)) * u128::from(sum(tie.of_class..tie.end))
        };
        // Twice the number, so that halves stay whole; a tied pair was counted as won.
        let twice_won = 2 * won - self.ties.iter().map(tied).sum::<u128>();
        let auroc = twice_won as f64 / 2.0 / (all.of_class as f64 * all.others as f64);
        let point = |cut: &Option<usize>| {
            let Some(cut) = cut else {
                return OperatingScores { sensitivity: f64::NAN, specificity: f64::NAN };
            };
            let below = below_stops[stops.partition_point(|stop| stop < cut)];
            OperatingScores {
                sensitivity: (all.of_class - below.of_class) as f64 / all.of_class as f64,
                specificity: below.others as f64 / all.others as f64,
            }
        };
        (auroc, self.cuts.iter().map(point).collect())
    }
}
