/// Counts of true against predicted class, weighted; the last column is "no prediction".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

impl Confusion {
    /// An empty matrix.
    pub fn new(classes: usize) -> Self {
        Confusion { classes, counts: vec![0; classes * (classes + 1)] }
    }

    /// Adds `weight` cases. A `predicted` of the number of classes means that there was no
    /// prediction.
    pub fn add(&mut self, truth: u16, predicted: u16, weight: u32) {
        let at = usize::from(truth) * (self.classes + 1) + usize::from(predicted).min(self.classes);
        self.counts[at] += u64::from(weight);
    }

    /// Cases of class `truth` that were predicted as `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * (self.classes + 1) + predicted]
    }

    /// Cases of a class.
    pub fn support(&self, class: usize) -> u64 {
        (0..=self.classes).map(|predicted| self.count(class, predicted)).sum()
    }

    fn predicted(&self, class: usize) -> u64 {
        (0..self.classes).map(|truth| self.count(truth, class)).sum()
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Share of cases on the diagonal; NaN without cases.
    pub fn accuracy(&self) -> f64 {
        let hits: u64 = (0..self.classes).map(|class| self.count(class, class)).sum();
        hits as f64 / self.total() as f64
    }

    /// Share of predictions of the class that are right. As `sklearn.metrics.precision_score` with
    /// `zero_division=0`: 0 where the class was never predicted; NaN where it has no cases either.
    pub fn precision(&self, class: usize) -> f64 {
        match (self.predicted(class), self.support(class)) {
            (0, 0) => f64::NAN,
            (0, _) => 0.0,
            (predicted, _) => self.count(class, class) as f64 / predicted as f64,
        }
    }

    /// Share of cases of the class that are predicted as such; NaN without cases.
    pub fn recall(&self, class: usize) -> f64 {
        self.count(class, class) as f64 / self.support(class) as f64
    }

    /// Harmonic mean of precision and recall, `2 tp / (2 tp + fp + fn)`; NaN where the class has
    /// neither cases nor predictions.
    pub fn f1(&self, class: usize) -> f64 {
        2.0 * self.count(class, class) as f64 / (self.support(class) + self.predicted(class)) as f64
    }

    /// Mean recall of the classes that have cases: `sklearn.metrics.balanced_accuracy_score`.
    pub fn balanced_accuracy(&self) -> f64 {
        mean_of_defined((0..self.classes).map(|class| self.recall(class)))
    }

    /// Mean F1 of the classes that have cases or predictions:
    /// `sklearn.metrics.f1_score(average="macro")`.
    pub fn macro_f1(&self) -> f64 {
        mean_of_defined((0..self.classes).map(|class| self.f1(class)))
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
    fn example() -> Confusion {
        let mut confusion = Confusion::new(3);
        confusion.add(0, 0, 2);
        confusion.add(0, 1, 1);
        confusion.add(1, 0, 1);
        confusion.add(1, 3, 1);
        confusion
    }

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        let confusion = example();
        assert_eq!(confusion.accuracy(), 2.0 / 5.0);
        assert_eq!(confusion.recall(0), 2.0 / 3.0);
        assert_eq!(confusion.recall(1), 0.0);
        assert!(
            confusion.recall(2).is_nan()
                && confusion.precision(2).is_nan()
                && confusion.f1(2).is_nan()
        );
        assert_eq!(confusion.precision(0), 2.0 / 3.0);
        assert_eq!(confusion.balanced_accuracy(), 1.0 / 3.0);
        assert_eq!(confusion.macro_f1(), 1.0 / 3.0);
    }

    #[test]
    fn without_cases_nothing_is_defined() {
        let confusion = Confusion::new(2);
        assert!(
            confusion.accuracy().is_nan()
                && confusion.macro_f1().is_nan()
                && confusion.balanced_accuracy().is_nan()
        );
    }
}
