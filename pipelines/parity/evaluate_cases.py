"""Random label tables and predictions in ossify's format, for comparisons with ossify-evaluate."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

SPLIT = "test"


@dataclass
class Case:
    """One split: images in order of their id, objects and predictions by image."""

    class_names: list[str]
    image_ids: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    # (image, class, xmin, ymin, xmax, ymax)
    objects: list[tuple] = field(default_factory=list)
    # (image, class, score, probabilities, xmin, ymin, xmax, ymax), best first within an image
    predictions: list[tuple] = field(default_factory=list)
    # Of a detector, for each image its score and those of its classes.
    image_scores: list[tuple] | None = None


def random_box(rng, grid):
    """A box on a grid of 1/32 (so that IoU hits thresholds and ties exactly) or anywhere."""
    low, high = np.sort(rng.random((2, 2)), axis=0)
    box = np.concatenate([low, high])
    if grid:
        box = np.round(box * 32) / 32
        box[2:] = np.minimum(np.maximum(box[2:], box[:2] + 1 / 32), 1.0)
        box[:2] = np.minimum(box[:2], box[2:] - 1 / 32)
    return [float(np.float32(v)) for v in box]


def jittered(rng, box, grid):
    moved = np.clip(np.asarray(box) + rng.normal(0, rng.choice([0.0, 0.02, 0.1]), 4), 0, 1)
    if grid:
        moved = np.round(moved * 32) / 32
    low, high = np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])
    return [float(np.float32(v)) for v in np.concatenate([low, high])]


def random_case(rng, at_least_two_classes=False):
    classes = int(rng.integers(2 if at_least_two_classes else 1, 7))
    case = Case([f"class {i}" for i in range(classes)])
    images = int(rng.integers(1, 40))
    grid, coarse_scores = rng.random() < 0.6, rng.random() < 0.5
    used = rng.permutation(classes)[: int(rng.integers(1, classes + 1))]
    with_objects, with_predictions = rng.random() > 0.05, rng.random() > 0.05
    crowded = rng.random() < 0.1
    for i in range(images):
        case.image_ids.append(f"{SPLIT}/images/{i:04}.png")
        truths = []
        if with_objects and rng.random() > 0.15:
            for _ in range(int(rng.integers(1, 5))):
                truths.append((i, int(rng.choice(used)), *random_box(rng, grid)))
        case.statuses.append("labelled" if truths else "background")
        case.objects.extend(truths)
        if not with_predictions or rng.random() < 0.1:
            continue
        found = []
        for truth in truths:
            for _ in range(int(rng.integers(0, 3))):
                right = rng.random() < 0.7
                found.append(
                    (
                        truth[1] if right else int(rng.integers(classes)),
                        jittered(rng, truth[2:], grid),
                    )
                )
        for _ in range(int(rng.integers(0, 130 if crowded else 4))):
            found.append((int(rng.integers(classes)), random_box(rng, grid)))
        scores = rng.random(len(found))
        if coarse_scores:
            scores = np.round(scores * 5) / 5
        scores = np.sort(scores)[::-1]
        for (label, box), score in zip(found, scores):
            probabilities = rng.dirichlet(np.ones(classes))
            if coarse_scores:
                # Quarters are exact, so equal probabilities stay equal and each row still sums to
                # one.
                probabilities = rng.multinomial(4, probabilities) / 4
            case.predictions.append(
                (
                    i,
                    label,
                    float(np.float32(score)),
                    [float(np.float32(p)) for p in probabilities],
                    *box,
                )
            )
    return case


def as_detector(case, rng):
    """Scores of whole images, and no probabilities: images without a prediction have a low one."""
    case.predictions = [(*p[:3], [], *p[4:]) for p in case.predictions]
    k = len(case.class_names)
    case.image_scores = []
    for i in range(len(case.image_ids)):
        of_class = np.round(rng.random(k) * 0.2, 1 if rng.random() < 0.5 else 6)
        for p in case.predictions:
            if p[0] == i:
                of_class[p[1]] = max(of_class[p[1]], p[2])
        of_class = [float(np.float32(score)) for score in of_class]
        case.image_scores.append((max(of_class), of_class))
    return case


def write(case, out):
    """Writes tables and predictions with their manifests below `out`."""
    tables, predictions = out / "tables", out / "predictions" / "random"
    tables.mkdir(parents=True)
    predictions.mkdir(parents=True)
    per_image = [[] for _ in case.image_ids]
    for o in case.objects:
        per_image[o[0]].append(o)
    n = len(case.image_ids)
    images = pa.table(
        {
            "image_id": case.image_ids,
            "split": [SPLIT] * n,
            "label_path": pa.nulls(n, pa.string()),
            "width": pa.array([640] * n, pa.int32()),
            "height": pa.array([480] * n, pa.int32()),
            "channels": pa.array([1] * n, pa.int8()),
            "format": ["png"] * n,
            "bytes": pa.array([1] * n, pa.int64()),
            "exif_orientation": pa.array([1] * n, pa.int8()),
            "source_stem": case.image_ids,
            "status": case.statuses,
            "object_count": pa.array([len(objects) for objects in per_image], pa.int32()),
            "issue_count": pa.array([0] * n, pa.int32()),
        }
    )
    rows = [(line + 1, o) for objects in per_image for line, o in enumerate(objects)]
    edge = lambda k, rows: pa.array([o[k] for _, o in rows], pa.float32())
    objects = pa.table(
        {
            "image_id": pa.array([case.image_ids[o[0]] for _, o in rows], pa.string()),
            "split": pa.array([SPLIT] * len(rows), pa.string()),
            "line": pa.array([line for line, _ in rows], pa.int32()),
            "class_id": pa.array([o[1] for _, o in rows], pa.int16()),
            "class_name": pa.array([case.class_names[o[1]] for _, o in rows], pa.string()),
            "class_index": pa.array([o[1] for _, o in rows], pa.int16()),
            "shape": pa.array(["box"] * len(rows), pa.string()),
            "vertices": pa.nulls(len(rows), pa.list_(pa.list_(pa.float32(), 2))),
            "xmin": edge(2, rows),
            "ymin": edge(3, rows),
            "xmax": edge(4, rows),
            "ymax": edge(5, rows),
            "area": pa.array([(o[4] - o[2]) * (o[5] - o[3]) for _, o in rows], pa.float32()),
            "repaired": pa.array([False] * len(rows), pa.bool_()),
        }
    )
    k = len(case.class_names)
    zeros = pa.array([0] * k, pa.int64())
    counts = {
        f"{split}_{what}": zeros
        for what in ("objects", "images")
        for split in ("train", "valid", "test")
    }
    index = pa.array(range(k), pa.int16())
    classes = pa.table(
        {
            "class_id": index,
            "class_name": case.class_names,
            "class_index": index,
            **counts,
            "kept": [True] * k,
            "reason": pa.nulls(k, pa.string()),
        }
    )
    ranks, seen = [], {}
    for p in case.predictions:
        seen[p[0]] = seen.get(p[0], 0) + 1
        ranks.append(seen[p[0]])
    column = lambda at, kind: pa.array([p[at] for p in case.predictions], kind)
    found = pa.table(
        {
            "image_id": pa.array([case.image_ids[p[0]] for p in case.predictions], pa.string()),
            "split": pa.array([SPLIT] * len(ranks), pa.string()),
            "rank": pa.array(ranks, pa.int32()),
            "class_index": column(1, pa.int16()),
            "class_name": pa.array([case.class_names[p[1]] for p in case.predictions], pa.string()),
            "score": column(2, pa.float32()),
            "probabilities": column(3, pa.list_(pa.float32())),
            "xmin": column(4, pa.float32()),
            "ymin": column(5, pa.float32()),
            "xmax": column(6, pa.float32()),
            "ymax": column(7, pa.float32()),
        }
    )
    publish(tables, "ingest", {"images": images, "objects": objects, "classes": classes})
    published, summary = {SPLIT: found}, {}
    if case.image_scores is not None:
        detections = [sum(p[0] == i for p in case.predictions) for i in range(n)]
        of_classes = [scores for _, scores in case.image_scores]
        published[f"{SPLIT}.images"] = pa.table(
            {
                "image_id": case.image_ids,
                "split": [SPLIT] * n,
                "score": pa.array([score for score, _ in case.image_scores], pa.float32()),
                "class_scores": pa.array(of_classes, pa.list_(pa.float32())),
                "detections": pa.array(detections, pa.int32()),
            }
        )
        summary = {"task": "detect"}
    publish(predictions, "predict", published, summary)
    (out / "predictions" / "latest").write_text("random\n")


def publish(folder, stage, tables, summary=None):
    files = []
    for name, table in sorted(tables.items()):
        path = folder / f"{name}.parquet"
        pq.write_table(table, path, compression="zstd")
        files.append(
            {
                "path": path.name,
                "rows": table.num_rows,
                "bytes": path.stat().st_size,
                "xxh3": xxhash.xxh3_64_hexdigest(path.read_bytes()),
            }
        )
    manifest = {
        "schema_version": 2,
        "ossify_version": "parity",
        "stage": stage,
        "fingerprint": "",
        "created_at": "",
        "files": files,
        "summary": summary or {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def evaluate(binary, out, samples=0):
    """Runs ossify-evaluate and returns report.json."""
    keys = [
        f'evaluate.splits=["{SPLIT}"]',
        f"evaluate.bootstrap_samples={samples}",
        "evaluate.overlays=0",
    ]
    run(binary, "--out", out, "--quiet", *(part for key in keys for part in ("--set", key)))
    return json.loads((Path(out) / "reports" / "random" / SPLIT / "report.json").read_text())


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stderr}"
        )


class Comparison:
    """Collects the largest difference of each figure."""

    def __init__(self, tolerance):
        self.tolerance, self.largest, self.failures, self.compared = tolerance, {}, [], 0

    def add(self, case, name, ours, theirs):
        """`None` and NaN are "not defined" on both sides."""
        undefined = lambda v: v is None or v != v
        self.compared += 1
        if undefined(ours) and undefined(theirs):
            return
        difference = (
            abs(ours - theirs) if not undefined(ours) and not undefined(theirs) else float("inf")
        )
        self.largest[name] = max(self.largest.get(name, 0.0), difference)
        if not difference <= self.tolerance:
            self.failures.append(f"case {case}: {name}: ours {ours}, theirs {theirs}")

    def finish(self, cases, with_whom):
        for name, difference in sorted(self.largest.items()):
            print(f"  {name:32} largest difference {difference:.1e}")
        if self.failures:
            raise SystemExit(
                "\n".join(
                    self.failures[:20]
                    + [
                        f"{len(self.failures)} of {self.compared} figures differ from {with_whom} "
                        f"by more than {self.tolerance}"
                    ]
                )
            )
        print(
            f"{cases} random cases, {self.compared} figures: equal to {with_whom} within "
            f"{self.tolerance}"
        )
