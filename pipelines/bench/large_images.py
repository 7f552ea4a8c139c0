"""Makes a dataset of large radiographs from a dataset's small ones: large_images.py DATASET FOLDER

60 JPEGs of 3000x3000 pixels and quality 90: pictures of the dataset, enlarged, with the mild noise
of a detector. The same DATASET always gives the same pixels. Existing files are kept;
data.yaml is written last."""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy
from PIL import Image

COUNT, SIDE_PX, QUALITY, NOISE_DEVIATION = 60, 3000, 90, 4.0


def make(number, source, images):
    picture = Image.open(source).convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    noise = (
        numpy.random.default_rng(number)
        .normal(0, NOISE_DEVIATION, (SIDE_PX, SIDE_PX, 1))
        .astype(numpy.float32)
    )
    noisy = numpy.clip(numpy.asarray(picture) + noise, 0, 255).round().astype(numpy.uint8)
    Image.fromarray(noisy).save(images / f"{number:02}.jpg", quality=QUALITY)


def main(dataset, folder):
    if (folder / "data.yaml").exists():
        return
    images, labels = folder / "train/images", folder / "train/labels"
    for made in (images, labels):
        made.mkdir(parents=True, exist_ok=True)
    small = sorted(dataset.glob("*/images/*.jpg"))
    sources = [small[number * len(small) // COUNT] for number in range(COUNT)]
    for number, source in enumerate(sources):
        label = source.parent.with_name("labels") / f"{source.stem}.txt"
        (labels / f"{number:02}.txt").write_bytes(label.read_bytes() if label.exists() else b"")
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(make, range(COUNT), sources, [images] * COUNT))
    lines = (dataset / "data.yaml").read_text().splitlines()
    named = [line for line in lines if not line.startswith(("path:", "train:", "val:", "test:"))]
    (folder / "data.yaml").write_text("\n".join(["train: train/images", *named, ""]))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
