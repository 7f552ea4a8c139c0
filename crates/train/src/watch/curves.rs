use ossify_contract::{EpochMetrics, SCORES, SplitMetrics};
use ossify_page::{LineChart, Svg};

/// `curves.svg`: what was minimised, accuracy, overlap and learning rate over the epochs.
pub fn curves(run: &str, metrics: &[EpochMetrics]) -> String {
    let chart = |title: &str, name: &str, pick: fn(&SplitMetrics) -> Option<f64>| {
        let train =
            metrics.iter().filter_map(|epoch| Some((f64::from(epoch.epoch), pick(&epoch.train)?)));
        let valid = metrics
            .iter()
            .filter_map(|epoch| Some((f64::from(epoch.epoch), pick(epoch.valid.as_ref()?)?)));
        LineChart::new(title).axis_names("epoch", name).line("train", train).line("valid", valid)
    };
    let rates = metrics.iter().map(|epoch| (f64::from(epoch.epoch), epoch.learning_rate));
    let mut charts = vec![
        chart("Loss", "loss", |metrics| Some(metrics.loss)).svg(),
        chart("Classification loss", "loss", |metrics| Some(metrics.classification_loss)).svg(),
        chart("Box loss", "loss", |metrics| Some(metrics.box_loss)).svg(),
    ];
    let scores = SCORES.iter().filter(|score| score.is_in(metrics));
    charts.extend(
        scores.map(|score| chart(score.title, score.axis, score.of).y_range(0.0, 1.0).svg()),
    );
    charts.push(
        LineChart::new("Learning rate")
            .axis_names("epoch", "rate")
            .line("learning rate", rates)
            .svg(),
    );
    Svg::stacked(run, &charts).to_file_text()
}

/// Values as a line of little bars, the newest on the right; at most `width` of them.
pub fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(width)..];
    let (low, high) = shown
        .iter()
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded and confined to 0..7"
    )]
    let bar = |value: &f64| {
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        BARS[((share * 7.0).round().clamp(0.0, 7.0)) as usize]
    };
    shown.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines_span_their_range() {
        assert_eq!(sparkline(&[9.0, 0.0, 3.5, 7.0], 3), "▁▅█");
        assert_eq!(sparkline(&[2.0, 2.0], 8), "▁▁");
        assert_eq!(sparkline(&[], 8), "");
        assert_eq!(sparkline(&[1.0, f64::NAN, 2.0], 8).chars().count(), 3);
    }

    #[test]
    fn the_curves_are_one_document_with_every_chart() {
        let epochs: Vec<EpochMetrics> = (1..4)
            .map(|epoch| {
                let train =
                    SplitMetrics { accuracy: Some(0.5), mean_iou: Some(0.5), ..Default::default() };
                EpochMetrics { epoch, train, ..Default::default() }
            })
            .collect();
        let svg = curves("run", &epochs);
        for title in ["Loss", "Accuracy", "Mean IoU", "Learning rate"] {
            assert!(svg.contains(&format!(">{title}<")), "{title}");
        }
        assert!(svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"));
    }
}
