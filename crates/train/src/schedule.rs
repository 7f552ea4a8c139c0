use std::f64::consts::PI;

/// Learning rate as a function of the optimiser step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    /// The rate after the warm-up.
    pub peak: f64,
    /// Whether it falls to zero along half a cosine (Loshchilov and Hutter 2016, without restarts), else it stays.
    pub cosine: bool,
    /// Steps in which it rises from zero in equal parts.
    pub warmup_steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
}

impl LearningRate {
    /// The rate of `step`, from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        if !self.cosine {
            return self.peak;
        }
        let span = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let share = ((step - self.warmup_steps) as f64 / span as f64).min(1.0);
        self.peak * 0.5 * (1.0 + (PI * share).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_rises_to_the_peak_and_cosine_falls_to_zero() {
        let rate = LearningRate { peak: 0.1, cosine: true, warmup_steps: 4, total_steps: 104 };
        assert_eq!((0..4).map(|step| (rate.at(step) * 1e6).round()).collect::<Vec<_>>(), [25_000.0, 50_000.0, 75_000.0, 100_000.0]);
        assert_eq!(rate.at(4), 0.1);
        assert!((rate.at(54) - 0.05).abs() < 1e-9);
        assert!(rate.at(103) < 1e-4 && rate.at(104).abs() < 1e-12 && rate.at(1000).abs() < 1e-12);
    }

    #[test]
    fn constant_stays() {
        let rate = LearningRate { peak: 1e-4, cosine: false, warmup_steps: 0, total_steps: 10 };
        assert!((0..20).all(|step| rate.at(step) == 1e-4));
    }
}
