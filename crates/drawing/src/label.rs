use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts as _};
use image::{Rgb, RgbImage};
use ossify_contract::UnitBox;

/// Rows and columns of a glyph.
const GLYPH: u32 = 8;
const BACKGROUND: Rgb<u8> = Rgb([0, 0, 0]);

/// Whether each character of the text has a glyph: those of English, western European languages and
/// Greek.
pub fn has_glyphs(text: &str) -> bool {
    text.chars().all(|character| glyph(character).is_some())
}

fn glyph(character: char) -> Option<[u8; GLYPH as usize]> {
    let fonts = BASIC_FONTS.get(character).or_else(|| LATIN_FONTS.get(character));
    fonts.or_else(|| GREEK_FONTS.get(character))
}

/// Writes a line of text at the upper left corner of a box: on black, its glyphs 8 times `scale`
/// pixels high; above the corner, below it where there is no room above, and further left where
/// there is none at the right. What does not fit into the picture is cut off, and a character
/// without a glyph is a question mark.
pub fn label(picture: &mut RgbImage, unit_box: &UnitBox, text: &str, color: Rgb<u8>, scale: u32) {
    let unit_box = unit_box.ordered().clamped();
    let at = |share: f32, length: u32| (f64::from(share) * f64::from(length)).round() as u32;
    let (width, height) = picture.dimensions();
    write(picture, text, (at(unit_box.xmin, width), at(unit_box.ymin, height)), color, scale);
}

fn write(picture: &mut RgbImage, text: &str, (x, y): (u32, u32), color: Rgb<u8>, scale: u32) {
    let scale = scale.max(1);
    let glyphs: Vec<_> =
        text.chars().filter_map(|character| glyph(character).or_else(|| glyph('?'))).collect();
    // A margin of one pixel of the glyphs on each side.
    let height = (GLYPH + 2) * scale;
    let length = u32::try_from(glyphs.len()).unwrap_or(u32::MAX);
    let width = length.saturating_mul(GLYPH).saturating_add(2).saturating_mul(scale);
    let left = x.min(picture.width().saturating_sub(width));
    let top = if y >= height { y - height } else { y };
    let is_ink = |across: u32, down: u32| {
        let (Some(across), Some(down)) = (across.checked_sub(1), down.checked_sub(1)) else {
            return false;
        };
        let glyph = glyphs.get((across / GLYPH) as usize);
        let row = glyph.and_then(|rows| rows.get(down as usize)).copied().unwrap_or(0);
        row >> (across % GLYPH) & 1 == 1
    };
    let (right, bottom) = (left.saturating_add(width), top.saturating_add(height));
    for down in top..bottom.min(picture.height()) {
        for across in left..right.min(picture.width()) {
            let is_ink = is_ink((across - left) / scale, (down - top) / scale);
            picture.put_pixel(across, down, if is_ink { color } else { BACKGROUND });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAY: Rgb<u8> = Rgb([128; 3]);
    const WHITE: Rgb<u8> = Rgb([255; 3]);

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_pixel(width, height, GRAY)
    }

    /// Rows and columns that were written on.
    fn written(picture: &RgbImage) -> Option<(u32, u32, u32, u32)> {
        let mut found = picture.enumerate_pixels().filter(|(_, _, pixel)| **pixel != GRAY);
        let (x, y, _) = found.next()?;
        let first = (x, y, x, y);
        Some(found.fold(first, |(left, top, right, bottom), (x, y, _)| {
            (left.min(x), top.min(y), right.max(x), bottom.max(y))
        }))
    }

    #[test]
    fn a_label_stands_above_its_box_and_keeps_inside_the_picture() {
        let mut above = picture(100, 60);
        write(&mut above, "ab", (20, 40), WHITE, 1);
        assert_eq!(written(&above), Some((20, 30, 37, 39)));
        let mut below = picture(100, 60);
        write(&mut below, "ab", (20, 5), WHITE, 1);
        assert_eq!(written(&below), Some((20, 5, 37, 14)));
        let mut at_the_right = picture(100, 60);
        write(&mut at_the_right, "ab", (95, 40), WHITE, 2);
        assert_eq!(written(&at_the_right), Some((64, 20, 99, 39)));
        for size in [(1, 1), (3, 100), (100, 3)] {
            write(&mut picture(size.0, size.1), "a long label", (0, 0), WHITE, 3);
        }
    }

    #[test]
    fn the_label_of_a_box_stands_at_its_corner() {
        let (mut of_box, mut at_corner) = (picture(100, 60), picture(100, 60));
        label(&mut of_box, &UnitBox::new(0.2, 0.5, 0.9, 0.6), "a", WHITE, 1);
        write(&mut at_corner, "a", (20, 30), WHITE, 1);
        assert_eq!(of_box, at_corner);
        for edges in [[-3.0, -1.0, 0.5, 0.5], [0.9, 0.9, 0.1, 0.1], [1.0; 4]] {
            label(&mut picture(20, 20), &UnitBox::from(edges), "ab", WHITE, 2);
        }
    }

    #[test]
    fn letters_are_drawn_upright_and_in_order() {
        let mut drawn = picture(40, 20);
        write(&mut drawn, "L.", (0, 15), WHITE, 1);
        let ink = |columns: std::ops::Range<u32>, rows: std::ops::Range<u32>| {
            let pixels = columns.flat_map(|x| rows.clone().map(move |y| (x, y)));
            pixels.filter(|(x, y)| *drawn.get_pixel(*x, *y) == WHITE).count()
        };
        // The letter's foot is at the bottom and its stem at the left; a dot has no top.
        assert!(ink(1..9, 6..10) < ink(1..9, 10..14), "foot");
        assert!(ink(1..5, 6..14) > ink(5..9, 6..14), "stem");
        assert!(ink(9..17, 6..10) == 0 && ink(9..17, 10..14) > 0, "dot");
    }

    #[test]
    fn names_of_western_languages_have_glyphs_and_others_become_question_marks() {
        assert!(has_glyphs("wrist fracture 0.87") && has_glyphs("Brüche né") && has_glyphs("α"));
        assert!(!has_glyphs("骨折"));
        let (mut unknown, mut marks) = (picture(40, 20), picture(40, 20));
        write(&mut unknown, "骨折", (0, 15), WHITE, 1);
        write(&mut marks, "??", (0, 15), WHITE, 1);
        assert_eq!(unknown, marks);
    }
}
