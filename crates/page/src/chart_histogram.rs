use maud::html;

use crate::format::{count, number};
use crate::svg::{Plot, Svg, nice_range, px};

/// How often values fall into intervals of equal width.
#[derive(Clone, Debug)]
pub struct Histogram {
    title: String,
    axis_names: (String, String),
    low: f64,
    high: f64,
    counts: Vec<f64>,
}

impl Histogram {
    /// Sorts the values into `bins` intervals of `low..=high`. Values outside go to the first or
    /// last bin; NaN is left out.
    pub fn of_values(
        title: impl Into<String>,
        values: impl IntoIterator<Item = f64>,
        bins: usize,
        low: f64,
        high: f64,
    ) -> Self {
        let bins = bins.max(1);
        let high = if high > low { high } else { low + 1.0 };
        let mut counts = vec![0.0; bins];
        for value in values.into_iter().filter(|value| !value.is_nan()) {
            counts[(((value - low) / (high - low) * bins as f64) as usize).min(bins - 1)] += 1.0;
        }
        Histogram {
            title: title.into(),
            axis_names: (String::new(), "count".into()),
            low,
            high,
            counts,
        }
    }

    /// Names of the axes; the vertical one is "count" by default.
    pub fn axis_names(mut self, x: impl Into<String>, y: impl Into<String>) -> Self {
        self.axis_names = (x.into(), y.into());
        self
    }

    /// Draws it.
    pub fn svg(&self) -> Svg {
        let max = self.counts.iter().copied().fold(0.0, f64::max);
        let plot = Plot {
            left: 52.0,
            top: 46.0,
            width: 454.0,
            height: 220.0,
            x: (self.low, self.high),
            y: (0.0, nice_range(0.0, max.max(1.0)).1),
        };
        let step = (self.high - self.low) / self.counts.len() as f64;
        let body = html! {
            (plot.axes(&self.axis_names.0, &self.axis_names.1))
            @for (i, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
                @let from = self.low + i as f64 * step;
                rect.fill.s0 x=(px(plot.at_x(from) + 0.75)) y=(px(plot.at_y(*count)))
                    width=(px((plot.at_x(from + step) - plot.at_x(from) - 1.5).max(0.5)))
                    height=(px(plot.bottom() - plot.at_y(*count))) { title { (number(from)) " to "
                        (number(from + step)) ": " (number(*count)) } }
            }
        };
        Svg::new(&self.title, 520.0, plot.bottom() + 44.0, body)
    }
}

/// A bin of a reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReliabilityBin {
    /// Lower edge of the confidence, exclusive unless it is 0.
    pub low: f64,
    /// Upper edge, inclusive.
    pub high: f64,
    /// Mean confidence in the bin.
    pub confidence: f64,
    /// Share of correct predictions.
    pub accuracy: f64,
    /// Predictions in the bin.
    pub count: u64,
}

/// Confidence against the share of correct predictions: a well-calibrated model is on the diagonal.
#[derive(Clone, Debug)]
pub struct ReliabilityChart {
    title: String,
    bins: Vec<ReliabilityBin>,
}

impl ReliabilityChart {
    /// A chart of these bins; empty bins are not drawn.
    pub fn new(title: impl Into<String>, bins: Vec<ReliabilityBin>) -> Self {
        ReliabilityChart { title: title.into(), bins }
    }

    /// Draws it.
    pub fn svg(&self) -> Svg {
        let plot = Plot {
            left: 52.0,
            top: 46.0,
            width: 374.0,
            height: 374.0,
            x: (0.0, 1.0),
            y: (0.0, 1.0),
        };
        let max = self.bins.iter().map(|bin| bin.count).max().unwrap_or(1).max(1) as f64;
        let body = html! {
            (plot.axes("confidence of the prediction", "share that is right"))
            path.reference d={ "M" (px(plot.at_x(0.0))) " " (px(plot.at_y(0.0))) "L"
                (px(plot.at_x(1.0))) " " (px(plot.at_y(1.0))) } {}
            @for bin in self.bins.iter().filter(|bin| bin.count > 0) {
                @let tip = format!("confidence {} to {}: {} predictions, mean confidence {}, right \
                    {}", number(bin.low), number(bin.high), count(bin.count),
                        number(bin.confidence), number(bin.accuracy));
                rect.band.s0 x=(px(plot.at_x(bin.low) + 0.75)) y=(px(plot.at_y(bin.accuracy)))
                    width=(px(plot.at_x(bin.high) - plot.at_x(bin.low) - 1.5))
                    height=(px(plot.bottom() - plot.at_y(bin.accuracy))) { title { (tip) } }
                // The area of a point shows how many predictions it represents.
                circle.point.s0 cx=(px(plot.at_x(bin.confidence)))
                    cy=(px(plot.at_y(bin.accuracy))) r=(px(3.0 + 9.0 * (bin.count as f64 /
                        max).sqrt())) { title { (tip) } }
            }
        };
        Svg::new(&self.title, 440.0, plot.bottom() + 44.0, body)
    }
}
