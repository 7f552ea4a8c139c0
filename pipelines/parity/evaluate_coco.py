"""Compares the detection scores of ossify-evaluate with pycocotools on random cases, both directly
and through the files that ossify-evaluate export writes.

    python evaluate_coco.py --binary ../../target/release/ossify-evaluate --cases 200
"""

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
from evaluate_cases import SPLIT, Comparison, evaluate, random_case, run, write
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


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
    return {
        "id": number + 1,
        "image_id": image + 1,
        "category_id": label + 1,
        "bbox": [xmin, ymin, width, height],
        "area": width * height,
        "iscrowd": 0,
        **more,
    }


def of_case(case):
    """Ground truth and detections in shares of the image."""
    images = [{"id": i + 1} for i in range(len(case.image_ids))]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(case.class_names)]
    truth = index(
        images, categories, [annotation(n, o[0], o[1], o[2:]) for n, o in enumerate(case.objects)]
    )
    found = index(
        images,
        categories,
        [annotation(n, p[0], p[1], p[4:], score=p[2]) for n, p in enumerate(case.predictions)],
    )
    return truth, found


def of_export(binary, out):
    """Ground truth and detections in pixels, as pycocotools loads the exported files."""
    truth_file, results_file = out / "truth.json", out / "results.json"
    run(
        binary,
        "export",
        "--out",
        out,
        "--quiet",
        "--split",
        SPLIT,
        "--to",
        truth_file,
        "--to-results",
        results_file,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(truth_file)
        # pycocotools cannot load results without a single detection.
        has_results = json.loads(results_file.read_text()) != []
        found = (
            truth.loadRes(str(results_file))
            if has_results
            else index(truth.dataset["images"], truth.dataset["categories"], [])
        )
    return truth, found


def coco_scores(truth, found):
    scoring = COCOeval(truth, found, "bbox")
    with contextlib.redirect_stdout(io.StringIO()):
        scoring.evaluate()
        scoring.accumulate()
    return scoring.eval["precision"][:, :, :, 0, 2], scoring.eval["recall"][:, :, 0, :]


def mean(values):
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def compare(comparison, number, what, ours, truth, found):
    precision, recall = coco_scores(truth, found)
    scores = {
        "ap": precision,
        "ap50": precision[0],
        "ap75": precision[5],
        "ar1": recall[:, :, 0],
        "ar10": recall[:, :, 1],
        "ar100": recall[:, :, 2],
    }
    for name, values in scores.items():
        comparison.add(number, f"{what}.{name}", ours[name]["value"], mean(values))
    for k, of_class in enumerate(ours["per_class"]):
        by_class = {
            "ap": precision[:, :, k],
            "ap50": precision[0, :, k],
            "ap75": precision[5, :, k],
            "ar1": recall[:, k, 0],
        }
        for name, values in by_class.items():
            comparison.add(
                number, f"{what}.per_class.{name}", of_class[name]["value"], mean(values)
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    comparison = Comparison(1e-9)
    for number in range(args.cases):
        case = random_case(np.random.default_rng([args.seed, number]))
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            write(case, out)
            ours = evaluate(args.binary, out)["detection"]
            compare(comparison, number, "case", ours, *of_case(case))
            compare(comparison, number, "export", ours, *of_export(args.binary, out))
    comparison.finish(args.cases, "pycocotools")


if __name__ == "__main__":
    main()
