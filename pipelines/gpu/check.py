"""What check.sh runs: check.py RELEASE_FOLDER OUT.json DEVICE"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 3
PRECISIONS = ("float32", "tf32", "bf16")
IMAGES = 100  # per measurement of the peers
release, out, device = Path(sys.argv[1]).resolve(), Path(sys.argv[2]), sys.argv[3]


def said(command, **more):
    """Runs a command; returns its output, or why it failed. Never raises."""
    ended = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True, **more
    )
    return ended.returncode == 0, ended.stdout, (ended.stderr.strip().splitlines() or [""])[-1]


def check(command):
    passed, printed, why = said(command)
    return {"passed": passed, "said": printed.strip().splitlines()[-4:]} | (
        {} if passed else {"why": why}
    )


def ours(passes, line, precision):
    passed, printed, why = said(
        [
            release / "examples/speed",
            device,
            "densenet121",
            "224",
            "16",
            "0",
            "5",
            "keep",
            passes,
            precision,
        ]
    )
    rate = re.search(rf"^{re.escape(line)} +([0-9.]+) images/s$", printed, re.MULTILINE)
    return float(rate[1]) if passed and rate else why


def peer(what, precision):
    passed, printed, why = said(
        [sys.executable, "pipelines/bench/peers.py", what, "pytorch", "."],
        env={**os.environ, "PRECISION": precision},
    )
    return IMAGES / float(printed.split()[0]) if passed else why


def timing(what, passes, line, precision):
    """Medians of alternating runs, images per second."""
    pairs = [(ours(passes, line, precision), peer(what, precision)) for _ in range(RUNS)]
    failed = [value for pair in pairs for value in pair if isinstance(value, str)]
    if failed:
        return {"why": failed[0]}
    ours_rate, peer_rate = (round(statistics.median(column), 1) for column in zip(*pairs))
    return {
        "ours_images_per_sec": ours_rate,
        "pytorch_images_per_sec": peer_rate,
        "ratio": round(ours_rate / peer_rate, 3),
        "runs": RUNS,
    }


def training(precision):
    """Runs the demo from drawing to training."""
    with tempfile.TemporaryDirectory() as folder:
        where = [
            "--quiet",
            "--config",
            "conf/demo-classifier.toml",
            "--dataset",
            f"{folder}/dataset",
            "--out",
            f"{folder}/out",
        ]
        started = time.perf_counter()
        for stage, more in (
            ("phantom", []),
            ("ingest", []),
            ("resize", []),
            ("train", ["--device", device, "--set", f"train.precision={precision}"]),
        ):
            passed, _, why = said([release / f"ossify-{stage}", *where, *more])
            if not passed:
                return {"passed": False, "why": f"ossify-{stage}: {why}"}
        metrics = [
            json.loads(line)
            for line in next(Path(folder, "out/runs").glob("*/metrics.jsonl"))
            .read_text()
            .splitlines()
        ]
        best = max(metrics, key=lambda epoch: epoch["valid"]["accuracy"])
        return {
            "passed": True,
            "epochs": len(metrics),
            "secs": round(time.perf_counter() - started, 1),
            "train_images_per_sec": round(
                statistics.median(epoch["images_per_sec"] for epoch in metrics[1:]), 1
            ),
            "valid_accuracy": round(best["valid"]["accuracy"], 4),
        }


def main():
    import torch

    if not torch.cuda.is_available():
        print(
            "error: PyTorch sees no CUDA device; this check is for machines that have one",
            file=sys.stderr,
        )
        return 1
    index = int(device.partition(":")[2] or 0)
    python = sys.executable
    results = {
        "device": torch.cuda.get_device_name(index),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "processor_cores": os.cpu_count(),
        "logits": check(
            [
                python,
                "pipelines/parity/densenet_logits.py",
                release / "examples/parity",
                "--device",
                device,
            ]
        ),
        "gradients": check([python, "pipelines/parity/gradients.py", release, device]),
        "infer": {
            precision: timing("infer", "forward", "forward", precision) for precision in PRECISIONS
        },
        "train_step": {
            precision: timing("train_step", "both", "forward + backward", precision)
            for precision in PRECISIONS
        },
        "training": {precision: training(precision) for precision in PRECISIONS},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))
    parts = [
        results["logits"],
        results["gradients"],
        *(part for name in ("infer", "train_step", "training") for part in results[name].values()),
    ]
    return 1 if any("why" in part for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
