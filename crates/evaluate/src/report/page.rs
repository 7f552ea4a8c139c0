//! `report.html`.

use std::collections::HashSet;

use ossify_contract::ImageStatus;
use ossify_page::{
    Column, Gallery, NoteKind, Page, Picture, Section, Table, TableCell, Tile, count, counted,
    percent,
};

use crate::failures::hits::ImageHits;
use crate::failures::overlays::Overlay;
use crate::read::sources::{RunBefore, RunFacts, Sources};
use crate::read::split::SplitData;
use crate::report::contents::{FindingPoint, FindingsReport, Report};
use crate::report::digits::{interval, score_cell, three_digits, two, value, with_interval};
use crate::report::figures::{Figure, KINDS};
use crate::report::largest::{largest_classes, left_out_sentence};
use crate::report::words::{View, lead, rule_in_words};
use crate::scores::bootstrap::Interval;
use crate::scores::calibration::{OperatingPoint, OperatingRule};
use crate::scores::sheet::FrocScores;

/// Rows of the table of classes.
const MAX_CLASS_ROWS: usize = 50;
/// Classes in the table of thresholds, which has a row for each wanted sensitivity.
const MAX_CLASSES_WITH_THRESHOLDS: usize = 25;

/// Boxes that the text below a picture lists.
const MAX_MARKS_NAMED: usize = 4;

/// Up to this many classes, two charts of all classes fit side by side.
const MAX_CLASSES_SIDE_BY_SIDE: usize = 12;

/// What the page shows in addition to the report.
pub(crate) struct PageParts<'a> {
    pub report: &'a Report,
    /// The split with the predictions that count as marks.
    pub marked: &'a SplitData,
    pub sources: &'a Sources,
    pub run: &'a RunFacts,
    /// Charts of scores.
    pub figures: &'a [Figure],
    /// Charts of the training.
    pub training: &'a [Figure],
    pub overlays: &'a [Overlay],
    /// Images that could not be drawn, a sentence each.
    pub undrawn: &'a [String],
}

/// Renders the page.
pub(crate) fn render(parts: &PageParts<'_>) -> String {
    let report = parts.report;
    let mut page = Page::new(format!("Evaluation of {}", report.run), heading(parts));
    page.push(in_words(parts));
    match &report.findings {
        Some(findings) => {
            page.push(detection(report, parts.figures));
            page.push(any_finding(report, findings, parts.figures));
        }
        None => page.push(scores(report, parts.figures)),
    }
    page.push(by_class(report, parts.figures));
    if report.calibration.is_some() || !report.operating_points.is_empty() {
        page.push(thresholds(report));
    }
    if report.without_leaked_images.is_some() {
        page.push(leaks(report));
    }
    page.push(failures(parts));
    if !parts.training.is_empty() {
        page.push(
            Section::new("Training").charts(
                parts.training.iter().map(|figure| (&figure.caption, figure.chart.clone())),
            ),
        );
    }
    page.push(left_out(report));
    page.push(how_made(parts));
    page.footer(format!("ossify-evaluate {}", report.ossify_version));
    page.render()
}

/// Dataset, sizes, and when the predictions were made.
fn heading(parts: &PageParts<'_>) -> String {
    let report = parts.report;
    let sizes = format!(
        "{} split: {}, {}, {}",
        report.split,
        counted(report.images, "image", "images"),
        counted(report.objects, "object", "objects"),
        counted(report.counts.predictions, "prediction", "predictions"),
    );
    let dataset = parts.sources.dataset.as_ref().map(|name| format!("Dataset {name}, "));
    // The day is that of the input: the report is the same whenever it is made.
    let day = parts.sources.manifest.as_ref().and_then(|manifest| manifest.created_at.get(..10));
    let made = day.map(|day| format!("; predictions of {day}"));
    format!("{}{sizes}{}", dataset.unwrap_or_default(), made.unwrap_or_default())
}

/// The report on the predictions before these, and the same score of both.
fn run_before(report: &Report, before: &RunBefore) -> String {
    let now = match report.findings {
        Some(_) => vec![
            ("AP50", report.detection.scores.ap50, before.scores.ap50),
            ("mean FROC", report.detection.froc.any_class.mean, before.scores.froc),
        ],
        None => vec![
            ("image accuracy", report.image_level.accuracy, before.scores.image_accuracy),
            ("AP50", report.detection.scores.ap50, before.scores.ap50),
        ],
    };
    let scores = now
        .iter()
        .map(|(name, now, then)| format!("{name} {}, then {}", value(now), value(then)))
        .collect::<Vec<_>>();
    format!(
        "The predictions before these were {}: {}. `ossify-evaluate compare {} {}` says what \
         changed.",
        before.id,
        scores.join("; "),
        before.id,
        report.run
    )
}

fn in_words(parts: &PageParts<'_>) -> Section {
    let report = parts.report;
    let tile = |name: &str, score: &Interval| Tile::new(name, value(score)).detail(interval(score));
    let mut section = Section::new("In words");
    if report.counts.predictions == 0 {
        section = section.note(NoteKind::Error, "Nothing was predicted for this split.");
    }
    for sentence in lead(report) {
        section = section.lead(sentence);
    }
    let view = View::first(report);
    let tiles = match view.findings {
        Some(findings) => {
            let point = findings.first_point();
            let points = point.map(|FindingPoint { scores, .. }| {
                [
                    tile("objects found", &scores.objects_found),
                    tile("false alarms an image", &scores.false_alarms),
                    tile("sensitivity by image", &scores.sensitivity),
                    tile("specificity by image", &scores.specificity),
                ]
            });
            let mut tiles: Vec<Tile> = points.into_iter().flatten().collect();
            tiles.push(tile("AUROC, any finding", &findings.auroc));
            tiles.push(tile("mean FROC", &view.froc.any_class.mean));
            tiles.push(tile("AP50", &view.detection.ap50));
            tiles
        }
        None => vec![
            tile("image accuracy", &view.image_level.accuracy),
            tile("macro F1, objects", &view.objects_level.macro_f1),
            tile("mean IoU", &view.objects_level.mean_iou),
            tile("AP50", &view.detection.ap50),
            tile("calibration error", &view.image_level.ece),
        ],
    };
    section = section.tiles(tiles);
    if let Some(before) = parts.sources.run_before(&report.split) {
        section = section.paragraph(run_before(report, before));
    }
    section.paragraph("What these figures do not show:").list(&report.limits)
}

/// AP and FROC, with their curves.
fn detection(report: &Report, figures: &[Figure]) -> Section {
    let froc = &report.detection.froc;
    let mut curve = Table::new([
        Column::text("false alarms an image"),
        Column::number("found, IoU ≥ 0.5"),
        Column::number("found, centre in box"),
        Column::number("found, IoU ≥ 0.5 and class"),
    ])
    .caption(format!(
        "Share of the {} objects that are found with at most so many false alarms, over all {} \
         images (FROC)",
        count(report.objects),
        count(report.images)
    ));
    type Sensitivity = fn(&FrocScores<Interval>) -> &Interval;
    let rows: [(&str, Sensitivity); 8] = [
        ("1/8", |froc| &froc.at_eighth),
        ("1/4", |froc| &froc.at_quarter),
        ("1/2", |froc| &froc.at_half),
        ("1", |froc| &froc.at_1),
        ("2", |froc| &froc.at_2),
        ("4", |froc| &froc.at_4),
        ("8", |froc| &froc.at_8),
        ("mean", |froc| &froc.mean),
    ];
    for (name, of) in rows {
        let columns = [&froc.any_class, &froc.centre_in_box, &froc.same_class];
        let cells = columns.map(|scores| score_cell(of(scores)));
        curve.push([TableCell::new(name)].into_iter().chain(cells));
    }
    Section::new("Detection").table(curve).table(coco_table(report)).charts(
        figures
            .iter()
            .filter(|figure| matches!(figure.stem, "froc" | "precision-recall"))
            .map(|figure| (&figure.caption, figure.chart.clone())),
    )
}

/// Images with an object against those without.
fn any_finding(report: &Report, findings: &FindingsReport, figures: &[Figure]) -> Section {
    let mut section = Section::new("Any finding, by image").paragraph(format!(
        "{} with an object and {} without. An image's score is the highest of its boxes, also of \
         those that are too low for a row of the table; an image is called where it reaches the \
         threshold. AUROC {}.",
        counted(findings.images_with, "image", "images"),
        count(findings.images_without),
        with_interval(&findings.auroc)
    ));
    if !findings.points.is_empty() {
        let mut table = Table::new([
            Column::text("threshold chosen for"),
            Column::number("threshold"),
            Column::number("sensitivity"),
            Column::number("specificity"),
            Column::number("objects found"),
            Column::number("false alarms an image"),
        ])
        .caption(format!(
            "What thresholds give that were chosen on the {} split{}",
            findings.chosen_on,
            if report.split == findings.chosen_on {
                ", these very images, which flatters the first column of each"
            } else {
                ""
            }
        ));
        for point in &findings.points {
            let scores = &point.scores;
            table.push([
                TableCell::new(rule_in_words(point.rule)),
                TableCell::new(three_digits(f64::from(point.threshold))),
                score_cell(&scores.sensitivity),
                score_cell(&scores.specificity),
                score_cell(&scores.objects_found),
                score_cell(&scores.false_alarms),
            ]);
        }
        section = section.table(table);
    }
    section.charts(
        figures
            .iter()
            .filter(|figure| matches!(figure.stem, "finding-roc" | "roc"))
            .map(|figure| (&figure.caption, figure.chart.clone())),
    )
}

/// Name, value and interval of a score, and what it is.
fn score_row(table: &mut Table, name: &str, score: &Interval, meaning: &str) {
    table.push([
        TableCell::new(name).remark(meaning),
        TableCell::new(value(score)),
        TableCell::new(interval(score)),
    ]);
}

fn columns() -> [Column; 3] {
    [Column::text("score"), Column::number("value"), Column::number("95 % interval")]
}

fn coco_table(report: &Report) -> Table {
    let mut table = Table::new(columns()).caption(format!(
        "{}: detection as COCO scores it, class and box together",
        counted(report.images, "image", "images")
    ));
    let level = &report.detection.scores;
    let froc = &report.detection.froc.any_class.mean;
    let rows = [
        ("AP", &level.ap, "mean average precision over IoU 0.50 to 0.95"),
        ("AP50", &level.ap50, "at IoU 0.50"),
        ("AP75", &level.ap75, "at IoU 0.75"),
        (
            "AR1",
            &level.ar1,
            "objects found with one detection an image, mean over IoU 0.50 to 0.95",
        ),
        ("AR10", &level.ar10, "with ten"),
        ("AR100", &level.ar100, "with a hundred"),
    ];
    for (name, score, meaning) in rows {
        score_row(&mut table, name, score, meaning);
    }
    if report.findings.is_none() {
        score_row(
            &mut table,
            "mean FROC",
            froc,
            "objects found, whatever the class, mean over 1/8 to 8 false alarms an image",
        );
    }
    table
}

fn scores(report: &Report, figures: &[Figure]) -> Section {
    let mut images = Table::new(columns()).caption(format!(
        "{}: the first prediction against the largest object",
        counted(report.counts.labelled_images, "labelled image", "labelled images")
    ));
    let level = &report.image_level;
    score_row(
        &mut images,
        "accuracy",
        &level.accuracy,
        "share of images whose class was predicted",
    );
    score_row(
        &mut images,
        "top-2 accuracy",
        &level.top2_accuracy,
        "share whose class is among the two most probable",
    );
    score_row(
        &mut images,
        "macro F1",
        &level.macro_f1,
        "mean over classes of the harmonic mean of precision and recall",
    );
    score_row(
        &mut images,
        "macro AUROC",
        &level.macro_auroc,
        "chance that an image of a class ranks above one of another; 0.5 is guessing",
    );
    score_row(
        &mut images,
        "log loss",
        &level.log_loss,
        "surprise at the true class in nats; 0 is best",
    );
    score_row(
        &mut images,
        "Brier score",
        &level.brier,
        "squared distance of probabilities from the truth, 0 to 2; 0 is best",
    );
    score_row(
        &mut images,
        "calibration error (ECE)",
        &level.ece,
        "gap between confidence and share right, 15 bins; 0 is best",
    );
    let mut objects = Table::new(columns()).caption(format!(
        "{} objects: each against the first prediction of its image",
        count(report.objects)
    ));
    let level = &report.objects_level;
    score_row(
        &mut objects,
        "accuracy",
        &level.accuracy,
        "share of objects whose class was predicted",
    );
    score_row(
        &mut objects,
        "balanced accuracy",
        &level.balanced_accuracy,
        "mean recall of the classes",
    );
    score_row(
        &mut objects,
        "macro F1",
        &level.macro_f1,
        "mean over classes of the harmonic mean of precision and recall",
    );
    score_row(
        &mut objects,
        "mean IoU",
        &level.mean_iou,
        "overlap of predicted and true box over what both cover",
    );
    score_row(
        &mut objects,
        "IoU ≥ 0.5",
        &level.iou50_rate,
        "share of objects that are boxed well enough",
    );
    score_row(
        &mut objects,
        "box error (MSE)",
        &level.box_mse,
        "mean squared error of the edges, shares of the image; 0 is best",
    );
    Section::new("Scores").table(images).table(objects).table(coco_table(report)).charts(
        figures
            .iter()
            .filter(|figure| {
                matches!(figure.stem, "precision-recall" | "froc" | "roc" | "reliability")
            })
            .map(|figure| (&figure.caption, figure.chart.clone())),
    )
}

/// Probabilities after temperature scaling, and thresholds.
fn thresholds(report: &Report) -> Section {
    let mut section = Section::new(if report.calibration.is_some() {
        "Probabilities and thresholds"
    } else {
        "Thresholds by class"
    });
    if let Some(calibration) = &report.calibration {
        section = section.paragraph(format!(
            "Divided by a temperature of {}, which the {} split asks for, the logits give \
                probabilities that mean what they say as far as one number can make them; \
             above 1 the model is surer than it should be. {}",
            two(calibration.temperature),
            calibration.fitted_on,
            if report.split == calibration.fitted_on {
                "It was fitted on these very images, which \
                makes the scores next to it look better than they are."
            } else {
                "These images had no part in it."
            },
        ));
        let mut table = Table::new([
            Column::text("score"),
            Column::number("as predicted"),
            Column::number("with temperature"),
        ]);
        let (before, after) = (&report.image_level, &calibration.scores);
        let rows = [
            ("calibration error (ECE)", &before.ece, &after.ece),
            ("Brier score", &before.brier, &after.brier),
            ("log loss", &before.log_loss, &after.log_loss),
        ];
        for (name, before, after) in rows {
            table.push([TableCell::new(name), score_cell(before), score_cell(after)]);
        }
        section = section.table(table);
    }
    if report.operating_points.is_empty() {
        return section;
    }
    let mut table = Table::new([
        Column::text("class"),
        Column::text("chosen for"),
        Column::number(if report.findings.is_some() {
            "least score for a yes"
        } else {
            "least probability for a yes"
        }),
        Column::number("sensitivity here"),
        Column::number("specificity here"),
    ])
    .caption(if report.findings.is_some() {
        "Thresholds for each class against all others, chosen on the valid split; report.json has \
         those of all rules"
    } else {
        "Thresholds for each class against all others, chosen on the valid split"
    });
    let shown = largest_classes(
        report.per_class.iter().map(|class| class.support),
        MAX_CLASSES_WITH_THRESHOLDS,
    );
    let names: HashSet<&str> =
        shown.iter().map(|class| report.per_class[*class].class_name.as_str()).collect();
    let points = report.operating_points.iter();
    // A detector's rules are many; the page has room for the first.
    let is_shown = |point: &&OperatingPoint<Interval>| {
        report.findings.is_none() || point.rule == OperatingRule::Youden
    };
    let points = points.filter(is_shown);
    for point in points.filter(|point| names.contains(point.class_name.as_str())) {
        table.push([
            TableCell::new(&point.class_name),
            TableCell::new(rule_in_words(point.rule)),
            TableCell::new(three_digits(f64::from(point.threshold))),
            score_cell(&point.sensitivity),
            score_cell(&point.specificity),
        ]);
    }
    let left_out = left_out_sentence(shown.len(), report.per_class.len(), "report.json");
    let section = section.table(table);
    if left_out.is_empty() { section } else { section.paragraph(left_out) }
}

/// Scores with and without images that are also in another split.
fn leaks(report: &Report) -> Section {
    let mut section = Section::new("With and without leaked images");
    if let Some(kept) = &report.without_leaked_images {
        section = section.paragraph(format!(
            "{} of the {} images {} a picture that another split has too. What the model learned \
             by heart it knows: the right column is without {}, and the page begins with it.",
            count(report.images - kept.images),
            count(report.images),
            if report.images - kept.images == 1 { "shows" } else { "show" },
            if report.images - kept.images == 1 { "it" } else { "them" }
        ));
        let mut table = Table::new([
            Column::text("score"),
            Column::number(format!("all {}", counted(report.images, "image", "images"))),
            Column::number(format!(
                "{} of this split alone",
                counted(kept.images, "image", "images")
            )),
        ]);
        let mut rows = match (&report.findings, &kept.findings) {
            (Some(with), Some(without)) => vec![
                ("mean FROC", &report.detection.froc.any_class.mean, &kept.froc.any_class.mean),
                ("AUROC, any finding", &with.auroc, &without.auroc),
            ],
            _ => vec![
                ("image accuracy", &report.image_level.accuracy, &kept.image_level.accuracy),
                ("macro F1, images", &report.image_level.macro_f1, &kept.image_level.macro_f1),
                (
                    "balanced accuracy, objects",
                    &report.objects_level.balanced_accuracy,
                    &kept.objects_level.balanced_accuracy,
                ),
                ("mean IoU", &report.objects_level.mean_iou, &kept.objects_level.mean_iou),
            ],
        };
        rows.push(("AP50", &report.detection.scores.ap50, &kept.detection.ap50));
        rows.push(("AP", &report.detection.scores.ap, &kept.detection.ap));
        for (name, with, without) in rows {
            table.push([TableCell::new(name), score_cell(with), score_cell(without)]);
        }
        section = section.table(table);
    }
    section
}

fn by_class(report: &Report, figures: &[Figure]) -> Section {
    let is_detector = report.findings.is_some();
    let names: &[&str] = if is_detector {
        &["AP50", "AP", "mean FROC", "AUROC by image"]
    } else {
        &["precision", "recall", "F1", "AUROC", "mean IoU", "AP50"]
    };
    let columns = names.iter().map(|name| Column::number(*name));
    let mut table =
        Table::new([Column::text("class"), Column::number("objects")].into_iter().chain(columns));
    let shown = largest_classes(report.per_class.iter().map(|class| class.support), MAX_CLASS_ROWS);
    let left_out = left_out_sentence(shown.len(), report.per_class.len(), "report.json");
    if !left_out.is_empty() {
        table = table.caption(left_out);
    }
    for class in shown {
        let (class, detection) = (&report.per_class[class], &report.detection.per_class[class]);
        let scores = &class.scores;
        let boxes = &detection.scores;
        let figures = if is_detector {
            vec![&boxes.ap50, &boxes.ap, &boxes.froc, &scores.auroc]
        } else {
            vec![
                &scores.precision,
                &scores.recall,
                &scores.f1,
                &scores.auroc,
                &scores.mean_iou,
                &boxes.ap50,
            ]
        };
        let cells = figures.into_iter().map(score_cell);
        table.push(
            [TableCell::new(&class.class_name), TableCell::from(class.support)]
                .into_iter()
                .chain(cells),
        );
    }
    let charts: Vec<_> = figures
        .iter()
        .filter(|figure| {
            matches!(figure.stem, "confusion-matrix" | "recall-by-class" | "ap50-by-class")
        })
        .map(|figure| (&figure.caption, figure.chart.clone()))
        .collect();
    let section = Section::new("By class");
    if report.per_class.len() <= MAX_CLASSES_SIDE_BY_SIDE {
        return section.table(table).charts(charts);
    }
    let charted = charts.into_iter();
    charted.fold(section, |section, (caption, chart)| section.chart(caption, chart)).table(table)
}

fn failures(parts: &PageParts<'_>) -> Section {
    let report = parts.report;
    let mut section = Section::new("Where it fails");
    let charts = parts.figures.iter().filter(|figure| figure.stem == "match-kinds");
    section = section.charts(charts.map(|figure| (&figure.caption, figure.chart.clone())));
    if !report.most_confused.is_empty() {
        let mut table = Table::new([
            Column::text("true class"),
            Column::text("taken for"),
            Column::number("objects"),
            Column::number("of the class"),
            Column::text("for example"),
        ])
        .caption("Classes that are taken for one another most often");
        for pair in &report.most_confused {
            table.push([
                TableCell::new(&pair.true_class_name),
                TableCell::new(&pair.predicted_class_name),
                pair.objects.into(),
                TableCell::new(percent(pair.share)),
                TableCell::code(pair.examples.first().cloned().unwrap_or_default()),
            ]);
        }
        section = section.table(table);
    }
    let mut table = Table::new([
        Column::text("by"),
        Column::text("part"),
        Column::number("objects"),
        Column::number("right class"),
        Column::number("IoU ≥ 0.5"),
        Column::number("mean IoU"),
    ])
    .caption(if report.findings.is_some() {
        "Parts of the objects, each against the box with the highest IoU"
    } else {
        "Parts of the objects, each against the first prediction of its image"
    });
    for slice in report.slices.iter().filter(|slice| slice.objects > 0) {
        let share = |share: Option<f64>| TableCell::new(two(share.unwrap_or(f64::NAN)));
        table.push([
            TableCell::new(slice.by),
            TableCell::new(&slice.part),
            slice.objects.into(),
            share(slice.accuracy),
            share(slice.found),
            share(slice.mean_iou),
        ]);
    }
    if !table.is_empty() {
        section = section.table(table);
    }
    if !parts.overlays.is_empty() {
        section = section
            .paragraph(format!(
                "{} Solid blue: the true box. Dashed orange: the prediction. A picture leads to a \
                 larger one in overlays/, next to this page.",
                if report.findings.is_some() {
                    "Images with the largest missed objects, with the surest false alarms, and \
                     where all is found."
                } else {
                    "The worst and the best images."
                }
            ))
            .gallery(gallery(parts));
    }
    if let Some(first) = parts.undrawn.first() {
        section = section.note(
            NoteKind::Warning,
            format!(
                "{} could not be drawn; the first: {first}",
                counted(parts.undrawn.len() as u64, "image", "images")
            ),
        );
    }
    section
}

fn gallery(parts: &PageParts<'_>) -> Gallery {
    let mut gallery = Gallery::new("overlays").filters(["images", "class", "outcome", "score"]);
    for overlay in parts.overlays {
        let image = &parts.marked.images[overlay.image];
        let truth = parts.marked.largest_truth(image);
        let name = |class: u16| parts.marked.class_names[usize::from(class)].as_str();
        let true_name = truth.map_or("(none)", |truth| name(truth.class));
        let first = parts.marked.predictions_of(image).first();
        let score = match first.map(|first| first.score) {
            None => "no score",
            Some(score) if score < 0.5 => "below 0.5",
            Some(score) if score < 0.7 => "0.5 to 0.7",
            Some(score) if score < 0.9 => "0.7 to 0.9",
            Some(_) => "0.9 and more",
        };
        let (picture, outcome) = if parts.marked.findings.is_detector {
            (marked_picture(parts.marked, overlay), overlay.kind.as_str())
        } else {
            first_picture(parts.marked, overlay)
        };
        gallery.push(
            picture
                .line(image.image_id.rsplit('/').next().unwrap_or(&image.image_id))
                .link(&overlay.file)
                .facets([overlay.kind.as_str(), true_name, outcome, score]),
        );
    }
    gallery
}

/// A picture of a detector's marks: what is on it, and what was found.
fn marked_picture(data: &SplitData, overlay: &Overlay) -> Picture {
    let image = &data.images[overlay.image];
    let (truths, marks) = (data.truths_of(image), data.predictions_of(image));
    let name = |class: u16| data.class_names[usize::from(class)].as_str();
    let hits = ImageHits::of(data, image);
    let title = match (hits.missed.len(), hits.false_alarms.len()) {
        (0, 0) => format!("{} found", counted(truths.len() as u64, "object", "objects")),
        (0, alarms) => counted(alarms as u64, "false alarm", "false alarms"),
        (missed, 0) => format!("{missed} of {} missed", truths.len()),
        (missed, alarms) => format!(
            "{missed} of {} missed, {}",
            truths.len(),
            counted(alarms as u64, "false alarm", "false alarms")
        ),
    };
    let listed = |names: Vec<String>, nothing: &str| {
        if names.is_empty() { nothing.to_owned() } else { names.join(", ") }
    };
    let true_ones = truths.iter().map(|truth| name(truth.class).to_owned()).collect();
    let found = marks
        .iter()
        .take(MAX_MARKS_NAMED)
        .map(|mark| format!("{} {}", name(mark.class), three_digits(f64::from(mark.score))));
    Picture::new("image/jpeg", &overlay.thumbnail, title)
        .line(format!("true: {}", listed(true_ones, "nothing")))
        .line(format!("boxes: {}", listed(found.collect(), "none")))
}

/// A picture of a classifier's first box, and what became of it.
fn first_picture(data: &SplitData, overlay: &Overlay) -> (Picture, &'static str) {
    let image = &data.images[overlay.image];
    let name = |class: u16| data.class_names[usize::from(class)].as_str();
    let (truth, first) = (data.largest_truth(image), data.predictions_of(image).first());
    let true_name = truth.map_or("(none)", |truth| name(truth.class));
    let iou = first.zip(truth).map_or(0.0, |(first, truth)| first.unit_box.iou(&truth.unit_box));
    let outcome = match first.zip(truth) {
        None => "no prediction",
        Some((first, truth)) if first.class != truth.class => "wrong class",
        Some(_) if iou < 0.5 => "right class, box off",
        Some(_) => "right",
    };
    let predicted = first.map_or("nothing predicted".to_owned(), |first| {
        format!("predicted {} with {}", name(first.class), two(f64::from(first.score)))
    });
    let others = data.truths_of(image).len().saturating_sub(1) as u64;
    let mut picture = Picture::new("image/jpeg", &overlay.thumbnail, format!("true: {true_name}"))
        .line(predicted)
        .line(format!("IoU {}", two(iou)));
    if others > 0 {
        picture = picture.line(format!("and {} more", counted(others, "object", "objects")));
    }
    (picture, outcome)
}

fn left_out(report: &Report) -> Section {
    let mut images = Table::new([
        Column::text("status"),
        Column::number("images"),
        Column::text("in the scores"),
    ])
    .caption(format!("All images of the {} split", report.split));
    for (status, images_of_status) in &report.counts.images_by_status {
        let scored = [ImageStatus::Labelled, ImageStatus::Background].map(ImageStatus::as_str);
        let is_scored = if scored.contains(status) { "yes" } else { "no" };
        images.push([(*status).into(), TableCell::from(*images_of_status), is_scored.into()]);
    }
    let section = Section::new("What is scored, and what is not").table(images);
    if report.excluded.is_empty() {
        return section.paragraph("Nothing was left out of the scores.");
    }
    let mut table =
        Table::new([Column::number("how many"), Column::text("of what"), Column::text("why")]);
    for excluded in &report.excluded {
        table.push([
            excluded.count.into(),
            TableCell::new(excluded.what.as_ref()),
            TableCell::new(&excluded.reason),
        ]);
    }
    section.table(table)
}

fn how_made(parts: &PageParts<'_>) -> Section {
    let report = parts.report;
    let mut table = Table::new([Column::text("what"), Column::text("value")]);
    let mut row =
        |what: &str, value: String| table.push([TableCell::new(what), TableCell::code(value)]);
    row("run", report.run.clone());
    if let Some(manifest) = &parts.sources.manifest {
        row(
            "predictions",
            format!(
                "{} {}, fingerprint {}",
                manifest.stage, manifest.ossify_version, manifest.fingerprint
            ),
        );
    }
    if let Some(environment) = &parts.run.environment {
        // When and with which command: in environment.json, so that equal runs give equal pages.
        row(
            "trained on",
            format!("{}, {} threads", environment.device_name, environment.thread_count),
        );
        row(
            "trained by",
            format!(
                "ossify {}{}",
                environment.ossify_version,
                environment
                    .git_commit
                    .as_ref()
                    .map(|commit| format!(", commit {commit}"))
                    .unwrap_or_default()
            ),
        );
    }
    row("report", format!("ossify {}", report.ossify_version));
    let bootstrap = &report.bootstrap;
    row(
        "intervals",
        format!(
            "95 %, from {} resamples of {} units, seed {}",
            bootstrap.samples,
            count(bootstrap.units),
            bootstrap.seed
        ),
    );
    let mut kinds = Section::new("");
    kinds = kinds.list(KINDS.iter().map(|(kind, words)| format!("{kind}: {words}")));
    let mut section = Section::new("How it was made")
        .table(table)
        .details(
            "How the scores are defined",
            Section::new("").list([
                "Accuracy, balanced accuracy, F1, AUROC, log loss, Brier score: as scikit-learn \
                    computes them; an image without a prediction counts as wrong.",
                "Calibration error: Guo et al., 2017, On Calibration of Modern Neural Networks, 15 \
                    bins of equal width.",
                "AP and AR: the COCO protocol, equal to pycocotools, boxes of all sizes, at most \
                    100 detections an image and class.",
                "FROC: Chakraborty, 1989. A box hits the free object with the highest IoU, of at \
                    least 0.5; further boxes on an object are neither hits nor false alarms, as in \
                    LUNA16 (Setio et al., 2017), whose score is the mean at 1/8 to 8 false alarms. \
                    The sensitivity is the highest of a threshold with at most so many, over all \
                    images, also those without objects.",
                "Any finding: an image with an object is positive, one without negative. \
                    \"Best separation\" is the threshold with the largest sum of sensitivity and \
                    specificity (Youden, 1950).",
                "Kinds of errors: after TIDE (Bolya et al., 2020), IoU 0.5 and 0.1.",
                "Intervals: images, or groups of images that show the same picture, are drawn with \
                    replacement (bootstrap). That of a share is the exact one (Clopper and \
                    Pearson) for as many independent cases as have the same variance (Korn and \
                    Graubard, 1998), so that it has a width also at 0, at 1 and for few images. \
                    That of a loss holds the middle 95 % of the resamples.",
            ]),
        )
        .details("Kinds in matches.parquet", kinds);
    if let Some(config) = &parts.run.config {
        section = section.details("Configuration of the run", Section::new("").code_block(config));
    }
    section
}
