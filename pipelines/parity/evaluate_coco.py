"""Compares the detection scores of ossify-evaluate with pycocotools on random cases.

    python evaluate_coco.py --binary ../../target/release/ossify-evaluate --cases 200
"""

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from evaluate_cases import Comparison, evaluate, random_case, write


def index(images, categories, annotations):
    coco = COCO()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def annotation(number, image, label, box, **more):
    xmin, ymin, xmax, ymax = box
    width, height = xmax - xmin, ymax - ymin
    # pycocotools takes annotation 0 for "unmatched": numbers start at 1.
    return {"id": number + 1, "image_id": image + 1, "category_id": label + 1, "bbox": [xmin, ymin, width, height], "area": width * height, "iscrowd": 0, **more}


def coco_scores(case):
    images = [{"id": i + 1} for i in range(len(case.image_ids))]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(case.class_names)]
    truth = index(images, categories, [annotation(n, o[0], o[1], o[2:]) for n, o in enumerate(case.objects)])
    found = index(images, categories, [annotation(n, p[0], p[1], p[4:], score=p[2]) for n, p in enumerate(case.predictions)])
    scoring = COCOeval(truth, found, "bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        scoring.evaluate()
        scoring.accumulate()
    return scoring.eval["precision"][:, :, :, 0, 2], scoring.eval["recall"][:, :, 0, :]


def mean(values):
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    comparison = Comparison(1e-9)
    for number in range(args.cases):
        case = random_case(np.random.default_rng([args.seed, number]))
        precision, recall = coco_scores(case)
        with tempfile.TemporaryDirectory() as folder:
            write(case, Path(folder))
            ours = evaluate(args.binary, folder)["detection"]
        scores = {"ap": precision, "ap50": precision[0], "ap75": precision[5], "ar1": recall[:, :, 0], "ar10": recall[:, :, 1], "ar100": recall[:, :, 2]}
        for name, values in scores.items():
            comparison.add(number, name, ours[name]["value"], mean(values))
        for k, of_class in enumerate(ours["per_class"]):
            by_class = {"ap": precision[:, :, k], "ap50": precision[0, :, k], "ap75": precision[5, :, k], "ar1": recall[:, k, 0]}
            for name, values in by_class.items():
                comparison.add(number, f"per_class.{name}", of_class[name]["value"], mean(values))
    comparison.finish(args.cases, "pycocotools")


if __name__ == "__main__":
    main()
