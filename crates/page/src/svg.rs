use std::fmt::Display;

use maud::{Markup, PreEscaped, Render, html};

use crate::format::{clean, number, shortened_before_brackets};

/// Styles of every chart: included once in a page, and in each file that holds a single chart.
pub(crate) const CHART_CSS: &str = include_str!("chart.css");

/// How far a chart grows to fill the page.
const MAX_STRETCH: f64 = 1.25;

/// Number of series of a chart before colours repeat.
pub(crate) const SERIES_COLORS: usize = 7;

/// A finished chart.
#[derive(Clone, Debug)]
pub struct Svg {
    title: String,
    width: f64,
    height: f64,
    body: Markup,
}

impl Svg {
    pub(crate) fn new(title: &str, width: f64, height: f64, body: Markup) -> Self {
        Svg { title: clean(title), width, height, body }
    }

    /// Stacks charts vertically into one.
    pub fn stacked(title: &str, charts: &[Svg]) -> Self {
        const HEADING: f64 = 30.0;
        const GAP: f64 = 16.0;
        let tops = charts.iter().scan(HEADING, |top, chart| {
            let this = *top;
            *top += chart.height + GAP;
            Some(this)
        });
        let width = charts.iter().map(|chart| chart.width).fold(0.0, f64::max);
        let height = HEADING + charts.iter().map(|chart| chart.height + GAP).sum::<f64>();
        let body = html! {
            @for (chart, top) in charts.iter().zip(tops) {
                g transform={ "translate(0 " (px(top)) ")" } { (chart.markup(html! {}, None)) }
            }
        };
        Svg::new(title, width, height, body)
    }

    /// The chart's title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The chart as an SVG document with its own styles and background, for a file.
    pub fn to_file_text(&self) -> String {
        let style = PreEscaped(CHART_CSS);
        let background =
            html! { rect class="surface" width=(px(self.width)) height=(px(self.height)) {} };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n",
            self.markup(html! { style { (style) } (background) }, None).into_string()
        )
    }

    fn markup(&self, before: Markup, style: Option<String>) -> Markup {
        html! {
            svg.chart xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (px(self.width)) " "
                (px(self.height)) }
                width=(px(self.width)) height=(px(self.height))
                style=[style] role="img" aria-label=(self.title) {
                (before)
                text.heading x="0" y="15" { (self.title) }
                (self.body)
            }
        }
    }
}

/// The chart inside a page, which contains the styles.
impl Render for Svg {
    fn render(&self) -> Markup {
        let widest = px(self.width * MAX_STRETCH);
        self.markup(html! {}, Some(format!("max-width:min(100%,{widest}px)")))
    }
}

/// A length or coordinate with as many decimals as are visible on a screen.
pub(crate) fn px(value: f64) -> impl Display {
    let text = format!("{:.2}", if value.is_finite() { value } else { 0.0 });
    let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
    if text == "-0" { "0".to_owned() } else { text }
}

/// The approximate width of a text at the charts' font size, for the widest of the fonts that the
/// styles name; without a browser it cannot be measured.
pub(crate) fn text_width(text: &str) -> f64 {
    let advance = |c: char| match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '|' | '\'' => 4.0,
        'm' | 'w' | 'M' | 'W' | '—' => 11.6,
        'A'..='Z' => 8.9,
        '\u{1100}'.. => 13.0,
        _ => 7.5,
    };
    text.chars().map(advance).sum()
}

/// Round numbers that span `low..=high` in about `wanted` steps of 1, 2 or 5 times a power of ten.
pub(crate) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return vec![low];
    }
    let rough = span / wanted.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The smallest interval with round ends that contains `low..=high`; never empty.
pub(crate) fn nice_range(low: f64, high: f64) -> (f64, f64) {
    let (low, high) =
        if low.is_finite() && high.is_finite() && low <= high { (low, high) } else { (0.0, 1.0) };
    let (low, high) = if high - low < f64::EPSILON * high.abs().max(1.0) {
        (low - low.abs().max(1.0) * 0.5, high + high.abs().max(1.0) * 0.5)
    } else {
        (low, high)
    };
    let steps = ticks(low, high, 5);
    let step = if steps.len() > 1 { steps[1] - steps[0] } else { high - low };
    ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step)
}

/// A plotting area with two linear axes.
pub(crate) struct Plot {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub x: (f64, f64),
    pub y: (f64, f64),
}

impl Plot {
    pub fn at_x(&self, value: f64) -> f64 {
        self.left + (value - self.x.0) / (self.x.1 - self.x.0) * self.width
    }

    pub fn at_y(&self, value: f64) -> f64 {
        self.top + self.height - (value - self.y.0) / (self.y.1 - self.y.0) * self.height
    }

    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    pub fn right(&self) -> f64 {
        self.left + self.width
    }

    /// Grid lines, tick labels and axis names.
    pub fn axes(&self, x_name: &str, y_name: &str) -> Markup {
        let (low, high) = (self.x.0.min(self.x.1), self.x.0.max(self.x.1));
        let round = ticks(low, high, (self.width / 70.0) as usize);
        let named: Vec<_> = round.into_iter().map(|tick| (tick, number(tick))).collect();
        self.axes_with_ticks(&named, x_name, y_name)
    }

    /// The same with these values and labels on the horizontal axis.
    pub fn axes_with_ticks(&self, x: &[(f64, String)], x_name: &str, y_name: &str) -> Markup {
        let middle = self.left + self.width / 2.0;
        html! {
            @for (tick, label) in x {
                line.grid x1=(px(self.at_x(*tick))) x2=(px(self.at_x(*tick))) y1=(px(self.top))
                    y2=(px(self.bottom())) {}
                text.tick.middle x=(px(self.at_x(*tick))) y=(px(self.bottom() + 17.0)) {
                    (clean(label)) }
            }
            @for tick in ticks(self.y.0.min(self.y.1), self.y.0.max(self.y.1), (self.height /
                45.0) as usize) {
                line.grid x1=(px(self.left)) x2=(px(self.right())) y1=(px(self.at_y(tick)))
                    y2=(px(self.at_y(tick))) {}
                text.tick.end x=(px(self.left - 7.0)) y=(px(self.at_y(tick) + 4.0)) {
                    (number(tick)) }
            }
            line.axis x1=(px(self.left)) x2=(px(self.right())) y1=(px(self.bottom()))
                y2=(px(self.bottom())) {}
            text.axis-name.middle x=(px(middle)) y=(px(self.bottom() + 36.0)) { (clean(x_name)) }
            text.axis-name x=(px(0.0)) y=(px(self.top - 9.0)) { (clean(y_name)) }
        }
    }
}

/// A legend of the series, wrapped to `width`; returns the markup and its height.
pub(crate) fn legend(
    names: &[String],
    left: f64,
    top: f64,
    width: f64,
    line_like: bool,
) -> (Markup, f64) {
    if names.len() < 2 {
        return (html! {}, 0.0);
    }
    let (mut x, mut y) = (left, top);
    let mut placed = Vec::new();
    for name in names {
        let name = shortened_before_brackets(name, 28);
        let advance = text_width(&name) + 44.0;
        if x > left && x + advance > left + width + 20.0 {
            (x, y) = (left, y + 19.0);
        }
        placed.push((x, y, name));
        x += advance;
    }
    let markup = html! {
        @for (i, (x, y, name)) in placed.iter().enumerate() {
            @if line_like {
                path class={ "line s" (i % SERIES_COLORS) " d" (i / SERIES_COLORS % 3) } d={ "M"
                    (px(*x)) " " (px(y + 7.0)) "h22" } {}
            } @else {
                rect class={ "fill s" (i % SERIES_COLORS) } x=(px(x + 6.0)) y=(px(y + 1.0))
                    width="12" height="12" rx="2" {}
            }
            text.tick x=(px(x + 27.0)) y=(px(y + 11.5)) { (name) }
        }
    };
    (markup, y - top + 22.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(0.0, 340.0, 4), [0.0, 100.0, 200.0, 300.0]);
        assert_eq!(ticks(3.0, 3.0, 4), [3.0]);
        assert_eq!(nice_range(0.0, 340.0), (0.0, 400.0));
        let (low, high) = nice_range(f64::NAN, f64::INFINITY);
        assert!(low < high);
        let (low, high) = nice_range(5.0, 5.0);
        assert!(low < 5.0 && high > 5.0);
    }
}
