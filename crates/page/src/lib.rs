//! Self-contained HTML pages and SVG charts.
//!
//! A page is one file: styles, charts and thumbnails inside, no font and no request to anywhere
//! (its content security policy forbids them). Its one script sorts tables; without it nothing is
//! missing but that. It follows the reader's light or dark preference, fits a telephone and a wide
//! screen, and prints. Charts take their colours from the Okabe-Ito palette and never speak by
//! colour alone: lines differ in dash, bars have their value written beside, cells hold their
//! number, and every mark has a tooltip.
//!
//! All text is plain text: it is escaped on its way out, and control characters and bidirectional
//! overrides from hostile files become visible escapes. There is no way to pass HTML through.
//!
//! ```
//! use ossify_page::{BarChart, Column, Page, Section, Table, Tile};
//!
//! let mut page = Page::new("Label tables", "phantom, 600 images");
//! page.push(
//!     Section::new("Overview")
//!         .paragraph("Every line of the label files ended as exactly one of these.")
//!         .tiles([Tile::new("lines", "1,204"), Tile::new("quarantined", "9").detail("0.7 % of the
//! lines")]),
//! );
//! let chart = BarChart::new("Objects by class").series(["train", "valid"]).row("wrist", [228.0,
//! 20.0]).row("elbow", [339.0, 28.0]);
//! let table = Table::new([Column::text("rule"), Column::number("lines")]).row(["zero-area",
//! "4"]).row(["class-unknown", "5"]);
//! page.push(Section::new("Classes").chart("How many objects each class has.",
//! chart.svg()).table(table));
//! let html = page.render();
//! assert!(html.starts_with("<!DOCTYPE html>"));
//! ```
//!
//! Charts: [`BarChart`], [`LineChart`] (with [`LineChart::share_axes`] also for PR and ROC curves),
//! [`ForestChart`] (differences with their intervals), [`HeatMap`] (also confusion matrices),
//! [`DensityMap`], [`ScatterChart`], [`Histogram`], [`ReliabilityChart`]. Each ends in `svg()`, an
//! [`Svg`] that goes into a page with [`Section::chart`] or to a file of its own with
//! [`Svg::to_file_text`].

mod chart_bars;
mod chart_forest;
mod chart_grid;
mod chart_histogram;
mod chart_lines;
mod chart_points;
mod format;
mod gallery;
mod page;
mod section;
mod svg;
mod table;

pub use chart_bars::BarChart;
pub use chart_forest::ForestChart;
pub use chart_grid::{DensityMap, HeatMap};
pub use chart_histogram::{Histogram, ReliabilityBin, ReliabilityChart};
pub use chart_lines::LineChart;
pub use chart_points::ScatterChart;
pub use format::{count, number, percent};
pub use gallery::{Gallery, Outline, Picture};
pub use page::Page;
pub use section::{NoteKind, Section, Tile};
pub use svg::Svg;
pub use table::{Column, Table, TableCell};
