//! Writes a page with every part and every chart, to be looked at in a browser:
//! `cargo run --release --workspace --example every_part > page.html`

use ossify_page::*;

fn main() {
    let mut page =
        Page::new("Every part of a page", "what the library can draw, with made-up numbers");
    page.push(
        Section::new("Words")
            .lead(
                "On 173 labelled images the model names the right class in 0.84 (0.78 to 0.89) \
                of them.",
            )
            .paragraph(
                "A paragraph explains what the figures mean and how they were made. It is \
                kept to a width that reads well.",
            )
            .list(["A point.", "Another point, with <markup> & \"quotes\" that stay as they are."])
            .note(NoteKind::Info, "Good to know.")
            .note(NoteKind::Warning, "Changes how the figures are to be read.")
            .tiles([
                Tile::new("accuracy", "0.84").detail("0.78 to 0.89"),
                Tile::new("images", count(1204)),
                Tile::new("AP50", "0.41").detail("0.33 to 0.50"),
                Tile::new("quarantined", "9").detail("0.7 % of the lines"),
            ])
            .details("What is folded away", Section::new("").paragraph("Open in print.")),
    );
    let classes = [
        "elbow positive",
        "fingers positive",
        "forearm fracture",
        "humerus",
        "shoulder fracture",
        "wrist positive",
    ];
    let mut table = Table::new([
        Column::text("class"),
        Column::number("support"),
        Column::number("precision"),
        Column::text("source"),
    ])
    .caption("Scores by class.");
    for (i, class) in classes.iter().enumerate() {
        table.push([
            TableCell::new(*class),
            (i as u64 * 37 + 20).into(),
            TableCell::new("0.81").remark("0.70 to 0.90"),
            TableCell::code("train/labels/a.txt:3"),
        ]);
    }
    page.push(Section::new("Tables").table(table));
    let mut bars =
        BarChart::new("Objects by class").axis_name("objects").series(["train", "valid", "test"]);
    let mut scores = BarChart::new("Recall by class, with 95 % intervals").range(0.0, 1.0);
    for (i, class) in classes.iter().enumerate() {
        bars = bars.row(*class, [228.0 + 30.0 * i as f64, 20.0 + i as f64, 14.0]);
        scores = scores.row_with_interval(
            *class,
            0.9 - 0.1 * i as f64,
            0.8 - 0.1 * i as f64,
            0.95 - 0.08 * i as f64,
        );
    }
    let curve =
        |rate: f64| (0..=50).map(move |i| (f64::from(i), 3.0 * (-rate * f64::from(i)).exp() + 0.3));
    let mut roc = LineChart::new("ROC, each class against the rest")
        .share_axes()
        .axis_names("false positive rate", "true positive rate")
        .reference((0.0, 0.0), (1.0, 1.0));
    for (i, class) in classes.iter().enumerate() {
        roc = roc.line(
            *class,
            (0..=40)
                .map(move |k| f64::from(k) / 40.0)
                .map(move |x| (x, x.powf(0.1 + 0.1 * i as f64))),
        );
    }
    let matrix = (0..6)
        .map(|r| {
            (0..6)
                .map(|c| {
                    if r == c { 30.0 - 3.0 * f64::from(r) } else { f64::from((r * 7 + c * 3) % 5) }
                })
                .collect()
        })
        .collect();
    let names: Vec<String> = classes.iter().map(|class| (*class).to_owned()).collect();
    let heat = HeatMap::new("Confusion matrix", names.clone(), names, matrix)
        .axis_names("true class", "predicted class")
        .shade_by_row();
    let spiral = || {
        (0..900)
            .map(|i| f64::from(i) / 900.0)
            .map(|t| (0.5 + 0.45 * t * (t * 40.0).sin(), 0.5 + 0.4 * t * (t * 40.0).cos()))
    };
    let bins = (0..15).map(|i| f64::from(i) / 15.0).map(|low| ReliabilityBin {
        low,
        high: low + 1.0 / 15.0,
        confidence: low + 0.03,
        accuracy: (low * 0.9 + 0.02).min(1.0),
        count: (low * 40.0) as u64,
    });
    page.push(
        Section::new("Charts")
            .charts([
                ("Grouped bars.", bars.svg()),
                ("One bar a row, with intervals.", scores.svg()),
            ])
            .charts([
                (
                    "Lines.",
                    LineChart::new("Loss")
                        .axis_names("epoch", "loss")
                        .line("train", curve(0.2))
                        .line("valid", curve(0.1))
                        .svg(),
                ),
                ("Curves of shares.", roc.svg()),
            ])
            .charts([
                ("A matrix.", heat.svg()),
                (
                    "Reliability.",
                    ReliabilityChart::new("Does the model mean what it says?", bins.collect())
                        .svg(),
                ),
            ])
            .charts([
                (
                    "Density in the image.",
                    DensityMap::of_points("Box centres", spiral(), 24)
                        .axis_names("x, share of the width", "y, share of the height")
                        .svg(),
                ),
                (
                    "Points.",
                    ScatterChart::new("Box sizes")
                        .axis_names("width", "height")
                        .points("boxes", spiral().take(300))
                        .points("polygons", spiral().skip(700))
                        .svg(),
                ),
            ])
            .chart(
                "A histogram.",
                Histogram::of_values("Box area", spiral().map(|(x, y)| x * y), 20, 0.0, 1.0)
                    .axis_names("share of the image", "boxes")
                    .svg(),
            ),
    );
    page.footer("written by ossify-page's example");
    print!("{}", page.render());
}
