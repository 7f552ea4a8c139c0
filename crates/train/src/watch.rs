use ossify_contract::EpochMetrics;

/// Most memory that the process held, bytes; 0 where the system does not tell.
pub fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|rest| rest.split_whitespace().next());
    peak.and_then(|kibibytes| kibibytes.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// What people are told after an epoch that took so long.
pub fn epoch_line(metrics: &EpochMetrics, epochs: u32, epoch_secs: f64, is_best: bool) -> String {
    let train = &metrics.train;
    let mut line = format!(
        "epoch {}/{epochs}  train loss {:.4} (class {:.4}, box {:.4})  accuracy {:.4}  IoU {:.3}",
        metrics.epoch, train.loss, train.classification_loss, train.box_loss, train.accuracy, train.mean_iou
    );
    if let Some(valid) = &metrics.valid {
        line.push_str(&format!(
            "  |  valid loss {:.4} (class {:.4}, box {:.4})  accuracy {:.4}  IoU {:.3}{}",
            valid.loss,
            valid.classification_loss,
            valid.box_loss,
            valid.accuracy,
            valid.mean_iou,
            if is_best { " *" } else { "" }
        ));
    }
    let left = epoch_secs * f64::from(epochs.saturating_sub(metrics.epoch));
    line.push_str(&format!("  |  {:.0} images/s, {} at most left", metrics.images_per_sec, duration(left)));
    line
}

/// `48 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(secs: f64) -> String {
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
    fn durations_read_well() {
        assert_eq!([48.4, 200.0, 7500.0].map(duration), ["48 s", "3 min 20 s", "2 h 5 min"]);
    }

    #[test]
    fn the_peak_of_this_process_is_some_megabytes() {
        if cfg!(target_os = "linux") {
            assert!((1 << 20..1 << 40).contains(&peak_memory_bytes()));
        }
    }
}
