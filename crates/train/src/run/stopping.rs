use ossify_contract::{EpochMetrics, SplitMetrics};
use ossify_settings::{BestBy, TrainSettings};

use crate::optimise::phases::{Phase, phase_of};
use crate::run::checkpoint::RunState;
use crate::watch::progress::duration;

/// How good an epoch is; more is better. Of the valid split, or of train where that is empty; by
/// the loss where the score is not defined there.
pub fn score(by: BestBy, metrics: &EpochMetrics) -> f64 {
    let split = metrics.valid.unwrap_or(metrics.train);
    let score = match by {
        BestBy::Auto => return auto_score(&split),
        BestBy::Score => split.accuracy.zip(split.mean_iou).map(|(accuracy, iou)| accuracy + iou),
        BestBy::Accuracy => split.accuracy,
        BestBy::MeanIou => split.mean_iou,
        BestBy::Ap => split.ap,
        BestBy::Ap50 => split.ap50,
        BestBy::Auroc => split.auroc,
        BestBy::Loss => None,
    };
    score.unwrap_or(-split.loss)
}

/// A classifier's accuracy plus mean IoU, a detector's AP; the loss where there is neither.
fn auto_score(split: &SplitMetrics) -> f64 {
    let of_classifier = split.accuracy.zip(split.mean_iou).map(|(accuracy, iou)| accuracy + iou);
    of_classifier.or(split.ap).unwrap_or(-split.loss)
}

/// The best epoch; of equal ones the first.
pub fn best_epoch(by: BestBy, metrics: &[EpochMetrics]) -> Option<&EpochMetrics> {
    metrics
        .iter()
        .reduce(|best, metrics| if score(by, metrics) > score(by, best) { metrics } else { best })
}

/// How a phase has gone so far. Follows from the metrics alone, so there is nothing to save.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// Epochs since one was better than all before by more than `train.stopping.min_delta`.
    pub since_better: u32,
    /// How often `train.schedule.plateau_patience` epochs passed without a better one.
    pub plateaus: u32,
}

/// The course of the phase that begins with `first_epoch`.
pub fn course(settings: &TrainSettings, metrics: &[EpochMetrics], first_epoch: u32) -> Course {
    let mut course = Course::default();
    let (mut best, mut waited) = (f64::NEG_INFINITY, 0);
    for metrics in metrics.iter().filter(|metrics| metrics.epoch >= first_epoch) {
        let score = score(settings.checkpoint.best_by, metrics);
        if score > best + settings.stopping.min_delta {
            (best, waited, course.since_better) = (score, 0, 0);
            continue;
        }
        course.since_better += 1;
        waited += 1;
        if waited >= settings.schedule.plateau_patience {
            (course.plateaus, waited) = (course.plateaus + 1, 0);
        }
    }
    course
}

/// Why a run ends after the epochs that its state has, if it does. Depends on the state alone, so
/// that a run that was killed after its last epoch ends the same way. Before the last phase only
/// time ends a run.
pub fn reason_to_stop(
    settings: &TrainSettings,
    phases: &[Phase],
    state: &RunState,
) -> Option<String> {
    state.metrics.last()?;
    let projected = state.elapsed_secs + state.epoch_secs;
    if settings.stopping.max_minutes > 0.0 && projected > settings.stopping.max_minutes * 60.0 {
        return Some(format!(
            "{} have passed, another epoch would end after train.stopping.max_minutes = {:?}",
            duration(state.elapsed_secs),
            settings.stopping.max_minutes
        ));
    }
    rule_to_stop(settings, phases, &state.metrics)
}

/// Whether the next epoch is the first of those at the end of a run that have neither mosaics nor
/// mixed images: it would end in the last `train.augment.plain_share` of the epochs, or of the
/// time.
pub fn begins_plain_end(settings: &TrainSettings, state: &RunState) -> bool {
    let share = settings.augment.plain_share;
    // Less by what the product may be off, so that a twentieth of 20 epochs is one.
    let plain_epochs = (f64::from(settings.epochs) * share - 1e-9).ceil();
    let is_last = f64::from(settings.epochs.saturating_sub(state.epoch)) <= plain_epochs;
    let limit = settings.stopping.max_minutes * 60.0;
    let is_late = limit > 0.0 && state.elapsed_secs + state.epoch_secs > limit * (1.0 - share);
    settings.augment.ends_plain() && state.plain_from.is_none() && (is_last || is_late)
}

/// Where a run that has gone on would have ended by its rules, time left out, and why: an epoch
/// before the last step of its state.
pub fn earlier_end(
    settings: &TrainSettings,
    phases: &[Phase],
    state: &RunState,
) -> Option<(u32, String)> {
    let whole = if state.batches > 0 { state.metrics.len() + 1 } else { state.metrics.len() };
    (1..whole).find_map(|epochs| {
        let metrics = &state.metrics[..epochs];
        Some((metrics.last()?.epoch, rule_to_stop(settings, phases, metrics)?))
    })
}

/// As [`reason_to_stop`], by all rules but that of time.
fn rule_to_stop(
    settings: &TrainSettings,
    phases: &[Phase],
    metrics: &[EpochMetrics],
) -> Option<String> {
    let last = metrics.last()?;
    let first_epoch = phase_of(phases, u32::MAX)?.first_epoch;
    if last.epoch < first_epoch {
        return None;
    }
    let since_better = course(settings, metrics, first_epoch).since_better;
    if let Some(accuracy) = last.train.accuracy
        && settings.stopping.train_accuracy > 0.0
        && accuracy >= settings.stopping.train_accuracy
    {
        Some(format!(
            "train accuracy {accuracy:.4} reached train.stopping.train_accuracy = {}",
            settings.stopping.train_accuracy
        ))
    } else if settings.stopping.patience > 0 && since_better >= settings.stopping.patience {
        Some(format!("no better epoch in {since_better} (train.stopping.patience)"))
    } else if last.epoch >= settings.epochs {
        Some(match settings.epochs {
            1 => "its only epoch is done".to_owned(),
            epochs => format!("all {epochs} epochs done"),
        })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimise::phases::phases;

    fn metrics(epoch: u32, accuracy: f64, mean_iou: f64) -> EpochMetrics {
        EpochMetrics {
            epoch,
            valid: Some(SplitMetrics {
                accuracy: Some(accuracy),
                mean_iou: Some(mean_iou),
                loss: 1.0 - accuracy,
                ..Default::default()
            }),
            ..EpochMetrics::default()
        }
    }

    fn history(accuracies: &[f64]) -> Vec<EpochMetrics> {
        accuracies.iter().zip(1..).map(|(accuracy, epoch)| metrics(epoch, *accuracy, 0.0)).collect()
    }

    #[test]
    fn the_best_epoch_follows_the_chosen_metric() {
        let run = [
            metrics(1, 0.8, 0.4),
            metrics(2, 0.85, 0.3),
            metrics(3, 0.85, 0.35),
            metrics(4, 0.8, 0.4),
        ];
        let best = |by| best_epoch(by, &run).unwrap().epoch;
        assert_eq!(
            [BestBy::Score, BestBy::Accuracy, BestBy::MeanIou, BestBy::Loss].map(best),
            [1, 2, 1, 2]
        );
        assert!(best_epoch(BestBy::Score, &[]).is_none());
        let without_valid = EpochMetrics {
            valid: None,
            train: SplitMetrics { accuracy: Some(0.5), mean_iou: Some(0.0), ..Default::default() },
            ..run[0].clone()
        };
        assert_eq!(score(BestBy::Accuracy, &without_valid), 0.5);
    }

    #[test]
    fn small_gains_do_not_count_and_plateaus_add_up() {
        let mut settings = TrainSettings::default();
        settings.checkpoint.best_by = BestBy::Accuracy;
        settings.stopping.min_delta = 0.05;
        settings.schedule.plateau_patience = 2;
        let found = |accuracies: &[f64]| course(&settings, &history(accuracies), 1);
        assert_eq!(found(&[0.5, 0.6, 0.7]), Course { since_better: 0, plateaus: 0 });
        assert_eq!(found(&[0.5, 0.52, 0.54]), Course { since_better: 2, plateaus: 1 });
        assert_eq!(
            found(&[0.5, 0.5, 0.5, 0.5, 0.5, 0.9, 0.9]),
            Course { since_better: 1, plateaus: 2 }
        );
        // A later phase starts at 0.
        assert_eq!(
            course(&settings, &history(&[0.9, 0.5, 0.5]), 2),
            Course { since_better: 1, plateaus: 0 }
        );
    }

    #[test]
    fn each_rule_stops_for_its_reason() {
        let mut settings = TrainSettings { epochs: 5, ..Default::default() };
        settings.stopping.train_accuracy = 0.9;
        settings.stopping.patience = 2;
        settings.stopping.max_minutes = 2.0;
        let phases = phases(&settings);
        let state = |accuracies: &[f64], train_accuracy: f64, elapsed_secs: f64| {
            let mut metrics = history(accuracies);
            if let Some(last) = metrics.last_mut() {
                last.train.accuracy = Some(train_accuracy);
            }
            RunState {
                epoch: metrics.len() as u32,
                elapsed_secs,
                epoch_secs: 30.0,
                metrics,
                ..Default::default()
            }
        };
        let reason = |state| reason_to_stop(&settings, &phases, &state).unwrap_or_default();
        assert_eq!(reason(RunState::default()), "");
        assert_eq!(reason(state(&[0.5, 0.5], 0.5, 10.0)), "");
        assert_eq!(
            reason(state(&[0.5, 0.5], 0.95, 10.0)),
            "train accuracy 0.9500 reached train.stopping.train_accuracy = 0.9"
        );
        assert_eq!(
            reason(state(&[0.5, 0.5, 0.5], 0.5, 10.0)),
            "no better epoch in 2 (train.stopping.patience)"
        );
        assert_eq!(
            reason(state(&[0.5, 0.6, 0.7], 0.5, 93.0)),
            "1 min 33 s have passed, another epoch would end after train.stopping.max_minutes = 2.0"
        );
        assert_eq!(reason(state(&[0.1, 0.2, 0.3, 0.4, 0.5], 0.5, 10.0)), "all 5 epochs done");
    }

    #[test]
    fn the_end_of_a_run_is_plain_by_epochs_and_by_time() {
        let plain_from = |settings: &TrainSettings, epoch_secs: f64| {
            (1..=settings.epochs).find(|epoch| {
                let done = f64::from(epoch - 1);
                let state = RunState {
                    epoch: epoch - 1,
                    elapsed_secs: done * epoch_secs,
                    epoch_secs: if done > 0.0 { epoch_secs } else { 0.0 },
                    ..Default::default()
                };
                begins_plain_end(settings, &state)
            })
        };
        let mut settings = TrainSettings { epochs: 20, ..Default::default() };
        assert_eq!(plain_from(&settings, 1.0), None, "there is nothing to end");
        settings.augment.mosaic = 0.5;
        for (epochs, share, first) in [
            (20, 0.05, Some(20)),
            (20, 0.1, Some(19)),
            (30, 0.1, Some(28)),
            (21, 0.1, Some(19)),
            (300, 0.05, Some(286)),
            (1, 0.05, Some(1)),
            (10, 1.0, Some(1)),
            (10, 0.0, None),
        ] {
            settings.epochs = epochs;
            settings.augment.plain_share = share;
            assert_eq!(plain_from(&settings, 1.0), first, "{share} of {epochs}");
        }
        // Ten minutes, of which the last one is plain; whichever end comes first.
        settings.stopping.max_minutes = 10.0;
        settings.augment.plain_share = 0.1;
        settings.epochs = 1000;
        assert_eq!(plain_from(&settings, 6.0), Some(91));
        // Each epoch takes more than the minute: the last that is begun.
        assert_eq!(plain_from(&settings, 120.0), Some(5));
        settings.epochs = 50;
        assert_eq!(plain_from(&settings, 6.0), Some(46));
        settings.augment.mosaic = 0.0;
        settings.augment.mixup = 0.5;
        assert_eq!(plain_from(&settings, 6.0), Some(46));
        let begun = RunState { epoch: 47, plain_from: Some(46), ..Default::default() };
        assert!(!begins_plain_end(&settings, &begun));
    }

    #[test]
    fn one_epoch_and_the_smallest_limit_of_time_read_well() {
        let mut settings = TrainSettings { epochs: 1, ..Default::default() };
        settings.stopping.train_accuracy = 0.0;
        let phases = phases(&settings);
        let state = RunState { epoch: 1, metrics: history(&[0.5]), ..Default::default() };
        let reason = |settings: &TrainSettings, secs| {
            let state = RunState { elapsed_secs: secs, ..state.clone() };
            reason_to_stop(settings, &phases, &state).unwrap_or_default()
        };
        assert_eq!(reason(&settings, 10.0), "its only epoch is done");
        settings.stopping.max_minutes = 1e-320;
        assert_eq!(
            reason(&settings, 1.4),
            "1 s have passed, another epoch would end after train.stopping.max_minutes = 1e-320"
        );
    }

    #[test]
    fn a_frozen_phase_is_not_stopped_by_what_is_meant_for_the_fine_tuning() {
        let mut settings = TrainSettings {
            mode: ossify_settings::TrainMode::Finetune,
            epochs: 5,
            ..Default::default()
        };
        settings.finetune.frozen_epochs = 3;
        settings.stopping.patience = 1;
        let metrics = history(&[0.5, 0.5]);
        let state = RunState { epoch: 2, metrics, ..Default::default() };
        assert_eq!(reason_to_stop(&settings, &phases(&settings), &state), None);
    }
}
