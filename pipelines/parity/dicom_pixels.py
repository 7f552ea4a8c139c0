"""Compares the pixels that ossify-imaging makes of DICOM files with those of pydicom.

The files are those in pydicom's package (none is downloaded), and files made here that cover what
those lack. pydicom decodes, and applies modality values, windows, tables and colours. This script
adds the picture's own range if there is no window, MONOCHROME1, and rounding to 8 bits.

    python dicom_pixels.py --binary ../../target/release/examples/decoded

Files that ossify refuses are listed with the reason. Exit code 0 if all others agree within the
tolerance, 1 otherwise."""

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

TOLERANCE = 1
# Two decoders of lossy JPEG round differently, before YCbCr becomes RGB.
LOSSY_TOLERANCE = 2


def to_8_bit(values, low, high):
    low, high = float(low), float(high)
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    share = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return np.floor(share * 255 + 0.5).astype(np.uint8)


def padding_of(image, stored):
    if "PixelPaddingValue" not in image:
        return np.zeros(stored.shape, bool)
    limits = (image.PixelPaddingValue, image.get("PixelPaddingRangeLimit", image.PixelPaddingValue))
    return (stored >= min(limits)) & (stored <= max(limits))


def gray(image, stored):
    values = apply_modality_lut(stored, image)
    if image.get("WindowCenter") not in (None, "") and image.get("WindowWidth") not in (
        None,
        "",
        0,
    ):
        # The ends of the window's output are its results for values far outside.
        low, high = apply_windowing(np.array([-1e12, 1e12]), image)
        shades = to_8_bit(apply_windowing(values, image), low, high)
    elif "VOILUTSequence" in image:
        shades = to_8_bit(
            apply_voi(np.rint(values).astype(np.int64), image),
            0,
            2 ** image.VOILUTSequence[0].LUTDescriptor[2] - 1,
        )
    else:
        seen = values[~padding_of(image, stored)]
        shades = (
            to_8_bit(values, seen.min(), seen.max())
            if seen.size
            else np.zeros(values.shape, np.uint8)
        )
    return 255 - shades if image.PhotometricInterpretation == "MONOCHROME1" else shades


def expected_pixels(image):
    stored = image.pixel_array
    if image.PhotometricInterpretation == "PALETTE COLOR":
        colors = apply_color_lut(stored, image)
        return to_8_bit(colors, 0, np.iinfo(colors.dtype).max)
    if image.SamplesPerPixel == 3:
        return to_8_bit(stored, 0, 2**image.BitsStored - 1)
    return gray(image, stored)


def our_pixels(binary, path):
    """Pixels, or the reason why there are none."""
    result = subprocess.run([binary, path], capture_output=True, check=False)
    if result.returncode != 0:
        return None, result.stderr.decode().strip().removeprefix(f"{path}: ")
    head, _, data = result.stdout.partition(b"\n")
    width, height, channels = (int(word) for word in head.split())
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.frombuffer(data, np.uint8).reshape(shape), None


def made(rng, bits=12, signed=False, **attributes):
    allocated = 8 if bits <= 8 else 16
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    dtype = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
    pixels = rng.integers(low, high, (37, 53), dtype=np.int64).astype(dtype)
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = allocated, bits, bits - 1
    image.PixelRepresentation = int(signed)
    image.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
    image["PixelData"].VR = "OB" if allocated == 8 else "OW"
    for name, value in attributes.items():
        setattr(image, name, value)
    return image


def table(first, entries, bits, signed=False):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return [item]


def palette(rng, bits):
    entries = rng.integers(0, 2**bits, (3, 256), dtype=np.int64)
    image = made(rng, 8, PhotometricInterpretation="PALETTE COLOR")
    for name, values in zip(("Red", "Green", "Blue"), entries):
        image.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
        image.add_new(
            f"{name}PaletteColorLookupTableData",
            "OW",
            values.astype("<u2" if bits == 16 else "u1").tobytes(),
        )
    return image


def cases(rng):
    yield "range", made(rng)
    yield "range, 8 bits", made(rng, 8)
    yield "range, signed", made(rng, 16, signed=True)
    yield "range, MONOCHROME1", made(rng, PhotometricInterpretation="MONOCHROME1")
    yield "range, padding", made(rng, PixelPaddingValue=0, PixelPaddingRangeLimit=900)
    for function in (None, "LINEAR", "LINEAR_EXACT", "SIGMOID"):
        for signed in (False, True):
            for photometric in ("MONOCHROME1", "MONOCHROME2"):
                name = f"window, {function}, {'signed' if signed else 'unsigned'}, {photometric}"
                center = 100.5 if signed else 2000.25
                image = made(
                    rng,
                    signed=signed,
                    WindowCenter=[center, 1],
                    WindowWidth=[1234.5, 2],
                    PhotometricInterpretation=photometric,
                )
                if function:
                    image.VOILUTFunction = function
                yield name, image
    yield "window of width 1", made(rng, WindowCenter=2000, WindowWidth=1)
    yield (
        "rescaled window",
        made(rng, RescaleSlope=1.5, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400),
    )
    yield "rescaled, negative slope", made(rng, RescaleSlope=-2.5, RescaleIntercept=7)
    curve = np.round(4095 * (np.arange(4096) / 4095) ** 0.6)
    yield (
        "modality table",
        made(rng, ModalityLUTSequence=table(0, curve, 16), WindowCenter=2000, WindowWidth=3000),
    )
    yield "modality table, range", made(rng, ModalityLUTSequence=table(100, curve[:2000], 16))
    # pydicom stores the number of entries of 8-bit tables in 8 bits, so there may be at most 256.
    yield "VOI table, 8 bits", made(rng, 8, VOILUTSequence=table(0, curve[::16] // 16, 8))
    yield "VOI table, 12 bits", made(rng, VOILUTSequence=table(300, curve[:3000], 12))
    yield "VOI table, 16 bits", made(rng, VOILUTSequence=table(0, curve * 16, 16))
    yield (
        "VOI table, negative",
        made(rng, signed=True, VOILUTSequence=table(-2048, curve, 12, signed=True)),
    )
    yield "palette, 8 bits", palette(rng, 8)
    yield "palette, 16 bits", palette(rng, 16)


def write(image, syntax, path):
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    if syntax == RLELossless:
        image.compress(RLELossless, encoding_plugin="pydicom")
    image.save_as(path, enforce_file_format=True)


def big_endian(image):
    """The same picture in big-endian byte order."""
    if image.BitsAllocated == 16:
        image.PixelData = np.frombuffer(image.PixelData, "<u2").byteswap().tobytes()
    return image


def tolerance_of(image):
    return LOSSY_TOLERANCE if image.file_meta.TransferSyntaxUID == JPEGBaseline8Bit else TOLERANCE


def compare(binary, path, name):
    """Whether the pixels agree; None if there is nothing to compare."""
    try:
        image = pydicom.dcmread(path)
        if image.file_meta.TransferSyntaxUID == RLELossless:
            image.pixel_array_options(decoding_plugin="pydicom")
        expected = expected_pixels(image)
    except Exception as error:  # pydicom cannot decode it: nothing to compare
        image, expected = None, str(error).splitlines()[0]
    ours, refusal = our_pixels(binary, path)
    if ours is None:
        is_right = image is None or "is not supported" in refusal or "cut short" in refusal
        print(f"{name}: refused{'' if is_right else ', THOUGH PYDICOM READS IT'}: {refusal}")
        return None if is_right else False
    if image is None:
        print(f"{name}: only ours reads it; pydicom: {expected}")
        return None
    if ours.shape != expected.shape:
        print(f"{name}: {ours.shape} and {expected.shape}")
        return False
    difference = np.abs(ours.astype(int) - expected.astype(int))
    agrees = difference.max() <= tolerance_of(image)
    print(
        f"{name}: largest difference {difference.max()}, mean "
        f"{difference.mean():.4f}{'' if agrees else ', TOO LARGE'}"
    )
    return agrees


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    outcomes = []
    for path in sorted((Path(pydicom.__file__).parent / "data/test_files").glob("*.dcm")):
        outcomes.append(compare(args.binary, path, path.name))
    syntaxes = (
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.dcm"
        for syntax in syntaxes:
            for name, image in cases(np.random.default_rng(args.seed)):
                write(image, syntax, path)
                outcomes.append(compare(args.binary, path, f"{name} ({syntax.name})"))
        for name, image in cases(np.random.default_rng(args.seed)):
            if "table" not in name and "palette" not in name:
                write(big_endian(image), ExplicitVRBigEndian, path)
                outcomes.append(compare(args.binary, path, f"{name} (big endian)"))
    compared = [outcome for outcome in outcomes if outcome is not None]
    print(
        f"{sum(compared)} of {len(compared)} files agree, {len(outcomes) - len(compared)} were "
        f"not compared"
    )
    sys.exit(0 if all(compared) else 1)


if __name__ == "__main__":
    main()
