"""Compares the classification and box scores of ossify-evaluate with scikit-learn and numpy on
random cases.

    python evaluate_sklearn.py --binary ../../target/release/ossify-evaluate --cases 200
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
from evaluate_cases import Comparison, evaluate, random_case, write
from sklearn import metrics

BINS = 15


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def macro_f1(truth, predicted, nothing):
    labels = sorted((set(truth) | set(predicted)) - {nothing})
    return (
        metrics.f1_score(truth, predicted, labels=labels, average="macro", zero_division=0)
        if truth
        else None
    )


def calibration_error(confidence, right):
    """Guo et al., 2017: bins (i/15, (i+1)/15]."""
    edges = np.arange(1, BINS + 1) / BINS
    bins = np.searchsorted(edges, confidence, side="left").clip(0, BINS - 1)
    gaps = [
        abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean()
        for b in range(BINS)
        if (bins == b).any()
    ]
    return float(sum(gaps))


def compare(number, case, report, comparison):
    classes = len(case.class_names)
    first = {}
    for prediction in case.predictions:
        first.setdefault(prediction[0], prediction)
    add = lambda name, ours, theirs: comparison.add(number, name, ours["value"], theirs)

    truth = [o[1] for o in case.objects]
    predicted = [first[o[0]][1] if o[0] in first else classes for o in case.objects]
    level = report["objects_level"]
    add(
        "objects.accuracy",
        level["accuracy"],
        metrics.accuracy_score(truth, predicted) if truth else None,
    )
    add(
        "objects.balanced_accuracy",
        level["balanced_accuracy"],
        metrics.balanced_accuracy_score(truth, predicted) if truth else None,
    )
    add("objects.macro_f1", level["macro_f1"], macro_f1(truth, predicted, classes))
    ious = np.array([iou(first[o[0]][4:], o[2:]) if o[0] in first else 0.0 for o in case.objects])
    add("objects.mean_iou", level["mean_iou"], ious.mean() if truth else None)
    add("objects.iou50_rate", level["iou50_rate"], (ious >= 0.5).mean() if truth else None)
    pairs = [(first[o[0]][4:], o[2:]) for o in case.objects if o[0] in first]
    add(
        "objects.box_mse",
        level["box_mse"],
        metrics.mean_squared_error(*map(np.array, zip(*pairs))) if pairs else None,
    )
    if truth:
        theirs = metrics.confusion_matrix(truth, predicted, labels=range(classes + 1))[:classes]
        ours = np.zeros_like(theirs)
        for cell in report["confusion_matrix"]["cells"]:
            column = cell["predicted_class"]
            ours[cell["true_class"], classes if column is None else column] = cell["objects"]
        assert (theirs == ours).all(), f"case {number}: confusion matrix"
        precision, recall, f1, support = metrics.precision_recall_fscore_support(
            truth, predicted, labels=range(classes), zero_division=np.nan
        )
        for k, ours in enumerate(report["per_class"]):
            add("per_class.precision", ours["precision"], precision[k])
            add("per_class.recall", ours["recall"], recall[k])
            add("per_class.f1", ours["f1"], f1[k])
            of_class = ious[np.array(truth) == k]
            add("per_class.mean_iou", ours["mean_iou"], of_class.mean() if of_class.size else None)
            assert ours["support"] == support[k]

    largest = {}
    for o in case.objects:
        area = np.float32((o[4] - o[2]) * (o[5] - o[3]))
        if o[0] not in largest or area > largest[o[0]][0]:
            largest[o[0]] = (area, o[1])
    images = sorted(largest)
    truth = [largest[i][1] for i in images]
    predicted = [first[i][1] if i in first else classes for i in images]
    level = report["image_level"]
    add(
        "images.accuracy",
        level["accuracy"],
        metrics.accuracy_score(truth, predicted) if truth else None,
    )
    add("images.macro_f1", level["macro_f1"], macro_f1(truth, predicted, classes))
    with_probabilities = [i for i in images if i in first]
    truth = np.array([largest[i][1] for i in with_probabilities])
    probabilities = np.array([first[i][3] for i in with_probabilities]).reshape(-1, classes)
    aurocs = []
    for k in range(classes):
        is_class = truth == k
        auroc = (
            metrics.roc_auc_score(is_class, probabilities[:, k])
            if is_class.any() and not is_class.all()
            else None
        )
        aurocs.append(auroc)
        add("per_class.auroc", report["per_class"][k]["auroc"], auroc)
    defined = [auroc for auroc in aurocs if auroc is not None]
    add("images.macro_auroc", level["macro_auroc"], np.mean(defined) if defined else None)
    if len(truth) == 0:
        assert level["log_loss"]["value"] is None and level["ece"]["value"] is None
        return
    add(
        "images.log_loss",
        level["log_loss"],
        metrics.log_loss(truth, probabilities, labels=range(classes)),
    )
    add(
        "images.brier",
        level["brier"],
        metrics.brier_score_loss(truth, probabilities, labels=range(classes), scale_by_half=False),
    )
    if classes > 2:
        hits = metrics.top_k_accuracy_score(
            truth, probabilities, k=2, labels=range(classes), normalize=False
        )
        add("images.top2_accuracy", level["top2_accuracy"], hits / len(images))
    predicted = np.array([first[i][1] for i in with_probabilities])
    add(
        "images.ece",
        level["ece"],
        calibration_error(probabilities[np.arange(len(truth)), predicted], predicted == truth),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    # Classes that are predicted but never true, and single precision, are intended.
    warnings.filterwarnings("ignore")
    comparison = Comparison(1e-9)
    for number in range(args.cases):
        case = random_case(np.random.default_rng([args.seed, number]), at_least_two_classes=True)
        with tempfile.TemporaryDirectory() as folder:
            write(case, Path(folder))
            report = evaluate(args.binary, folder)
        compare(number, case, report, comparison)
    comparison.finish(args.cases, "scikit-learn")


if __name__ == "__main__":
    main()
