//! Images by the probability of a class: AUROC, ROC curves and thresholds.

use crate::scores::sheet::OperatingScores;

/// A step of a class's ranking: an image, whether it shows the class, whether a group of equal
/// probabilities ends.
#[derive(Clone, Copy)]
struct RankStep {
    image: u32,
    is_class: bool,
    ends_tie: bool,
}

/// Labelled images that have probabilities, by rising probability of a class.
#[derive(Default)]
pub(crate) struct Ranking {
    steps: Vec<RankStep>,
    /// For each wanted sensitivity the first step whose probability reaches the class's threshold;
    /// `None` without one.
    cuts: Vec<Option<usize>>,
}

impl Ranking {
    /// Ranks (probability of the class, image, whether it shows the class).
    pub(crate) fn of(mut ranked: Vec<(f32, u32, bool)>, thresholds: &[Option<f32>]) -> Self {
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let ends_tie = |i: usize| ranked.get(i + 1).is_none_or(|next| next.0 != ranked[i].0);
        let first_yes =
            |threshold: f32| ranked.partition_point(|(probability, ..)| *probability < threshold);
        Ranking {
            steps: (0..ranked.len())
                .map(|i| RankStep {
                    image: ranked[i].1,
                    is_class: ranked[i].2,
                    ends_tie: ends_tie(i),
                })
                .collect(),
            cuts: thresholds.iter().map(|threshold| threshold.map(first_yes)).collect(),
        }
    }

    /// The ROC curve as (false positive rate, true positive rate); empty where no image shows the
    /// class, or every one.
    pub(crate) fn roc(&self) -> Vec<(f64, f64)> {
        let ranking = &self.steps;
        let positives = ranking.iter().filter(|step| step.is_class).count() as f64;
        let negatives = ranking.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 {
            return Vec::new();
        }
        // Rankings rise; the curve starts at the highest probability.
        let (mut hits, mut alarms) = (0.0, 0.0);
        let mut points = vec![(0.0, 0.0)];
        for (i, step) in ranking.iter().enumerate().rev() {
            *(if step.is_class { &mut hits } else { &mut alarms }) += 1.0;
            if i == 0 || ranking[i - 1].ends_tie {
                points.push((alarms / negatives, hits / positives));
            }
        }
        points
    }

    /// The chance that an image of the class ranks above another (Mann and Whitney, 1947), ties
    /// counting half, NaN where either kind is absent; and what each threshold gives.
    pub(crate) fn scores(&self, weights: &[u32]) -> (f64, Vec<OperatingScores<f64>>) {
        let (mut below, mut tied, mut tied_positives, mut positives) = (0u64, 0u64, 0u64, 0u64);
        // Twice the number of pairs won, so that halves stay whole.
        let mut won = 0u128;
        // Images of the class and others below each threshold.
        let mut under: Vec<Option<(u64, u64)>> = self.cuts.iter().map(|_| None).collect();
        let next_cut = |from: usize| {
            self.cuts
                .iter()
                .flatten()
                .copied()
                .filter(|cut| *cut >= from)
                .min()
                .unwrap_or(usize::MAX)
        };
        let mut cut = next_cut(0);
        for (i, step) in self.steps.iter().enumerate() {
            if i == cut {
                self.note(&mut under, i, (positives, below));
                cut = next_cut(i + 1);
            }
            let weight = u64::from(weights[step.image as usize]);
            if step.is_class {
                tied_positives += weight;
            } else {
                tied += weight;
            }
            if step.ends_tie {
                won += u128::from(tied_positives) * u128::from(2 * below + tied);
                positives += tied_positives;
                below += tied;
                (tied, tied_positives) = (0, 0);
            }
        }
        self.note(&mut under, self.steps.len(), (positives, below));
        let auroc = won as f64 / 2.0 / (positives as f64 * below as f64);
        let point = |under: Option<(u64, u64)>| OperatingScores {
            sensitivity: under
                .map_or(f64::NAN, |(of_class, _)| (positives - of_class) as f64 / positives as f64),
            specificity: under.map_or(f64::NAN, |(_, others)| others as f64 / below as f64),
        };
        (auroc, under.into_iter().map(point).collect())
    }

    fn note(&self, under: &mut [Option<(u64, u64)>], step: usize, counts: (u64, u64)) {
        for (under, _) in under.iter_mut().zip(&self.cuts).filter(|(_, cut)| **cut == Some(step)) {
            *under = Some(counts);
        }
    }
}
