use ossify_contract::EpochMetrics;
use ossify_settings::TrainSettings;

use crate::checkpoint::RunState;

/// How good an epoch is: accuracy plus mean IoU on the valid split, so that class and box both count; without
/// a valid split the epoch's number, so that the last is the best. Of equal epochs the first is kept.
pub fn score(metrics: &EpochMetrics) -> f64 {
    metrics.valid.map_or(f64::from(metrics.epoch), |valid| valid.accuracy + valid.mean_iou)
}

/// Why a run ends after the epochs that its state has, if it does. Depends on the state alone, so that a run that was
/// killed after its last epoch ends the same way.
pub fn reason_to_stop(settings: &TrainSettings, state: &RunState) -> Option<String> {
    let last = state.metrics.last()?;
    let since_best = state.best.map_or(0, |best| state.epoch.saturating_sub(best.epoch));
    if settings.stop_at_train_accuracy > 0.0 && last.train.accuracy >= settings.stop_at_train_accuracy {
        Some(format!("train accuracy {:.4} reached train.stop_at_train_accuracy = {}", last.train.accuracy, settings.stop_at_train_accuracy))
    } else if settings.patience > 0 && since_best >= settings.patience {
        Some(format!("no better epoch in {since_best} (train.patience)"))
    } else if settings.max_minutes > 0.0 && state.elapsed_secs >= settings.max_minutes * 60.0 {
        Some(format!("{:.1} minutes have passed (train.max_minutes = {})", state.elapsed_secs / 60.0, settings.max_minutes))
    } else if state.epoch >= settings.epochs {
        Some(format!("all {} epochs done", settings.epochs))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use ossify_contract::SplitMetrics;

    use super::*;
    use crate::checkpoint::BestEpoch;

    fn metrics(epoch: u32, train_accuracy: f64, valid: Option<(f64, f64)>) -> EpochMetrics {
        EpochMetrics {
            epoch,
            step: 1,
            train: SplitMetrics { accuracy: train_accuracy, ..Default::default() },
            valid: valid.map(|(accuracy, mean_iou)| SplitMetrics { accuracy, mean_iou, ..Default::default() }),
            learning_rate: 0.1,
            elapsed_secs: 1.0,
            images_per_sec: 1.0,
            peak_memory_bytes: 1,
        }
    }

    #[test]
    fn class_and_box_both_count_for_the_best_epoch() {
        assert!(score(&metrics(1, 0.0, Some((0.8, 0.4)))) > score(&metrics(2, 0.0, Some((0.85, 0.3)))));
        assert!(score(&metrics(2, 0.0, None)) > score(&metrics(1, 0.0, None)));
    }

    #[test]
    fn each_rule_stops_for_its_reason() {
        let settings = TrainSettings { epochs: 5, stop_at_train_accuracy: 0.9, patience: 2, max_minutes: 1.0, ..Default::default() };
        let state = |epoch, best, accuracy, secs| RunState {
            epoch,
            best: Some(BestEpoch { epoch: best, score: 1.0 }),
            elapsed_secs: secs,
            metrics: vec![metrics(epoch, accuracy, None)],
            ..Default::default()
        };
        let reason = |state| reason_to_stop(&settings, &state).unwrap_or_default();
        assert_eq!(reason(RunState::default()), "");
        assert_eq!(reason(state(2, 1, 0.5, 10.0)), "");
        assert_eq!(reason(state(2, 1, 0.95, 10.0)), "train accuracy 0.9500 reached train.stop_at_train_accuracy = 0.9");
        assert_eq!(reason(state(3, 1, 0.5, 10.0)), "no better epoch in 2 (train.patience)");
        assert_eq!(reason(state(3, 3, 0.5, 66.0)), "1.1 minutes have passed (train.max_minutes = 1)");
        assert_eq!(reason(state(5, 5, 0.5, 10.0)), "all 5 epochs done");
    }
}
