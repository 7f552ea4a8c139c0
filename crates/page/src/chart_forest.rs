use maud::{Markup, html};

use crate::format::{clean, number, shortened};
use crate::svg::{SERIES_COLORS, Svg, nice_range, px, text_width, ticks};

const WIDTH: f64 = 480.0;
const LINE: f64 = 16.0;
const LEGEND_LINE: f64 = 19.0;

/// A difference with its interval.
type Whisker = (f64, f64, f64);

/// Differences from 0 with their intervals: a group per row, a mark per series. Each series has a
/// mark of its own shape. A mark is filled if its interval excludes 0, and hollow otherwise, so
/// that no information depends on colour alone.
#[derive(Clone, Debug, Default)]
pub struct ForestChart {
    title: String,
    sides: (String, String),
    series: Vec<String>,
    rows: Vec<(String, Vec<Whisker>)>,
}

impl ForestChart {
    /// A chart without rows.
    pub fn new(title: impl Into<String>) -> Self {
        ForestChart { title: title.into(), ..Default::default() }
    }

    /// What it means for a difference to be left or right of 0.
    pub fn sides(mut self, left: impl Into<String>, right: impl Into<String>) -> Self {
        self.sides = (left.into(), right.into());
        self
    }

    /// Names of a group's marks; a legend is drawn for two or more.
    pub fn series<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.series = names.into_iter().map(Into::into).collect();
        self
    }

    /// A group: difference, lower and upper end for each series. Values that are not finite are not
    /// drawn.
    pub fn row(
        mut self,
        label: impl Into<String>,
        marks: impl IntoIterator<Item = (f64, f64, f64)>,
    ) -> Self {
        self.rows.push((label.into(), marks.into_iter().collect()));
        self
    }

    /// Draws it.
    pub fn svg(&self) -> Svg {
        let labels: Vec<String> = self.rows.iter().map(|(label, _)| shortened(label, 30)).collect();
        let left =
            labels.iter().map(|label| text_width(label)).fold(30.0, f64::max).min(190.0) + 10.0;
        let legend_lines = if self.series.len() < 2 { 0 } else { self.series.len() };
        let top = 32.0 + legend_lines as f64 * LEGEND_LINE;
        let group = |marks: &[Whisker]| marks.len().max(1) as f64 * LINE + 8.0;
        let bottom = top + self.rows.iter().map(|(_, marks)| group(marks)).sum::<f64>();
        let ends = self
            .rows
            .iter()
            .flat_map(|(_, marks)| marks)
            .flat_map(|(value, low, high)| [*value, *low, *high])
            .filter(|end| end.is_finite());
        let (low, high) =
            ends.fold((0.0, 0.0), |(low, high): (f64, f64), end| (low.min(end), high.max(end)));
        let (low, high) = nice_range(low, high);
        let plot_width = WIDTH - left - 72.0;
        let at = |value: f64| left + ((value - low) / (high - low)).clamp(0.0, 1.0) * plot_width;
        let mut y = top;
        let mut groups: Vec<Markup> = Vec::new();
        for ((full_label, marks), label) in self.rows.iter().zip(&labels) {
            groups.push(html! {
                text.tick.end x=(px(left - 8.0)) y=(px(y + group(marks) / 2.0 + 4.0)) { title {
                    (clean(full_label)) } (label) }
                @for (i, whisker) in marks.iter().enumerate() {
                    (self.whisker(full_label, i, *whisker, y + 4.0 + (i as f64 + 0.5) * LINE, left
                        + plot_width + 8.0, &at))
                }
            });
            y += group(marks);
        }
        let body = html! {
            @if legend_lines > 0 {
                @for (i, name) in self.series.iter().enumerate() {
                    @let middle = 36.0 + i as f64 * LEGEND_LINE;
                    (mark(i, left + 6.0, middle, true))
                    text.tick x=(px(left + 19.0)) y=(px(middle + 4.0)) { (shortened(name, 40)) }
                }
            }
            @for tick in ticks(low, high, (plot_width / 62.0) as usize) {
                line.grid x1=(px(at(tick))) x2=(px(at(tick))) y1=(px(top)) y2=(px(bottom)) {}
                text.tick.middle x=(px(at(tick))) y=(px(bottom + 17.0)) { (signed(tick)) }
            }
            line.axis x1=(px(at(0.0))) x2=(px(at(0.0))) y1=(px(top - 4.0)) y2=(px(bottom + 4.0)) {}
            @if !self.sides.0.is_empty() { text.axis-name x=(px(left)) y=(px(bottom + 36.0)) {
                "← " (clean(&self.sides.0)) } }
            @if !self.sides.1.is_empty() { text.axis-name.end x=(px(left + plot_width))
                y=(px(bottom + 36.0)) { (clean(&self.sides.1)) " →" } }
            @for group in &groups { (group) }
        };
        let has_sides = !self.sides.0.is_empty() || !self.sides.1.is_empty();
        Svg::new(&self.title, WIDTH, bottom + if has_sides { 46.0 } else { 26.0 }, body)
    }

    fn whisker(
        &self,
        label: &str,
        i: usize,
        (value, low, high): Whisker,
        y: f64,
        text_at: f64,
        at: &dyn Fn(f64) -> f64,
    ) -> Markup {
        let series = self
            .series
            .get(i)
            .filter(|_| self.series.len() > 1)
            .map(|name| format!(", {}", clean(name)))
            .unwrap_or_default();
        let has_interval = low.is_finite() && high.is_finite();
        let range = if has_interval {
            format!(" ({} to {})", signed(low), signed(high))
        } else {
            String::new()
        };
        let is_clear = has_interval && (low > 0.0 || high < 0.0);
        html! {
            g {
                title { (clean(label)) (series) ": " (signed(value)) (range) }
                @if has_interval {
                    line.whisker x1=(px(at(low))) x2=(px(at(high))) y1=(px(y)) y2=(px(y)) {}
                    @for end in [low, high] { line.whisker x1=(px(at(end))) x2=(px(at(end)))
                        y1=(px(y - 3.5)) y2=(px(y + 3.5)) {} }
                }
                @if value.is_finite() { (mark(i, at(value), y, is_clear)) }
                text.value x=(px(text_at)) y=(px(y + 4.0)) { (signed(value)) }
            }
        }
    }
}

/// The mark of a series: circle, square, diamond, triangle.
fn mark(series: usize, x: f64, y: f64, is_full: bool) -> Markup {
    let class = if is_full {
        format!("fill s{} mark", series % SERIES_COLORS)
    } else {
        "surface mark".to_owned()
    };
    let path = match series % 4 {
        0 => return html! { circle class=(class) cx=(px(x)) cy=(px(y)) r="4.5" {} },
        1 => format!("M{} {}h8v8h-8z", px(x - 4.0), px(y - 4.0)),
        2 => format!("M{} {}l5.5 5.5l-5.5 5.5l-5.5 -5.5z", px(x), px(y - 5.5)),
        _ => format!("M{} {}l5.5 9h-11z", px(x), px(y - 5.5)),
    };
    html! { path class=(class) d=(path) {} }
}

/// A number with an explicit sign.
fn signed(value: f64) -> String {
    let text = number(value);
    if value > 0.0 && text != "0" { format!("+{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_full_where_its_interval_leaves_0_out() {
        let clear = ForestChart::new("a").row("x", [(-0.2, -0.3, -0.1)]).svg().to_file_text();
        assert!(
            clear.contains("fill s0 mark")
                && !clear.contains("surface mark")
                && clear.contains("x: −0.2 (−0.3 to −0.1)"),
            "{clear}"
        );
        let unclear = ForestChart::new("a").row("x", [(0.2, -0.1, 0.5)]).svg().to_file_text();
        assert!(
            unclear.contains("surface mark") && unclear.contains("x: +0.2 (−0.1 to +0.5)"),
            "{unclear}"
        );
    }
}
