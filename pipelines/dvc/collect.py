"""Collects scores and curves of the newest predictions for DVC: collect.py WORK_FOLDER

Reads predictions/latest, its reports and its run; writes scores.json (metrics) and curves.csv
(plots)."""

import csv
import json
import sys
from pathlib import Path

SCORES = {
    "image_level": ["accuracy", "macro_f1", "macro_auroc", "ece"],
    "objects_level": ["balanced_accuracy", "mean_iou"],
    "detection": ["ap50", "ap"],
}
CURVES = ["loss", "accuracy", "mean_iou", "ap50", "auroc"]


def main():
    out = Path(sys.argv[1])
    run = (out / "predictions/latest").read_text(encoding="utf-8").strip()
    reports = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((out / "reports" / run).glob("*/report.json"))
    }
    scores = {
        split: {
            name: report[level][name]["value"] for level, names in SCORES.items() for name in names
        }
        for split, report in reports.items()
    }
    (out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")

    epochs = [
        json.loads(line)
        for line in (out / "runs" / run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    with open(out / "curves.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["epoch", *(f"{split}_{name}" for split in ("train", "valid") for name in CURVES)]
        )
        writer.writerows(
            [
                epoch["epoch"],
                *(
                    (epoch[split] or {}).get(name)
                    for split in ("train", "valid")
                    for name in CURVES
                ),
            ]
            for epoch in epochs
        )


if __name__ == "__main__":
    main()
