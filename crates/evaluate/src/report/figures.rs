//! A report's charts, which go into the page and to files of their own.

use ossify_contract::{EpochMetrics, SCORES, SplitMetrics};
use ossify_detection::average_precision::{RECALLS, precision_recall};
use ossify_detection::froc::Froc;
use ossify_page::{BarChart, HeatMap, LineChart, ReliabilityBin, ReliabilityChart, Svg};

use crate::failures::confused_pairs::MAX_DRAWN_CLASSES;
use crate::read::split::SplitData;
use crate::report::contents::Report;
use crate::report::digits::two;
use crate::report::largest::{largest_classes, left_out_sentence};
use crate::report::words::rule_in_words;
use crate::scores::scorer::{CALIBRATION_BINS, Scorer};

/// A chart with the stem of its file and what to see in it.
pub(crate) struct Figure {
    pub stem: &'static str,
    pub caption: String,
    pub chart: Svg,
}

/// Lines that a reader can distinguish; with more classes, the most frequent ones are drawn.
const MAX_LINES: usize = 10;
/// Classes in a bar chart.
const MAX_BARS: usize = 30;

/// Precision against recall at IoU .5, a line a class.
pub(crate) fn precision_recall_figure(
    data: &SplitData,
    scorer: &Scorer,
    report: &Report,
) -> Figure {
    let weights = vec![1; data.images.len()];
    let mut chart = LineChart::new("Precision and recall at IoU 0.5")
        .share_axes()
        .axis_names("recall", "precision");
    for class in most_frequent(data) {
        if let Some(curve) = precision_recall(&scorer.detections()[class], &weights) {
            let points = (0..RECALLS).map(|i| (i as f64 / 100.0, curve.precision[0][i]));
            chart = chart.line(
                format!("{} (AP50 {})", data.class_names[class], two(curve.ap_at(0))),
                points,
            );
        }
    }
    let found = report.detection.per_class.iter().any(|class| class.scores.ap50.value > 0.0);
    let nothing = if found { "" } else { " No detection is right, so there is nothing to draw." };
    Figure {
        stem: "precision-recall",
        caption: "Of the detections down to a confidence, the share that is right, against the \
            share of objects found; higher and further right is better."
            .to_owned()
            + nothing,
        chart: chart.svg(),
    }
}

/// Logarithms to base 2 of the ends of the axis of false alarms.
const FROC_AXIS: (f64, f64) = (-4.0, 3.0);
/// Points of a line that a reader can tell apart.
const MAX_POINTS: usize = 400;

/// Sensitivity over objects against false alarms an image, of all objects and of each class.
pub(crate) fn froc_figure(data: &SplitData, scorer: &Scorer, report: &Report) -> Figure {
    let ticks = [(-4, "1/16"), (-3, "1/8"), (-2, "1/4"), (-1, "1/2"), (0, "1"), (1, "2"), (2, "4")];
    let ticks = ticks.into_iter().chain([(3, "8")]).map(|(at, label)| (f64::from(at), label));
    let all = &report.detection.froc.any_class.mean;
    let mut chart = LineChart::new("FROC: objects found by false alarms")
        .x_axis(FROC_AXIS.0, FROC_AXIS.1, ticks)
        .y_range(0.0, 1.0)
        .axis_names("false alarms an image", "share of objects found")
        .line(format!("all ({})", two(all.value)), froc_steps(scorer.froc(), data.images.len()));
    if data.class_names.len() > 1 {
        for class in most_frequent(data).into_iter().take(MAX_LINES - 1) {
            let mean = report.detection.per_class[class].scores.froc.value;
            if !mean.is_nan() {
                chart = chart.line(
                    format!("{} ({})", data.class_names[class], two(mean)),
                    froc_steps(&scorer.froc_of_class()[class], data.images.len()),
                );
            }
        }
    }
    Figure {
        stem: "froc",
        caption: "The share of objects that a box hits with an IoU of at least 0.5, against the \
            boxes an image that hit none, over all images; higher and further left is better. In \
            brackets the mean from 1/8 to 8."
            .into(),
        chart: chart.svg(),
    }
}

/// The steps of a curve, with logarithms of the false alarms.
fn froc_steps(froc: &Froc, images: usize) -> Vec<(f64, f64)> {
    let weights = vec![1; images];
    let (mut points, mut reached) = (Vec::new(), 0.0);
    for point in froc.curve(&weights) {
        if point.sensitivity <= reached {
            continue;
        }
        let at = point.false_alarms.log2();
        if at > FROC_AXIS.1 {
            break;
        }
        let at = at.max(FROC_AXIS.0);
        points.extend([(at, reached), (at, point.sensitivity)]);
        reached = point.sensitivity;
    }
    let every = points.len().div_ceil(MAX_POINTS).max(1);
    let start = points.first().filter(|(at, _)| *at > FROC_AXIS.0).map(|_| (FROC_AXIS.0, 0.0));
    let thinned = points.into_iter().step_by(every);
    start.into_iter().chain(thinned).chain([(FROC_AXIS.1, reached)]).collect()
}

/// The ROC curve of any finding by image.
pub(crate) fn finding_roc_figure(scorer: &Scorer, report: &Report) -> Figure {
    let mut chart = LineChart::new("ROC of any finding by image")
        .share_axes()
        .axis_names("share of images without an object called", "share of images with one called")
        .reference((0.0, 0.0), (1.0, 1.0));
    let points = scorer.findings().roc();
    if let (Some(findings), false) = (&report.findings, points.is_empty()) {
        chart = chart.line(format!("any finding ({})", two(findings.auroc.value)), points);
        for point in &findings.points {
            let scores = &point.scores;
            let at = (1.0 - scores.specificity.value, scores.sensitivity.value);
            chart = chart.line(rule_in_words(point.rule), [at]);
        }
    }
    Figure {
        stem: "finding-roc",
        caption: "How well the highest score of an image separates images with an object from \
            those without; the dotted line is guessing, the points are thresholds that were chosen \
            beforehand."
            .into(),
        chart: chart.svg(),
    }
}

/// True against predicted class of marks, with the background as a class.
pub(crate) fn mark_confusion_figure(report: &Report) -> Figure {
    let shown =
        largest_classes(report.per_class.iter().map(|class| class.support), MAX_DRAWN_CLASSES);
    let names = shown.iter().map(|class| report.per_class[*class].class_name.clone());
    let mut columns: Vec<String> = names.collect();
    let has_others = shown.len() < report.per_class.len();
    if has_others {
        columns.push("(other classes)".into());
    }
    let mut rows = columns.clone();
    columns.push("(missed)".into());
    rows.push("(background)".into());
    let background = columns.len() - 1;
    let index = |class: Option<u16>| match class {
        None => background,
        Some(class) => shown.binary_search(&usize::from(class)).unwrap_or(shown.len()),
    };
    let mut counts = vec![vec![0.0; columns.len()]; rows.len()];
    for cell in report.detection.confusion_matrix.iter().flat_map(|table| &table.cells) {
        counts[index(cell.true_class)][index(cell.predicted_class)] += cell.count as f64;
    }
    counts[background][background] = f64::NAN;
    let chart = HeatMap::new("Confusion matrix of the marks", rows, columns, counts)
        .axis_names("true class", "class of the mark")
        .shade_by_row();
    let left_out = left_out_sentence(shown.len(), report.per_class.len(), "report.json");
    Figure {
        stem: "confusion-matrix",
        caption: format!(
            "Objects by the class of the mark that hits them with an IoU of at least 0.5; the last \
             column has the objects that none hits, the last row the marks that hit none. \
             {left_out}"
        )
        .trim_end()
        .to_owned(),
        chart: chart.svg(),
    }
}

/// AP50 of each class with its interval.
pub(crate) fn found_by_class_figure(data: &SplitData, report: &Report) -> Figure {
    let mut chart = BarChart::new("AP50 by class")
        .range(0.0, 1.0)
        .axis_name("average precision at IoU 0.5, 95 % interval");
    let shown = largest_classes(report.per_class.iter().map(|class| class.support), MAX_BARS);
    for class in &shown {
        let (name, support) = (&data.class_names[*class], report.per_class[*class].support);
        let ap50 = &report.detection.per_class[*class].scores.ap50;
        chart =
            chart.row_with_interval(format!("{name} ({support})"), ap50.value, ap50.low, ap50.high);
    }
    let caption = "In brackets the number of objects. A wide interval: too few objects to judge.";
    let left_out = left_out_sentence(shown.len(), report.per_class.len(), "report.json");
    Figure {
        stem: "ap50-by-class",
        caption: format!("{caption} {left_out}").trim_end().to_owned(),
        chart: chart.svg(),
    }
}

/// ROC curves, each class against the rest.
pub(crate) fn roc_figure(data: &SplitData, scorer: &Scorer, report: &Report) -> Figure {
    let mut chart = LineChart::new("ROC, each class against the rest")
        .share_axes()
        .axis_names("false positive rate", "true positive rate")
        .reference((0.0, 0.0), (1.0, 1.0));
    for class in most_frequent(data) {
        let points = scorer.roc(class);
        if !points.is_empty() {
            chart = chart.line(
                format!(
                    "{} ({})",
                    data.class_names[class],
                    two(report.per_class[class].scores.auroc.value)
                ),
                points,
            );
        }
    }
    Figure {
        stem: "roc",
        caption: if report.findings.is_some() {
            "How well the highest score of a class separates its images from all others; the \
                 dotted line is guessing."
        } else {
            "How well the probability of a class separates its images from all others; the \
                 dotted line is guessing."
        }
        .into(),
        chart: chart.svg(),
    }
}

/// Confidence against hit rate.
pub(crate) fn reliability_figure(scorer: &Scorer) -> Figure {
    let edge = |i: usize| i as f64 / CALIBRATION_BINS as f64;
    let bin = |(i, (confidence, accuracy, count)): (usize, (f64, f64, u64))| ReliabilityBin {
        low: edge(i),
        high: edge(i + 1),
        confidence,
        accuracy,
        count,
    };
    let bins = scorer.reliability(false).into_iter().enumerate().map(bin).collect();
    Figure {
        stem: "reliability",
        caption:
            "Among images with a confidence, the share that is right. Points below the dotted \
            line: the model promises too much. A larger point stands for more images."
                .into(),
        chart: ReliabilityChart::new("Does the confidence mean what it says?", bins).svg(),
    }
}

/// The confusion matrix, of the largest classes where all have no room.
pub(crate) fn confusion_figure(report: &Report) -> Figure {
    let table = &report.confusion_matrix;
    let classes = table.labels.len();
    let shown =
        largest_classes(report.per_class.iter().map(|class| class.support), MAX_DRAWN_CLASSES);
    let name = |class: &usize| table.labels[*class].clone();
    let mut columns: Vec<String> = shown.iter().map(name).collect();
    let rows = columns.clone();
    let has_others = shown.len() < classes;
    if has_others {
        columns.push("(other classes)".into());
    }
    let others = shown.len();
    let silent = columns.len();
    if table.cells.iter().any(|cell| cell.predicted_class.is_none()) {
        columns.push("(no prediction)".into());
    }
    let mut counts = vec![vec![0; columns.len()]; rows.len()];
    for cell in &table.cells {
        let Ok(row) = shown.binary_search(&usize::from(cell.true_class)) else { continue };
        let column = match cell.predicted_class {
            None => silent,
            Some(class) => shown.binary_search(&usize::from(class)).unwrap_or(others),
        };
        counts[row][column] += cell.objects;
    }
    let values = counts
        .iter()
        .map(|row: &Vec<u64>| row.iter().map(|count| *count as f64).collect())
        .collect();
    let chart = HeatMap::new("Confusion matrix", rows, columns, values)
        .axis_names("true class", "predicted class")
        .shade_by_row();
    let caption = "Objects of each true class by the class that was predicted for their image; \
                   shaded by share of the row.";
    let left_out = left_out_sentence(shown.len(), classes, "report.json");
    Figure {
        stem: "confusion-matrix",
        caption: format!("{caption} {left_out}").trim_end().to_owned(),
        chart: chart.svg(),
    }
}

/// Recall of each class with its interval.
pub(crate) fn recall_figure(report: &Report) -> Figure {
    let mut chart = BarChart::new("Recall by class")
        .range(0.0, 1.0)
        .axis_name("share of objects whose class was predicted, 95 % interval");
    let shown = largest_classes(report.per_class.iter().map(|class| class.support), MAX_BARS);
    for class in shown.iter().map(|class| &report.per_class[*class]) {
        let recall = &class.scores.recall;
        chart = chart.row_with_interval(
            format!("{} ({})", class.class_name, class.support),
            recall.value,
            recall.low,
            recall.high,
        );
    }
    let caption = "In brackets the number of objects. A wide interval: too few objects to judge.";
    let left_out = left_out_sentence(shown.len(), report.per_class.len(), "report.json");
    Figure {
        stem: "recall-by-class",
        caption: format!("{caption} {left_out}").trim_end().to_owned(),
        chart: chart.svg(),
    }
}

/// What became of predictions and objects.
pub(crate) fn kinds_figure(report: &Report) -> Figure {
    let mut chart = BarChart::new("What became of each prediction")
        .axis_name("predictions; misses are objects");
    for (kind, name) in KINDS {
        chart = chart.row(name, [report.match_kinds.get(kind).copied().unwrap_or(0) as f64]);
    }
    Figure {
        stem: "match-kinds",
        caption: "Box right: IoU of at least 0.5. Box near: IoU of at least 0.1.".into(),
        chart: chart.svg(),
    }
}

/// Kinds of matches in words.
pub(crate) const KINDS: [(&str, &str); 7] = [
    ("match", "right class, box right"),
    ("class_error", "wrong class, box right"),
    ("location_error", "right class, box near"),
    ("both", "wrong class, box near"),
    ("duplicate", "duplicate"),
    ("background", "on background"),
    ("miss", "object missed"),
];

/// Training curves of the run.
pub(crate) fn training_figures(metrics: &[EpochMetrics]) -> Vec<Figure> {
    if metrics.is_empty() {
        return Vec::new();
    }
    let line = |title: &str, name: &str, pick: fn(&SplitMetrics) -> Option<f64>| {
        let train =
            metrics.iter().filter_map(|epoch| Some((f64::from(epoch.epoch), pick(&epoch.train)?)));
        let valid = metrics
            .iter()
            .filter_map(|epoch| Some((f64::from(epoch.epoch), pick(epoch.valid.as_ref()?)?)));
        LineChart::new(title).axis_names("epoch", name).line("train", train).line("valid", valid)
    };
    let loss = Figure {
        stem: "training-loss",
        caption: "What training minimised, penalties included.".into(),
        chart: line("Loss", "loss", |metrics| Some(metrics.loss)).svg(),
    };
    let scores = SCORES.iter().filter(|score| score.is_in(metrics)).filter_map(|score| {
        let (stem, caption) = stem_and_caption(score.key)?;
        let chart = line(score.title, score.axis, score.of).y_range(0.0, 1.0).svg();
        Some(Figure { stem, caption: caption.into(), chart })
    });
    std::iter::once(loss).chain(scores).collect()
}

/// Stem and caption of the training curve of a score; `None` where only `curves.svg` shows it.
fn stem_and_caption(score: &str) -> Option<(&'static str, &'static str)> {
    Some(match score {
        "accuracy" => (
            "training-accuracy",
            "A gap between train and valid: the model remembers more than it understands.",
        ),
        "mean_iou" => ("training-iou", "Overlap of predicted and true box."),
        "ap50" => ("training-ap50", "Average precision at an IoU of 0.5, on valid."),
        "auroc" => (
            "training-auroc",
            "How well an image's highest score tells those with an object from those without, on \
             valid.",
        ),
        _ => return None,
    })
}

fn most_frequent(data: &SplitData) -> Vec<usize> {
    let mut counts = vec![0u64; data.class_names.len()];
    for truth in &data.truths {
        counts[usize::from(truth.class)] += 1;
    }
    largest_classes(counts.into_iter(), MAX_LINES)
}
