use std::io::Cursor;
use std::path::{Component, Path};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::{ExtendedColorType, ImageEncoder, ImageResult, RgbImage};
use ossify_imaging::{decode, read_file};
use ossify_vocabulary::Limits;

/// Decodes an image below a folder, upright and in colour.
///
/// # Errors
/// A sentence with the path and the reason.
pub fn read_picture(folder: &Path, image_id: &str, limits: &Limits) -> Result<RgbImage, String> {
    let relative = Path::new(image_id);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("{image_id}: not a path below the folder"));
    }
    let path = folder.join(relative);
    let failed = |reason: String| format!("{}: {reason}", path.display());
    let bytes = read_file(&path, limits).map_err(|e| failed(e.to_string()))?;
    let pixels = decode(&bytes, limits).map_err(|e| failed(e.to_string()))?;
    RgbImage::from_raw(pixels.width(), pixels.height(), pixels.to_rgb().into_data())
        .ok_or_else(|| failed("its pixels do not fit its size".into()))
}

/// The picture with its longest side at most `side` pixels.
pub fn fitted(picture: &RgbImage, side: u32) -> RgbImage {
    let scale = f64::from(side) / f64::from(picture.width().max(picture.height()).max(1));
    if scale >= 1.0 {
        return picture.clone();
    }
    let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    let (width, height) = (scaled(picture.width()), scaled(picture.height()));
    image::imageops::resize(picture, width, height, FilterType::Triangle)
}

/// The picture as PNG.
///
/// # Errors
/// A sentence with the reason.
pub fn png(picture: &RgbImage) -> Result<Vec<u8>, String> {
    encode(picture, |buffer, data, width, height| {
        PngEncoder::new(buffer).write_image(data, width, height, ExtendedColorType::Rgb8)
    })
}

/// The picture as JPEG of a quality, 1 to 100.
///
/// # Errors
/// A sentence with the reason.
pub fn jpeg(picture: &RgbImage, quality: u8) -> Result<Vec<u8>, String> {
    encode(picture, |buffer, data, width, height| {
        let encoder = JpegEncoder::new_with_quality(buffer, quality);
        encoder.write_image(data, width, height, ExtendedColorType::Rgb8)
    })
}

fn encode(
    picture: &RgbImage,
    write: impl FnOnce(&mut Cursor<Vec<u8>>, &[u8], u32, u32) -> ImageResult<()>,
) -> Result<Vec<u8>, String> {
    let mut buffer = Cursor::new(Vec::new());
    write(&mut buffer, picture.as_raw(), picture.width(), picture.height())
        .map_err(|e| e.to_string())?;
    Ok(buffer.into_inner())
}
