"""Compares FROC, the AUROC of any finding and the thresholds of ossify-evaluate with plain numpy
and scikit-learn on random cases of a detector.

    python evaluate_detector.py --binary ../../target/release/ossify-evaluate --cases 200
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from evaluate_cases import Comparison, as_detector, evaluate, random_case, write
from sklearn import metrics

RATES = [0.125, 0.25, 0.5, 1, 2, 4, 8]
NAMES = ["at_eighth", "at_quarter", "at_half", "at_1", "at_2", "at_4", "at_8"]


def ious(boxes, truths):
    """[boxes, truths]"""
    a, b = boxes[:, None, :], truths[None, :, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    overlap = np.prod(np.maximum(sides, 0), axis=-1)
    area = lambda box: np.prod(box[..., 2:] - box[..., :2], axis=-1)
    union = area(a) + area(b) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def centres_inside(boxes, truths):
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return ((truths[:, :2] <= centres) & (centres <= truths[:, 2:])).all(axis=-1)


def counts(images, threshold, rule, same_class):
    """Objects that are hit, and false alarms, with the marks of at least this score."""
    hits = alarms = 0
    for truths, marks in images:
        marks = sorted((m for m in marks if m[1] >= threshold), key=lambda m: -m[1])
        if not marks:
            continue
        if not truths:
            alarms += len(marks)
            continue
        boxes = np.array([m[2] for m in marks], float)
        objects = np.array([t[1] for t in truths], float)
        overlaps = ious(boxes, objects)
        fits = overlaps >= 0.5 if rule == "iou" else centres_inside(boxes, objects)
        if same_class:
            fits &= np.array([[m[0] == t[0] for t in truths] for m in marks])
        free = np.ones(len(truths), bool)
        for overlap, fit in zip(overlaps, fits):
            if not fit.any():
                alarms += 1
            elif (fit & free).any():
                free[np.argmax(np.where(fit & free, overlap, -1.0))] = False
        hits += int((~free).sum())
    return hits, alarms


def froc(images, rule, same_class):
    """Sensitivity at each rate: the best of all thresholds; `None` without objects."""
    objects = sum(len(truths) for truths, _ in images)
    if objects == 0:
        return [None] * len(RATES)
    scores = sorted({m[1] for _, marks in images for m in marks})
    points = [counts(images, threshold, rule, same_class) for threshold in [*scores, np.inf]]
    allowed = lambda rate: [hits for hits, alarms in points if alarms <= rate * len(images)]
    return [max(allowed(rate)) / objects for rate in RATES]


def images_of(case, label=None):
    """(class, box) of the objects and (class, score, box) of the marks of each image."""
    images = [([], []) for _ in case.image_ids]
    counted = lambda of: label is None or of == label
    for o in case.objects:
        if counted(o[1]):
            images[o[0]][0].append((o[1], o[2:]))
    for p in case.predictions:
        if counted(p[1]):
            images[p[0]][1].append((p[1], p[2], p[4:]))
    return images


def auroc(truth, scores):
    return metrics.roc_auc_score(truth, scores) if 0 < truth.sum() < len(truth) else None


def youden(truth, scores):
    """The highest threshold with the largest sum of sensitivity and specificity."""
    _, _, thresholds = metrics.roc_curve(truth, scores, drop_intermediate=False)
    positives, negatives = int(truth.sum()), int((~truth).sum())

    def index(threshold):
        called = scores >= threshold
        hits, alarms = int((called & truth).sum()), int((called & ~truth).sum())
        return hits * negatives - alarms * positives

    return max(thresholds[1:], key=lambda threshold: (index(threshold), threshold))


def compare(comparison, number, case, report):
    value = lambda score: score["value"]
    rules = {
        "any_class": ("iou", False),
        "centre_in_box": ("centre", False),
        "same_class": ("iou", True),
    }
    images = images_of(case)
    for name, (rule, same_class) in rules.items():
        ours, theirs = report["detection"]["froc"][name], froc(images, rule, same_class)
        for at, sensitivity in zip(NAMES, theirs):
            comparison.add(number, f"froc.{name}", value(ours[at]), sensitivity)
        mean = None if theirs[0] is None else float(np.mean(theirs))
        comparison.add(number, f"froc.{name}.mean", value(ours["mean"]), mean)
    for k, of_class in enumerate(report["detection"]["per_class"]):
        theirs = froc(images_of(case, k), "iou", True)
        mean = None if theirs[0] is None else float(np.mean(theirs))
        comparison.add(number, "per_class.froc", value(of_class["froc"]), mean)

    findings = report["findings"]
    truth = np.array([bool(truths) for truths, _ in images])
    scores = np.array([np.float32(score) for score, _ in case.image_scores])
    comparison.add(number, "findings.auroc", value(findings["auroc"]), auroc(truth, scores))
    by_class = np.array([scores for _, scores in case.image_scores], np.float32)
    for k, of_class in enumerate(report["per_class"]):
        shows = np.array([any(t[0] == k for t in truths) for truths, _ in images])
        theirs = auroc(shows, by_class[:, k])
        comparison.add(number, "per_class.auroc", value(of_class["auroc"]), theirs)

    chosen = set()
    for point in findings["points"]:
        threshold, rule = np.float32(point["threshold"]), point["chosen_by"]
        chosen.add(rule)
        called = scores >= threshold
        share = lambda of: float(of.mean()) if of.size else None
        sensitivity, specificity = share(called[truth]), share(~called[~truth])
        comparison.add(number, "points.sensitivity", value(point["sensitivity"]), sensitivity)
        comparison.add(number, "points.specificity", value(point["specificity"]), specificity)
        hits, alarms = counts(images, threshold, "iou", False)
        found = hits / len(case.objects) if case.objects else None
        comparison.add(number, "points.objects_found", value(point["objects_found"]), found)
        comparison.add(
            number, "points.false_alarms", value(point["false_alarms"]), alarms / len(images)
        )
        higher = scores >= np.nextafter(threshold, np.float32(2))
        lower = scores >= max(scores[scores < threshold], default=np.float32(-1))
        if rule == "youden":
            comparison.add(number, "points.youden", float(threshold), float(youden(truth, scores)))
        elif rule == "sensitivity":
            assert sensitivity >= point["wanted"] - 1e-9 > share(higher[truth]) - 2e-9, number
        elif rule == "specificity":
            assert specificity >= point["wanted"] - 1e-9, number
            assert share(~lower[~truth]) < point["wanted"] or not (scores < threshold).any(), number
    if 0 < truth.sum() < len(truth):
        assert {"youden", "sensitivity", "specificity"} <= chosen, f"case {number}: {chosen}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=13)
    args = parser.parse_args()
    comparison = Comparison(1e-9)
    for number in range(args.cases):
        rng = np.random.default_rng([args.seed, number])
        case = as_detector(random_case(rng), rng)
        with tempfile.TemporaryDirectory() as folder:
            write(case, Path(folder))
            report = evaluate(args.binary, folder)
        compare(comparison, number, case, report)
    comparison.finish(args.cases, "numpy and scikit-learn")


if __name__ == "__main__":
    main()
