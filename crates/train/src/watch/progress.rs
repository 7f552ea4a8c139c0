use std::collections::VecDeque;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use ossify_contract::{EpochMetrics, SCORES, SplitMetrics};

use crate::watch::curves::sparkline;

/// Seconds since 1970.
pub fn unix_secs() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Losses of the last steps, shown as their mean and a line of bars.
#[derive(Clone, Debug, Default)]
pub struct RecentLosses(VecDeque<f64>);

impl RecentLosses {
    const KEPT: usize = 16;

    /// Adds the newest.
    pub fn push(&mut self, loss: f64) {
        if self.0.len() == Self::KEPT {
            self.0.pop_front();
        }
        self.0.push_back(loss);
    }
}

impl fmt::Display for RecentLosses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let losses: Vec<f64> = self.0.iter().copied().collect();
        write!(
            out,
            "loss {:.4} {}",
            losses.iter().sum::<f64>() / losses.len().max(1) as f64,
            sparkline(&losses, Self::KEPT)
        )
    }
}

/// Most memory that the process held, bytes; 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    kibibytes("/proc/self/status", "VmHWM:").unwrap_or(0) * 1024
}

/// The number behind `name` in one of the kernel's tables.
fn kibibytes(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The line that people see after an epoch that took so many seconds.
pub fn epoch_line(metrics: &EpochMetrics, epochs: u32, epoch_secs: f64, is_best: bool) -> String {
    let of = |split: &SplitMetrics| {
        let scores = SCORES.iter().filter_map(|score| {
            Some(format!("  {} {:.*}", score.short_name, score.digits, (score.of)(split)?))
        });
        format!(
            "loss {:.4} (class {:.4}, box {:.4}){}",
            split.loss,
            split.classification_loss,
            split.box_loss,
            scores.collect::<String>()
        )
    };
    let mut line = format!("epoch {}/{epochs}  train {}", metrics.epoch, of(&metrics.train));
    if let Some(valid) = &metrics.valid {
        line.push_str(&format!("  |  valid {}{}", of(valid), if is_best { " *" } else { "" }));
    }
    let left = epoch_secs * f64::from(epochs.saturating_sub(metrics.epoch));
    line.push_str(&format!(
        "  |  {:.0} images/s, {} at most left",
        metrics.images_per_sec,
        duration(left)
    ));
    line
}

/// `48 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(secs: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; what is too large becomes the largest number"
    )]
    let secs = secs.max(0.0).round() as u64;
    match secs {
        0..60 => format!("{secs} s"),
        60..3600 => format!("{} min {} s", secs / 60, secs % 60),
        _ => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_says_the_scores_that_its_network_has() {
        let train = SplitMetrics { loss: 2.0, ..Default::default() };
        let valid = SplitMetrics { ap50: Some(0.5), auroc: Some(0.75), ..train };
        let metrics = EpochMetrics { epoch: 1, train, valid: Some(valid), ..Default::default() };
        assert_eq!(
            epoch_line(&metrics, 2, 30.0, true),
            "epoch 1/2  train loss 2.0000 (class 0.0000, box 0.0000)  |  valid loss 2.0000 \
             (class 0.0000, box 0.0000)  AP50 0.500  AUROC 0.750 *  |  0 images/s, \
             30 s at most left"
        );
    }

    #[test]
    fn durations_read_well() {
        assert_eq!([48.4, 200.0, 7500.0].map(duration), ["48 s", "3 min 20 s", "2 h 5 min"]);
    }

    #[test]
    fn recent_losses_forget_the_old_ones() {
        let mut losses = RecentLosses::default();
        losses.push(100.0);
        (0..16).for_each(|step| losses.push(f64::from(16 - step)));
        assert_eq!(losses.to_string(), "loss 8.5000 ██▇▇▆▆▅▅▄▄▃▃▂▂▁▁");
    }

    #[test]
    fn the_peak_of_this_process_is_some_megabytes() {
        assert!((1 << 20..1 << 40).contains(&peak_memory_bytes()));
    }
}
