//! ingest.html: the dataset at a glance, and what is wrong with it.

use std::cmp::Reverse;

use ossify_contract::{ClassRow, Split};
use ossify_page::{
    BarChart, Column, DensityMap, Histogram, NoteKind, Page, Section, Table, TableCell, Tile,
    count, percent,
};

use super::drawings;
use super::summary::dataset_name;
use super::tally::{Example, MAP_CELLS, Tally};
use crate::find::layout::Layout;
use crate::rules::Rule;

/// Number of image sizes listed in the table.
const COMMON_SIZES: usize = 8;
/// Number of classes in the chart and in the table.
const MAX_CHARTED_CLASSES: usize = 100;
const MAX_SHOWN_CLASSES: usize = 1000;
/// Bars of the histograms of widths and heights.
const SIDE_BINS: usize = 32;

/// The page as one HTML document.
pub(crate) fn render(layout: &Layout, tally: &Tally, classes: &[ClassRow]) -> String {
    let mut page = Page::new(
        "Label tables",
        format!("{}, {} images", dataset_name(layout), count(tally.total().0.images)),
    );
    page.push(
        layout.remarks.iter().fold(overview(tally, classes), |section, remark| {
            section.note(NoteKind::Warning, remark)
        }),
    );
    page.push(class_balance(tally, classes));
    page.push(findings(layout, tally));
    if let Some(gallery) = drawings::samples(layout, tally, classes) {
        let text = "Two images of each class, drawn at random. The class's own objects are \
            orange, others blue.";
        page.push(Section::new("Examples").paragraph(text).gallery(gallery));
    }
    page.push(boxes(tally));
    page.push(images(tally));
    page.footer(format!(
        "ossify {}; tables: images.parquet, objects.parquet, issues.parquet, classes.parquet",
        env!("CARGO_PKG_VERSION")
    ));
    page.render()
}

fn overview(tally: &Tally, classes: &[ClassRow]) -> Section {
    let (total, ledger) = tally.total();
    let kept = classes.iter().filter(|class| class.kept).count() as u64;
    let [notes, warnings, errors] = tally.severities;
    let columns =
        ["images", "labelled", "background", "unlabelled", "unreadable"].map(Column::number);
    let mut images =
        Table::new(std::iter::once(Column::text("split")).chain(columns)).caption("Images");
    let columns =
        ["lines", "boxes", "polygons", "quarantined", "of rare classes"].map(Column::number);
    let mut lines = Table::new(std::iter::once(Column::text("split")).chain(columns))
        .caption("The ledger: each label line is a box, a polygon, or quarantined");
    for split in Split::ALL {
        let (Some(counts), Some(ledger)) = (tally.splits.get(&split), tally.ledger.get(&split))
        else {
            continue;
        };
        let row = [
            counts.images,
            counts.labelled,
            counts.background,
            counts.unlabelled,
            counts.unreadable,
        ]
        .map(count);
        images.push(std::iter::once(split.to_string()).chain(row));
        let row =
            [ledger.lines, ledger.boxes, ledger.polygons, ledger.quarantined, ledger.rare_filtered]
                .map(count);
        lines.push(std::iter::once(split.to_string()).chain(row));
    }
    Section::new("Overview")
        .tiles([
            Tile::new("images", count(total.images))
                .detail(format!("{} labelled", count(total.labelled))),
            Tile::new("objects", count(total.objects))
                .detail(format!("{} repaired", count(tally.repaired))),
            Tile::new("classes kept", count(kept)).detail(format!("of {}", classes.len())),
            Tile::new("quarantined lines", count(ledger.quarantined))
                .detail(format!("{} of the lines", percent(tally.quarantined_share()))),
            Tile::new("errors", count(errors)).detail(format!(
                "{} warnings, {} notes",
                count(warnings),
                count(notes)
            )),
        ])
        .table(images)
        .table(lines)
}

fn class_balance(tally: &Tally, classes: &[ClassRow]) -> Section {
    let splits: Vec<Split> =
        Split::ALL.into_iter().filter(|split| tally.splits.contains_key(split)).collect();
    let objects = |class: &ClassRow, split: Split| match split {
        Split::Train => class.train_objects,
        Split::Valid => class.valid_objects,
        Split::Test => class.test_objects,
    };
    let mut chart = BarChart::new("Objects by class and split")
        .axis_name("objects")
        .series(splits.iter().map(|split| split.to_string()));
    let numbers = splits.iter().map(|split| Column::number(split.to_string()));
    let mut table = Table::new(
        [Column::number("id"), Column::text("class"), Column::number("trained as")]
            .into_iter()
            .chain(numbers)
            .chain([Column::text("")]),
    );
    let total = |class: &ClassRow| class.train_objects + class.valid_objects + class.test_objects;
    let mut shown: Vec<&ClassRow> = classes.iter().collect();
    // The most frequent classes, in order of their ids.
    shown.sort_by_key(|class| (Reverse(total(class)), class.class_id));
    shown.truncate(MAX_SHOWN_CLASSES);
    let mut charted = shown.clone();
    charted.truncate(MAX_CHARTED_CLASSES);
    shown.sort_by_key(|class| class.class_id);
    charted.sort_by_key(|class| class.class_id);
    for class in &charted {
        chart = chart.row(
            class.class_name.clone(),
            splits.iter().map(|split| objects(class, *split) as f64),
        );
    }
    for class in &shown {
        let index = class.class_index.map_or_else(|| "–".to_owned(), |index| index.to_string());
        let counts = splits.iter().map(|split| count(objects(class, *split).unsigned_abs()));
        let row = [class.class_id.to_string(), class.class_name.clone(), index]
            .into_iter()
            .chain(counts)
            .chain([class.reason.clone().unwrap_or_default()]);
        table.push(row);
    }
    let mut section = Section::new("Classes")
        .chart("How many objects each class has in each split.", chart.svg())
        .table(table);
    if charted.len() < classes.len() {
        section = section.note(
            NoteKind::Info,
            format!(
                "Of {} classes the {} most frequent are drawn and {} are listed; classes.parquet \
                 has all.",
                classes.len(),
                charted.len(),
                shown.len()
            ),
        );
    }
    if let Some(largest) =
        classes.iter().filter(|class| class.kept).map(|class| class.train_objects).max()
        && let Some(smallest) =
            classes.iter().filter(|class| class.kept).map(|class| class.train_objects).min()
        && smallest > 0
        && largest >= smallest * 10
    {
        let ratio = largest as f64 / smallest as f64;
        section = section.note(
            NoteKind::Warning,
            format!(
                "The largest class has {ratio:.0} times the \
                objects of the smallest in train; look at scores per class."
            ),
        );
    }
    section
}

fn findings(layout: &Layout, tally: &Tally) -> Section {
    let mut section = Section::new("Findings");
    if tally.rules.is_empty() {
        return section.paragraph("No faults were found.");
    }
    let mut table = Table::new([
        Column::text("rule"),
        Column::number("errors"),
        Column::number("warnings"),
        Column::number("notes"),
        Column::text("found when"),
    ]);
    for (name, rule) in &tally.rules {
        let [notes, warnings, errors] = rule.by_severity.map(count);
        let when = Rule::named(name).map_or("", |rule| rule.page().when);
        table.push([
            TableCell::code(name.clone()),
            errors.into(),
            warnings.into(),
            notes.into(),
            when.into(),
        ]);
    }
    section = section.paragraph("All findings are in issues.parquet.").table(table);
    for (name, rule) in &tally.rules {
        let mut examples =
            Table::new([Column::text("where"), Column::text("what"), Column::text("line")]);
        for Example { finding, .. } in &rule.examples {
            let source = finding.source.as_deref().map(shortened).unwrap_or_default();
            examples.push([
                TableCell::code(finding.location.to_string()),
                finding.message.as_str().into(),
                TableCell::code(source),
            ]);
        }
        let mut inner = Section::new("").table(examples);
        if let Some(known) = Rule::named(name) {
            let page = known.page();
            inner = inner.paragraph(page.why).paragraph(page.then).paragraph(page.fix);
        }
        if let Some(gallery) = drawings::findings(layout, name, &rule.examples) {
            inner = inner.gallery(gallery);
        }
        section = section.details(
            format!("{name}: the first {} of {}", rule.examples.len(), count(rule.count)),
            inner,
        );
    }
    section
}

fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 120;
    if text.chars().nth(MAX_CHARS).is_none() {
        text.to_owned()
    } else {
        text.chars().take(MAX_CHARS).chain(['…']).collect()
    }
}

fn boxes(tally: &Tally) -> Section {
    let centers = DensityMap::of_points("Where boxes lie", tally.centers.points(), MAP_CELLS)
        .axis_names("share of the width", "share of the height");
    let extents = DensityMap::of_points("How large boxes are", tally.extents.points(), MAP_CELLS)
        .axis_names("box width", "box height")
        .origin_at_bottom();
    Section::new("Boxes").charts([
        ("Centres of the boxes on the image; darker for more.", centers.svg()),
        ("Width and height of the boxes as shares of the image; darker for more.", extents.svg()),
    ])
}

fn images(tally: &Tally) -> Section {
    let longest =
        tally.sizes.keys().map(|(width, height)| (*width).max(*height)).max().unwrap_or(1);
    let high = f64::from((longest + 63) / 64 * 64);
    let sides = |of: fn((i32, i32)) -> i32| {
        tally.sizes.iter().flat_map(move |(size, count)| {
            std::iter::repeat_n(f64::from(of(*size)), usize::try_from(*count).unwrap_or(usize::MAX))
        })
    };
    let widths = Histogram::of_values("Widths", sides(|size| size.0), SIDE_BINS, 0.0, high)
        .axis_names("pixels", "images");
    let heights = Histogram::of_values("Heights", sides(|size| size.1), SIDE_BINS, 0.0, high)
        .axis_names("pixels", "images");
    let mut common: Vec<_> = tally.sizes.iter().map(|(size, count)| (*count, *size)).collect();
    common.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut table = Table::new([Column::text("size"), Column::number("images")])
        .caption("The most frequent sizes");
    for (images, (width, height)) in common.iter().take(COMMON_SIZES) {
        table.push([format!("{width}x{height}"), count(*images)]);
    }
    let formats: Vec<String> = tally
        .formats
        .iter()
        .map(|(format, images)| format!("{} {format}", count(*images)))
        .collect();
    let sizes = format!(
        "{}{} different sizes; formats: {}.",
        if tally.more_sizes { "more than " } else { "" },
        count(tally.sizes.len() as u64),
        formats.join(", ")
    );
    Section::new("Images")
        .paragraph(sizes)
        .charts([
            ("Width of the images, upright.", widths.svg()),
            ("Height of the images, upright.", heights.svg()),
        ])
        .table(table)
}
