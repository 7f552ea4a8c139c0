"""Compares the detector with PyTorch: outputs, loss, suppression, a trained model, and its ONNX.

- Logits and boxes of a network with random weights, against the network that
  `pipelines/pytorch/load.py` builds.
- On random outputs and objects, the cells that answer for objects, both terms of the loss, and
  their gradients. The twin is written from the papers, in double precision: task-aligned
  assignment (Feng et al. 2021), quality focal loss (Li et al. 2020); GIoU is torchvision's.
- On random scores and boxes, non-maximum suppression, against torchvision's.
- After a short training on phantoms: the loss of the first step on all images, and the predictions
  on the valid split, against the model in PyTorch and in ONNX Runtime on the same tensors.

The gradients of all layers are compared by `gradients.py`.

    python pipelines/parity/detector.py PATH/TO/release [DEVICE]
"""

import pathlib
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import torch
from models import filled_model, load, load_model
from onnx_export import export, objects_of, session, unmatched
from safetensors.torch import load_file, save_file
from torchvision.ops import batched_nms, box_iou, generalized_box_iou_loss
from train_head import Stages, read_split, verdict

LOSS_CASES, SUPPRESSION_CASES = 60, 200
MAX_CANDIDATES = 1000
RECIPE = {
    "task": "detect",
    "mode": "scratch",
    "model.architecture": "densenet-compact",
    "model.weights": "none",
    "model.input_px": 112,
    "epochs": 4,
    "batch_size": 8,
    "device": "cpu",
}
# All images in one step that changes nothing.
FIRST_STEP = {
    "epochs": 1,
    "batch_size": 65536,
    "optimizer.learning_rate": 0,
    "schedule.kind": "constant",
    "schedule.warmup_epochs": 0,
    "augment.flip": False,
    "augment.brightness": 0,
    "augment.shift": 0,
}
# Defaults of [train.detect]: cells of an object, powers of score, overlap and focal loss, weight of
# boxes.
DEFAULTS = (13, 1.0, 6.0, 2.0, 2.0)


def run(release: pathlib.Path, *arguments) -> None:
    subprocess.run([release / "examples" / "detector", *map(str, arguments)], check=True)


def single(values) -> torch.Tensor:
    """What is exact in float32, in double precision."""
    return torch.as_tensor(np.asarray(values, np.float32)).double()


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference, in shares of the reference's largest number."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-12))


def compare_outputs(release: pathlib.Path, folder: pathlib.Path, device: str) -> bool:
    agrees = True
    for architecture, side in (("densenet-compact", 224), ("densenet121", 224)):
        path, out = folder / "outputs.safetensors", folder / "out.safetensors"
        filled_model(release, path, architecture, side, "detect")
        generator = torch.Generator().manual_seed(7)
        pixels = torch.randint(0, 256, (4, side, side, 3), dtype=torch.uint8, generator=generator)
        (folder / "pixels.u8").write_bytes(pixels.numpy().tobytes())
        run(release, "outputs", path, folder / "pixels.u8", 4, side, out, device)
        ours = load_file(out)
        found = {}
        for dtype in (torch.float64, torch.float32):
            model = load_model(path).to(dtype)
            images = pixels.permute(0, 3, 1, 2).to(dtype) / 255
            with torch.no_grad():
                found[dtype] = model.outputs((images - model.mean) / model.std)
        for name, double, theirs in zip(("logits", "boxes"), *found.values()):
            error = relative(ours[f"0.{name}"], double)
            own = relative(theirs.double(), double)
            print(f"{architecture}: {name} of PyTorch in single precision differ by {own:.1e}")
            agrees &= verdict(f"{architecture}: {name}", error, max(1e-5, 2 * own))
    return agrees


def random_outputs(rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Outputs and objects of a batch: objects of all sizes, some between all centres, some upon
    each other, and cells whose boxes are near an object's or anywhere."""
    sides = [[8, 4], [28, 14, 7], [5, 3], [16]][rng.integers(4)]
    images, classes = int(rng.integers(1, 6)), int(rng.integers(1, 7))
    centres, objects = centres_of(sides), []
    steps = np.concatenate([np.full(side * side, 1 / side) for side in sides])
    boxes = np.empty((images, len(centres), 4))
    for image in range(images):
        reach = steps[:, None, None] * np.exp(rng.normal(0, 0.7, (len(centres), 2, 2)))
        boxes[image] = (centres[:, None] + reach * [[-1], [1]]).reshape(-1, 4)
        previous = None
        for _ in range(rng.integers(0, 6)):
            size, middle = np.exp(rng.uniform(np.log(0.01), np.log(0.7), 2)), rng.random(2)
            box = np.concatenate([middle - size / 2, middle + size / 2]).clip(0, 1)
            if previous is not None and rng.random() < 0.3:
                box = (previous + rng.normal(0, 0.01, 4)).clip(0, 1)
            if (box[2:] - box[:2]).min() < 0.005:
                continue
            previous = box
            weight = 1 if rng.random() < 0.7 else rng.random()  # below 1 in mixed images
            objects.append([image, rng.integers(classes), *box, weight])
            near = ((box[:2] <= centres) & (centres <= box[2:])).all(1)
            near &= rng.random(len(centres)) < 0.6
            noise = rng.normal(0, 0.15, (int(near.sum()), 2, 2)) * (box[2:] - box[:2])
            moved = box.reshape(2, 2) + noise
            low, high = moved.min(1), moved.max(1)
            boxes[image, near] = np.concatenate([low, np.maximum(high, low + 0.002)], 1)
    return {
        "logits": single(rng.normal(-2, 2, (images, len(centres), classes))),
        "boxes": single(boxes),
        "sides": single(sides),
        "objects": single(np.reshape(objects, (-1, 7))),
    }


def centres_of(sides) -> np.ndarray:
    """Of all cells, x before y, row by row."""
    grids = [np.meshgrid(*[(np.arange(side) + 0.5) / side] * 2) for side in sides]
    return np.concatenate([np.stack(grid, -1).reshape(-1, 2) for grid in grids])


def assigned(scores, boxes, centres, classes, objects, constants):
    """Task alignment learning: of each cell the object that it answers for, or -1, and t^."""
    cells_per_object, score_power, overlap_power, *_ = constants
    if len(objects) == 0:
        return np.full(len(boxes), -1), np.zeros(len(boxes))
    overlap = box_iou(boxes, objects).numpy()
    alignment = scores.numpy()[:, classes.numpy()] ** score_power * overlap**overlap_power
    objects = objects.numpy()
    chosen = np.zeros(overlap.shape, bool)
    for number, (low, high) in enumerate(objects.reshape(-1, 2, 2)):
        inside = np.flatnonzero(((low <= centres) & (centres < high)).all(1))
        if len(inside) == 0:
            inside = [np.square(centres - (low + high) / 2).sum(1).argmin()]
        order = np.argsort(-alignment[inside, number], kind="stable")[: int(cells_per_object)]
        chosen[np.asarray(inside)[order], number] = True
    owner = np.where(chosen, overlap, -1).argmax(1)
    owner[~chosen.any(1)] = -1
    target = np.zeros(len(boxes))
    for number in range(len(objects)):
        own = owner == number
        if own.any() and alignment[own, number].max() > 0:
            t = alignment[own, number]
            target[own] = t / t.max() * overlap[own, number].max()
    return owner, target


def twin_of_loss(case: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    logits, boxes = (case[name].clone().requires_grad_() for name in ("logits", "boxes"))
    *_, focal_power, box_weight = case["constants"].tolist()
    centres = centres_of(case["sides"].int().tolist())
    wanted, positives, of_boxes = torch.zeros_like(logits), [], []
    for image in range(len(logits)):
        of_image = case["objects"][case["objects"][:, 0] == image]
        classes, objects, weights = of_image[:, 1].long(), of_image[:, 2:6], of_image[:, 6]
        scores = logits[image].detach().sigmoid()
        owner, target = assigned(
            scores, boxes[image].detach(), centres, classes, objects, case["constants"].tolist()
        )
        cells = torch.as_tensor(np.flatnonzero(owner >= 0))
        owner, target = torch.as_tensor(owner)[cells], torch.as_tensor(target)[cells]
        positives.append(torch.stack([torch.full_like(target, image), cells, owner, target], 1))
        target = target * weights[owner]
        wanted[image, cells, classes[owner]] = target
        giou_loss = generalized_box_iou_loss(boxes[image, cells], objects[owner], eps=0.0)
        of_boxes.append((giou_loss * target).sum())
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, wanted, reduction="none"
    )
    of_scores = ((wanted - logits.sigmoid()).abs() ** focal_power * cross_entropy).sum()
    normalizer = max(1.0, float(wanted.sum()))
    terms = torch.stack([of_scores, box_weight * sum(of_boxes)]) / normalizer
    terms.sum().backward()
    return {
        "positives": torch.cat(positives),
        "terms": terms.detach(),
        "of_logits": logits.grad,
        "of_boxes": boxes.grad,
    }


def compare_loss(release: pathlib.Path, folder: pathlib.Path, device: str) -> bool:
    rng = np.random.default_rng(3)
    cases = []
    for number in range(LOSS_CASES):
        case = random_outputs(rng)
        constants = (rng.integers(1, 20), rng.choice([0.5, 1]), rng.choice([1, 3, 6]))
        others = (rng.choice([1.5, 2, 3]), rng.choice([0.5, 2, 5]))
        case["constants"] = torch.tensor(
            DEFAULTS if number % 2 else (*constants, *others), dtype=torch.float64
        )
        cases.append(case)
    save_cases(cases, folder / "loss.safetensors")
    run(release, "loss", folder / "loss.safetensors", folder / "out.safetensors", device)
    ours = load_file(folder / "out.safetensors")
    targets, errors, count = 0.0, dict.fromkeys(("terms", "of_logits", "of_boxes"), 0.0), 0
    for number, case in enumerate(cases):
        theirs = twin_of_loss(case)
        positives = ours[f"{number}.positives"]
        assert torch.equal(positives[:, :3], theirs["positives"][:, :3]), (
            f"case {number}: other cells answer for the objects"
        )
        count += len(positives)
        difference = (positives[:, 3] - theirs["positives"][:, 3]).abs()
        targets = max(targets, float(difference.max()) if len(difference) else 0.0)
        for name in errors:
            errors[name] = max(errors[name], relative(ours[f"{number}.{name}"], theirs[name]))
    print(f"{LOSS_CASES} losses: the same {count} cells answer for objects")
    agrees = verdict("targets of these cells", targets, 1e-5)
    for name, what in (
        ("terms", "terms of the loss"),
        ("of_logits", "gradients of logits"),
        ("of_boxes", "gradients of boxes"),
    ):
        agrees &= verdict(f"{what}, in shares of the largest", errors[name], 1e-5)
    return agrees


def save_cases(cases: list[dict[str, torch.Tensor]], path: pathlib.Path) -> None:
    named = {
        f"{number}.{name}": tensor.double().contiguous()
        for number, case in enumerate(cases)
        for name, tensor in case.items()
    }
    save_file(named, path)


def random_candidates(rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Scores and boxes, on half of the cases with ties and with overlaps that hit the limit."""
    cells, classes = int(np.exp(rng.uniform(0, np.log(1500)))), int(rng.integers(1, 7))
    is_coarse = rng.random() < 0.5
    middles = rng.random((int(rng.integers(1, 30)), 2))
    at = middles[rng.integers(len(middles), size=cells)] + rng.normal(0, 0.03, (cells, 2))
    size = np.exp(rng.uniform(np.log(0.02), np.log(0.6), (cells, 2)))
    boxes = np.concatenate([at - size / 2, at + size / 2], 1).clip(0, 1)
    scores = rng.random((cells, classes)) ** 2
    if is_coarse:
        boxes, scores = np.round(boxes * 32) / 32, np.round(scores * 10) / 10
    boxes[:, :2] = boxes[:, :2].clip(0, 1 - 1 / 32)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1 / 32)
    limits = [rng.choice(values) for values in ([0, 0.01, 0.3], [0, 0.3, 0.5, 0.6, 1])]
    rule = [*limits, rng.choice([1, 10, 100, 1000])]
    return {
        "scores": single(scores),
        "boxes": single(boxes),
        "rule": torch.tensor(rule, dtype=torch.float64),
        "is_coarse": torch.tensor(is_coarse),
    }


def twin_of_suppression(case: dict[str, torch.Tensor]) -> torch.Tensor:
    classes, flat = case["scores"].shape[1], case["scores"].flatten()
    min_score, iou, limit = case["rule"].tolist()
    candidates = (flat >= float(np.float32(min_score))).nonzero()[:, 0]
    order = flat[candidates].sort(descending=True, stable=True).indices
    candidates = candidates[order][:MAX_CANDIDATES]
    boxes, of_class = case["boxes"][candidates // classes], candidates % classes
    kept = batched_nms(boxes, flat[candidates], of_class, iou)[: int(limit)]
    return torch.cat([of_class[kept, None], flat[candidates][kept, None], boxes[kept]], 1)


def compare_suppression(release: pathlib.Path, folder: pathlib.Path) -> bool:
    rng = np.random.default_rng(4)
    cases = [random_candidates(rng) for _ in range(SUPPRESSION_CASES)]
    save_cases(cases, folder / "suppress.safetensors")
    run(release, "suppress", folder / "suppress.safetensors", folder / "out.safetensors")
    found, difference, of_loader = load_file(folder / "out.safetensors"), 0.0, 0.0
    for number, case in enumerate(cases):
        ours, theirs = found[f"{number}.found"], twin_of_suppression(case)
        assert ours.shape == theirs.shape, f"case {number}: {len(ours)} objects, {len(theirs)}"
        if len(ours):
            difference = max(difference, float((ours - theirs).abs().max()))
        # In single precision, ties and overlaps at the limit can fall otherwise.
        if not case["is_coarse"]:
            min_score, iou, limit = case["rule"].tolist()
            rule = SimpleNamespace(min_score=min_score, nms_iou=iou, max_detections=int(limit))
            inputs = (case[name][None].float() for name in ("scores", "boxes"))
            result = load.Detector.objects(rule, *inputs)
            boxes, scores, classes, counts = (part[0] for part in result)
            assert counts == len(ours), f"case {number}: {counts} objects of load.py"
            loaded = torch.cat([classes[:, None], scores[:, None], boxes], 1)[: len(ours)].double()
            if len(ours):
                of_loader = max(of_loader, float((ours - loaded).abs().max()))
    count = sum(len(rows) for rows in found.values())
    agrees = verdict(f"{count} objects of {SUPPRESSION_CASES} suppressions", difference, 0.0)
    return agrees & verdict("those of load.py", of_loader, 0.0)


def compare_first_step(work: pathlib.Path, stages: Stages) -> bool:
    """The loss of all images, as training starts, from tables and shards."""
    summary = stages.run("train", "work", train=FIRST_STEP)
    run_folder = work / "runs" / summary["run"]
    ids, images = read_split(work, "train")
    # Nothing is known of an image without a label file, or with malformed lines alone.
    table = pq.read_table(work / "tables" / "images.parquet", columns=["image_id", "status"])
    status = dict(zip(*table.to_pydict().values()))
    known = [status[image_id] in ("labelled", "background") for image_id in ids]
    ids, images = [image_id for image_id, of in zip(ids, known) if of], images[torch.tensor(known)]
    numbers = {image_id: number for number, image_id in enumerate(ids)}
    objects = [
        [numbers[row["image_id"]], row["class_index"]]
        + [row[edge] for edge in ("xmin", "ymin", "xmax", "ymax")]
        + [1]
        for row in pq.read_table(work / "tables" / "objects.parquet").to_pylist()
        if row["image_id"] in numbers and row["class_index"] is not None
    ]
    model = load_model(run_folder / "model.safetensors").train()
    model.result = lambda *outputs: outputs
    with torch.no_grad():
        logits, boxes = (part.double() for part in model(images))
    sides = [model.side // stride for stride in (8, 16)]
    twin = twin_of_loss(
        {
            "logits": logits,
            "boxes": boxes,
            "sides": single(sides),
            "objects": single(objects),
            "constants": torch.tensor(DEFAULTS, dtype=torch.float64),
        }
    )
    (metrics,) = stages.metrics(run_folder)
    ours = torch.tensor([metrics["train"][f"{of}_loss"] for of in ("classification", "box")])
    print(
        f"first step on {len(ids)} images with {len(objects)} objects: loss of scores "
        f"{ours[0]:.4f}, of boxes {ours[1]:.4f}"
    )
    return verdict("its terms, in shares of the largest", relative(ours, twin["terms"]), 1e-5)


def compare_trained(release: pathlib.Path, folder: pathlib.Path) -> bool:
    stages, work = Stages(release, folder, RECIPE), folder / "work"
    stages.draw("work", 90)
    for stage in ("ingest", "resize"):
        stages.run(stage, "work")
    agrees = compare_first_step(work, stages)
    trained = stages.run("train", "work")["run"]
    stages.run("predict", "work")
    path = work / "runs" / trained / "model.safetensors"
    ids, images = read_split(work, "valid")
    model = load_model(path)
    with torch.no_grad():
        parts = [model(batch) for batch in images.split(16)]
    in_pytorch = [torch.cat(part).numpy() for part in zip(*parts)]
    export(path, folder / "model.onnx", images.shape[1], {})
    in_onnx = session(folder / "model.onnx").run(None, {"images": images.numpy()})

    ours: dict[str, list] = {image_id: [] for image_id in ids}
    for row in pq.read_table(work / "predictions" / trained / "valid.parquet").to_pylist():
        box = [row[edge] for edge in ("xmin", "ymin", "xmax", "ymax")]
        ours[row["image_id"]].append([row["class_index"], row["score"], *box])
    ours = [np.reshape(rows, (-1, 6)) for rows in ours.values()]
    of_images = pq.read_table(work / "predictions" / trained / "valid.images.parquet")
    assert of_images["image_id"].to_pylist() == ids
    highest = np.array(of_images["score"].to_pylist())
    count = sum(map(len, ours))
    print(f"{count} objects predicted on {len(ids)} images")
    assert count > 100, "hardly any objects"
    for what, found in (("PyTorch", in_pytorch), ("ONNX Runtime", in_onnx)):
        alone, difference = unmatched(ours, objects_of(*found))
        print(f"{alone} objects without a twin in {what}")
        agrees &= alone == 0 and verdict(f"objects in {what}", difference, 1e-4)
        known = found[3] > 0
        difference = np.abs(found[1][known, 0] - highest[known]).max()
        agrees &= verdict(f"scores of images in {what}", float(difference), 1e-4)
    return agrees


def main() -> int:
    release, device = pathlib.Path(sys.argv[1]).resolve(), (sys.argv[2:] or ["cpu"])[0]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        agrees = compare_outputs(release, folder, device)
        agrees &= compare_loss(release, folder, device)
        agrees &= compare_suppression(release, folder)
        agrees &= compare_trained(release, folder)
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
