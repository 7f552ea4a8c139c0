use maud::html;

use crate::format::{clean, number, percent, shortened};
use crate::svg::{Plot, Svg, px, text_width};

/// A matrix of numbers, with each cell shaded by its value: confusion matrices, co-occurrence.
#[derive(Clone, Debug)]
pub struct HeatMap {
    title: String,
    row_axis: String,
    column_axis: String,
    rows: Vec<String>,
    columns: Vec<String>,
    values: Vec<Vec<f64>>,
    shade_by_row: bool,
}

impl HeatMap {
    /// A map of `values[row][column]`, shaded from 0 to the largest; missing or infinite values
    /// leave an empty cell.
    pub fn new(
        title: impl Into<String>,
        rows: Vec<String>,
        columns: Vec<String>,
        values: Vec<Vec<f64>>,
    ) -> Self {
        HeatMap {
            title: title.into(),
            row_axis: String::new(),
            column_axis: String::new(),
            rows,
            columns,
            values,
            shade_by_row: false,
        }
    }

    /// Names of the row and column axes.
    pub fn axis_names(mut self, row: impl Into<String>, column: impl Into<String>) -> Self {
        (self.row_axis, self.column_axis) = (row.into(), column.into());
        self
    }

    /// Shades each cell by its share of the row's sum, so that small classes are as visible as
    /// large ones.
    pub fn shade_by_row(mut self) -> Self {
        self.shade_by_row = true;
        self
    }

    /// Draws it.
    pub fn svg(&self) -> Svg {
        let labels: Vec<String> = self.rows.iter().map(|name| shortened(name, 24)).collect();
        let heads: Vec<String> = self.columns.iter().map(|name| shortened(name, 18)).collect();
        let left =
            labels.iter().map(|label| text_width(label)).fold(text_width(&self.row_axis), f64::max)
                + 12.0;
        let side = (470.0 / self.columns.len().max(1) as f64).clamp(34.0, 64.0);
        let row_height = side.min(44.0);
        // Column headings are slanted by 40 degrees: this is how far they extend upwards and to the
        // right.
        let longest = heads.iter().map(|head| text_width(head)).fold(0.0, f64::max);
        let top = 34.0 + longest * 0.64 + 14.0;
        let last_reach = heads
            .iter()
            .enumerate()
            .map(|(i, head)| (i as f64 + 0.5) * side + text_width(head) * 0.77 + 12.0)
            .fold(0.0, f64::max);
        let grid_width = side * self.columns.len() as f64;
        let width = (left + grid_width.max(last_reach) + 4.0)
            .max(left + text_width(&self.column_axis) + 8.0)
            .max(text_width(&self.title) * 1.15);
        let grid_height = row_height * self.rows.len() as f64;
        let max = self
            .values
            .iter()
            .flatten()
            .filter(|v| v.is_finite())
            .fold(0.0, |max: f64, v| max.max(*v));
        let (cell_width, cell_height) =
            (px(side - 2.0).to_string(), px(row_height - 2.0).to_string());
        let (value_x, value_y) =
            (px(side / 2.0 - 1.0).to_string(), px(row_height / 2.0 + 3.0).to_string());
        let body = html! {
            text.axis-name x="0" y=(px(top - 8.0)) { (clean(&self.row_axis)) }
            text.axis-name x=(px(left)) y=(px(top + grid_height + 19.0)) {
                (clean(&self.column_axis)) }
            @for (c, head) in heads.iter().enumerate() {
                @let x = left + (c as f64 + 0.5) * side;
                text.tick transform={ "translate(" (px(x)) " " (px(top - 8.0)) ") rotate(-40)" } {
                    title { (clean(&self.columns[c])) } (head) }
            }
            @for (r, label) in labels.iter().enumerate() {
                @let y = top + r as f64 * row_height;
                @let row: &[f64] = self.values.get(r).map_or(&[], Vec::as_slice);
                @let sum = if self.shade_by_row { row.iter().filter(|v| v.is_finite()).sum() }
                    else { max };
                text.tick.end x=(px(left - 8.0)) y=(px(y + row_height / 2.0 + 4.0)) { title {
                    (clean(&self.rows[r])) } (label) }
                @for (c, column) in self.columns.iter().enumerate() {
                    @let value = row.get(c).copied().unwrap_or(f64::NAN);
                    @let shade = if sum > 0.0 && value.is_finite() { (value / sum).clamp(0.0, 1.0)
                        } else { 0.0 };
                    @let x = left + c as f64 * side;
                    g transform={ "translate(" (px(x + 1.0)) " " (px(y + 1.0)) ")" } {
                        title { (clean(&self.rows[r])) " → " (clean(column)) ": " (number(value))
                            @if self.shade_by_row { " (" (percent(shade)) " of the row)" } }
                        rect.empty-cell width=(cell_width) height=(cell_height) rx="3" {}
                        @if shade > 0.0 {
                            rect.cell width=(cell_width) height=(cell_height) rx="3"
                                fill-opacity=(px(shade)) {}
                        }
                        text class={ "value middle" @if shade > 0.8 { " on-dark" } }
                            x=(value_x) y=(value_y) { (number(value)) }
                    }
                }
            }
        };
        Svg::new(&self.title, width, top + grid_height + 28.0, body)
    }
}

/// The density of points in the unit square, such as box centres in the image: a grid of counts,
/// darker for more, without numbers.
#[derive(Clone, Debug)]
pub struct DensityMap {
    title: String,
    axis_names: (String, String),
    counts: Vec<Vec<f64>>,
    origin_at_top: bool,
    x: (f64, f64),
    y: (f64, f64),
}

impl DensityMap {
    /// Counts the points of the unit square in a grid of `cells` by `cells`; points outside count
    /// towards the nearest edge.
    pub fn of_points(
        title: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
        cells: usize,
    ) -> Self {
        let cells = cells.max(1);
        let mut counts = vec![vec![0.0; cells]; cells];
        let cell = |share: f64| ((share * cells as f64) as usize).min(cells - 1);
        for (x, y) in points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            counts[cell(y)][cell(x)] += 1.0;
        }
        DensityMap {
            title: title.into(),
            axis_names: Default::default(),
            counts,
            origin_at_top: true,
            x: (0.0, 1.0),
            y: (0.0, 1.0),
        }
    }

    /// Names of the axes.
    pub fn axis_names(mut self, x: impl Into<String>, y: impl Into<String>) -> Self {
        self.axis_names = (x.into(), y.into());
        self
    }

    /// Puts the origin of the vertical axis at the bottom, as in a plot; by default it is at the
    /// top, as in an image.
    pub fn origin_at_bottom(mut self) -> Self {
        self.origin_at_top = false;
        self
    }

    /// Draws it.
    pub fn svg(&self) -> Svg {
        let side = 320.0;
        let y = if self.origin_at_top { (self.y.1, self.y.0) } else { self.y };
        let plot = Plot { left: 52.0, top: 46.0, width: side, height: side, x: self.x, y };
        let max = self.counts.iter().flatten().fold(0.0, |max: f64, v| max.max(*v));
        let cells = self.counts.len() as f64;
        let body = html! {
            (plot.axes(&self.axis_names.0, &self.axis_names.1))
            @for (r, row) in self.counts.iter().enumerate() {
                @for (c, value) in row.iter().enumerate() {
                    @if *value > 0.0 {
                        // The square root keeps rare cells visible beside frequent ones.
                        @let shade = 0.12 + 0.88 * (value / max).sqrt();
                        @let line = if self.origin_at_top { r as f64 } else { cells - 1.0 - r as
                            f64 };
                        rect.cell x=(px(plot.left + c as f64 * side / cells)) y=(px(plot.top +
                            line * side / cells))
                            width=(px(side / cells)) height=(px(side / cells))
                                fill-opacity=(px(shade)) { title { (number(*value)) } }
                    }
                }
            }
            rect.frame x=(px(plot.left)) y=(px(plot.top)) width=(px(side)) height=(px(side)) {}
        };
        Svg::new(&self.title, plot.right() + 16.0, plot.bottom() + 44.0, body)
    }
}
