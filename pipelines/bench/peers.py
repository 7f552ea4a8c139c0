"""Times one peer on one task, in its own process: peers.py WHAT PEER DATASET

Prints the seconds of the work without imports and start-up, for the same number of items as ours,
and the peak memory of the process, MiB."""

import contextlib
import glob
import os
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

RESIZE_THREADS = 2  # as in bench.py; the libraries themselves have one each


def scan_ultralytics(dataset):
    from ultralytics.data.dataset import YOLODataset

    names = {i: str(i) for i in range(80)}
    with tempfile.TemporaryDirectory() as work:  # it writes its cache beside the labels
        copy = shutil.copytree(dataset, f"{work}/dataset")
        start = time.perf_counter()
        for split in splits(copy):
            YOLODataset(
                img_path=f"{copy}/{split}/images",
                data={"names": names, "nc": 80, "channels": 3},
                task="segment",
                imgsz=224,
            )
        return time.perf_counter() - start


def scan_supervision(dataset):
    import supervision

    start = time.perf_counter()
    for split in splits(dataset):
        supervision.DetectionDataset.from_yolo(
            f"{dataset}/{split}/images", f"{dataset}/{split}/labels", f"{dataset}/data.yaml"
        )
    return time.perf_counter() - start


def resize_opencv(dataset):
    import cv2

    cv2.setNumThreads(1)
    return over_images(
        dataset, lambda file: cv2.resize(cv2.imread(file), (224, 224), interpolation=cv2.INTER_AREA)
    )


def resize_pillow(dataset):
    import numpy
    from PIL import Image

    return over_images(
        dataset,
        lambda file: numpy.asarray(
            Image.open(file).convert("RGB").resize((224, 224), Image.BILINEAR)
        ),
    )


def resize_torchvision(dataset):
    import torch
    from torchvision.io import decode_jpeg, read_file
    from torchvision.transforms.v2.functional import resize

    torch.set_num_threads(1)
    return over_images(
        dataset, lambda file: resize(decode_jpeg(read_file(file)), [224, 224], antialias=True)
    )


def infer_pytorch(_):
    return densenet(trains=False)


def train_step_pytorch(_):
    return densenet(trains=True)


def densenet(trains):
    """Seconds for 100 images of DenseNet121, channels-last, in batches of 16.

    PRECISION in the environment is float32, tf32 or bf16.
    """
    import torch
    import torchvision

    precision = os.environ.get("PRECISION", "float32")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = True

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = (
        torchvision.models.densenet121(num_classes=6)
        .to(device, memory_format=torch.channels_last)
        .train(trains)
    )
    images = torch.randn(16, 3, 224, 224, device=device).contiguous(
        memory_format=torch.channels_last
    )

    def step():
        with torch.set_grad_enabled(trains):
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                output = model(images)
            if trains:
                model.zero_grad()
                output.square().mean().backward()
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    start = time.perf_counter()
    for _ in range(4):
        step()
    return (time.perf_counter() - start) * 100 / 64


def frozen_recipe_pytorch(dataset):
    """Seconds for 50 epochs of the reference recipe as its notebook has it: the frozen backbone
    runs in every epoch, over each object of train, and without gradients over each of valid. Only
    eight batches of 16 are timed, four of each, and extrapolated; reading images is not timed."""
    import torch
    import torchvision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = (
        torchvision.models.densenet121(weights=None)
        .features.to(device, memory_format=torch.channels_last)
        .eval()
    )
    widths = [1024, 1024, 1024, 512]
    stages = [
        [torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(i), torch.nn.Linear(i, o), torch.nn.ReLU()]
        for i, o in zip(widths, widths[1:])
    ]
    head = torch.nn.Sequential(
        *(layer for stage in stages for layer in stage), torch.nn.Linear(widths[-1], 6 + 4)
    ).to(device)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-4)
    images = torch.randn(16, 3, 224, 224, device=device).contiguous(
        memory_format=torch.channels_last
    )
    classes, boxes = (
        torch.zeros(16, dtype=torch.long, device=device),
        torch.zeros(16, 4, device=device),
    )

    def step(trains):
        with torch.no_grad():
            features = backbone(images).relu().mean((2, 3))
        with torch.set_grad_enabled(trains):
            output = head.train(trains)(features)
            loss = (
                torch.nn.functional.cross_entropy(output[:, :6], classes)
                + (output[:, 6:] - boxes).square().mean()
            )
        if trains:
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
        return loss.item()

    def secs(trains):
        step(trains)
        start = time.perf_counter()
        for _ in range(4):
            step(trains)
        return (time.perf_counter() - start) / 4

    def batches(split):
        objects = sum(
            sum(1 for line in open(file, encoding="utf-8") if line.strip())
            for file in glob.glob(f"{dataset}/{split}/labels/*.txt")
        )
        return -(-objects // 16)

    return 50 * (batches("train") * secs(True) + batches("valid") * secs(False))


def evaluate_pycocotools(dataset):
    """Only AP, without reading and indexing JSON."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(f"{dataset}/truth.json")
    scoring = COCOeval(truth, truth.loadRes(f"{dataset}/results.json"), "bbox")
    start = time.perf_counter()
    scoring.evaluate()
    scoring.accumulate()
    return time.perf_counter() - start


def splits(dataset):
    return [
        split for split in ("train", "valid", "test") if os.path.isdir(f"{dataset}/{split}/labels")
    ]


def over_images(dataset, work):
    files = sorted(glob.glob(f"{dataset}/*/images/*.jpg"))
    start = time.perf_counter()
    with ThreadPoolExecutor(RESIZE_THREADS) as pool:
        for _ in pool.map(work, files):
            pass
    return time.perf_counter() - start


if __name__ == "__main__":
    what, peer, dataset = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):  # peers print logs and progress
        secs = globals()[f"{what}_{peer}"](dataset)
    print(secs, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
