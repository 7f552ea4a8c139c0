"""Compares the tensors of shards with Pillow's antialiased bilinear resize:

    resize_pillow.py WORK_FOLDER DATASET

Uses the defaults of `resize`: RGB, upright, stretched. Prints the distribution over images of the
mean absolute difference, in steps of 0..255, and fails if its mean over all images exceeds 1."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps

LARGEST_MEAN = 1.0
out, dataset = map(Path, sys.argv[1:])


def resized_by_pillow(file: Path, width: int, height: int) -> np.ndarray:
    with Image.open(file) as image:
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(
        "I"
    ):  # Pillow clips 16 bits at 255; they are scaled here as in crates/imaging
        samples = np.asarray(upright)
        full = 4095 if samples.max() <= 4095 else 65535
        upright = Image.fromarray(
            ((samples.astype(int) * 255 + full // 2) // full).astype(np.uint8)
        )
    return np.asarray(upright.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


differences = {}
for entry in json.loads((out / "shards/manifest.json").read_text())["files"]:
    if entry["path"].endswith(".arrow"):
        reader = pa.ipc.open_file(pa.memory_map(str(out / "shards" / entry["path"])))
        for batch in map(reader.get_batch, range(reader.num_record_batches)):
            for image_id, tensor in zip(
                batch["image_id"].to_pylist(), batch["pixels"].to_numpy_ndarray()
            ):
                theirs = resized_by_pillow(dataset / image_id, tensor.shape[1], tensor.shape[0])
                assert tensor.shape == theirs.shape, (
                    f"{image_id}: {tensor.shape} for {theirs.shape}"
                )
                differences[image_id] = np.abs(tensor.astype(int) - theirs).mean()

of_images = np.array(list(differences.values()))
mean, p99, largest = of_images.mean(), np.percentile(of_images, 99), of_images.max()
print(
    f"mean absolute difference over {len(of_images)} images: {mean:.3f} of 255; of one image at "
    f"the 99th percentile {p99:.3f}, at most {largest:.3f}"
)
print(f"the furthest: {max(differences, key=differences.get)}")
if mean > LARGEST_MEAN:
    sys.exit(f"error: the mean is above {LARGEST_MEAN}")
