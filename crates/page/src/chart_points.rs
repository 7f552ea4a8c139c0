use maud::html;

use crate::format::clean;
use crate::svg::{Plot, SERIES_COLORS, Svg, legend, nice_range, px};

/// Points over two axes, in named groups. For thousands of points, use a [`crate::DensityMap`].
#[derive(Clone, Debug, Default)]
pub struct ScatterChart {
    title: String,
    axis_names: (String, String),
    groups: Vec<(String, Vec<(f64, f64)>)>,
    range: Option<((f64, f64), (f64, f64))>,
}

impl ScatterChart {
    /// A chart without points.
    pub fn new(title: impl Into<String>) -> Self {
        ScatterChart { title: title.into(), ..Default::default() }
    }

    /// Names of the axes.
    pub fn axis_names(mut self, x: impl Into<String>, y: impl Into<String>) -> Self {
        self.axis_names = (x.into(), y.into());
        self
    }

    /// A group of points; those that are not finite are left out.
    pub fn points(
        mut self,
        group: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        self.groups.push((
            group.into(),
            points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect(),
        ));
        self
    }

    /// Fixes both axes.
    pub fn range(mut self, x: (f64, f64), y: (f64, f64)) -> Self {
        self.range = Some((x, y));
        self
    }

    /// Draws it.
    pub fn svg(&self) -> Svg {
        let names: Vec<String> = self.groups.iter().map(|(name, _)| name.clone()).collect();
        let (legend, legend_height) = legend(&names, 0.0, 26.0, 520.0, false);
        let bounds = |pick: fn(&(f64, f64)) -> f64| {
            let values = self.groups.iter().flat_map(|(_, points)| points.iter().map(pick));
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            });
            nice_range(low, high)
        };
        let (x, y) =
            self.range.unwrap_or_else(|| (bounds(|point| point.0), bounds(|point| point.1)));
        let plot =
            Plot { left: 52.0, top: 46.0 + legend_height, width: 454.0, height: 300.0, x, y };
        let body = html! {
            (legend)
            (plot.axes(&self.axis_names.0, &self.axis_names.1))
            @for (i, (name, points)) in self.groups.iter().enumerate() {
                g { title { (clean(name)) }
                    @for (x, y) in points {
                        circle class={ "point s" (i % SERIES_COLORS) } cx=(px(plot.at_x(*x)))
                            cy=(px(plot.at_y(*y))) r="3.5" fill-opacity="0.75" {}
                    }
                }
            }
        };
        Svg::new(&self.title, 520.0, plot.bottom() + 44.0, body)
    }
}
