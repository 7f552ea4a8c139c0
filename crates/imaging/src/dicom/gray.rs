//! From stored values to shades (PS3.3 sections C.11.1 and C.11.2).

use super::attributes::{Attributes, Modality, Photometric, VoiMapping, Window, WindowFunction};
use super::samples::Samples;

const WHITE: f64 = 255.0;
/// Up to this number of bits, the shade of each value is computed only once.
const MAX_TABLE_BITS: u16 = 16;

/// The shade of each sample.
pub(super) fn shades(samples: &Samples<'_>, attributes: &Attributes) -> Vec<u8> {
    let scale = Scale::new(samples, attributes);
    let mut shades = Vec::with_capacity(samples.data.len() / usize::from(samples.bytes_per_sample));
    if samples.bits.stored > MAX_TABLE_BITS {
        samples.for_each(|stored| shades.push(scale.shade(samples.value(stored))));
    } else {
        let table: Vec<u8> = (0..1u32 << samples.bits.stored)
            .map(|stored| scale.shade(samples.value(stored)))
            .collect();
        samples.for_each(|stored| shades.push(table[stored as usize]));
    }
    shades
}

/// The transform from a stored value to its shade.
struct Scale<'a> {
    attributes: &'a Attributes,
    /// Lowest and highest modality value, if the picture's own range is used.
    range: (f64, f64),
}

impl<'a> Scale<'a> {
    fn new(samples: &Samples<'_>, attributes: &'a Attributes) -> Self {
        let mut scale = Scale { attributes, range: (0.0, 0.0) };
        if attributes.voi_mapping == VoiMapping::FullRange {
            let is_padding = |value: i64| {
                attributes.padding.is_some_and(|(from, to)| (from..=to).contains(&value))
            };
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            samples.for_each(|stored| {
                let value = samples.value(stored);
                if !is_padding(value) {
                    let value = scale.modality(value);
                    (low, high) = (low.min(value), high.max(value));
                }
            });
            scale.range = (low, high);
        }
        scale
    }

    fn modality(&self, stored: i64) -> f64 {
        match &self.attributes.modality {
            Modality::Rescale { slope, intercept } => stored as f64 * slope + intercept,
            Modality::Table(table) => f64::from(table.get(stored)),
        }
    }

    fn shade(&self, stored: i64) -> u8 {
        let value = self.modality(stored);
        let brightness = match &self.attributes.voi_mapping {
            VoiMapping::Window(window) => window.brightness(value) * WHITE,
            VoiMapping::Table(table) => {
                f64::from(table.get(value.round() as i64)) * WHITE / f64::from(table.full())
            }
            VoiMapping::FullRange => {
                let (low, high) = self.range;
                // A picture with a single value, or with nothing but padding, has the lowest shade
                // everywhere.
                if high > low {
                    ((value - low) / (high - low)).clamp(0.0, 1.0) * WHITE
                } else {
                    0.0
                }
            }
        };
        let shade = brightness.round() as u8;
        if self.attributes.photometric == Photometric::Monochrome1 {
            u8::MAX - shade
        } else {
            shade
        }
    }
}

impl Window {
    /// From 0 to 1, by the formulas of PS3.3 sections C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2.
    fn brightness(&self, value: f64) -> f64 {
        let Window { center, width, function } = *self;
        let linear = |center: f64, width: f64| {
            if value <= center - width / 2.0 {
                0.0
            } else if value > center + width / 2.0 {
                1.0
            } else {
                (value - center) / width + 0.5
            }
        };
        match function {
            WindowFunction::Linear => linear(center - 0.5, width - 1.0),
            WindowFunction::LinearExact => linear(center, width),
            WindowFunction::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
        }
    }
}
