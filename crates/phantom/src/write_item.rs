//! Writes the files of single images.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ossify_contract::{ImageStatus, Shape, Split};

use crate::anatomy::Anatomy;
use crate::dice::{Dice, Stream};
use crate::encode::{Format, encode};
use crate::error::{PhantomError, Result};
use crate::expected::Expected;
use crate::fault::Fault;
use crate::files::write_file;
use crate::item::Item;
use crate::label_line::{Line, label_lines};
use crate::leak::Leak;
use crate::picture::{Picture, Shot};
use crate::plant::label_file;
use crate::planted::{Conditional, Innocent, SpecialImage};

/// File systems limit the hard links to a file; this number is within all limits.
const NAMES_PER_FILE: usize = 1000;

/// How image files are made.
pub(crate) enum Images {
    Drawn,
    Tiny(TinyImages),
}

/// One tiny picture under many names: there are as many image files as label files, but they only
/// cost their names.
pub(crate) struct TinyImages {
    bytes: Vec<u8>,
    /// For each split, a file to link to, and how many more links it may get.
    source: [Mutex<(PathBuf, usize)>; 3],
}

impl TinyImages {
    pub fn new(root: &Path) -> Result<Self> {
        let pixels =
            (0..64 * 48).map(|i| ((i % 64) as f32 / 64.0 + (i / 64) as f32 / 48.0) / 2.0).collect();
        let picture = Picture { width: 64, height: 48, pixels, objects: Vec::new() };
        let bytes = encode(&picture, Format::JpegGray, 90)
            .map_err(|source| PhantomError::Encode { path: root.display().to_string(), source })?;
        Ok(TinyImages { bytes, source: [0, 1, 2].map(|_| Mutex::new((PathBuf::new(), 0))) })
    }

    fn put(&self, path: &Path, split: Split) -> Result<()> {
        let mut source =
            self.source[split as usize].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if source.1 > 0 && fs::hard_link(&source.0, path).is_ok() {
            source.1 -= 1;
            return Ok(());
        }
        write_file(path, &self.bytes)?;
        *source = (path.to_path_buf(), NAMES_PER_FILE);
        Ok(())
    }
}

/// What was written for one planned image.
pub(crate) struct WrittenItem {
    pub split: Split,
    pub images: u64,
    pub labels: u64,
    pub status: ImageStatus,
    pub boxes: u64,
    pub polygons: u64,
    pub quarantined: u64,
    pub objects_per_class: [u64; Anatomy::ALL.len()],
    pub expected: Vec<Expected>,
    pub conditional: Option<Conditional>,
    pub innocent: Option<Innocent>,
    pub special: Option<SpecialImage>,
}

/// Writes the image and the label file of an item, with its fault.
pub(crate) fn write_item(
    root: &Path,
    item: &Item,
    seed: u64,
    images: &Images,
) -> Result<WrittenItem> {
    let is_drawn = matches!(images, Images::Drawn);
    let fault = item.fault.filter(|fault| is_drawn || !fault.needs_pictures());
    let shot = shot(item, seed);
    let mut dice = Dice::new(seed, Stream::Fault(item.number));
    let (image_path, label_path) = (item.image_path(), item.label_path());
    let lines = label_lines(&shot.objects, item.shape, &mut dice);
    let labels = label_file(&label_path, lines, fault, &mut dice);
    let twin_path = image_path
        .rsplit_once('.')
        .map_or_else(|| image_path.clone(), |(stem, _)| format!("{stem}.jpeg"));
    let mut expected = labels.expected;
    expected.extend(findings_of_files(fault, &image_path, &twin_path, &label_path));
    let has_labels = fault != Some(Fault::LabelMissing);
    if has_labels {
        write_file(&root.join(&label_path), &labels.bytes)?;
    }
    let image_paths: &[&String] = match fault {
        Some(Fault::ImageMissing) => &[],
        Some(Fault::StemCollision) => &[&image_path, &twin_path],
        _ => &[&image_path],
    };
    match images {
        Images::Tiny(tiny) => {
            image_paths.iter().try_for_each(|path| tiny.put(&root.join(path), item.split))?
        }
        Images::Drawn if image_paths.is_empty() => {}
        Images::Drawn => {
            let encoded = encode(&shot.take(), item.format, item.quality)
                .map_err(|source| PhantomError::Encode { path: image_path.clone(), source })?;
            image_paths.iter().try_for_each(|path| write_file(&root.join(path), &encoded))?;
        }
    }
    let lines = if has_labels { labels.lines.as_slice() } else { &[] };
    let count_of = |shape: Shape| {
        lines.iter().filter(|line| !line.dropped && line.shape == shape).count() as u64
    };
    Ok(WrittenItem {
        split: item.split,
        images: image_paths.len() as u64,
        labels: u64::from(has_labels),
        status: status(fault, lines),
        boxes: count_of(Shape::Box),
        polygons: count_of(Shape::Polygon),
        quarantined: lines.iter().filter(|line| line.dropped).count() as u64,
        objects_per_class: objects_per_class(lines),
        expected,
        conditional: (fault == Some(Fault::Triangle)).then(|| Conditional {
            setting: "ingest.min_polygon_vertices".into(),
            from: 4,
            rule: "polygon-too-few-vertices".into(),
            path: label_path.clone(),
            line: lines.len() as u32,
        }),
        special: special_image(item, item.format, &image_path).filter(|_| is_drawn),
        innocent: fault
            .filter(|fault| fault.is_innocent())
            .map(|fault| Innocent { path: label_path, what: fault.name() }),
    })
}

/// The findings about whole files that a fault causes, beside those in the label file.
fn findings_of_files(
    fault: Option<Fault>,
    image_path: &str,
    twin_path: &str,
    label_path: &str,
) -> Vec<Expected> {
    let of_file = Expected::of_file;
    match fault {
        Some(Fault::LabelMissing) => vec![of_file("label-missing", image_path)],
        Some(Fault::ImageMissing) => vec![of_file("image-missing", label_path)],
        Some(Fault::ImageCutShort) => vec![of_file("image-unreadable", image_path)],
        Some(Fault::ImageTooSmall) => vec![of_file("image-too-small", image_path)],
        Some(Fault::StemCollision) => {
            [twin_path, image_path].map(|path| of_file("stem-collision", path)).to_vec()
        }
        _ => Vec::new(),
    }
}

fn status(fault: Option<Fault>, lines: &[Line]) -> ImageStatus {
    match fault {
        Some(Fault::ImageCutShort | Fault::ImageTooSmall) => ImageStatus::Unreadable,
        Some(Fault::LabelMissing | Fault::NotUtf8 | Fault::StemCollision) => {
            ImageStatus::Unlabelled
        }
        _ if lines.is_empty() => ImageStatus::Background,
        _ if lines.iter().all(|line| line.dropped) => ImageStatus::Unlabelled,
        _ => ImageStatus::Labelled,
    }
}

/// Accepted objects of each class.
fn objects_per_class(lines: &[Line]) -> [u64; Anatomy::ALL.len()] {
    let mut counts = [0; Anatomy::ALL.len()];
    for line in lines.iter().filter(|line| !line.dropped) {
        // A class id may be written as a decimal fraction.
        let class = line
            .tokens
            .first()
            .and_then(|token| token.parse::<f64>().ok())
            .map_or(0, |class| class as usize);
        if let Some(count) = counts.get_mut(class) {
            *count += 1;
        }
    }
    counts
}

fn shot(item: &Item, seed: u64) -> Shot {
    Shot::new(
        &item.order,
        Dice::new(seed, Stream::Scene(item.source)),
        Dice::new(seed, Stream::View(item.number)),
    )
}

fn special_image(item: &Item, format: Format, path: &str) -> Option<SpecialImage> {
    let (width, height) = (item.order.width, item.order.height);
    (format != Format::JpegRgb).then(|| SpecialImage {
        path: path.into(),
        what: format.name().into(),
        width,
        height,
    })
}

/// Writes an image that shows the same as its original, with an empty label file like the
/// original's.
pub(crate) fn write_leak(root: &Path, leak: &Leak, seed: u64) -> Result<WrittenItem> {
    let original = leak.original;
    let path = leak.image_path();
    let bytes = encode(&shot(original, seed).take(), original.format, original.quality)
        .and_then(|bytes| leak.bytes(bytes));
    let bytes = bytes.map_err(|source| PhantomError::Encode { path: path.clone(), source })?;
    write_file(&root.join(&path), &bytes)?;
    write_file(&root.join(leak.label_path()), b"")?;
    Ok(WrittenItem {
        split: leak.split,
        images: 1,
        labels: 1,
        status: ImageStatus::Background,
        boxes: 0,
        polygons: 0,
        quarantined: 0,
        objects_per_class: [0; Anatomy::ALL.len()],
        expected: Vec::new(),
        conditional: None,
        innocent: None,
        special: special_image(original, leak.format(), &path),
    })
}
