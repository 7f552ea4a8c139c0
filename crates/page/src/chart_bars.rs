use maud::{Markup, html};

use crate::format::{clean, number, shortened_before_brackets};
use crate::svg::{SERIES_COLORS, Svg, legend, nice_range, px, text_width, ticks};

const WIDTH: f64 = 480.0;
const BAR: f64 = 17.0;

/// Horizontal bars: a group per row, a bar per series, each with its value beside it and, if given,
/// an interval.
#[derive(Clone, Debug, Default)]
pub struct BarChart {
    title: String,
    axis_name: String,
    series: Vec<String>,
    rows: Vec<BarRow>,
    range: Option<(f64, f64)>,
}

#[derive(Clone, Debug)]
struct BarRow {
    label: String,
    values: Vec<f64>,
    intervals: Vec<(f64, f64)>,
}

impl BarChart {
    /// A chart without bars.
    pub fn new(title: impl Into<String>) -> Self {
        BarChart { title: title.into(), ..Default::default() }
    }

    /// What the bars count, below the axis.
    pub fn axis_name(mut self, name: impl Into<String>) -> Self {
        self.axis_name = name.into();
        self
    }

    /// Names of a group's bars; a legend is drawn for two or more.
    pub fn series<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.series = names.into_iter().map(Into::into).collect();
        self
    }

    /// A group: one value per series. A value that is not finite is shown as a dash, without a bar.
    pub fn row(mut self, label: impl Into<String>, values: impl IntoIterator<Item = f64>) -> Self {
        self.rows.push(BarRow {
            label: label.into(),
            values: values.into_iter().collect(),
            intervals: Vec::new(),
        });
        self
    }

    /// A group of one bar with an interval drawn across its end.
    pub fn row_with_interval(
        mut self,
        label: impl Into<String>,
        value: f64,
        low: f64,
        high: f64,
    ) -> Self {
        self.rows.push(BarRow {
            label: label.into(),
            values: vec![value],
            intervals: vec![(low, high)],
        });
        self
    }

    /// Fixes the axis, for instance to 0..1 for shares; otherwise it runs from 0 to a round number.
    pub fn range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }

    /// Draws it.
    pub fn svg(&self) -> Svg {
        let labels: Vec<String> =
            self.rows.iter().map(|row| shortened_before_brackets(&row.label, 26)).collect();
        let left = labels.iter().map(|label| text_width(label)).fold(30.0, f64::max) + 10.0;
        let (legend, legend_height) = legend(&self.series, left, 26.0, WIDTH - left, false);
        let top = 32.0 + legend_height;
        let group = |row: &BarRow| row.values.len().max(1) as f64 * BAR + 9.0;
        let bottom = top + self.rows.iter().map(group).sum::<f64>();
        let finite = self
            .rows
            .iter()
            .flat_map(|row| row.values.iter().chain(row.intervals.iter().map(|(_, high)| high)))
            .filter(|v| v.is_finite());
        let (low, high) =
            self.range.unwrap_or_else(|| nice_range(0.0, finite.fold(0.0, |max, v| max.max(*v))));
        let plot_width = WIDTH - left - 56.0;
        let at = |value: f64| left + ((value - low) / (high - low)).clamp(0.0, 1.0) * plot_width;
        let mut y = top;
        let mut groups: Vec<Markup> = Vec::new();
        for (row, label) in self.rows.iter().zip(&labels) {
            groups.push(html! {
                text.tick.end x=(px(left - 8.0)) y=(px(y + group(row) / 2.0 - 0.5)) { title {
                    (clean(&row.label)) } (label) }
                @for (i, value) in row.values.iter().enumerate() {
                    (self.bar(row, i, *value, y + 4.0 + i as f64 * BAR, &at, low))
                }
            });
            y += group(row);
        }
        let axis = html! {
            @for tick in ticks(low, high, (plot_width / 70.0) as usize) {
                line.grid x1=(px(at(tick))) x2=(px(at(tick))) y1=(px(top)) y2=(px(bottom)) {}
                text.tick.middle x=(px(at(tick))) y=(px(bottom + 17.0)) { (number(tick)) }
            }
            line.axis x1=(px(at(low))) x2=(px(at(low))) y1=(px(top)) y2=(px(bottom)) {}
            text.axis-name.middle x=(px(left + plot_width / 2.0)) y=(px(bottom + 36.0)) {
                (clean(&self.axis_name)) }
        };
        let height = bottom + if self.axis_name.is_empty() { 26.0 } else { 44.0 };
        Svg::new(
            &self.title,
            WIDTH,
            height,
            html! { (legend) (axis) @for group in &groups { (group) } },
        )
    }

    fn bar(
        &self,
        row: &BarRow,
        i: usize,
        value: f64,
        y: f64,
        at: &dyn Fn(f64) -> f64,
        low: f64,
    ) -> Markup {
        let series =
            self.series.get(i).map(|name| format!(", {}", clean(name))).unwrap_or_default();
        let interval =
            row.intervals.get(i).filter(|(low, high)| low.is_finite() && high.is_finite());
        let range = interval
            .map(|(low, high)| format!(" ({} to {})", number(*low), number(*high)))
            .unwrap_or_default();
        let tip = format!("{}{series}: {}{range}", clean(&row.label), number(value));
        let end = if value.is_finite() { at(value) } else { at(low) };
        let label_at = interval.map_or(end, |(_, high)| at(*high).max(end)) + 6.0;
        html! {
            rect class={ "fill s" (i % SERIES_COLORS) } x=(px(at(low))) y=(px(y)) width=(px((end -
                at(low)).max(0.0))) height=(px(BAR - 3.0)) rx="2" { title { (tip) } }
            @if let Some((from, to)) = interval {
                line.whisker x1=(px(at(*from))) x2=(px(at(*to))) y1=(px(y + 7.0)) y2=(px(y + 7.0))
                    {}
                line.whisker x1=(px(at(*from))) x2=(px(at(*from))) y1=(px(y + 3.0)) y2=(px(y +
                    11.0)) {}
                line.whisker x1=(px(at(*to))) x2=(px(at(*to))) y1=(px(y + 3.0)) y2=(px(y + 11.0)) {}
            }
            text.value x=(px(label_at)) y=(px(y + 11.5)) { (number(value)) }
        }
    }
}
