"""Compares what ONNX Runtime gives for exported classifiers and detectors with PyTorch.

The models have random weights. Each is exported by `pipelines/pytorch/load.py` as users call it,
and run on batches of several sizes.

    python pipelines/parity/onnx_export.py PATH/TO/release
"""

import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
import torch
from models import filled_model, load_model

LOADER = pathlib.Path(__file__).parents[1] / "pytorch" / "load.py"
# Sides of images and of the network's input.
MODELS = [
    ("densenet-compact", "classify", 224, 112),
    ("densenet121", "classify", 224, 224),
    ("densenet-compact", "detect", 224, 224),
    ("densenet-compact", "detect", 320, 192),
    ("densenet121", "detect", 224, 224),
]
LIMITS = {"min_score": 0.02, "nms_iou": 0.5, "max_detections": 50}
TOLERANCE = 5e-4


def export(model: pathlib.Path, path: pathlib.Path, side: int, limits: dict) -> None:
    flags = [f"--{name.replace('_', '-')}={limit}" for name, limit in limits.items()]
    command = [sys.executable, LOADER, model, path, f"--side={side}", *flags]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"error: {LOADER} failed:\n{ended.stderr}")


def session(path: pathlib.Path) -> onnxruntime.InferenceSession:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    own = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    assert not own and not model.functions, f"operators that are not standard: {own}"
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def objects_of(boxes, scores, classes, counts) -> list[np.ndarray]:
    """Rows of class, score, box for each image."""
    rows = np.concatenate([classes[..., None], scores[..., None], boxes], 2)
    return [of_image[:count] for of_image, count in zip(rows, counts)]


def unmatched(ours: list[np.ndarray], theirs: list[np.ndarray]) -> tuple[int, float]:
    """How many objects of either side have no twin on the other, and how far twins differ."""
    alone, difference = 0, 0.0
    for rows, others in zip(ours, theirs):
        free = np.ones(len(others), bool)
        for row in rows:
            distance = np.abs(others[:, 1:] - row[1:]).max(1, initial=0)
            distance[(others[:, 0] != row[0]) | ~free] = np.inf
            if len(others) == 0 or distance.min() > 1e-3:
                alone += 1
                continue
            free[distance.argmin()] = False
            difference = max(difference, float(distance.min()))
        alone += int(free.sum())
    return alone, difference


def compare(release: pathlib.Path, folder: pathlib.Path, architecture, task, side, input_px):
    path = folder / "model.safetensors"
    filled_model(release, path, architecture, input_px, task)
    started = time.perf_counter()
    limits = LIMITS if task == "detect" else {}
    export(path, folder / "model.onnx", side, limits)
    elapsed = time.perf_counter() - started
    model, onnx_session = load_model(path, **limits), session(folder / "model.onnx")
    difference, objects, alone = 0.0, 0, 0
    for count in (1, 5):
        generator = torch.Generator().manual_seed(count)
        shape = (count, side, side, 3)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        with torch.no_grad():
            theirs = [part.numpy() for part in model(images)]
        ours = onnx_session.run(None, {"images": images.numpy()})
        assert [part.shape for part in ours] == [part.shape for part in theirs]
        if task == "detect":
            found, expected = objects_of(*ours), objects_of(*theirs)
            without, differ = unmatched(found, expected)
            objects, alone = objects + sum(map(len, expected)), alone + without
            difference = max(difference, differ)
        else:
            for part, expected in zip(ours, theirs):
                scale = max(1.0, float(np.abs(expected).max()))
                difference = max(difference, float(np.abs(part - expected).max()) / scale)
    print(
        f"{architecture}, {task}, images of {side}, input of {input_px}: exported in "
        f"{elapsed:.0f} s; outputs differ by at most {difference:.1e}"
        + (f"; {alone} of {objects} objects without a twin" if task == "detect" else "")
    )
    # Where scores or overlaps are next to equal, the last digit decides.
    return difference <= TOLERANCE and (task != "detect" or alone <= objects / 50 and objects > 50)


def main() -> int:
    agrees = True
    for model in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            agrees &= compare(pathlib.Path(sys.argv[1]), pathlib.Path(folder), *model)
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
