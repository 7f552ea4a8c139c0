"""Makes tables and predictions of 100,000 random images with about 300,000 predictions, in the
formats of the stages and of COCO:

    python evaluate_data.py OUT

OUT/tables and OUT/predictions are for ossify-evaluate, OUT/truth.json and OUT/results.json for
pycocotools."""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))
from evaluate_cases import Case, write

IMAGES, CLASSES = 100_000, 6


def boxes(rng, count):
    corner, size = rng.uniform(0.0, 0.6, (count, 2)), rng.uniform(0.05, 0.4, (count, 2))
    return np.float32(np.concatenate([corner, corner + size], 1))


def main():
    out, rng = Path(sys.argv[1]), np.random.default_rng(5)
    if (out / "results.json").exists():
        return
    case = Case(
        [f"class {i}" for i in range(CLASSES)], [f"test/images/{i:06}.png" for i in range(IMAGES)]
    )
    objects = np.sort(rng.choice(IMAGES, IMAGES * 6 // 5))
    truth = boxes(rng, len(objects))
    labels = rng.integers(CLASSES, size=len(objects))
    case.objects = [
        (int(i), int(label), *map(float, box)) for i, label, box in zip(objects, labels, truth)
    ]
    shown = set(objects.tolist())
    case.statuses = ["labelled" if i in shown else "background" for i in range(IMAGES)]
    # Two near the objects, as many again at random, best first within an image.
    near = np.clip(
        np.repeat(truth, 2, 0) + np.float32(rng.normal(0, 0.04, (2 * len(truth), 4))), 0, 1
    )
    near = np.concatenate(
        [np.minimum(near[:, :2], near[:, 2:]), np.maximum(near[:, :2], near[:, 2:])], 1
    )
    right = rng.random(2 * len(truth)) < 0.7
    found = [
        (int(image), int(label))
        for image, label in zip(
            np.repeat(objects, 2),
            np.where(right, np.repeat(labels, 2), rng.integers(CLASSES, size=2 * len(truth))),
        )
    ]
    anywhere = IMAGES * 3 - len(found)
    found += [
        (int(image), int(label))
        for image, label in zip(rng.choice(IMAGES, anywhere), rng.integers(CLASSES, size=anywhere))
    ]
    edges, scores = np.concatenate([near, boxes(rng, anywhere)]), np.float32(rng.random(len(found)))
    order = sorted(range(len(found)), key=lambda k: (found[k][0], -scores[k]))
    probabilities = np.float32(rng.dirichlet(np.ones(CLASSES), len(found)))
    case.predictions = [
        (*found[k], float(scores[k]), probabilities[k].tolist(), *map(float, edges[k]))
        for k in order
    ]
    out.mkdir(parents=True, exist_ok=True)
    write(case, out)

    def annotation(number, image, label, box, **more):
        width, height = box[2] - box[0], box[3] - box[1]
        return {
            "id": number + 1,
            "image_id": image + 1,
            "category_id": label + 1,
            "bbox": [box[0], box[1], width, height],
            "area": width * height,
            "iscrowd": 0,
            **more,
        }

    images, categories = (
        [{"id": i + 1} for i in range(IMAGES)],
        [{"id": i + 1, "name": name} for i, name in enumerate(case.class_names)],
    )
    annotations = [annotation(n, o[0], o[1], o[2:]) for n, o in enumerate(case.objects)]
    (out / "truth.json").write_text(
        json.dumps({"images": images, "categories": categories, "annotations": annotations})
    )
    (out / "results.json").write_text(
        json.dumps(
            [annotation(n, p[0], p[1], p[4:], score=p[2]) for n, p in enumerate(case.predictions)]
        )
    )


if __name__ == "__main__":
    main()
