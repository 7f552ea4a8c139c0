use maud::html;

use crate::format::{clean, number};
use crate::svg::{Plot, SERIES_COLORS, Svg, legend, nice_range, px};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 250.0;

/// Lines over a common horizontal axis.
#[derive(Clone, Debug, Default)]
pub struct LineChart {
    title: String,
    x_name: String,
    y_name: String,
    lines: Vec<(String, Vec<(f64, f64)>)>,
    x_range: Option<(f64, f64)>,
    x_ticks: Vec<(f64, String)>,
    y_range: Option<(f64, f64)>,
    reference: Option<[(f64, f64); 2]>,
    square: bool,
}

impl LineChart {
    /// A chart without lines.
    pub fn new(title: impl Into<String>) -> Self {
        LineChart { title: title.into(), ..Default::default() }
    }

    /// Names of the horizontal and of the vertical axis.
    pub fn axis_names(mut self, x: impl Into<String>, y: impl Into<String>) -> Self {
        (self.x_name, self.y_name) = (x.into(), y.into());
        self
    }

    /// A line through these points, in order; points that are not finite are left out.
    pub fn line(
        mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.lines.push((
            name.into(),
            points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect(),
        ));
        self
    }

    /// Both axes from 0 to 1 in a square: PR and ROC curves.
    pub fn share_axes(mut self) -> Self {
        (self.x_range, self.y_range, self.square) = (Some((0.0, 1.0)), Some((0.0, 1.0)), true);
        self
    }

    /// Fixes the horizontal axis, and names these values on it: for an axis of logarithms.
    pub fn x_axis<S: Into<String>>(
        mut self,
        low: f64,
        high: f64,
        ticks: impl IntoIterator<Item = (f64, S)>,
    ) -> Self {
        self.x_range = Some((low, high));
        self.x_ticks = ticks.into_iter().map(|(value, label)| (value, label.into())).collect();
        self
    }

    /// Fixes the vertical axis.
    pub fn y_range(mut self, low: f64, high: f64) -> Self {
        self.y_range = Some((low, high));
        self
    }

    /// A dotted straight line to compare with, such as chance in a ROC plot.
    pub fn reference(mut self, from: (f64, f64), to: (f64, f64)) -> Self {
        self.reference = Some([from, to]);
        self
    }

    /// Draws it.
    pub fn svg(&self) -> Svg {
        let width = if self.square { 440.0 } else { WIDTH };
        let names: Vec<String> = self.lines.iter().map(|(name, _)| name.clone()).collect();
        let (legend, legend_height) = legend(&names, 0.0, 26.0, width, true);
        let bounds = |pick: fn(&(f64, f64)) -> f64| {
            let values = self.lines.iter().flat_map(|(_, points)| points.iter().map(pick));
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            })
        };
        let (x_low, x_high) = bounds(|point| point.0);
        let (y_low, y_high) = bounds(|point| point.1);
        let x = self.x_range.unwrap_or(if x_low < x_high {
            (x_low, x_high)
        } else {
            nice_range(x_low, x_high)
        });
        let y = self.y_range.unwrap_or_else(|| {
            nice_range(if y_low > 0.0 { y_low.min(y_high * 0.5) } else { y_low }, y_high)
        });
        let left = 52.0;
        let plot_width = width - left - 14.0;
        let plot = Plot {
            left,
            top: 46.0 + legend_height,
            width: plot_width,
            height: if self.square { plot_width } else { HEIGHT },
            x,
            y,
        };
        let path = |points: &[(f64, f64)]| {
            let mut path = String::new();
            for (i, (x, y)) in points.iter().enumerate() {
                path.push_str(&format!(
                    "{}{} {}",
                    if i == 0 { "M" } else { "L" },
                    px(plot.at_x(*x)),
                    px(plot.at_y(y.clamp(plot.y.0, plot.y.1)))
                ));
            }
            path
        };
        let body = html! {
            (legend)
            @if self.x_ticks.is_empty() { (plot.axes(&self.x_name, &self.y_name)) } @else {
                (plot.axes_with_ticks(&self.x_ticks, &self.x_name, &self.y_name)) }
            @if let Some(reference) = &self.reference { path.reference d=(path(reference)) {} }
            @for (i, (name, points)) in self.lines.iter().enumerate() {
                @let last = points.last().map(|(x, y)| format!("{}, last point {}, {}",
                    clean(name), number(*x), number(*y))).unwrap_or_default();
                @if points.len() == 1 {
                    circle class={ "point s" (i % SERIES_COLORS) } cx=(px(plot.at_x(points[0].0)))
                        cy=(px(plot.at_y(points[0].1))) r="4" { title { (last) } }
                } @else if !points.is_empty() {
                    path class={ "line s" (i % SERIES_COLORS) " d" (i / SERIES_COLORS % 3) }
                        d=(path(points)) { title { (last) } }
                }
            }
        };
        Svg::new(&self.title, width, plot.bottom() + 44.0, body)
    }
}
