//! Draws images with their labels for the page.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use ossify_contract::ClassRow;
use ossify_imaging::{decode, read_file, to_tensor};
use ossify_page::{Gallery, Outline, Picture};
use ossify_vocabulary::{Channels, Filter, Geometry, Limits, TensorSpec};

use super::tally::{DrawnImage, Example, Tally};
use crate::find::layout::Layout;
use crate::find::paths::file_name;
use crate::read::object::LabelObject;
use crate::wording::plural;

/// A file up to this size that browsers can show is embedded without decoding.
const MAX_EMBEDDED_BYTES: i64 = 192 << 10;
/// Side of the thumbnail of any other file, pixels. It is square; the page shows it in the image's
/// proportions.
const THUMBNAIL_PX: u32 = 320;
const THUMBNAIL_QUALITY: u8 = 80;
/// Images with more pixels are not decoded for a thumbnail.
const MAX_PIXELS: u64 = 100_000_000;
/// Findings of a rule that are drawn.
const DRAWN_PER_RULE: usize = 3;

/// Sample images of each class, with a filter by class; `None` if there are none.
pub(crate) fn samples(layout: &Layout, tally: &Tally, classes: &[ClassRow]) -> Option<Gallery> {
    let mut gallery = Gallery::new("samples").filters(["class"]);
    let mut is_empty = true;
    for class in classes {
        for sample in tally.samples.get(&class.class_id).into_iter().flatten() {
            let Some(picture) = picture(layout, &sample.image) else { continue };
            let name = |object: &LabelObject| layout.classes.name(object.class_id).to_owned();
            let outlines = sample.objects.iter().map(|object| {
                let outline = Outline::new(
                    corners(object),
                    format!("line {}: {}", object.line, name(object)),
                );
                if object.class_id == class.class_id { outline.emphasised() } else { outline }
            });
            let of_class =
                sample.objects.iter().filter(|object| object.class_id == class.class_id).count()
                    as u64;
            let said = match sample.objects.len() as u64 - of_class {
                0 => plural(of_class, "object", "objects"),
                others => format!(
                    "{} of it, {} of other classes",
                    plural(of_class, "object", "objects"),
                    others
                ),
            };
            let picture = picture
                .line(file_name(&sample.image.image_id))
                .line(said)
                .facets([class.class_name.clone()]);
            gallery.push(outlines.fold(picture.titled(&class.class_name), Picture::outline));
            is_empty = false;
        }
    }
    (!is_empty).then_some(gallery)
}

/// Findings of a rule as pictures; `None` if none of them can be drawn.
pub(crate) fn findings(layout: &Layout, rule: &str, examples: &[Example]) -> Option<Gallery> {
    let mut gallery = Gallery::new(&format!("rule{}", rule.replace('-', "")));
    let mut drawn = 0;
    for Example { finding, image } in examples {
        let Some(picture) = image.as_ref().and_then(|image| picture(layout, image)) else {
            continue;
        };
        let location = match finding.location.line {
            Some(line) => format!("{}:{line}", file_name(&finding.location.path)),
            None => file_name(&finding.location.path).to_owned(),
        };
        let picture = picture.titled(&finding.message).line(location);
        let shape = finding.source.as_deref().and_then(written_shape);
        gallery.push(match shape {
            Some(points) => {
                picture.outline(Outline::new(points, finding.message.clone()).emphasised())
            }
            None => picture,
        });
        drawn += 1;
        if drawn == DRAWN_PER_RULE {
            break;
        }
    }
    (drawn > 0).then_some(gallery)
}

fn corners(object: &LabelObject) -> Vec<(f64, f64)> {
    match &object.vertices {
        Some(vertices) => vertices.iter().map(|[x, y]| (f64::from(*x), f64::from(*y))).collect(),
        None => {
            let [xmin, ymin, xmax, ymax] = object.unit_box.to_array().map(f64::from);
            vec![(xmin, ymin), (xmax, ymin), (xmax, ymax), (xmin, ymax)]
        }
    }
}

/// The shape that a faulty label line probably means, if it can be guessed.
fn written_shape(line: &str) -> Option<Vec<(f64, f64)>> {
    let values: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .map(|token| token.parse().ok().filter(|value: &f64| value.is_finite()))
        .collect::<Option<_>>()?;
    match values[..] {
        [x, y, width, height] | [x, y, width, height, _] => {
            let (left, top, right, bottom) =
                (x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0);
            Some(vec![(left, top), (right, top), (right, bottom), (left, bottom)])
        }
        _ if values.len() >= 6 => {
            Some(values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
        }
        _ => None,
    }
}

fn picture(layout: &Layout, image: &DrawnImage) -> Option<Picture> {
    let path = layout.locate(&image.image_id);
    let media_type = match image.format.as_str() {
        "jpeg" => Some("image/jpeg"),
        "png" => Some("image/png"),
        "webp" => Some("image/webp"),
        "bmp" => Some("image/bmp"),
        _ => None,
    };
    let picture = match media_type
        .filter(|_| image.bytes <= MAX_EMBEDDED_BYTES && image.exif_orientation == 1)
    {
        Some(media_type) => {
            Picture::new(media_type, &ossify_storage::read(&path, u64::MAX).ok()?, "")
        }
        None => {
            let limits = Limits::of_pixels(MAX_PIXELS);
            let pixels = decode(&read_file(path, &limits).ok()?, &limits).ok()?;
            let spec = TensorSpec {
                side_px: THUMBNAIL_PX,
                channels: Channels::Rgb,
                geometry: Geometry::Stretch,
                filter: Filter::Bilinear,
                antialias: true,
            };
            let mut jpeg = Vec::new();
            let encoder = JpegEncoder::new_with_quality(&mut jpeg, THUMBNAIL_QUALITY);
            encoder
                .write_image(
                    &to_tensor(&pixels, &spec).ok()?.0,
                    THUMBNAIL_PX,
                    THUMBNAIL_PX,
                    ExtendedColorType::Rgb8,
                )
                .ok()?;
            Picture::new("image/jpeg", &jpeg, "")
        }
    };
    Some(picture.framed(image.size.0.unsigned_abs(), image.size.1.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_read_from_a_line_with_faults() {
        assert_eq!(
            written_shape("0 0.5 0.5 0.5 0.25 0.9"),
            Some(vec![(0.25, 0.375), (0.75, 0.375), (0.75, 0.625), (0.25, 0.625)])
        );
        assert_eq!(
            written_shape("x 0 0 1.5 0 1 1 0.5"),
            Some(vec![(0.0, 0.0), (1.5, 0.0), (1.0, 1.0)])
        );
        assert_eq!(written_shape("0 0.5 nan 0.5 0.5"), None);
        assert_eq!(written_shape("0 0.5 0.5"), None);
    }
}
