use std::collections::BTreeMap;

/// Cases, predictions and hits of each class, weighted: all that the scores of a class need, in
/// memory that grows with the classes and not with their square.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassCounts {
    /// One a class, and a last one that takes the cases without a prediction.
    classes: Vec<Counts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    cases: u64,
    predicted: u64,
    hits: u64,
}

impl ClassCounts {
    /// Counts of 0 for `classes` classes.
    pub fn new(classes: usize) -> Self {
        ClassCounts { classes: vec![Counts::default(); classes + 1] }
    }

    /// Adds `weight` cases. A `predicted` of the number of classes means that there was no
    /// prediction.
    #[inline]
    pub fn add(&mut self, truth: u16, predicted: u16, weight: u32) {
        let weight = u64::from(weight);
        let of_truth = &mut self.classes[usize::from(truth)];
        of_truth.cases += weight;
        // Not a branch: whether a prediction is right is as good as random to the processor.
        of_truth.hits += weight * u64::from(truth == predicted);
        self.classes[usize::from(predicted)].predicted += weight;
    }

    fn of_classes(&self) -> &[Counts] {
        &self.classes[..self.classes.len() - 1]
    }

    /// Cases of a class.
    pub fn support(&self, class: usize) -> u64 {
        self.classes[class].cases
    }

    /// Share of cases whose class was predicted; NaN without cases.
    pub fn accuracy(&self) -> f64 {
        let total = |count: fn(&Counts) -> u64| self.of_classes().iter().map(count).sum::<u64>();
        total(|class| class.hits) as f64 / total(|class| class.cases) as f64
    }

    /// Share of predictions of the class that are right; NaN where it was never predicted. As
    /// `sklearn.metrics.precision_score` with `zero_division=np.nan`.
    pub fn precision(&self, class: usize) -> f64 {
        let Counts { predicted, hits, .. } = self.classes[class];
        hits as f64 / predicted as f64
    }

    /// Share of cases of the class that are predicted as such; NaN without cases.
    pub fn recall(&self, class: usize) -> f64 {
        let Counts { cases, hits, .. } = self.classes[class];
        hits as f64 / cases as f64
    }

    /// Harmonic mean of precision and recall, `2 tp / (2 tp + fp + fn)`; NaN where the class has
    /// neither cases nor predictions.
    pub fn f1(&self, class: usize) -> f64 {
        let Counts { cases, predicted, hits } = self.classes[class];
        2.0 * hits as f64 / (cases + predicted) as f64
    }

    /// Mean recall of the classes that have cases: `sklearn.metrics.balanced_accuracy_score`.
    pub fn balanced_accuracy(&self) -> f64 {
        mean_of_defined((0..self.of_classes().len()).map(|class| self.recall(class)))
    }

    /// Mean F1 of the classes that have cases or predictions:
    /// `sklearn.metrics.f1_score(average="macro")`.
    pub fn macro_f1(&self) -> f64 {
        mean_of_defined((0..self.of_classes().len()).map(|class| self.f1(class)))
    }
}

/// How often each true class was predicted as which, for the pairs that occur: at most one a case,
/// however many classes there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    cells: BTreeMap<(u16, u16), u64>,
}

impl Confusion {
    /// Adds a case. A `predicted` of the number of classes means that there was no prediction.
    pub fn add(&mut self, truth: u16, predicted: u16) {
        *self.cells.entry((truth, predicted)).or_default() += 1;
    }

    /// Cases of class `truth` that were predicted as `predicted`.
    pub fn count(&self, truth: u16, predicted: u16) -> u64 {
        self.cells.get(&(truth, predicted)).copied().unwrap_or(0)
    }

    /// The pairs that occur, with their cases, in order of true and then of predicted class.
    pub fn cells(&self) -> impl Iterator<Item = ((u16, u16), u64)> {
        self.cells.iter().map(|(pair, count)| (*pair, *count))
    }
}

/// Mean of what is not NaN; NaN where nothing is left.
pub(crate) fn mean_of_defined(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values
        .filter(|value| !value.is_nan())
        .fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three classes: 0 twice right and once taken for 1; 1 never found, once without a prediction;
    /// 2 absent.
    fn example() -> ClassCounts {
        let mut counts = ClassCounts::new(3);
        counts.add(0, 0, 2);
        counts.add(0, 1, 1);
        counts.add(1, 0, 1);
        counts.add(1, 3, 1);
        counts
    }

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        let counts = example();
        assert_eq!(counts.accuracy(), 2.0 / 5.0);
        assert_eq!(counts.recall(0), 2.0 / 3.0);
        assert_eq!(counts.recall(1), 0.0);
        assert!(counts.recall(2).is_nan() && counts.precision(2).is_nan() && counts.f1(2).is_nan());
        assert_eq!((counts.precision(0), counts.precision(1)), (2.0 / 3.0, 0.0));
        let mut never_predicted = ClassCounts::new(2);
        never_predicted.add(1, 0, 3);
        assert!(never_predicted.precision(1).is_nan() && never_predicted.f1(1) == 0.0);
        assert_eq!(counts.balanced_accuracy(), 1.0 / 3.0);
        assert_eq!(counts.macro_f1(), 1.0 / 3.0);
    }

    #[test]
    fn without_cases_nothing_is_defined() {
        let counts = ClassCounts::new(2);
        assert!(
            counts.accuracy().is_nan()
                && counts.macro_f1().is_nan()
                && counts.balanced_accuracy().is_nan()
        );
    }
}
