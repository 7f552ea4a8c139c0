"""Times ossify against other tools: bench.py RELEASE_FOLDER DATASET OUT [RUNS [WHAT...]]

Ours is a whole process, including start-up, tables and files on disk; a peer is timed inside its
process, without start-up and imports. They run alternately, so that both see the same machine;
reported are medians and their ratio. In resize, both have two threads: ours writes shards and
checksums, the peers decode and resize in memory, and so does the peer ours-decode-resize, our own
code without the rest. resize_large does the same with 60 pictures of 3000x3000 pixels, made once in
OUT/large-images. frozen_recipe is 50 epochs of conf/bone-fracture.toml from shards to a model,
including the features, with random weights, which take the same time. In evaluate, ours scores
100,000 images with 300,000 predictions, with 1,000 resamples for the intervals and the report, and
pycocotools only computes AP. Writes OUT/bench.json. A peer that is not installed is skipped with a
message."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
RESIZE_THREADS = 2
release, dataset, out = (os.path.abspath(argument) for argument in sys.argv[1:4])
runs = int(sys.argv[4]) if len(sys.argv) > 4 else 3
wanted = sys.argv[5:]
large_images = f"{out}/large-images"
large_tables = f"{out}/large-tables"
DATASETS = {"resize_large": large_images, "evaluate": large_tables}
LONG = {"frozen_recipe", "evaluate"}  # runs once, without a run to warm up
# Peak memory of a process: ours by comparison, the others' by comparison and peer.
peak_mib = {}


def measured(command, what):
    """Returns what a process prints, and records its peak memory."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    peak_mib[what] = max(peak_mib.get(what, 0), round(usage.ru_maxrss / 1024))
    return printed


def stage(name, what, threads=0):
    """Returns a function that times a stage on the data of a comparison, in seconds."""
    folder = f"{out}/large" if what in DATASETS else out
    arguments = [
        "--dataset",
        DATASETS.get(what, dataset),
        "--out",
        folder,
        "--set",
        f"general.threads={threads}",
        "--quiet",
        "--force",
    ]

    def run(more=()):
        start = time.perf_counter()
        measured([f"{release}/ossify-{name}", *more, *arguments], what)
        return time.perf_counter() - start

    return run


def frozen_recipe():
    """Times the whole recipe, in seconds."""
    shutil.rmtree(f"{out}/features", ignore_errors=True)
    train = stage("train", "frozen_recipe")
    start = time.perf_counter()
    train(
        [
            "--config",
            "conf/bone-fracture.toml",
            "--set",
            "train.model.weights=none",
            "--set",
            "train.stopping.train_accuracy=0",
        ]
    )
    return time.perf_counter() - start


def evaluate():
    """Times a run over the large tables, in seconds."""
    keys = ['evaluate.splits=["test"]', "evaluate.overlays=0"]
    start = time.perf_counter()
    measured(
        [
            f"{release}/ossify-evaluate",
            "--out",
            large_tables,
            "--quiet",
            "--force",
            *(part for key in keys for part in ("--set", key)),
        ],
        "evaluate",
    )
    return time.perf_counter() - start


def network(what, passes, line):
    """Seconds for 100 images of DenseNet121, batch 16."""

    def run():
        printed = measured(
            [
                f"{release}/examples/speed",
                "auto",
                "densenet121",
                "224",
                "16",
                "0",
                "5",
                "recompute",
                passes,
            ],
            what,
        )
        rate = re.search(rf"^{re.escape(line)} +([0-9.]+) images/s$", printed, re.MULTILINE)
        return 100 / float(rate[1])

    return run


def peer_secs(what, peer):
    """Returns seconds, or a text that says why there are none."""
    data = DATASETS.get(what, dataset)
    if peer == "ours-decode-resize":
        command = [f"{release}/examples/decode_resize", data, str(RESIZE_THREADS)]
    else:
        command = [sys.executable, HERE / "peers.py", what.removesuffix("_large"), peer, data]
    if not os.path.exists(command[0]):
        return f"{command[0]} is not built"
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode != 0:
        return ended.stderr.strip().splitlines()[-1]
    secs, *memory = ended.stdout.split()
    if memory:
        peak_mib[what, peer] = max(peak_mib.get((what, peer), 0), int(memory[0]))
    return float(secs)


COMPARISONS = [
    ("scan", ["ultralytics", "supervision"], stage("ingest", "scan")),
    (
        "resize",
        ["opencv", "pillow", "torchvision", "ours-decode-resize"],
        stage("resize", "resize", RESIZE_THREADS),
    ),
    (
        "resize_large",
        ["opencv", "pillow", "torchvision", "ours-decode-resize"],
        stage("resize", "resize_large", RESIZE_THREADS),
    ),
    ("infer", ["pytorch"], network("infer", "forward", "forward")),
    ("train_step", ["pytorch"], network("train_step", "both", "forward + backward")),
    ("frozen_recipe", ["pytorch"], frozen_recipe),
    ("evaluate", ["pycocotools"], evaluate),
]


def prepare(what):
    """Prepares the inputs; returns a reason if that is not possible."""
    if what == "resize_large":
        subprocess.run(
            [sys.executable, HERE / "large_images.py", dataset, large_images], check=True
        )
    if what == "evaluate":
        made = subprocess.run(
            [sys.executable, HERE / "evaluate_data.py", large_tables],
            check=False,
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            return made.stderr.strip().splitlines()[-1]
    if what.startswith("resize") or what == "frozen_recipe":
        stage("ingest", what)()
    if what == "frozen_recipe":
        stage("resize", what)()
    peak_mib.pop(what, None)
    return None


results = []
print(
    f"{'what':<14}{'peer':<20}{'ours, s':>10}{'peer, s':>10}{'ratio':>8}"
    f"{'ours, MiB':>11}{'peer, MiB':>11}"
)
for what, peers, ours in COMPARISONS:
    if wanted and what not in wanted:
        continue
    if why := prepare(what):
        print(f"{what:<14}left out: {why}")
        continue
    for peer in peers:
        first = peer_secs(what, peer)
        if isinstance(first, str):
            print(f"{what:<14}{peer:<20}left out: {first}")
            continue
        if what not in LONG:
            ours()
        pairs = [(ours(), peer_secs(what, peer)) for _ in range(1 if what in LONG else runs)]
        ours_secs, their_secs = (statistics.median(column) for column in zip(*pairs))
        ratio = their_secs / ours_secs
        result = {
            "what": what,
            "peer": peer,
            "ours_secs": round(ours_secs, 4),
            "peer_secs": round(their_secs, 4),
            "ratio": round(ratio, 3),
            "runs": len(pairs),
        }
        for name, key in (("ours_peak_mib", what), ("peer_peak_mib", (what, peer))):
            if key in peak_mib:
                result[name] = peak_mib[key]
        results.append(result)
        memory = f"{peak_mib.get(what, ''):>11}{peak_mib.get((what, peer), ''):>11}"
        print(
            f"{what:<14}{peer:<20}{ours_secs:>10.3f}{their_secs:>10.3f}{ratio:>8.2f}{memory}",
            flush=True,
        )
Path(out).mkdir(parents=True, exist_ok=True)
Path(out, "bench.json").write_text(json.dumps(results, indent=2) + "\n")
print(f"written to {out}/bench.json; a ratio above 1 means that ours is faster")
