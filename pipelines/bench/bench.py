"""Times ours against the tools that people use: bench.py RELEASE_FOLDER DATASET OUT [RUNS [WHAT...]]

Ours is a whole process, start, tables and files on disk included; a peer is timed inside its process, without
start-up and imports. They run in turn, so that both meet the same machine; medians and their ratio count.
Writes OUT/bench.json. A peer that is not installed is left out, and said so.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

PEERS = Path(__file__).with_name("peers.py")
release, dataset, out = (os.path.abspath(argument) for argument in sys.argv[1:4])
runs = int(sys.argv[4]) if len(sys.argv) > 4 else 3
wanted = sys.argv[5:]
stage_arguments = ["--dataset", dataset, "--out", out, "--quiet"]


def stage(name):
    def run():
        start = time.perf_counter()
        subprocess.run([f"{release}/ossify-{name}", *stage_arguments, "--force"], check=True)
        return time.perf_counter() - start

    return run


def network(line):
    """Seconds for 100 images of DenseNet121, batch 16."""

    def run():
        printed = subprocess.run([f"{release}/examples/speed", "auto", "densenet121", "224", "16"], check=True, capture_output=True, text=True).stdout
        rate = re.search(rf"^{re.escape(line)} +([0-9.]+) images/s$", printed, re.MULTILINE)
        return 100 / float(rate[1])

    return run


def peer_secs(what, peer):
    ended = subprocess.run([sys.executable, PEERS, what, peer, dataset], capture_output=True, text=True)
    return float(ended.stdout.split()[-1]) if ended.returncode == 0 else ended.stderr.strip().splitlines()[-1]


COMPARISONS = [
    ("scan", "ultralytics", stage("ingest")),
    ("scan", "supervision", stage("ingest")),
    ("resize", "opencv", stage("resize")),
    ("resize", "pillow", stage("resize")),
    ("resize", "torchvision", stage("resize")),
    ("infer", "pytorch", network("forward")),
    ("train_step", "pytorch", network("forward + backward")),
]

stage("ingest")()  # resize reads its tables
results = []
print(f"{'what':<12}{'peer':<14}{'ours, s':>10}{'peer, s':>10}{'ratio':>8}")
for what, peer, ours in COMPARISONS:
    if wanted and what not in wanted:
        continue
    first = peer_secs(what, peer)
    if isinstance(first, str):
        print(f"{what:<12}{peer:<14}left out: {first}")
        continue
    ours()
    pairs = [(ours(), peer_secs(what, peer)) for _ in range(runs)]
    ours_secs, their_secs = (statistics.median(column) for column in zip(*pairs))
    ratio = their_secs / ours_secs
    results.append({"what": what, "peer": peer, "ours_secs": round(ours_secs, 4), "peer_secs": round(their_secs, 4), "ratio": round(ratio, 3), "runs": runs})
    print(f"{what:<12}{peer:<14}{ours_secs:>10.3f}{their_secs:>10.3f}{ratio:>8.2f}", flush=True)
Path(out).mkdir(parents=True, exist_ok=True)
Path(out, "bench.json").write_text(json.dumps(results, indent=2) + "\n")
print(f"written to {out}/bench.json; a ratio above 1 means that ours is faster")
