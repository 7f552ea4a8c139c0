use std::io::Cursor;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use ossify_contract::{UnitBox, write_atomic};

use crate::data::batches::{self, Source};
use crate::data::input::InputMaker;
use crate::data::sampler::Draw;

/// Samples on a contact sheet, a row each.
const SAMPLES: usize = 10;
/// Epochs that are shown beside the sample as it is.
const EPOCHS: u32 = 7;
const GAP_PX: u32 = 4;
const MIN_CELL_PX: u32 = 160;
const FRAME: Rgb<u8> = Rgb([240, 228, 66]);
const GROUND: Rgb<u8> = Rgb([32, 32, 32]);

/// Writes a contact sheet: rows of samples spread over the split, on the left as they are, then as
/// each of the first epochs sees them, with their boxes. It goes through the same code as training.
///
/// # Errors
/// Fails where images cannot be read or the file not be written.
pub fn write_contact_sheet(path: &Path, source: &Source<'_>, input: &InputMaker) -> Result<()> {
    let total = source.samples.samples.len();
    let count = SAMPLES.min(total);
    let draw = |row| -> Result<Draw> {
        Ok(Draw { sample: u32::try_from(row * total / count)?, repeat: 0 })
    };
    let draws = (0..count).map(draw).collect::<Result<Vec<Draw>>>()?;
    let mut columns = vec![column(&Source { augmentation: None, ..*source }, input, &draws, 0)?];
    for epoch in 1..=EPOCHS {
        columns.push(column(source, input, &draws, epoch)?);
    }
    write_atomic(path, &png(&sheet(&columns)?)?)?;
    Ok(())
}

/// The samples in one epoch, below each other.
fn column(
    source: &Source<'_>,
    input: &InputMaker,
    draws: &[Draw],
    epoch: u32,
) -> Result<Vec<RgbImage>> {
    let batch = batches::assemble(source, draws, epoch)?;
    let images = input.images(&batch)?;
    let [_, channels, height, width] = images.dims();
    let data = images
        .permute([0, 2, 3, 1])
        .try_into_data()
        .map_err(|e| anyhow!("cannot read images from the device: {e}"))?;
    let values = data
        .try_into_vec::<f32>()
        .map_err(|e| anyhow!("cannot read images from the device: {e:?}"))?;
    let (width_px, height_px) = (u32::try_from(width)?, u32::try_from(height)?);
    let images = values
        .chunks_exact(channels * height * width)
        .zip(batch.objects_of_samples())
        .map(|(values, objects)| {
            let pixel = |x: u32, y: u32| {
                let at = (y as usize * width + x as usize) * channels;
                Rgb(std::array::from_fn(|channel| byte(values[at + channel.min(channels - 1)])))
            };
            let image = RgbImage::from_fn(width_px, height_px, pixel);
            objects.iter().fold(enlarged(&image), |image, object| framed(&image, &object.unit_box))
        });
    Ok(images.collect())
}

/// The byte that is nearest to a value.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded and confined to the range of bytes"
)]
fn byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// Each pixel as so many that the image can be seen on a screen.
fn enlarged(image: &RgbImage) -> RgbImage {
    let factor = MIN_CELL_PX.div_ceil(image.width().max(1));
    RgbImage::from_fn(image.width() * factor, image.height() * factor, |x, y| {
        *image.get_pixel(x / factor, y / factor)
    })
}

fn framed(image: &RgbImage, unit: &UnitBox) -> RgbImage {
    let (width, height) = image.dimensions();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rounded share of the length, which is not negative"
    )]
    let at = |share: f32, length: u32| {
        ((share.clamp(0.0, 1.0) * length as f32).round() as u32).min(length.saturating_sub(1))
    };
    let (left, right, top, bottom) =
        (at(unit.xmin, width), at(unit.xmax, width), at(unit.ymin, height), at(unit.ymax, height));
    let mut framed = image.clone();
    for x in left..=right {
        framed.put_pixel(x, top, FRAME);
        framed.put_pixel(x, bottom, FRAME);
    }
    for y in top..=bottom {
        framed.put_pixel(left, y, FRAME);
        framed.put_pixel(right, y, FRAME);
    }
    framed
}

fn sheet(columns: &[Vec<RgbImage>]) -> Result<RgbImage> {
    let (width, height) =
        columns.first().and_then(|column| column.first()).map_or((0, 0), RgbImage::dimensions);
    let size = |count: usize, side: u32| {
        let count = u32::try_from(count).ok()?;
        count.checked_mul(side.checked_add(GAP_PX)?)?.checked_add(GAP_PX)
    };
    let rows = columns.first().map_or(0, Vec::len);
    let (Some(sheet_width), Some(sheet_height)) = (size(columns.len(), width), size(rows, height))
    else {
        bail!("a contact sheet of cells of {width} x {height} pixels is too large");
    };
    let mut sheet = RgbImage::from_pixel(sheet_width, sheet_height, GROUND);
    for (column, images) in (0..).zip(columns) {
        for (row, image) in (0..).zip(images) {
            image::imageops::replace(
                &mut sheet,
                image,
                i64::from(GAP_PX + column * (width + GAP_PX)),
                i64::from(GAP_PX + row * (height + GAP_PX)),
            );
        }
    }
    Ok(sheet)
}

fn png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut buffer = Cursor::new(Vec::new());
    let encoder = PngEncoder::new(&mut buffer);
    encoder
        .write_image(picture.as_raw(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .context("cannot encode the contact sheet")?;
    Ok(buffer.into_inner())
}
