"""Compares training with PyTorch: 30 frozen steps, the exported model, its predictions, ONNX, and
the TensorBoard file.

Draws a small phantom dataset and lets ossify-train train the head of a frozen DenseNet121 for 30
epochs of one step (a batch as large as the split, so that the order of samples does not matter). A
twin in PyTorch loads the weights of an untrained run with `pipelines/pytorch/load.py`, including
the backbone, and trains on the same shards with a copy of Keras' Adam. It compares

- the loss of every step, within 1e-3 (without dropout),
- probabilities and boxes in `predictions.parquet` with those of the exported model and of its ONNX
  form, within 1e-3,
- the scalars that TensorBoard's own reader finds with `metrics.jsonl`.

    python pipelines/parity/train_head.py PATH/TO/release
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import pyarrow
import pyarrow.parquet
import torch
from models import load_model
from onnx_export import export, session

TOLERANCE = 1e-3
STEPS = 30
RECIPE = {
    "model.architecture": "densenet121",
    "mode": "frozen",
    "model.weights": "none",
    "sampler.unit": "object",
    "epochs": STEPS,
    "batch_size": 65536,
    "optimizer.learning_rate": 1e-3,
    "schedule.kind": "constant",
    "schedule.warmup_epochs": 0,
    "optimizer.kind": "adam",
    "optimizer.epsilon": "keras",
    "optimizer.clip_norm": 1.0,
    "optimizer.clip_scope": "parameter",
    "loss.l2": 0.01,
    "model.head_widths": [64, 32],
    "model.dropout": 0.0,
    "loss.box_weight": 2.0,
    "stopping.train_accuracy": 0,
    "model.input_px": 64,
    "device": "cpu",
    "augment.flip": False,
    "augment.brightness": 0,
    "augment.shift": 0,
}


class Stages:
    def __init__(self, release: pathlib.Path, folder: pathlib.Path, recipe: dict):
        self.release, self.folder, self.recipe = release, folder, recipe

    def draw(self, out: str, images: int) -> None:
        command = [self.release / "ossify-phantom", "--config", "conf/demo-classifier.toml"]
        where = ["--dataset", self.folder / "dataset", "--out", self.folder / out]
        subprocess.run([*command, "--images", str(images), *where], check=True, capture_output=True)

    def run(self, stage: str, out: str, *more: str, train: dict | None = None) -> dict:
        settings = ["ingest.min_objects_per_class=1"] + [
            f"train.{key}={json.dumps(value)}"
            for key, value in (self.recipe | (train or {})).items()
        ]
        command = [
            self.release / f"ossify-{stage}",
            "--config",
            "conf/demo-classifier.toml",
            "--dataset",
            self.folder / "dataset",
            "--out",
            self.folder / out,
            "--json",
            "--quiet",
        ]
        output = subprocess.run(
            [*command, *(part for setting in settings for part in ("--set", setting)), *more],
            check=True,
            capture_output=True,
        )
        return json.loads(output.stdout)["summary"]

    @staticmethod
    def metrics(run: pathlib.Path) -> list[dict]:
        return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def read_split(work: pathlib.Path, split: str) -> tuple[list[str], torch.Tensor]:
    """Ids and uint8 images [N, H, W, 3] of all shards of a split."""
    ids, images = [], []
    for path in sorted((work / "shards").glob(f"{split}-*.arrow")):
        table = pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()
        ids += table["image_id"].to_pylist()
        pixels = table["pixels"].combine_chunks()
        pixels = pixels.storage if hasattr(pixels, "storage") else pixels
        images.append(numpy.asarray(pixels.flatten()).reshape(len(table), 224, 224, 3))
    return ids, torch.from_numpy(numpy.concatenate(images).copy())


def read_samples(
    work: pathlib.Path, ids: list[str]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each object of the split: number of its image, class, box."""
    numbers = {image_id: number for number, image_id in enumerate(ids)}
    rows = pyarrow.parquet.read_table(work / "tables" / "objects.parquet").to_pylist()
    rows = [row for row in rows if row["image_id"] in numbers and row["class_index"] is not None]
    images = torch.tensor([numbers[row["image_id"]] for row in rows])
    classes = torch.tensor([row["class_index"] for row in rows])
    return (
        images,
        classes,
        torch.tensor([[row[edge] for edge in ("xmin", "ymin", "xmax", "ymax")] for row in rows]),
    )


def features(model, images: torch.Tensor) -> torch.Tensor:
    found = []
    hook = (model.head["stages"][0]["norm"]).register_forward_pre_hook(
        lambda module, inputs: found.append(inputs[0])
    )
    with torch.no_grad():
        for batch in images.split(32):
            model(batch)
    hook.remove()
    return torch.cat(found)


def keras_adam(parameters: list[torch.Tensor], memory: dict, step: int) -> None:
    """Keras' Adam with clipnorm, epsilon hat included (Kingma and Ba 2015, section 2)."""
    for parameter in parameters:
        gradient = parameter.grad * min(
            1.0, RECIPE["optimizer.clip_norm"] / max(1e-30, float(parameter.grad.norm()))
        )
        first, second = memory.setdefault(
            parameter, (torch.zeros_like(parameter), torch.zeros_like(parameter))
        )
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        memory[parameter] = (first, second)
        rate = RECIPE["optimizer.learning_rate"] * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
        parameter.data -= rate * first / (second.sqrt() + 1e-7)


def train_twin(model, images: torch.Tensor, samples) -> list[float]:
    numbers, classes, boxes = samples
    inputs = features(model, images)[numbers]
    head = model.head.train()
    parameters, memory, losses = list(head.parameters()), {}, []
    for step in range(1, STEPS + 1):
        hidden = inputs
        for stage in head["stages"]:
            hidden = stage["dense"](stage["norm"](hidden)).relu()
        loss = torch.nn.functional.cross_entropy(head["classes"](hidden), classes)
        loss = loss + RECIPE["loss.box_weight"] * torch.nn.functional.mse_loss(
            head["boxes"](hidden), boxes
        )
        loss = loss + RECIPE["loss.l2"] * sum(
            stage["dense"].weight.square().sum() for stage in head["stages"]
        )
        head.zero_grad()
        loss.backward()
        keras_adam(parameters, memory, step)
        losses.append(loss.item())
    return losses


def verdict(what: str, difference: float, tolerance: float = TOLERANCE) -> bool:
    print(
        f"{what}: differ by at most "
        f"{difference:.1e}{'' if difference <= tolerance else f', MORE THAN {tolerance}'}"
    )
    return difference <= tolerance


def compare(stages: Stages) -> bool:
    work = stages.folder / "work"
    stages.draw("work", 90)
    for stage in ("ingest", "resize"):
        stages.run(stage, "work")
    untrained = stages.run("train", "work", train={"optimizer.learning_rate": 0, "epochs": 1})[
        "run"
    ]
    trained = stages.run("train", "work")["run"]
    stages.run("predict", "work")
    metrics = stages.metrics(work / "runs" / trained)

    ids, images = read_split(work, "train")
    twin = train_twin(
        load_model(work / "runs" / untrained / "model.safetensors"), images, read_samples(work, ids)
    )
    ours = [epoch["train"]["loss"] for epoch in metrics]
    print(f"loss from {ours[0]:.4f} to {ours[-1]:.4f} in {len(ours)} steps")
    agrees = len(ours) == STEPS and ours[-1] < ours[0] - 0.1
    agrees &= verdict(f"loss of {STEPS} frozen steps", max(abs(a - b) for a, b in zip(ours, twin)))

    path = work / "runs" / trained / "model.safetensors"
    model = load_model(path)
    ids, images = read_split(work, "valid")
    with torch.no_grad():
        probabilities, boxes = (
            torch.cat(parts) for parts in zip(*(model(batch) for batch in images.split(16)))
        )
    table = pyarrow.parquet.read_table(work / "predictions" / trained / "valid.parquet")
    assert table["image_id"].to_pylist() == ids
    assert model.class_names == stages.run("predict", "work")["class_names"]
    agrees &= verdict(
        "probabilities of predictions.parquet",
        float((torch.tensor(table["probabilities"].to_pylist()) - probabilities).abs().max()),
    )
    # Stretching keeps shares; predicted edges are sorted and clamped.
    edges = torch.tensor([table[edge].to_pylist() for edge in ("xmin", "ymin", "xmax", "ymax")]).T
    ordered = torch.cat(
        [torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])], 1
    ).clamp(0, 1)
    agrees &= verdict("boxes of predictions.parquet", float((edges - ordered).abs().max()))
    agrees &= compare_onnx(
        path, stages.folder / "model.onnx", images[:5], probabilities[:5], boxes[:5]
    )
    return agrees & compare_tensorboard(work / "runs" / trained, metrics)


def compare_onnx(model: pathlib.Path, onnx: pathlib.Path, images, probabilities, boxes) -> bool:
    export(model, onnx, images.shape[1], {})
    found = session(onnx).run(None, {"images": images.numpy()})
    return verdict(
        "ONNX",
        max(
            float((torch.from_numpy(ours) - theirs).abs().max())
            for ours, theirs in zip(found, (probabilities, boxes))
        ),
    )


def compare_tensorboard(run: pathlib.Path, metrics: list[dict]) -> bool:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    difference = 0.0
    for split in ("train", "valid"):
        for name in ("loss", "classification_loss", "box_loss", "accuracy", "box_mse", "mean_iou"):
            scalars = events.Scalars(f"{name}/{split}")
            assert [scalar.step for scalar in scalars] == [epoch["epoch"] for epoch in metrics]
            difference = max(
                [
                    difference,
                    *(
                        abs(scalar.value - epoch[split][name])
                        for scalar, epoch in zip(scalars, metrics)
                    ),
                ]
            )
    return verdict("scalars that TensorBoard reads", difference, 1e-5)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        release = pathlib.Path(sys.argv[1]).resolve()
        return 0 if compare(Stages(release, pathlib.Path(folder), RECIPE)) else 1


if __name__ == "__main__":
    sys.exit(main())
