//! Self-contained HTML pages and SVG charts.
//!
//! A page is one file that contains its styles, charts and thumbnails. It uses no fonts and makes
//! no requests; its content security policy forbids them. Its only script sorts tables, and
//! everything else works without it. The page follows the reader's preference for light or dark,
//! fits phones and wide screens, and can be printed. Charts use the Okabe-Ito palette, and no
//! information depends on colour alone: lines differ in dash, bars have their value beside them,
//! cells contain their number, and every mark has a tooltip.
//!
//! All text is plain text: it is escaped when rendered, and control characters and bidirectional
//! overrides from hostile files become visible escapes. There is no way to inject HTML.
//!
//! ```
//! use ossify_page::{BarChart, Column, Page, Section, Table, Tile};
//!
//! let chart = BarChart::new("Objects by class")
//!     .series(["train", "valid"])
//!     .row("wrist", [228.0, 20.0])
//!     .row("elbow", [339.0, 28.0]);
//! let table = Table::new([Column::text("rule"), Column::number("lines")])
//!     .row(["zero-area", "4"])
//!     .row(["class-unknown", "5"]);
//! let quarantined = Tile::new("quarantined", "9").detail("0.7 % of the lines");
//! let mut page = Page::new("Label tables", "phantom, 600 images");
//! page.push(
//!     Section::new("Overview")
//!         .paragraph("Every line of the label files is exactly one of these.")
//!         .tiles([Tile::new("lines", "1,204"), quarantined]),
//! );
//! page.push(
//!     Section::new("Classes").chart("How many objects each class has.", chart.svg()).table(table),
//! );
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
pub use format::{count, counted, number, percent};
pub use gallery::{Gallery, Outline, Picture};
pub use page::Page;
pub use section::{NoteKind, Section, Tile};
pub use svg::Svg;
pub use table::{Column, Table, TableCell};
