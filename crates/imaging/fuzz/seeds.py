"""Writes small images of many kinds, to begin fuzzing with: seeds.py FOLDER; needs Pillow."""

import sys
from pathlib import Path

from PIL import Image

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
picture = Image.linear_gradient("L").resize((24, 17))
rgb = Image.merge(
    "RGB",
    [
        picture,
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    ],
)
of_mode = {mode: rgb.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")} | {
    "I;16": Image.new("I;16", rgb.size, 3000)
}
exif = Image.Exif()
exif[0x0112] = 6  # orientation

KINDS = {
    "jpg": (
        "JPEG",
        ["L", "RGB", "CMYK"],
        [
            {},
            {"progressive": True},
            {"subsampling": 0},
            {"subsampling": 2, "restart_marker_blocks": 1},
            {"exif": exif},
        ],
    ),
    "png": ("PNG", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"], [{}, {"exif": exif}]),
    "bmp": ("BMP", ["1", "L", "P", "RGB", "RGBA"], [{}]),
    "tif": (
        "TIFF",
        ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"],
        [{"compression": name} for name in ("raw", "tiff_lzw", "tiff_deflate", "packbits")],
    ),
    "webp": ("WEBP", ["L", "RGB", "RGBA"], [{}, {"lossless": True}, {"exif": exif}]),
}
for extension, (encoding, modes, variants) in KINDS.items():
    for mode in modes:
        for number, options in enumerate(variants):
            of_mode[mode].save(
                folder / f"{mode.replace(';', '')}-{number}.{extension}", encoding, **options
            )
