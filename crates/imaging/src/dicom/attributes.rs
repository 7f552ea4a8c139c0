//! The validated attributes of the picture.

use dicom_dictionary_std::tags;

use super::data_set::{DataSet, RawElements};
use super::lut::Lut;
use super::samples::Bits;
use super::values::Values;
use crate::error::HeaderError;
use crate::format::ImageFormat;

/// The meaning of samples (PS3.3 section C.7.6.3.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Photometric {
    /// Gray, the lowest value white.
    Monochrome1,
    /// Gray, the lowest value black.
    Monochrome2,
    Palette,
    Rgb,
    YbrFull,
    /// Like `YbrFull`, with chroma shared by two pixels if it is not encoded.
    YbrFull422,
}

/// How a window maps values to shades (PS3.3 section C.11.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowFunction {
    Linear,
    LinearExact,
    Sigmoid,
}

/// The range of values to display.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub center: f64,
    /// More than 0; at least 1 for `Linear`.
    pub width: f64,
    pub function: WindowFunction,
}

/// How stored values become modality values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Modality {
    Rescale { slope: f64, intercept: f64 },
    Table(Lut),
}

/// How modality values become shades.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum VoiMapping {
    Window(Window),
    Table(Lut),
    /// From the picture's lowest value to its highest.
    FullRange,
}

/// The attributes of the picture.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    pub rows: u16,
    pub columns: u16,
    /// 1 or 3.
    pub samples_per_pixel: u16,
    pub photometric: Photometric,
    pub bits: Bits,
    /// Whether each colour has a plane of its own.
    pub is_planar: bool,
    /// The range of stored values that mark pixels outside the picture.
    pub padding: Option<(i64, i64)>,
    pub modality: Modality,
    pub voi_mapping: VoiMapping,
    /// Red, green and blue, if the photometric interpretation is a palette.
    pub palette: Option<[Lut; 3]>,
}

impl Attributes {
    pub(super) fn read(data_set: &DataSet) -> Result<Self, HeaderError> {
        let malformed = |reason: String| HeaderError::malformed(ImageFormat::Dicom, reason);
        let unsupported = |reason: String| HeaderError::unsupported(ImageFormat::Dicom, reason);
        let values = Values::read(&data_set.elements).map_err(malformed)?;
        let frames =
            values.integers(tags::NUMBER_OF_FRAMES, "number of frames").map_err(malformed)?;
        if let Some(frames) =
            frames.and_then(|frames| frames.first().copied()).filter(|frames| *frames > 1)
        {
            return Err(unsupported(format!(
                "it holds {frames} frames; save the frame that is meant as a file of its own, for \
                example with dcmj2pnm +on2 +F 1"
            )));
        }
        let (rows, columns) = (
            values.required(tags::ROWS, "rows").map_err(malformed)?,
            values.required(tags::COLUMNS, "columns").map_err(malformed)?,
        );
        let samples_per_pixel =
            values.required(tags::SAMPLES_PER_PIXEL, "samples per pixel").map_err(malformed)?;
        let word = values
            .word(tags::PHOTOMETRIC_INTERPRETATION)
            .ok_or_else(|| malformed("it does not say its photometric interpretation".into()))?;
        let (photometric, samples) = match word.as_str() {
            "MONOCHROME1" => (Photometric::Monochrome1, 1),
            "MONOCHROME2" => (Photometric::Monochrome2, 1),
            "PALETTE COLOR" => (Photometric::Palette, 1),
            "RGB" => (Photometric::Rgb, 3),
            "YBR_FULL" => (Photometric::YbrFull, 3),
            "YBR_FULL_422" => (Photometric::YbrFull422, 3),
            _ => {
                return Err(unsupported(format!(
                    "the photometric interpretation {word}; convert it to PNG"
                )));
            }
        };
        if samples_per_pixel != samples {
            return Err(malformed(format!(
                "it says {samples_per_pixel} samples per pixel, and {word} has {samples}"
            )));
        }
        let bits = bits(&values).map_err(malformed)?;
        if !matches!(bits.allocated, 8 | 16 | 32)
            || bits.allocated == 32 && photometric_is_color(photometric)
        {
            return Err(unsupported(format!(
                "{} bits per sample of {word}; convert it to PNG",
                bits.allocated
            )));
        }
        if bits.is_signed && photometric_is_color(photometric) {
            return Err(unsupported(format!("signed samples of {word}; convert it to PNG")));
        }
        let is_planar = samples_per_pixel > 1
            && values.u16(tags::PLANAR_CONFIGURATION, "planar configuration").map_err(malformed)?
                == Some(1);
        let modality = modality(&values, data_set, bits).map_err(malformed)?;
        let voi_mapping = voi_mapping(&values, data_set, bits, &modality)?;
        let padding = padding(&values, bits).map_err(malformed)?;
        let palette =
            if photometric == Photometric::Palette { Some(palette(&values)?) } else { None };
        Ok(Attributes {
            rows,
            columns,
            samples_per_pixel,
            photometric,
            bits,
            is_planar,
            padding,
            modality,
            voi_mapping,
            palette,
        })
    }

    /// Whether the decoded picture has colour.
    pub(super) fn is_color(&self) -> bool {
        photometric_is_color(self.photometric)
    }

    /// Rows times columns.
    pub(super) fn pixels(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.columns)
    }

    /// Bytes of all samples if they are not encoded.
    pub(super) fn native_bytes(&self) -> u64 {
        let samples = if self.photometric == Photometric::YbrFull422 {
            2
        } else {
            u64::from(self.samples_per_pixel)
        };
        self.pixels() * samples * u64::from(self.bits.allocated / 8)
    }
}

fn photometric_is_color(photometric: Photometric) -> bool {
    !matches!(photometric, Photometric::Monochrome1 | Photometric::Monochrome2)
}

fn bits(values: &Values) -> Result<Bits, String> {
    let allocated = values.required(tags::BITS_ALLOCATED, "bits allocated")?;
    let stored = values.u16(tags::BITS_STORED, "bits stored")?.unwrap_or(allocated);
    let high = values.u16(tags::HIGH_BIT, "high bit")?.unwrap_or(stored.wrapping_sub(1));
    if stored == 0 || stored > allocated || high >= allocated || high + 1 < stored {
        return Err(format!(
            "it says that {stored} of {allocated} bits per sample are stored, the highest being \
            bit {high}"
        ));
    }
    let is_signed = values.u16(tags::PIXEL_REPRESENTATION, "pixel representation")? == Some(1);
    Ok(Bits { allocated, stored, below: high + 1 - stored, is_signed })
}

fn modality(values: &Values, data_set: &DataSet, bits: Bits) -> Result<Modality, String> {
    if let Some(table) =
        table(data_set.modality_table.as_ref(), "modality look-up table", bits.is_signed)?
    {
        return Ok(Modality::Table(table));
    }
    let slope = values.number(tags::RESCALE_SLOPE, "rescale slope")?.unwrap_or(1.0);
    let intercept = values.number(tags::RESCALE_INTERCEPT, "rescale intercept")?.unwrap_or(0.0);
    if slope == 0.0 {
        return Err("its rescale slope is 0, which makes all pixels equal".into());
    }
    Ok(Modality::Rescale { slope, intercept })
}

fn voi_mapping(
    values: &Values,
    data_set: &DataSet,
    bits: Bits,
    modality: &Modality,
) -> Result<VoiMapping, HeaderError> {
    let malformed = |reason: String| HeaderError::malformed(ImageFormat::Dicom, reason);
    let center = values.number(tags::WINDOW_CENTER, "window center").map_err(malformed)?;
    // Some writers give a width of 0 to say that there is no window.
    let width = values
        .number(tags::WINDOW_WIDTH, "window width")
        .map_err(malformed)?
        .filter(|width| *width > 0.0);
    if let (Some(center), Some(width)) = (center, width) {
        let function = match values.word(tags::VOILUT_FUNCTION).as_deref() {
            // The linear function divides by the width minus 1.
            None | Some("" | "LINEAR") if width >= 1.0 => WindowFunction::Linear,
            None | Some("" | "LINEAR" | "LINEAR_EXACT") => WindowFunction::LinearExact,
            Some("SIGMOID") => WindowFunction::Sigmoid,
            Some(other) => {
                return Err(HeaderError::unsupported(
                    ImageFormat::Dicom,
                    format!("the VOI LUT function {other}; export it to 16-bit PNG"),
                ));
            }
        };
        return Ok(VoiMapping::Window(Window { center, width, function }));
    }
    let is_signed = match modality {
        Modality::Table(_) => false,
        Modality::Rescale { intercept, .. } => bits.is_signed || *intercept < 0.0,
    };
    let table =
        table(data_set.voi_table.as_ref(), "VOI look-up table", is_signed).map_err(malformed)?;
    Ok(table.map_or(VoiMapping::FullRange, VoiMapping::Table))
}

fn table(
    elements: Option<&RawElements>,
    name: &str,
    is_signed: bool,
) -> Result<Option<Lut>, String> {
    let Some(elements) = elements else { return Ok(None) };
    Lut::read(&Values::read(elements)?, tags::LUT_DESCRIPTOR, tags::LUT_DATA, name, is_signed)
}

fn padding(values: &Values, bits: Bits) -> Result<Option<(i64, i64)>, String> {
    let read = |tag, name| {
        let value = values.integers(tag, name)?.and_then(|values| values.first().copied());
        // If value representations are not written, the sign is that of the pixels.
        Ok::<_, String>(value.map(|value| {
            if bits.is_signed { i64::from(value as u16 as i16) } else { i64::from(value as u16) }
        }))
    };
    let Some(value) = read(tags::PIXEL_PADDING_VALUE, "pixel padding value")? else {
        return Ok(None);
    };
    let limit =
        read(tags::PIXEL_PADDING_RANGE_LIMIT, "pixel padding range limit")?.unwrap_or(value);
    Ok(Some((value.min(limit), value.max(limit))))
}

fn palette(values: &Values) -> Result<[Lut; 3], HeaderError> {
    let malformed = |reason: String| HeaderError::malformed(ImageFormat::Dicom, reason);
    if values.has(tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA) {
        return Err(HeaderError::unsupported(
            ImageFormat::Dicom,
            "a segmented palette; convert it to PNG",
        ));
    }
    let read = |descriptor, data, name| {
        let table = Lut::read(values, descriptor, data, name, false).map_err(malformed)?;
        table.ok_or_else(|| malformed(format!("it has no {name}")))
    };
    Ok([
        read(
            tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            "red palette",
        )?,
        read(
            tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            "green palette",
        )?,
        read(
            tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            "blue palette",
        )?,
    ])
}
