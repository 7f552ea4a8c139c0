"""Times one peer on one task, in its own process: peers.py WHAT PEER DATASET

Prints the seconds that the work took, imports and start-up left out, for as many items as ours handles.
"""

import glob
import os
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
            YOLODataset(img_path=f"{copy}/{split}/images", data={"names": names, "nc": 80, "channels": 3}, task="segment", imgsz=224)
        return time.perf_counter() - start


def scan_supervision(dataset):
    import supervision

    start = time.perf_counter()
    for split in splits(dataset):
        supervision.DetectionDataset.from_yolo(f"{dataset}/{split}/images", f"{dataset}/{split}/labels", f"{dataset}/data.yaml")
    return time.perf_counter() - start


def resize_opencv(dataset):
    import cv2

    cv2.setNumThreads(1)
    return over_images(dataset, lambda file: cv2.resize(cv2.imread(file), (224, 224), interpolation=cv2.INTER_AREA))


def resize_pillow(dataset):
    import numpy
    from PIL import Image

    return over_images(dataset, lambda file: numpy.asarray(Image.open(file).convert("RGB").resize((224, 224), Image.BILINEAR)))


def resize_torchvision(dataset):
    import torch
    from torchvision.io import decode_jpeg, read_file
    from torchvision.transforms.v2.functional import resize

    torch.set_num_threads(1)
    return over_images(dataset, lambda file: resize(decode_jpeg(read_file(file)), [224, 224], antialias=True))


def infer_pytorch(_):
    return densenet(trains=False)


def train_step_pytorch(_):
    return densenet(trains=True)


def densenet(trains):
    """Seconds for 100 images of DenseNet121 in channels-last, batch 16."""
    import torch
    import torchvision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = torchvision.models.densenet121(num_classes=6).to(device, memory_format=torch.channels_last).train(trains)
    images = torch.randn(16, 3, 224, 224, device=device).contiguous(memory_format=torch.channels_last)

    def step():
        with torch.set_grad_enabled(trains):
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


def splits(dataset):
    return [split for split in ("train", "valid", "test") if os.path.isdir(f"{dataset}/{split}/labels")]


def over_images(dataset, work):
    files = sorted(glob.glob(f"{dataset}/*/images/*.jpg"))
    start = time.perf_counter()
    with ThreadPoolExecutor(RESIZE_THREADS) as pool:
        for _ in pool.map(work, files):
            pass
    return time.perf_counter() - start


if __name__ == "__main__":
    what, peer, dataset = sys.argv[1:]
    print(globals()[f"{what}_{peer}"](dataset))
