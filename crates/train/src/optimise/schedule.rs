use std::f64::consts::PI;

use ossify_settings::Schedule;

/// Learning rate as a function of the optimiser step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    /// The rate after the warm-up.
    pub peak: f64,
    /// How it goes on from there.
    pub schedule: Schedule,
    /// Steps in which it rises from zero in equal parts.
    pub warmup_steps: u64,
    /// Steps of the whole phase.
    pub total_steps: u64,
    /// Where it ends, a share of the peak.
    pub final_share: f64,
    /// What each plateau multiplies it by.
    pub plateau_factor: f64,
}

impl LearningRate {
    /// The rate of `step` of the phase, from 0, after so many `plateaus`.
    pub fn at(&self, step: u64, plateaus: u32) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        match self.schedule {
            Schedule::Constant => self.peak,
            // Loshchilov and Hutter 2016, without restarts.
            Schedule::Cosine => {
                let span = self.total_steps.saturating_sub(self.warmup_steps).max(1);
                let share = ((step - self.warmup_steps) as f64 / span as f64).min(1.0);
                self.peak
                    * (self.final_share
                        + (1.0 - self.final_share) * 0.5 * (1.0 + (PI * share).cos()))
            }
            Schedule::Plateau => {
                self.peak * self.plateau_factor.powf(f64::from(plateaus)).max(self.final_share)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(schedule: Schedule, warmup_steps: u64, final_share: f64) -> LearningRate {
        LearningRate {
            peak: 0.1,
            schedule,
            warmup_steps,
            total_steps: 104,
            final_share,
            plateau_factor: 0.5,
        }
    }

    #[test]
    fn warm_up_rises_to_the_peak_and_cosine_falls_to_its_end() {
        let cosine = rate(Schedule::Cosine, 4, 0.0);
        assert_eq!(
            (0..4).map(|step| (cosine.at(step, 0) * 1e6).round()).collect::<Vec<_>>(),
            [25_000.0, 50_000.0, 75_000.0, 100_000.0]
        );
        assert_eq!(cosine.at(4, 0), 0.1);
        assert!((cosine.at(54, 0) - 0.05).abs() < 1e-9);
        assert!(
            cosine.at(103, 0) < 1e-4
                && cosine.at(104, 0).abs() < 1e-12
                && cosine.at(1000, 0).abs() < 1e-12
        );
        assert!((rate(Schedule::Cosine, 4, 0.2).at(1000, 0) - 0.02).abs() < 1e-12);
    }

    #[test]
    fn constant_stays() {
        assert!((0..20).all(|step| rate(Schedule::Constant, 0, 0.0).at(step, 3) == 0.1));
    }

    #[test]
    fn each_plateau_lowers_the_rate_down_to_its_end() {
        let found: Vec<f64> =
            (0..5).map(|plateaus| rate(Schedule::Plateau, 0, 0.2).at(50, plateaus)).collect();
        assert_eq!(found, [0.1, 0.05, 0.025, 0.1 * 0.2, 0.1 * 0.2]);
    }
}
