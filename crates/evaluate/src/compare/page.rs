//! `compare.html`.

use ossify_page::{
    Column, ForestChart, NoteKind, Page, Section, Svg, Table, TableCell, Tile, count, counted,
    percent,
};
use ossify_settings::{DropTest, EvaluateSettings};

use crate::compare::changes::{ConfusionChange, ImageChange, Seen};
use crate::compare::comparison::{AgainstBaseline, Comparison};
use crate::compare::gates::margins;
use crate::compare::pictures::{self, ChangedPicture};
use crate::compare::tables::ComparedTables;
use crate::compare::words::{Reading, difference_interval, difference_value, p_value, signed};
use crate::report::digits::score_cell;
use crate::report::digits::{two, value};
use crate::report::largest::{largest_classes, left_out_sentence};
use crate::scores::bootstrap::Difference;

/// Images and pairs of classes that are shown at once; more are folded away.
const SHOWN: usize = 12;
/// Images that are folded away; `compare.json` has the rest.
const FOLDED: usize = 100;

/// Rows of a table of classes.
const MAX_CLASS_ROWS: usize = 50;
/// Classes in a chart.
const MAX_CLASSES_DRAWN: usize = 30;

/// Renders the page. `drawn` are pictures and reasons for missing ones of each table that is
/// compared; `judged` are the settings of the gates, where this split decides on them.
pub(crate) fn render(
    comparison: &Comparison,
    tables: &ComparedTables,
    drawn: &[(Vec<ChangedPicture>, Vec<String>)],
    judged: Option<&EvaluateSettings>,
) -> String {
    let baseline = &comparison.baseline().name;
    let others: Vec<&str> =
        comparison.comparisons.iter().map(|other| other.name.as_str()).collect();
    let mut page = Page::new(
        format!("{} against {baseline}", others.join(", ")),
        format!(
            "{} split: {}, {}; each resample is scored with every table",
            comparison.split,
            counted(comparison.images, "image", "images"),
            counted(comparison.objects, "object", "objects")
        ),
    );
    page.push(in_words(comparison, judged));
    page.push(differences(comparison));
    page.push(by_class(comparison));
    for (number, (other, (pictures, undrawn))) in
        comparison.comparisons.iter().zip(drawn).enumerate()
    {
        let section = pictures::show(
            images(comparison, other),
            number,
            [baseline, &other.name],
            pictures,
            undrawn,
        );
        page.push(image_lists(section, baseline, other));
        page.push(confusions(comparison, other));
    }
    page.push(how_made(comparison, tables));
    page.footer(format!("ossify-evaluate {}", comparison.ossify_version));
    page.render()
}

/// A heading that names the table where there are several.
fn titled(comparison: &Comparison, title: &str, other: &AgainstBaseline) -> String {
    if comparison.comparisons.len() == 1 {
        title.to_owned()
    } else {
        format!("{title}: {}", other.name)
    }
}

fn in_words(comparison: &Comparison, judged: Option<&EvaluateSettings>) -> Section {
    let mut section = Section::new("In words");
    for gate in &comparison.gates {
        section =
            section.note(NoteKind::Error, format!("{} is not kept: {}.", gate.name, gate.message));
    }
    for (i, other) in comparison.comparisons.iter().enumerate() {
        let mut sentences = other.in_words.iter();
        for sentence in sentences.by_ref().take(1) {
            section = section.lead(sentence);
        }
        for sentence in sentences {
            section = section.paragraph(sentence);
        }
        let tiles = other
            .differences
            .headlines(comparison.task)
            .into_iter()
            .zip(comparison.tables[i + 1].scores.headlines(comparison.task))
            .zip(comparison.baseline().scores.headlines(comparison.task));
        section = section.tiles(tiles.map(
            |(((_, words, difference), (_, _, after)), (_, _, before))| {
                let reading = Reading::of(&difference, false).as_str();
                Tile::new(words, difference_value(&difference)).detail(format!(
                    "{} → {}, {reading}",
                    value(&before),
                    value(&after)
                ))
            },
        ));
    }
    section.paragraph(margins_in_words(comparison, judged))
}

fn margins_in_words(comparison: &Comparison, judged: Option<&EvaluateSettings>) -> String {
    let Some(settings) = judged else {
        return "Margins (evaluate.max_drop) are judged on the first split of evaluate.splits, \
            which is another one."
            .into();
    };
    let named = comparison.baseline().scores.headlines(comparison.task);
    let margins = margins(&settings.max_drop, comparison.task);
    let set: Vec<String> = named
        .into_iter()
        .zip(margins)
        .filter_map(|((_, words, _), margin)| Some(format!("{words} {}", margin.most()?)))
        .collect();
    if set.is_empty() {
        return "No margin is set (evaluate.max_drop): no drop is too large.".into();
    }
    let test = match settings.drop_test {
        DropTest::Measured => "a drop counts where the measured one is larger",
        DropTest::Clear => "a drop counts where its whole 95 % interval is larger",
        DropTest::Possible => "a drop counts where its 95 % interval reaches further",
    };
    format!("Margins (evaluate.max_drop): {}; {test} (evaluate.drop_test).", set.join(", "))
}

fn whisker(difference: &Difference) -> (f64, f64, f64) {
    (difference.value, difference.low, difference.high)
}

/// A forest plot with a mark for each table that is compared.
fn forest(comparison: &Comparison, title: &str) -> ForestChart {
    ForestChart::new(title)
        .sides("worse", "better")
        .series(comparison.comparisons.iter().map(|other| other.name.as_str()))
}

fn score_forest(comparison: &Comparison) -> Svg {
    let of_each: Vec<_> =
        comparison.comparisons.iter().map(|other| other.differences.scores()).collect();
    let mut chart =
        forest(comparison, &format!("Scores, less those of {}", comparison.baseline().name));
    for (i, (name, _)) in of_each[0].iter().enumerate().filter(|(_, (name, _))| !name.is_loss) {
        let of_boxes = ["detection", "froc", "findings"].contains(&name.level);
        let is_defined = |scores: &Vec<(_, Difference)>| !scores[i].1.value.is_nan();
        if !of_each.iter().any(is_defined) {
            continue;
        }
        let label = if of_boxes {
            name.words.to_owned()
        } else {
            format!("{}, {}", name.words, name.level)
        };
        chart = chart.row(label, of_each.iter().map(|scores| whisker(&scores[i].1)));
    }
    chart.svg()
}

fn class_forest(comparison: &Comparison) -> Svg {
    let mut chart =
        forest(comparison, &format!("F1 by class, less that of {}", comparison.baseline().name));
    for class in shown_classes(comparison, MAX_CLASSES_DRAWN) {
        chart = chart.row(
            &comparison.baseline().scores.per_class[class].class_name,
            comparison
                .comparisons
                .iter()
                .map(|other| whisker(&other.differences.per_class[class].scores.f1)),
        );
    }
    chart.svg()
}

fn differences(comparison: &Comparison) -> Section {
    let mut section = Section::new("Differences").charts([
        (
            "Each mark is a difference, its line the 95 % interval. A full mark has its whole \
                interval on one side of 0; a hollow one may be chance. Scores \
             for which smaller is better are only in the table.",
            score_forest(comparison),
        ),
        ("Over objects. Classes with few objects have wide intervals.", class_forest(comparison)),
    ]);
    for (i, other) in comparison.comparisons.iter().enumerate() {
        let baseline = comparison.baseline();
        let mut table = Table::new([
            Column::text("score"),
            Column::number(&baseline.name),
            Column::number(&other.name),
            Column::number("difference"),
            Column::number("above 0"),
            Column::text("reading"),
        ])
        .caption(format!("{} less {}, with 95 % intervals", other.name, baseline.name));
        let scores = baseline
            .scores
            .scores()
            .into_iter()
            .zip(comparison.tables[i + 1].scores.scores())
            .zip(other.differences.scores());
        for (((name, before), (_, after)), (_, difference)) in scores {
            let level = if name.is_loss {
                format!("{}, smaller is better", name.level)
            } else {
                name.level.to_owned()
            };
            table.push([
                TableCell::new(name.words).remark(level),
                score_cell(&before),
                score_cell(&after),
                TableCell::new(difference_value(&difference))
                    .remark(difference_interval(&difference)),
                TableCell::new(percent(difference.above_zero)),
                TableCell::new(Reading::of(&difference, name.is_loss).as_str()),
            ]);
        }
        section = section.table(table);
    }
    section
}

fn by_class(comparison: &Comparison) -> Section {
    let mut section = Section::new("By class");
    for (i, other) in comparison.comparisons.iter().enumerate() {
        let columns =
            ["precision", "recall", "F1", "AUROC", "mean IoU", "AP50"].map(Column::number);
        let mut table = Table::new(
            [Column::text("class"), Column::number("objects")].into_iter().chain(columns),
        )
        .caption(format!(
            "{} less {}, and below from what to what",
            other.name,
            comparison.baseline().name
        ));
        for class in shown_classes(comparison, MAX_CLASS_ROWS) {
            let before = &comparison.baseline().scores.per_class[class];
            let after = &comparison.tables[i + 1].scores.per_class[class];
            let change = &other.differences.per_class[class];
            let cell = |difference: &Difference, before: f64, after: f64| {
                TableCell::new(difference_value(difference)).remark(format!(
                    "{} → {}",
                    two(before),
                    two(after)
                ))
            };
            let (of, from, to) = (&change.scores, &before.scores, &after.scores);
            table.push([
                TableCell::new(&change.class_name),
                TableCell::from(change.support),
                cell(&of.precision, from.precision.value, to.precision.value),
                cell(&of.recall, from.recall.value, to.recall.value),
                cell(&of.f1, from.f1.value, to.f1.value),
                cell(&of.auroc, from.auroc.value, to.auroc.value),
                cell(&of.mean_iou, from.mean_iou.value, to.mean_iou.value),
                cell(
                    &change.detection.ap50,
                    before.detection.ap50.value,
                    after.detection.ap50.value,
                ),
            ]);
        }
        section = section.table(table);
    }
    let classes = comparison.baseline().scores.per_class.len();
    let left_out = left_out_sentence(MAX_CLASS_ROWS, classes, "compare.json");
    if left_out.is_empty() { section } else { section.paragraph(left_out) }
}

/// The classes that have room.
fn shown_classes(comparison: &Comparison, room: usize) -> Vec<usize> {
    let classes = &comparison.baseline().scores.per_class;
    largest_classes(classes.iter().map(|class| class.support), room)
}

fn images(comparison: &Comparison, other: &AgainstBaseline) -> Section {
    let baseline = &comparison.baseline().name;
    let changes = &other.images;
    let mut counts = Table::new([
        Column::text("labelled images"),
        Column::number("right"),
        Column::number("wrong"),
    ])
    .caption(format!("By the class of the largest object; the columns are {}", other.name));
    counts.push([
        TableCell::new(format!("{baseline} right")),
        changes.right_in_both.into(),
        changes.right_to_wrong.into(),
    ]);
    counts.push([
        TableCell::new(format!("{baseline} wrong")),
        changes.wrong_to_right.into(),
        changes.wrong_in_both.into(),
    ]);
    let mut section = Section::new(titled(comparison, "Images that changed", other)).table(counts);
    if changes.right_to_wrong + changes.wrong_to_right > 0 {
        section = section.paragraph(format!(
            "McNemar's exact test: {}. It asks whether as many images turn wrong as turn right, \
                and counts each image on its own, also those that show \
             the same picture.",
            p_value(changes.mcnemar_p)
        ));
    }
    section
}

/// Adds the images by name.
fn image_lists(mut section: Section, baseline: &str, other: &AgainstBaseline) -> Section {
    let changes = &other.images;
    let lists = [
        ("Right to wrong", "the surest wrong answer first", &changes.worse),
        ("Wrong to right", "the surest right answer first", &changes.better),
        (
            "Other images whose box lost IoU",
            "the largest loss first, at most 20",
            &changes.iou_lost,
        ),
        (
            "Other images whose box gained IoU",
            "the largest gain first, at most 20",
            &changes.iou_gained,
        ),
    ];
    for (title, order, list) in lists.into_iter().filter(|(_, _, list)| !list.is_empty()) {
        let (shown, folded) = list.split_at(list.len().min(SHOWN));
        section = section
            .table(image_table(baseline, &other.name, shown).caption(format!("{title}, {order}")));
        if !folded.is_empty() {
            let rest = if folded.len() > FOLDED {
                format!(", the first {FOLDED} of them here, all in compare.json")
            } else {
                String::new()
            };
            let more = format!("{title}: {} more{rest}", count(folded.len() as u64));
            section = section.details(
                more,
                Section::new("").table(image_table(
                    baseline,
                    &other.name,
                    &folded[..folded.len().min(FOLDED)],
                )),
            );
        }
    }
    section
}

fn image_table(baseline: &str, other: &str, changes: &[ImageChange]) -> Table {
    let mut table = Table::new([
        Column::text("image"),
        Column::text("true class"),
        Column::text(baseline),
        Column::text(other),
        Column::number("IoU"),
        Column::number("change"),
    ]);
    let answer = |seen: &Seen| match (&seen.class_name, seen.score) {
        (Some(class), Some(score)) => {
            TableCell::new(class).remark(format!("with {}", two(f64::from(score))))
        }
        _ => TableCell::new("no prediction"),
    };
    for change in changes {
        table.push([
            TableCell::code(&change.image_id),
            TableCell::new(&change.true_class_name),
            answer(&change.baseline),
            answer(&change.other),
            TableCell::new(format!("{} → {}", two(change.baseline.iou), two(change.other.iou))),
            TableCell::new(signed(change.iou_change, 2)),
        ]);
    }
    table
}

fn confusions(comparison: &Comparison, other: &AgainstBaseline) -> Section {
    let section = Section::new(titled(comparison, "Confusions that changed", other));
    if other.confusions.is_empty() {
        return section.paragraph("Every class is taken for every other one as often as before.");
    }
    let (grown, shrunk): (Vec<&ConfusionChange>, Vec<_>) =
        other.confusions.iter().partition(|confusion| confusion.change > 0);
    let table = |caption: &str, confusions: &[&ConfusionChange]| {
        let columns = [
            Column::text("true class"),
            Column::text("taken for"),
            Column::number(&comparison.baseline().name),
            Column::number(&other.name),
            Column::number("change"),
            Column::text("for example"),
        ];
        let mut table = Table::new(columns).caption(caption);
        for confusion in confusions.iter().take(SHOWN) {
            table.push([
                TableCell::new(&confusion.true_class_name),
                TableCell::new(
                    confusion.predicted_class_name.as_deref().unwrap_or("(no prediction)"),
                ),
                confusion.baseline.into(),
                confusion.other.into(),
                TableCell::new(signed(confusion.change as f64, 0)),
                TableCell::code(confusion.examples.first().cloned().unwrap_or_default()),
            ]);
        }
        table
    };
    let section =
        if grown.is_empty() { section } else { section.table(table("Grew, objects", &grown)) };
    let shrunk: Vec<&ConfusionChange> = shrunk.into_iter().rev().collect();
    if shrunk.is_empty() { section } else { section.table(table("Shrank, objects", &shrunk)) }
}

fn how_made(comparison: &Comparison, tables: &ComparedTables) -> Section {
    let mut table = Table::new([Column::text("what"), Column::text("value")]);
    for (name, source) in tables.sources() {
        let origin = match &source.manifest {
            Some(manifest) => format!(
                "{} {}, fingerprint {}",
                manifest.stage, manifest.ossify_version, manifest.fingerprint
            ),
            None => source
                .predictions
                .first()
                .map(|(_, files)| files.predictions.display().to_string())
                .unwrap_or_default(),
        };
        table.push([TableCell::new(format!("predictions {name}")), TableCell::code(origin)]);
    }
    let bootstrap = &comparison.bootstrap;
    let intervals = format!(
        "paired percentile bootstrap, {} resamples of {} units, seed {}",
        bootstrap.samples,
        count(bootstrap.units),
        bootstrap.seed
    );
    table.push([TableCell::new("intervals"), TableCell::code(intervals)]);
    Section::new("How it was made").table(table).details(
        "How to read it",
        Section::new("").list([
            "Paired: each resample draws the same images for all tables, so that what is hard for \
                all of them cancels; the interval of a difference is narrower than the intervals \
                of the scores suggest.",
            "Units: images, or groups of images that show the same picture, which are drawn \
                together. The interval holds the middle 95 % of the differences.",
            "Above 0: the share of resamples in which the difference is larger than 0.",
            "Of twenty scores that do not differ, one has an interval without 0 all the same. \
                Decide on the score that matters before you look.",
            "The intervals say how far the differences would move with other images of the same \
                source. They say nothing of another training of the same recipe, which may move \
                the scores as much.",
            "Scores are those of report.html, defined there. An image without a prediction counts \
                as wrong.",
        ]),
    )
}
