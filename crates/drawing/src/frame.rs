use image::{Rgb, RgbImage};
use ossify_contract::UnitBox;

const OUTLINE: Rgb<u8> = Rgb([0, 0, 0]);

/// How the frames of boxes look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    /// Its colour.
    pub color: Rgb<u8>,
    /// Length of a dash in thicknesses, at least 1; solid without one.
    pub dash: Option<u32>,
}

// Sky blue, orange and reddish purple of the Okabe-Ito palette: easy to distinguish on gray, and by
// their dashes where colours are not.
impl Stroke {
    /// For objects that a labeller drew.
    pub const TRUTH: Stroke = Stroke { color: Rgb([86, 180, 233]), dash: None };
    /// For predictions, where nothing else is drawn.
    pub const PREDICTION: Stroke = Stroke { color: Rgb([255, 165, 0]), dash: None };
    /// For the predictions of the only table beside the truth, or of the baseline.
    pub const DASHED: Stroke = Stroke { color: Rgb([255, 165, 0]), dash: Some(4) };
    /// For the predictions of another table, next to those of the baseline.
    pub const FINELY_DASHED: Stroke = Stroke { color: Rgb([204, 121, 167]), dash: Some(2) };
}

/// Draws a box's frame, so many pixels thick, with a dark edge around it; dashes are as long as for
/// a frame of `of_dashes` thickness.
pub fn frame(
    picture: &mut RgbImage,
    unit_box: &UnitBox,
    stroke: Stroke,
    thickness: u32,
    of_dashes: u32,
) {
    let unit_box = unit_box.ordered().clamped();
    let at = |share: f32, length: u32| {
        ((f64::from(share) * f64::from(length)).round() as u32).min(length.saturating_sub(1))
    };
    let (width, height) = picture.dimensions();
    let (left, right) = (at(unit_box.xmin, width), at(unit_box.xmax, width));
    let (top, bottom) = (at(unit_box.ymin, height), at(unit_box.ymax, height));
    let is_dash =
        |along: u32| stroke.dash.is_none_or(|dash| along / (dash * of_dashes).max(1) % 3 < 2);
    // The dark edge is drawn first, one pixel wider on both sides.
    for (color, inset_from, inset_to) in
        [(OUTLINE, 0, thickness + 2), (stroke.color, 1, thickness + 1)]
    {
        let mut put = |x: u32, y: u32, along: u32| {
            if is_dash(along) && (left..=right).contains(&x) && (top..=bottom).contains(&y) {
                picture.put_pixel(x, y, color);
            }
        };
        for inset in inset_from..inset_to {
            for x in left + inset_from..=right.saturating_sub(inset_from) {
                put(x, top + inset, x - left);
                put(x, bottom.saturating_sub(inset), x - left);
            }
            for y in top + inset_from..=bottom.saturating_sub(inset_from) {
                put(left + inset, y, y - top);
                put(right.saturating_sub(inset), y, y - top);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_any_box_stays_inside_the_picture() {
        for edges in [
            [0.0, 0.0, 1.0, 1.0],
            [0.9, 0.9, 0.1, 0.1],
            [-3.0, 0.5, 7.0, 0.5],
            [1.0, 1.0, 1.0, 1.0],
            [0.2, 0.3, 0.2001, 0.3001],
        ] {
            for size in [(1, 1), (5, 300), (64, 48)] {
                let mut picture = RgbImage::new(size.0, size.1);
                frame(&mut picture, &UnitBox::from(edges), Stroke::DASHED, 3, 2);
            }
        }
    }

    #[test]
    fn a_solid_frame_shows_its_colour_within_a_dark_edge() {
        let mut picture = RgbImage::from_pixel(100, 100, Rgb([128, 128, 128]));
        frame(&mut picture, &UnitBox::new(0.2, 0.2, 0.8, 0.8), Stroke::TRUTH, 2, 2);
        assert_eq!(*picture.get_pixel(20, 50), OUTLINE);
        assert_eq!(*picture.get_pixel(21, 50), Stroke::TRUTH.color);
        assert_eq!(*picture.get_pixel(22, 50), Stroke::TRUTH.color);
        assert_eq!(*picture.get_pixel(23, 50), OUTLINE);
        assert_eq!(*picture.get_pixel(50, 50), Rgb([128, 128, 128]));
    }
}
